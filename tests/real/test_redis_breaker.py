"""RedisCircuitBreaker against a Redis of its own: the kits, several processes' worth, outages."""

import os
import shutil
import signal
import socket
import subprocess

import anyio
import anyio.lowlevel
import pytest

from localmcp_harden.core.errors import CircuitOpenError
from localmcp_harden.core.events import BreakerStateChanged, GuardFailed, StoreFailed
from localmcp_harden.protocols.resilience import BreakerConfig, BreakerState
from localmcp_harden.resilience.breaker_redis import RedisBreakerConfig, RedisCircuitBreaker
from localmcp_harden.testing.clock import FakeClock
from localmcp_harden.testing.contracts.circuit_breaker import circuit_breaker
from localmcp_harden.testing.contracts.circuit_breaker_modes import circuit_breaker_modes
from localmcp_harden.testing.recording import RecordingSink

pytestmark = [pytest.mark.anyio, pytest.mark.real("redis-server", "redis")]

CLOSED, OPEN, HALF_OPEN = BreakerState.CLOSED, BreakerState.OPEN, BreakerState.HALF_OPEN
EACH = RedisBreakerConfig(sample_calls=1, timeout_s=5.0)


@pytest.fixture
def anyio_backend():
    return "asyncio"


class BoomError(Exception):
    pass


async def good():
    return "good"


async def bad():
    raise BoomError


class Server:
    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.folder = folder
        self.process = None

    def start(self):
        command = [
            shutil.which("redis-server"), "--port", str(self.port), "--bind", "127.0.0.1",
            "--save", "", "--appendonly", "no", "--dir", str(self.folder),
        ]  # fmt: skip
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in self.process.stdout:
            if "Ready to accept connections" in line:
                return
        raise AssertionError("redis-server did not start")

    def signal(self, number):
        os.kill(self.process.pid, number)

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@pytest.fixture(scope="session")
def running(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def mortal(tmp_path):
    """A server of the test's own, that it may kill."""
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


class Processes:
    """Makes breakers with a client each, as so many processes would have them."""

    def __init__(self, server):
        self.server = server
        self.clients = []
        self.made = 0

    def client(self, **settings):
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        # The client's own repeats would only make outages last as long as `timeout_s`.
        settings.setdefault("retry", Retry(NoBackoff(), 0))
        client = Redis(host="127.0.0.1", port=self.server.port, **settings)
        self.clients.append(client)
        return client

    def breaker(self, *, clock=None, sink=None, shared=EACH, name="t", **settings):
        chosen = {"window_calls": 4, "minimum_calls": 2, "open_s": 10.0} | settings
        chosen.setdefault("half_open_max_wait_s", 5.0)
        return RedisCircuitBreaker(
            self.client(),
            BreakerConfig(**chosen),
            name=name,
            shared=shared,
            clock=clock,
            sink=sink or RecordingSink(),
        )

    def for_a_rule(self, config, /, *, clock, sink):
        self.made += 1
        name = f"rule{self.made}"
        return RedisCircuitBreaker(
            self.client(), config, name=name, shared=EACH, clock=clock, sink=sink
        )


@pytest.fixture
async def processes(running):
    made = Processes(running)
    await made.client().flushall()
    yield made
    for client in made.clients:
        await client.aclose()


@pytest.fixture
async def mortals(mortal):
    made = Processes(mortal)
    yield made
    for client in made.clients:
        await client.aclose()


async def call(breaker, operation=bad):
    try:
        return await breaker.execute(operation)
    except BoomError:
        return "failed"
    except CircuitOpenError:
        return "refused"


async def trip(breaker):
    while breaker.get_state() is CLOSED:
        await call(breaker)


def causes(sink):
    return [event.cause for event in sink.of(BreakerStateChanged)]


@pytest.mark.parametrize("rule", circuit_breaker.rules, ids=str)
async def test_circuit_breaker(processes, rule):
    await rule.check(processes.for_a_rule)


@pytest.mark.parametrize("rule", circuit_breaker_modes.rules, ids=str)
async def test_breaker_controls(processes, rule):
    await rule.check(processes.for_a_rule)


# --- one circuit, several processes ---------------------------------------------------------


async def test_failures_of_all_processes_count_together(processes):
    clock = FakeClock()
    breakers = [processes.breaker(clock=clock, minimum_calls=4) for _ in range(4)]
    for breaker in breakers:
        assert breaker.get_state() is CLOSED
        await call(breaker)
    assert breakers[3].get_state() is OPEN
    # The others learn of it with the next sample.
    clock.advance(1.0)
    assert [await call(breaker, good) for breaker in breakers] == ["refused"] * 4


async def test_one_trial_for_all_processes(processes):
    clock = FakeClock()
    breakers = [processes.breaker(clock=clock) for _ in range(5)]
    await trip(breakers[0])
    clock.advance(10.0)
    ran, refused = [], []
    release = anyio.Event()

    async def held():
        ran.append(1)
        await release.wait()

    async def caller(breaker):
        try:
            await breaker.execute(held)
        except CircuitOpenError as refusal:
            refused.append(refusal.retry_after_s)

    async with anyio.create_task_group() as tasks:
        for _ in range(40):
            for breaker in breakers:
                tasks.start_soon(caller, breaker)
        while len(ran) + len(refused) < 200:
            await anyio.lowlevel.checkpoint()
        assert (len(ran), len(refused)) == (1, 199)
        assert all(0 < wait <= 5.001 for wait in refused)
        release.set()
    clock.advance(1.0)
    for breaker in breakers:
        assert await call(breaker, good) == "good"
        assert breaker.get_state() is CLOSED


async def test_a_process_that_dies_with_a_trial_does_not_block_the_others(processes):
    clock = FakeClock()
    dying, living = processes.breaker(clock=clock), processes.breaker(clock=clock)
    await trip(dying)
    clock.advance(10.0)
    dying._circuit = _Deaf(dying._circuit, "finish")
    await call(dying, good)
    assert await call(living, good) == "refused"
    clock.advance(5.0)
    assert await call(living, good) == "good"
    assert living.get_state() is CLOSED


async def test_a_trial_that_was_given_up_can_not_end_the_next_round(processes):
    clock, sink = FakeClock(), RecordingSink()
    late, other = processes.breaker(clock=clock), processes.breaker(clock=clock, sink=sink)
    await trip(late)
    clock.advance(10.0)

    async def hangs():
        clock.advance(5.0)
        assert await call(other, next_round) == "good"
        raise BoomError

    async def next_round():
        return "good"

    assert await call(late, hangs) == "failed"
    clock.advance(1.0)
    assert await call(other, good) == "good"
    assert other.get_state() is CLOSED
    assert "trial_hung" in causes(sink)


async def test_samples_of_an_old_era_are_dropped(processes):
    clock = FakeClock()
    one, other = (
        processes.breaker(clock=clock, minimum_calls=1, shared=RedisBreakerConfig(sample_s=100.0))
        for _ in range(2)
    )

    async def meanwhile():
        await trip(one)
        one.reset()
        assert await call(one, good) == "good"
        raise BoomError

    await call(other, good)
    assert await call(other, meanwhile) == "failed"
    assert one.get_state() is CLOSED
    assert (await one.synchronize(), one.snapshot().failures) == (None, 0)


async def test_a_cancelled_trial_gives_its_lease_back(processes):
    clock = FakeClock()
    one, other = processes.breaker(clock=clock), processes.breaker(clock=clock)
    await trip(one)
    clock.advance(10.0)
    async with anyio.create_task_group() as tasks:
        running = anyio.Event()

        async def hangs():
            running.set()
            await anyio.sleep_forever()

        tasks.start_soon(one.execute, hangs)
        await running.wait()
        assert await call(other, good) == "refused"
        tasks.cancel_scope.cancel()
    clock.advance(1.0)
    assert await call(other, good) == "good"


async def test_cancelled_while_it_asks_for_a_lease_none_is_lost(processes):
    clock = FakeClock()
    one, other = processes.breaker(clock=clock), processes.breaker(clock=clock)
    await trip(one)
    clock.advance(10.0)
    one._circuit = _Stuck(one._circuit, "lease")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(one.execute, good)
        await one._circuit.asked.wait()
        tasks.cancel_scope.cancel()
    assert await call(other, good) == "good"


class _Deaf:
    """A way to Redis that one kind of question never gets through."""

    def __init__(self, circuit, what):
        self.circuit, self.what = circuit, what

    async def ask(self, config, draw, what, **more):
        if what == self.what:
            raise ConnectionError
        return await self.circuit.ask(config, draw, what, **more)


class _Stuck(_Deaf):
    """A way to Redis on which the answer to one kind of question never comes."""

    def __init__(self, circuit, what):
        super().__init__(circuit, what)
        self.asked = anyio.Event()

    async def ask(self, config, draw, what, **more):
        answer = await self.circuit.ask(config, draw, what, **more)
        if what == self.what:
            self.asked.set()
            await anyio.sleep_forever()
        return answer


class _Counting(_Deaf):
    def __init__(self, circuit):
        super().__init__(circuit, None)
        self.asked = []

    async def ask(self, config, draw, what, **more):
        self.asked.append(what)
        return await self.circuit.ask(config, draw, what, **more)


async def test_between_samples_the_closed_path_asks_nothing(processes):
    clock = FakeClock()
    breaker = processes.breaker(
        clock=clock, window_calls=100, shared=RedisBreakerConfig(sample_calls=50, timeout_s=5.0)
    )
    await call(breaker, good)
    breaker._circuit = counting = _Counting(breaker._circuit)
    for _ in range(48):
        await call(breaker, good)
    assert counting.asked == []
    await call(breaker, good)
    assert counting.asked == ["sample"]
    assert breaker.snapshot().calls == 50
    clock.advance(0.9)
    await call(breaker, good)
    assert counting.asked == ["sample"]
    clock.advance(0.1)
    await call(breaker, good)
    assert counting.asked == ["sample"] * 2


async def test_refusals_ask_nothing_between_samples(processes):
    clock = FakeClock()
    breaker = processes.breaker(clock=clock)
    await trip(breaker)
    breaker._circuit = counting = _Counting(breaker._circuit)
    for _ in range(100):
        assert await call(breaker, good) == "refused"
    assert counting.asked == []


async def test_what_might_open_it_is_sent_at_once(processes):
    breaker = processes.breaker(
        clock=FakeClock(), shared=RedisBreakerConfig(sample_calls=1_000, timeout_s=5.0)
    )
    await call(breaker)
    await call(breaker)
    assert breaker.get_state() is OPEN


async def test_the_servers_clock_decides_by_default(processes):
    sink = RecordingSink()
    breaker = processes.breaker(sink=sink, open_s=0.05, half_open_max_wait_s=5.0)
    await trip(breaker)
    while breaker.get_state() is OPEN:
        await anyio.lowlevel.checkpoint()
    while await call(breaker, good) == "refused":
        await anyio.lowlevel.checkpoint()
    assert breaker.get_state() is CLOSED
    assert causes(sink) == ["failure_rate", "open_time_over", "trials_succeeded"]


async def test_a_circuit_that_nobody_uses_goes_away(processes):
    breaker = processes.breaker(shared=RedisBreakerConfig(sample_calls=1, keep_s=60.0))
    await trip(breaker)
    left = await processes.client().pttl("localmcp:breaker:t")
    # As long as it is open, and then as long as was said.
    assert 60_000 < left <= 70_000


async def test_a_client_that_decodes_serves_as_well_14(processes):
    breaker = RedisCircuitBreaker(
        processes.client(decode_responses=True),
        BreakerConfig(window_calls=4, minimum_calls=2),
        shared=EACH,
        clock=FakeClock(),
    )
    await trip(breaker)
    assert breaker.snapshot().failures == 2


async def test_open_times_grow_for_all_processes_together(processes):
    clock = FakeClock()
    one, other = (processes.breaker(clock=clock, open_factor=2.0) for _ in range(2))
    await trip(one)
    clock.advance(10.0)
    assert await call(other) == "failed"
    assert other.snapshot().retry_after_s == 20.0


# --- outages ------------------------------------------------------------------------------------


async def test_flushed_in_mid_run_it_is_a_closed_circuit(processes):
    clock, sink = FakeClock(), RecordingSink()
    breaker = processes.breaker(clock=clock, sink=sink)
    await trip(breaker)
    await processes.client().flushall()
    await processes.client().script_flush()
    clock.advance(1.0)
    assert await call(breaker, good) == "good"
    assert causes(sink)[-1] == "shared"
    await trip(breaker)
    clock.advance(10.0)

    async def flushed():
        await processes.client().flushall()
        return "good"

    assert await call(breaker, flushed) == "good"
    assert await call(breaker, good) == "good"
    assert breaker.get_state() is CLOSED


@pytest.mark.parametrize(("on_outage", "after"), [("local", OPEN), ("static", CLOSED)])
async def test_killed_in_mid_run_calls_go_on_and_it_comes_back(mortal, mortals, on_outage, after):
    clock, sink = FakeClock(), RecordingSink()
    shared = RedisBreakerConfig(sample_calls=1, timeout_s=5.0, on_outage=on_outage)
    breaker = mortals.breaker(clock=clock, sink=sink, shared=shared)
    assert await call(breaker, good) == "good"
    mortal.kill()
    assert await call(breaker, good) == "good"
    assert not breaker.is_shared
    (failed,) = sink.of(StoreFailed)
    assert (failed.store, on_outage in failed.detail) == ("redis", True)
    for _ in range(4):
        await call(breaker)
    assert breaker.get_state() is after
    if after is OPEN:
        clock.advance(10.0)
        assert await call(breaker, good) == "good"
    assert breaker.get_state() is CLOSED
    mortal.start()
    clock.advance(1.0)
    assert await call(breaker, good) == "good"
    assert breaker.is_shared
    assert len(sink.of(StoreFailed)) == 1
    assert [each for each in causes(sink) if each.startswith("shared")] == [
        "shared_lost",
        "shared_again",
    ]
    await trip(breaker)
    assert breaker.get_state() is OPEN


async def test_paused_in_mid_run_only_one_call_waits(mortal, mortals):
    clock, sink = FakeClock(), RecordingSink()
    shared = RedisBreakerConfig(sample_calls=1, timeout_s=0.05)
    breaker = mortals.breaker(clock=clock, sink=sink, shared=shared)
    assert await call(breaker, good) == "good"
    mortal.signal(signal.SIGSTOP)
    results = []

    async def caller():
        results.append(await call(breaker, good))

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            for _ in range(100):
                tasks.start_soon(caller)
    assert results == ["good"] * 100
    assert [event.error_type for event in sink.of(StoreFailed)] == ["TimeoutError"]
    mortal.signal(signal.SIGCONT)
    clock.advance(1.0)
    breaker.shared = RedisBreakerConfig(sample_calls=1, timeout_s=5.0)
    assert await call(breaker, good) == "good"
    assert breaker.is_shared


async def test_an_open_circuit_stays_open_in_an_outage(mortal, mortals):
    clock = FakeClock()
    breaker = mortals.breaker(clock=clock)
    await trip(breaker)
    mortal.kill()
    clock.advance(9.0)
    assert await call(breaker, good) == "refused"
    assert breaker.snapshot().retry_after_s == 1.0
    clock.advance(1.0)
    assert await call(breaker, bad) == "failed"
    assert breaker.get_state() is OPEN


async def test_killed_while_a_trial_runs_the_call_keeps_its_result(mortal, mortals):
    clock = FakeClock()
    breaker = mortals.breaker(clock=clock)
    await trip(breaker)
    clock.advance(10.0)

    async def killed():
        mortal.kill()
        return "good"

    assert await call(breaker, killed) == "good"
    clock.advance(5.0)
    assert await call(breaker, good) == "good"
    assert breaker.get_state() is CLOSED


async def test_without_a_redis_it_works_alone(mortal, mortals):
    mortal.kill()
    sink = RecordingSink()
    breaker = mortals.breaker(clock=FakeClock(), sink=sink)
    await trip(breaker)
    assert breaker.get_state() is OPEN
    assert sink.of(GuardFailed) == []


@pytest.mark.parametrize("wrong", [{"window_calls": 1_001}, {"open_s": 1e9}])
async def test_what_can_not_be_shared_is_refused(processes, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        processes.breaker(**wrong)
    breaker = processes.breaker()
    with pytest.raises(ValueError, match=next(iter(wrong))):
        breaker.configure(BreakerConfig(**wrong))


@pytest.mark.parametrize(
    "wrong",
    [{"sample_calls": 0}, {"sample_s": 0.0}, {"timeout_s": 0.0}, {"retry_s": 0.0}, {"keep_s": 1.0},
     {"on_outage": "open"}],
)  # fmt: skip
def test_nonsense_is_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        RedisBreakerConfig(**wrong)
