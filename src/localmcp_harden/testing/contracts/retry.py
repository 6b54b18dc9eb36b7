"""The rules of a `Retry`.

`make(*, attempts, base_s, max_wait_s, retry_on, clock, random)` returns a retry that
waits with full jitter: `uniform(0, min(max_wait_s, base_s * 2**n))` of `random` before
repetition n, counted from 0.
"""

from typing import Any, Protocol

import anyio

from ...core.errors import RefusedError
from ...core.ports import Clock, Random
from ...protocols.resilience import Retry
from ..chance import FakeRandom
from ..clock import FakeClock
from .kit import ContractKit, expect
from .tasks import open_tasks

__all__ = ("MakeRetry", "retry")


class MakeRetry(Protocol):
    """Makes the retry that is to be checked."""

    def __call__(
        self,
        *,
        attempts: int,
        base_s: float,
        max_wait_s: float,
        retry_on: tuple[type[Exception], ...],
        clock: Clock,
        random: Random,
    ) -> Retry:
        """Return a retry that makes at most `attempts` attempts for errors in `retry_on`."""
        ...


retry: ContractKit[MakeRetry] = ContractKit("Retry")


class _BoomError(Exception):
    def __init__(self, retry_after_s: float | None = None) -> None:
        super().__init__("boom")
        self.retry_after_s = retry_after_s


class _Script:
    """An operation that gives these answers, the last one for ever."""

    def __init__(self, *answers: object) -> None:
        self.calls = 0
        self._answers = answers

    async def __call__(self) -> object:
        answer = self._answers[min(self.calls, len(self._answers) - 1)]
        self.calls += 1
        if isinstance(answer, Exception):
            raise answer
        return answer


class _Bench:
    """A retry, its clock and its chance."""

    def __init__(
        self, make: MakeRetry, *, position: float = 0.5, autojump: bool = True, **settings: Any
    ) -> None:
        self.clock = FakeClock(autojump=autojump)
        chosen: dict[str, Any] = {
            "attempts": 4,
            "base_s": 1.0,
            "max_wait_s": 30.0,
            "retry_on": (_BoomError,),
            **settings,
        }
        self.retry = make(**chosen, clock=self.clock, random=FakeRandom(position))

    async def error_of(self, script: _Script) -> Exception:
        try:
            await self.retry.execute(script)
        except Exception as error:  # noqa: BLE001 - the rule looks at it
            return error
        raise AssertionError("nothing was raised")

    async def result_of(self, script: _Script, **settings: Any) -> object:
        try:
            return await self.retry.execute(script, **settings)
        except Exception as error:
            raise AssertionError(f"{type(error).__name__} was raised") from error


@retry.rule("RT1")
async def success_is_left_alone(make: MakeRetry) -> None:
    """A success runs the operation once, waits for nothing and is handed back as it is."""
    bench = _Bench(make)
    answer = object()
    script = _Script(answer)
    expect(await bench.result_of(script) is answer, "the result was changed")
    expect(script.calls == 1, f"{script.calls} calls")
    expect(not bench.clock.slept_s, "it waited")


@retry.rule("RT2")
async def repeats_until_success(make: MakeRetry) -> None:
    """A failure is repeated until it succeeds."""
    bench = _Bench(make)
    script = _Script(_BoomError(), _BoomError(), "good")
    expect(await bench.result_of(script) == "good", "the good result was not returned")
    expect(script.calls == 3, f"{script.calls} calls")


@retry.rule("RT3")
async def attempts_are_bounded(make: MakeRetry) -> None:
    """It makes `attempts` attempts and no more, and then raises the last error itself."""
    for attempts in (1, 2, 4):
        bench = _Bench(make, attempts=attempts)
        errors = [_BoomError() for _ in range(attempts)]
        script = _Script(*errors)
        error = await bench.error_of(script)
        expect(script.calls == attempts, f"{script.calls} calls for {attempts} attempts")
        expect(error is errors[-1], "it is not the last error itself")
        expect(len(bench.clock.slept_s) == attempts - 1, "it waited after the last attempt")


@retry.rule("RT4")
async def the_error_says_how_often(make: MakeRetry) -> None:
    """The raised error carries a note with the number of attempts."""
    error = await _Bench(make).error_of(_Script(_BoomError()))
    notes: list[str] = getattr(error, "__notes__", [])
    expect(any("4" in note for note in notes), f"the notes are {notes}")


@retry.rule("RT5")
async def other_errors_are_raised_at_once(make: MakeRetry) -> None:
    """An error outside `retry_on` is raised at once, in the first attempt and in later ones."""
    bench = _Bench(make)
    other = LookupError("other")
    script = _Script(other)
    expect(await bench.error_of(script) is other, "the error was changed")
    expect(script.calls == 1, f"{script.calls} calls")
    expect(not getattr(other, "__notes__", []), "a single attempt was given a note")
    later = _Script(_BoomError(), LookupError("later"))
    expect(isinstance(await bench.error_of(later), LookupError), "the error was changed")
    expect(later.calls == 2, f"{later.calls} calls")


@retry.rule("RT6")
async def refusals_are_final(make: MakeRetry) -> None:
    """A refusal is not repeated only because `retry_on` names a base class of it."""
    bench = _Bench(make, retry_on=(Exception,))
    script = _Script(RefusedError("no"))
    expect(isinstance(await bench.error_of(script), RefusedError), "the refusal was changed")
    expect(script.calls == 1, f"{script.calls} calls")
    named = _Script(RefusedError("not yet", 0.5), "good")
    asked = _Bench(make, retry_on=(RefusedError,))
    expect(await asked.result_of(named) == "good", "a refusal that is named is repeated")


@retry.rule("RT7")
async def waits_have_full_jitter(make: MakeRetry) -> None:
    """Waits are drawn from 0 to the doubled base, never above `max_wait_s`."""
    for position, wanted in (
        (0.0, [0.0, 0.0, 0.0, 0.0, 0.0]),
        (0.5, [0.5, 1.0, 2.0, 2.5, 2.5]),
        (1.0, [1.0, 2.0, 4.0, 5.0, 5.0]),
    ):
        bench = _Bench(make, position=position, attempts=6, max_wait_s=5.0)
        await bench.error_of(_Script(_BoomError()))
        expect(bench.clock.slept_s == wanted, f"waited {bench.clock.slept_s}, not {wanted}")


@retry.rule("RT8")
async def asked_waits_are_kept(make: MakeRetry) -> None:
    """`retry_after_s` of an error is waited for, or longer."""
    bench = _Bench(make, attempts=3, position=0.0)
    await bench.result_of(_Script(_BoomError(7.0), _BoomError(30.0), "good"))
    expect(bench.clock.slept_s == [7.0, 30.0], f"waited {bench.clock.slept_s}")
    longer = _Bench(make, base_s=8.0, position=1.0)
    await longer.result_of(_Script(_BoomError(7.0), "good"))
    expect(longer.clock.slept_s == [8.0], f"waited {longer.clock.slept_s}")


@retry.rule("RT9")
async def a_long_asked_wait_ends_it(make: MakeRetry) -> None:
    """A `retry_after_s` above `max_wait_s` ends the retry without waiting."""
    for asked in (30.5, 3_600.0, float("inf")):
        bench = _Bench(make)
        script = _Script(_BoomError(asked))
        expect(isinstance(await bench.error_of(script), _BoomError), "the error was changed")
        expect(script.calls == 1, f"{script.calls} calls")
        expect(not bench.clock.slept_s, f"it waited {bench.clock.slept_s}")


@retry.rule("RT10")
async def bad_results_are_repeated(make: MakeRetry) -> None:
    """A result that `is_failure` calls a failure is repeated; the last one is handed back."""
    bench = _Bench(make)
    good = _Script("bad", "good")
    result = await bench.result_of(good, is_failure=lambda answer: answer == "bad")
    expect((result, good.calls) == ("good", 2), f"saw {result} after {good.calls} calls")
    bad = _Script("bad", "bad", "bad", "worst")
    result = await bench.result_of(bad, is_failure=lambda answer: answer != "good")
    expect((result, bad.calls) == ("worst", 4), f"saw {result} after {bad.calls} calls")


@retry.rule("RT11")
async def cancellation_is_final(make: MakeRetry) -> None:
    """Cancelled in an attempt or in a wait, it neither goes on nor swallows the cancellation."""
    for answers in (("hang",), (_BoomError(), "hang"), (_BoomError(),)):
        bench = _Bench(make, autojump=answers[-1] == "hang")
        script = _Script(*answers)

        async def operation(script: _Script = script) -> None:
            if await script() == "hang":
                await anyio.sleep_forever()

        ended: list[str] = []

        async def through(bench: _Bench = bench, ended: list[str] = ended) -> None:
            try:
                await bench.retry.execute(operation)
            except Exception as error:  # noqa: BLE001
                ended.append(type(error).__name__)
            else:
                ended.append("result")

        async with open_tasks() as tasks:
            tasks.start_soon(through)
            await anyio.wait_all_tasks_blocked()
            before = script.calls
            expect(before == len(answers), f"{before} calls before it was cancelled")
            tasks.cancel_scope.cancel()
        expect(script.calls == len(answers), "it went on after it was cancelled")
        expect(not ended, f"the cancellation became {ended}")


@retry.rule("RT12")
async def groups_are_looked_into(make: MakeRetry) -> None:
    """A group is repeated when every member is, and its longest asked wait is kept."""
    bench = _Bench(make, position=0.0)
    group = ExceptionGroup("tasks", [_BoomError(2.0), ExceptionGroup("inner", [_BoomError(3.0)])])
    script = _Script(group, "good")
    expect(await bench.result_of(script) == "good", "the group was not repeated")
    expect(bench.clock.slept_s == [3.0], f"waited {bench.clock.slept_s}")
    mixed = _Script(ExceptionGroup("tasks", [_BoomError(), LookupError("other")]))
    expect(isinstance(await bench.error_of(mixed), ExceptionGroup), "the group was changed")
    expect(mixed.calls == 1, "a group with another error in it was repeated")


@retry.rule("RT13")
async def calls_are_apart(make: MakeRetry) -> None:
    """Calls of one retry at the same time each have their own attempts."""
    bench = _Bench(make)
    scripts = [_Script(_BoomError(), _BoomError(), _BoomError(), number) for number in range(20)]
    results: list[object] = []

    async def one(script: _Script) -> None:
        results.append(await bench.result_of(script))

    async with open_tasks() as tasks:
        for script in scripts:
            tasks.start_soon(one, script)
    expect(sorted(map(str, results)) == sorted(map(str, range(20))), f"saw {results}")


@retry.rule("RT14")
async def a_name_changes_nothing(make: MakeRetry) -> None:
    """A name for one call is taken, and changes neither attempts nor waits nor the result."""
    bench = _Bench(make)
    script = _Script(_BoomError(), "good")
    expect(await bench.result_of(script, name="search") == "good", "the result was changed")
    expect(bench.clock.slept_s == [0.5], f"waited {bench.clock.slept_s}")
