"""The writer: batches, places, failure and recovery, with a store that a test holds open."""

import threading

import anyio
import pytest

from localmcp_harden.core.errors import StoreError
from localmcp_harden.mechanisms.group_commit import (
    GroupCommitWriter,
    QueueFullError,
    StoreDownError,
)
from localmcp_harden.mechanisms.loop_bridge import LoopHandle, current_loop

pytestmark = pytest.mark.anyio


class Store:
    """Keeps batches; `gate` holds a write up, `error` makes it fail."""

    def __init__(self):
        self.batches = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.error = None
        self.script = []
        self.opened = self.closed = 0

    def open(self):
        if self.error is not None:
            raise self.error
        self.opened += 1

    def write(self, items):
        self.entered.release()
        assert self.gate.wait(10)
        error = self.script.pop(0) if self.script else self.error
        if error is not None:
            raise error
        self.batches.append(list(items))
        return [item * 10 for item in items if item is not None]

    def close(self):
        self.closed += 1

    @property
    def items(self):
        return [item for batch in self.batches for item in batch]


class Notes:
    def __init__(self):
        self.failures = []
        self.lost = []


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def notes():
    return Notes()


@pytest.fixture
def make(store, notes):
    writers = []

    def make(**options):
        writer = GroupCommitWriter(
            store,
            **{
                "max_queued": 100,
                "max_batch": 10,
                "linger_s": 0.0,
                "retry_wait_s": 0.001,
                **options,
            },
            on_failure=lambda error, kept: notes.failures.append((error, kept)),
            on_loss=notes.lost.append,
            make_recovery=lambda _error: 0,
            name="test",
        )
        writers.append(writer)
        writer.start()
        return writer

    yield make
    store.gate.set()
    for writer in writers:
        writer.stop()
        writer.join(10)


async def write(writer, item):
    waiter = current_loop().make_waiter()
    writer.submit(item, waiter)
    return await waiter.wait()


async def end(writer):
    waiter = current_loop().make_waiter()
    writer.stop(waiter)
    with anyio.fail_after(10):
        await waiter.wait()


async def test_results_come_back_to_who_waits(make):
    writer = make()
    got = {}

    async def one(item):
        got[item] = await write(writer, item)

    async with anyio.create_task_group() as tasks:
        for item in range(1, 30):
            tasks.start_soon(one, item)
    assert got == {item: item * 10 for item in range(1, 30)}


async def test_what_waits_goes_into_one_batch_and_in_order(make, store):
    writer = make(max_batch=4)
    store.gate.clear()
    for item in range(1, 11):
        writer.reserve()
        writer.put(item)
        if item == 1:
            assert store.entered.acquire(timeout=10)
    store.gate.set()
    await end(writer)
    assert store.batches == [[1], [2, 3, 4, 5], [6, 7, 8, 9], [10]]


async def test_places_come_back_when_items_are_durable(make, store):
    writer = make(max_queued=2)
    store.gate.clear()
    writer.reserve()
    writer.put(1)
    writer.reserve()
    assert store.entered.acquire(timeout=10)
    with pytest.raises(QueueFullError):
        writer.reserve()
    writer.release()
    writer.reserve()
    with pytest.raises(QueueFullError):
        writer.reserve()
    writer.put(2)
    store.gate.set()
    await end(writer)
    assert store.items == [1, 2]


async def works(writer):
    with anyio.fail_after(10):
        while True:
            try:
                return writer.reserve()
            except StoreDownError:
                await anyio.sleep(0.001)


async def test_a_failure_gives_back_what_is_waited_for_and_keeps_the_rest(make, store, notes):
    writer = make(max_queued=5)
    store.gate.clear()
    writer.reserve()
    writer.put(1)
    assert store.entered.acquire(timeout=10)
    store.error = StoreError("full")
    results = []

    async def waiting():
        try:
            await write(writer, 2)
        except StoreDownError:
            results.append("refused")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(waiting)
        await anyio.wait_all_tasks_blocked()
        store.gate.set()
    assert results == ["refused"]
    with pytest.raises(StoreDownError):
        writer.reserve()
    assert notes.failures == [(store.error, 1)]
    store.error = None
    await works(writer)
    writer.put(3)
    await end(writer)
    # The recovery's own item first, then what was kept, then what is new.
    assert store.items == [0, 1, 3]
    assert notes.lost == []


async def test_every_place_is_free_after_a_recovery(make, store):
    writer = make(max_queued=3)
    for _ in range(3):
        store.gate.clear()
        await works(writer)
        writer.put(1)
        store.error = StoreError("full")
        store.gate.set()
        with anyio.fail_after(10):
            while writer._failure is None:  # noqa: ASYNC110 - a thread sets it
                await anyio.sleep(0.001)
        store.error = None
        await works(writer)
        writer.release()
    await write(writer, 2)
    for _ in range(3):
        writer.reserve()
    with pytest.raises(QueueFullError):
        writer.reserve()


async def test_what_is_kept_keeps_its_order(make, store):
    writer = make()
    store.gate.clear()
    for item in range(1, 8):
        writer.reserve()
        writer.put(item)
        if item == 1:
            assert store.entered.acquire(timeout=10)
    store.script = [None, StoreError("full")]
    store.gate.set()
    assert store.entered.acquire(timeout=10)
    await works(writer)
    writer.release()
    await end(writer)
    assert store.items == [1, 0, 2, 3, 4, 5, 6, 7]
    assert [len(batch) for batch in store.batches] == [1, 7]


async def test_refused_items_give_their_places_back(make, store):
    writer = make(max_queued=3)
    store.gate.clear()
    store.error = StoreError("full")
    refused = []

    async def waiting(item):
        try:
            await write(writer, item)
        except StoreDownError:
            refused.append(item)

    async with anyio.create_task_group() as tasks:
        for item in (1, 2, 3):
            tasks.start_soon(waiting, item)
        await anyio.wait_all_tasks_blocked()
        store.gate.set()
    assert sorted(refused) == [1, 2, 3]
    store.error = None
    await works(writer)
    writer.reserve()
    writer.reserve()
    with pytest.raises(QueueFullError):
        writer.reserve()


async def test_errors_that_are_no_store_errors_fail_it_too(make, store, notes):
    writer = make()
    store.error = RuntimeError("a bug")
    with pytest.raises(StoreDownError):
        await write(writer, 1)
    assert notes.failures[0][0] is store.error
    store.error = None
    await works(writer)
    writer.release()


async def test_ending_with_a_store_that_fails_tells_what_is_lost(make, store, notes):
    writer = make()
    store.gate.clear()
    for item in range(1, 4):
        writer.reserve()
        writer.put(item)
    store.error = StoreError("full")
    store.gate.set()
    await end(writer)
    assert notes.lost == [3]
    assert store.closed


async def test_after_the_end_nothing_is_taken(make, notes):
    writer = make()
    writer.reserve()
    await end(writer)
    with pytest.raises(StoreDownError):
        writer.reserve()
    writer.put(1)
    assert notes.lost == [1]
    waiter = current_loop().make_waiter()
    writer.put(2, waiter)
    with pytest.raises(StoreDownError), anyio.fail_after(10):
        await waiter.wait()
    await end(writer)


async def test_opening_is_told(store):
    def writer():
        return GroupCommitWriter(
            store,
            max_queued=1,
            max_batch=1,
            linger_s=0.0,
            retry_wait_s=0.001,
            on_failure=lambda *_: None,
            on_loss=lambda _: None,
            make_recovery=lambda _: 0,
            name="test",
        )

    for error, expected in (
        (None, None),
        (StoreError("no"), "no"),
        (KeyError("sesame"), "could not be opened .KeyError"),
    ):
        store.error = error
        one = writer()
        waiter = current_loop().make_waiter()
        one.start(waiter)
        with anyio.fail_after(10):
            if expected is None:
                await waiter.wait()
            else:
                with pytest.raises(StoreError, match=expected):
                    await waiter.wait()
        store.error = None
        await end(one)


async def test_a_cancelled_waiter_takes_nobody_with_it(make, store):
    writer = make()
    store.gate.clear()
    results = []

    async def one(item):
        results.append(await write(writer, item))

    async with anyio.create_task_group() as tasks:
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as cancelled:
                cancelled.start_soon(one, 1)
                await anyio.wait_all_tasks_blocked()
                scope.cancel()
        tasks.start_soon(one, 2)
        await anyio.wait_all_tasks_blocked()
        store.gate.set()
    assert results == [20]
    assert store.items == [1, 2]


def test_a_loop_that_has_ended_holds_nothing_up():
    async def find():
        return current_loop()

    for backend in ("asyncio", "trio"):
        loop = anyio.run(find, backend=backend)
        assert isinstance(loop, LoopHandle)
        assert loop.call_soon(lambda: None) is False
    assert current_loop() is None


async def test_a_loop_equals_itself():
    assert current_loop() == current_loop()
    assert len({current_loop(), current_loop()}) == 1
    assert current_loop() != object()
