"""The one script that decides over a shared circuit, and how it is asked.

Part of `breaker_redis`. A circuit is one value: its state, era and when it was entered;
the window, as one digit a call or as counts a slice of time; the leases of trials. Each
asking first lets time have its way (the open time is over, a trial hangs), then does one
thing: take in a sample, lease a trial, or end one. A sample of another era, and a trial
whose lease is gone, change nothing. Eras begin at Redis's time in milliseconds, so that
those of a circuit that was flushed never come again.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, final

import msgspec

from ..mechanisms.breaker_records import AdoptedState
from ..protocols.resilience import BreakerConfig, BreakerState

__all__ = ("Answer", "SharedCircuit")

_STATES = {"c": BreakerState.CLOSED, "o": BreakerState.OPEN, "h": BreakerState.HALF_OPEN}
_FROM_DIGITS = bytes.maketrans(b"0123", b"\x00\x01\x02\x03")

_SCRIPT = """
local key, what, given_era, given, more = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local now = tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = math.floor(time[1] * 1000 + time[2] / 1000)
end
local new_draw = tonumber(ARGV[6])
local window_calls, window_ms, minimum, rate, in_a_row, slow_rate, open_ms, factor,
  max_open_ms, jitter, stable_ms, permits, max_wait_ms, keep_ms = unpack(cjson.decode(ARGV[7]))

local state, era, since, openings, draw, streak, successes, version, window, leases
local kept = redis.call('GET', key)
if kept then
  state, era, since, openings, draw, streak, successes, version, window, leases =
    unpack(cmsgpack.unpack(kept))
else
  state, era, since, openings, draw, streak, successes, version, window, leases =
    'c', now, now, 0, 0, 0, 0, 0, '', {}
end
version = version + 1

local causes = {}
local function move(to, cause)
  causes[#causes + 1] = state .. to .. cause
  state, era, since, streak, successes, leases = to, era + 1, now, 0, 0, {}
  if to == 'c' then window = '' end
end
local function open_for()
  local lasts = open_ms
  if factor > 1 and openings > 1 then
    lasts = math.min(lasts * factor ^ math.min(openings - 1, 100), max_open_ms)
  end
  return math.ceil(lasts * (1 - jitter * draw) - 0.001)
end
local function open(cause)
  if state == 'c' and now - since >= stable_ms then openings = 0 end
  openings, draw = openings + 1, new_draw
  move('o', cause)
end
local function digits(text, set)
  local _, found = string.gsub(text, set, '')
  return found
end

local function counts()
  if window_ms == 0 then
    return #window, digits(window, '[13]'), digits(window, '[23]')
  end
  local calls, failures, slow, oldest = 0, 0, 0, math.floor(now * 10 / window_ms) - 9
  local kept = {}
  for slice, c, f, s in string.gmatch(window, '(%d+):(%d+):(%d+):(%d+)') do
    if state ~= 'c' or tonumber(slice) >= oldest then
      calls, failures, slow = calls + c, failures + f, slow + s
      kept[#kept + 1] = slice .. ':' .. c .. ':' .. f .. ':' .. s
    end
  end
  window = table.concat(kept, ',')
  return calls, failures, slow
end

local function take_in(sample)
  local row = false
  for at = 1, #sample do
    local outcome = string.byte(sample, at)
    streak = (outcome == 49 or outcome == 51) and streak + 1 or 0
    row = row or (in_a_row > 0 and streak >= in_a_row)
  end
  -- A window of the other kind, left by other settings, is no window.
  if window_ms == 0 then
    if string.find(window, ':', 1, true) then window = '' end
    window = string.sub(window .. sample, -window_calls)
  else
    if window ~= '' and not string.find(window, ':', 1, true) then window = '' end
    local slice = string.format('%.0f', math.floor(now * 10 / window_ms))
    window = window .. ',' .. slice .. ':' .. #sample .. ':' .. digits(sample, '[13]')
      .. ':' .. digits(sample, '[23]')
  end
  local calls, failures, slow = counts()
  if row then return open('consecutive_failures') end
  if calls < minimum then return end
  if in_a_row == 0 and failures / calls >= rate then return open('failure_rate') end
  if slow_rate > 0 and slow / calls >= slow_rate then return open('slow_call_rate') end
end

if state == 'o' and now >= since + open_for() then move('h', 'open_time_over') end
if state == 'h' then
  for _, expiry in pairs(leases) do
    if expiry <= now then move('h', 'trial_hung') break end
  end
end

local granted, wait = 0, 0
if what == 'sample' then
  if more == 'reset' then
    move('c', 'reset')
    causes, openings = {}, 0
  elseif state == 'c' and given ~= '' and given_era == string.format('%.0f', era) then
    take_in(given)
  end
elseif what == 'lease' and state == 'h' then
  local running, first = 0, nil
  for _, expiry in pairs(leases) do
    running = running + 1
    if not first or expiry < first then first = expiry end
  end
  if running + successes < permits then
    leases[given], granted = now + max_wait_ms, 1
  else
    wait = first - now
  end
elseif what == 'finish' and leases[given] then
  leases[given] = nil
  if more == '1' or more == '3' then
    open('trial_failed')
  elseif more == '2' then
    open('trial_slow')
  elseif more == '0' then
    successes = successes + 1
  end
end
-- Settings may have come to ask for fewer.
if state == 'h' and successes >= permits then move('c', 'trials_succeeded') end

local calls, failures, slow = counts()
local lasts = keep_ms
if state == 'o' then lasts = lasts + open_for() end
redis.call('SET', key, cmsgpack.pack({state, era, since, openings, draw, streak, successes,
  version, window, leases}), 'PX', string.format('%.0f', lasts))
return cjson.encode({state, era, version, now - since, openings, draw, calls, failures, slow,
  window_ms == 0 and window or '', granted, wait, table.concat(causes, ' ')})
"""


class Answer(NamedTuple):
    """Where a shared circuit stands, and what came of the asking.

    `version` grows with every asking of an era, so that answers can be put in order.
    """

    era: str
    version: int
    view: AdoptedState
    causes: list[tuple[BreakerState, str]]
    granted: bool
    wait_s: float


@final
class SharedCircuit:
    """One circuit in Redis.

    Args:
        client: A `redis.asyncio.Redis`.
        key: Where the circuit is.
        keep_s: How long Redis keeps it unused.
        now: Reads the time, None for Redis's own.
    """

    def __init__(
        self, client: Any, key: str, *, keep_s: float, now: Callable[[], float] | None
    ) -> None:
        self._script: Any = client.register_script(_SCRIPT)
        self._keys = [key]
        self._keep = _ms(keep_s)
        self._now = now
        self._config: BreakerConfig | None = None
        self._settings = ""

    async def ask(
        self,
        config: BreakerConfig,
        draw: float,
        what: str,
        *,
        era: str = "",
        given: str | bytes = "",
        more: str = "",
    ) -> Answer:
        """Run the script once; raises whatever the client does.

        Args:
            config: When to open and how to close.
            draw: Chance, for a circuit that opens.
            what: `sample`, `lease` or `finish`.
            era: The era that a sample belongs to.
            given: The sample, or the trial's token.
            more: `reset`, or a trial's outcome as a digit.
        """
        if config is not self._config:
            self._config, self._settings = config, self._written(config)
        now = "" if self._now is None else _ms(self._now())
        said = await self._script(
            keys=self._keys, args=[what, era, given, more, now, draw, self._settings]
        )
        answer: list[Any] = msgspec.json.decode(said)
        state, era_now, version, ago, openings, its_draw, calls, failures, slow = answer[:9]
        window, granted, wait, causes = answer[9:]
        return Answer(
            era=f"{era_now:.0f}",
            version=int(version),
            view=AdoptedState(
                state=_STATES[state],
                since_s=ago / 1000,
                openings=int(openings),
                draw=float(its_draw),
                calls=int(calls),
                failures=int(failures),
                slow=int(slow),
                outcomes=window.encode().translate(_FROM_DIGITS),
            ),
            causes=[(_STATES[each[1]], each[2:]) for each in causes.split()],
            granted=granted == 1,
            wait_s=wait / 1000,
        )

    def _written(self, config: BreakerConfig) -> str:
        """Return the settings as the script reads them."""
        numbers = (
            config.window_calls,
            0 if config.window_s is None else _ms(config.window_s),
            config.minimum_calls,
            config.failure_rate,
            config.consecutive_failures or 0,
            0 if config.slow_call_s is None else config.slow_call_rate,
            config.open_s * 1000,
            config.open_factor,
            config.max_open_s * 1000,
            config.open_jitter,
            _ms(config.stable_s),
            config.half_open_permits,
            _ms(config.half_open_max_wait_s),
            self._keep,
        )
        return msgspec.json.encode(numbers).decode()


def _ms(seconds: float) -> int:
    # Rounded, so that a wait that was promised in milliseconds is enough to the last one.
    return min(round(seconds * 1000), 2**53) if math.isfinite(seconds) else 2**53
