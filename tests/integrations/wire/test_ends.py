"""Lines over descriptors: whole, in order, bounded, and never in the way of an end."""

import os
import socket

import anyio
import pytest

from localmcp_harden.integrations.wire.ends import LineSource, ReadEnd, WriteEnd
from localmcp_harden.integrations.wire.lines_out import LineWriter
from localmcp_harden.integrations.wire.streams import FdReader, FdWriter

pytestmark = [pytest.mark.anyio, pytest.mark.timeout(30)]

MUCH = b"x" * 1_000_000 + b"\n"


class Pipe:
    def __init__(self):
        self.source, self.target = os.pipe()
        self.reader = FdReader(self.source)
        self.writer = FdWriter(self.target, owned=True)

    def end(self):
        self.writer.__exit__()

    def break_off(self):
        os.close(self.source)
        self.source = None

    async def rest(self):
        data = b""
        while chunk := await self.reader.read():
            data += chunk
        return data

    def close(self):
        self.end()
        if self.source is not None:
            os.close(self.source)


@pytest.fixture
def pipe():
    made = Pipe()
    yield made
    made.close()


async def running(writer):
    with pytest.raises(OSError):
        await writer.run()


async def test_what_fits_is_written_before_send_returns(pipe):
    writer = LineWriter(pipe.writer)
    # Nobody runs it: there is no other task that could have written.
    await writer.send(b"one\n")
    assert os.read(pipe.source, 100) == b"one\n"


async def test_lines_of_many_tasks_come_whole_and_in_order(pipe):
    lines = [bytes([65 + number]) * 150_000 + b"\n" for number in range(8)]
    writer = LineWriter(pipe.writer)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            async with anyio.create_task_group() as senders:
                received = []

                async def read():
                    source = LineSource(pipe.reader, 200_000)
                    for _ in lines:
                        received.append((await source.next()).data + b"\n")

                async def send_all():
                    for line in lines:
                        await writer.send(line)

                senders.start_soon(send_all)
                await anyio.wait_all_tasks_blocked()
                senders.start_soon(read)
            assert received == lines
            tasks.cancel_scope.cancel()


async def test_a_line_that_was_begun_is_finished_and_one_that_was_not_is_dropped(pipe):
    writer = LineWriter(pipe.writer, room=0)
    taken = []
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            async with anyio.create_task_group() as senders:
                senders.start_soon(writer.send, MUCH, lambda: taken.append("begun"))
                await anyio.wait_all_tasks_blocked()
                senders.start_soon(writer.send, b"late\n", lambda: taken.append("late"))
                await anyio.wait_all_tasks_blocked()
                senders.cancel_scope.cancel()
            assert taken == ["begun"]
            received = []

            came = anyio.Event()

            async def read():
                received.append(await pipe.rest())
                came.set()

            tasks.start_soon(read)
            await writer.flushed()
            await writer.send(b"next\n")
            pipe.end()
            await came.wait()
            assert received == [MUCH + b"next\n"]
            tasks.cancel_scope.cancel()


async def test_as_many_wait_as_there_is_room_for(pipe):
    writer = LineWriter(pipe.writer, room=3)
    sent = []

    async def send_all():
        for number in range(10):
            await writer.send(MUCH)
            sent.append(number)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.run)
            tasks.start_soon(send_all)
            await anyio.wait_all_tasks_blocked()
            assert sent == [0, 1, 2]
            tasks.cancel_scope.cancel()


async def test_others_get_their_turn_while_one_writes(pipe):
    writer = LineWriter(pipe.writer)
    order = []

    async def other():
        order.append("other")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(other)
        for _ in range(100):
            await writer.send(b"x\n")
        order.append("writer")
    assert order == ["other", "writer"]


async def test_one_that_takes_nothing_is_given_up(pipe):
    writer = LineWriter(pipe.writer, stall_timeout_s=0.01)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(writer.send, MUCH)
            with pytest.raises(TimeoutError):
                await writer.run()
        # Nobody waits, and what comes later is dropped.
        await writer.flushed()
        await writer.send(MUCH)


@pytest.mark.parametrize("line", [b"x\n", MUCH])
async def test_the_end_of_the_other_side_is_told_once_by_run(pipe, line):
    writer = LineWriter(pipe.writer)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running, writer)
            await anyio.wait_all_tasks_blocked()
            pipe.break_off()
            for _ in range(3):
                await writer.send(line)
        await writer.flushed()


async def test_writing_can_be_ended_from_outside(pipe):
    writer = LineWriter(pipe.writer)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running, writer)
            tasks.start_soon(writer.send, MUCH)
            await anyio.wait_all_tasks_blocked()
            pipe.writer.end()
    # The number may be another file's by now.
    with pytest.raises(OSError, match="Bad file descriptor"):
        pipe.writer.try_write(b"x")
    with pytest.raises(OSError, match="Bad file descriptor"):
        await pipe.writer.write(b"x")


async def test_reading_can_be_ended_from_outside(pipe):
    source = LineSource(pipe.reader, 100)
    os.write(pipe.target, b"a line that has no en")
    found = []
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:

            async def read():
                found.append(await source.next())

            tasks.start_soon(read)
            await anyio.wait_all_tasks_blocked()
            pipe.reader.end()
            os.write(pipe.target, b"d\n")
        assert found == [None]
        assert pipe.reader.was_ended()
        assert await source.next() is None


async def test_lines_that_came_already_are_not_handed_out_after_the_end(pipe):
    source = LineSource(pipe.reader, 100)
    os.write(pipe.target, b"one\ntwo\n")
    assert (await source.next()).data == b"one"
    pipe.reader.end()
    assert await source.next() is None


async def test_a_last_line_without_its_end_counts_where_it_is_asked_for(pipe):
    os.write(pipe.target, b"one\ntwo")
    pipe.end()
    source = LineSource(pipe.reader, 100)
    assert [(await source.next()).data, (await source.next()).data] == [b"one", b"two"]
    assert await source.next() is None


async def test_whole_lines_only(pipe):
    source = LineSource(pipe.reader, 100, whole_only=True)
    os.write(pipe.target, b"one\ntwo")
    pipe.end()
    assert (await source.next()).data == b"one"
    assert await source.next() is None
    assert not source.overflowing


async def test_a_line_that_grows_too_long_ends_what_wants_whole_ones(pipe):
    source = LineSource(pipe.reader, 100, whole_only=True)
    os.write(pipe.target, b"one\n" + b"x" * 101)
    assert (await source.next()).data == b"one"
    # The pipe is open and nothing more comes: this waits for nothing.
    with anyio.fail_after(20):
        assert await source.next() is None
    assert source.overflowing


async def test_a_burst_leaves_others_their_turn(pipe):
    source = LineSource(pipe.reader, 100)
    os.write(pipe.target, b"x\n" * 50)
    order = []
    async with anyio.create_task_group() as tasks:
        await source.next()

        async def other():
            order.append("other")

        tasks.start_soon(other)
        for _ in range(49):
            await source.next()
        order.append("reader")
    assert order == ["other", "reader"]


async def test_a_socket_is_written_without_waiting_and_left_as_it_was():
    ours, theirs = socket.socketpair()
    with ours, theirs, FdWriter(ours.fileno()) as writer:
        assert writer.try_write(b"one") == 3
        assert theirs.recv(10) == b"one"
        while writer.try_write(MUCH):
            pass
        assert os.get_blocking(ours.fileno())
        received = []
        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:

                async def read():
                    reader = FdReader(theirs.fileno())
                    while b"end" not in received[-1:]:
                        chunk = await reader.read()
                        received.append(chunk[-3:])

                tasks.start_soon(read)
                await writer.write(b"end")


class Numbers(ReadEnd):
    def __init__(self):
        self.left = [2, 1]

    async def _next(self):
        if not self.left:
            raise anyio.EndOfStream
        return self.left.pop()


class Kept(WriteEnd):
    def __init__(self):
        self.kept = []

    async def _put(self, item):
        self.kept.append(item)


async def test_ends_are_streams_as_the_sdk_wants_them():
    async with Numbers() as numbers:
        assert [number async for number in numbers] == [1, 2]
        with pytest.raises(anyio.EndOfStream):
            await numbers.receive()
    with pytest.raises(anyio.ClosedResourceError):
        await numbers.receive()
    async with Kept() as kept:
        await kept.send(1)
    with pytest.raises(anyio.ClosedResourceError):
        await kept.send(2)
    assert kept.kept == [1]
