"""The development controls: a clock and faults that tests can set. They exist in `mintmark dev` only."""

from typing import Literal

from msgspec import Struct

from mintmark.development_clock import DevelopmentClock
from mintmark.errors import InvalidRequest
from mintmark.faults import Fault, Faults
from mintmark.model import SUFFIX_EPOCH
from mintmark.service import Service
from mintmark.web.answer import Answer, json_answer
from mintmark.web.call import Call
from mintmark.web.wire import moment, read_typed

# From when on identity ids tell the time, to where every client can read it in a token.
EARLIEST, LATEST = SUFFIX_EPOCH, 32_503_680_000_000  # 2020 to 3000, in milliseconds


class ClockMove(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The body of `POST /_mintmark/clock`.

    Attributes:
        action: freeze it, advance it, set it to a time, or resume real time.
        milliseconds: how far to advance; negative for back.
        now: the time to set, in milliseconds since 1970-01-01 00:00 UTC.
    """

    action: Literal["freeze", "advance", "set", "resume"]
    milliseconds: int | None = None
    now: int | None = None


class DevelopmentControls:
    """Handlers for clock and faults."""

    def __init__(self, clock: DevelopmentClock, faults: Faults) -> None:
        self._clock = clock
        self._faults = faults

    async def show_clock(self, _service: Service, _call: Call) -> Answer:
        """`GET /_mintmark/clock`: where it stands."""
        state = self._clock.state()
        shown = {"now": state.now, "time": moment(state.now), "frozen": state.frozen, "offset": state.offset}
        return json_answer(shown)

    async def move_clock(self, service: Service, call: Call) -> Answer:
        """`POST /_mintmark/clock`: moves it, in every worker at once."""
        move = read_typed(await call.body(), call.headers.get(b"content-type", b""), ClockMove)
        self._move(move)
        return await self.show_clock(service, call)

    async def list_faults(self, _service: Service, _call: Call) -> Answer:
        """`GET /_mintmark/faults`: those still to happen."""
        return json_answer({"faults": self._faults.all()})

    async def add_fault(self, service: Service, call: Call) -> Answer:
        """`POST /_mintmark/faults`: one more."""
        fault = read_typed(await call.body(), call.headers.get(b"content-type", b""), Fault)
        if fault.status is None and not fault.drop and not fault.delay:
            raise InvalidRequest("A fault needs a status, a delay or drop.", "status")
        if fault.drop and fault.status is not None:
            raise InvalidRequest("A dropped connection brings no status: give one or the other.", "drop")
        if fault.retry_after is not None and fault.status is None:
            raise InvalidRequest("retryAfter goes with a status.", "retryAfter")
        self._faults.add(fault)
        return await self.list_faults(service, call)

    async def clear_faults(self, _service: Service, _call: Call) -> Answer:
        """`DELETE /_mintmark/faults`: none any more."""
        self._faults.clear()
        return Answer(204)

    def _move(self, move: ClockMove) -> None:
        if move.action == "advance":
            _check_time(self._clock() + _needed(move.milliseconds, "milliseconds"), "milliseconds")
            self._clock.advance(_needed(move.milliseconds, "milliseconds"))
        elif move.action == "set":
            self._clock.set(_check_time(_needed(move.now, "now"), "now"))
        elif move.action == "freeze":
            self._clock.freeze()
        else:
            self._clock.resume()


def _needed(value: int | None, name: str) -> int:
    if value is None:
        raise InvalidRequest(f"{name} is required for this action.", name)
    return value


def _check_time(now: int, name: str) -> int:
    if not EARLIEST <= now < LATEST:
        raise InvalidRequest(f"{name} would set the clock outside the years 2020 to 2999.", name)
    return now
