import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, cast
from unittest.mock import ANY

import pytest

from mintmark.http.waiting import INTERVAL, MOST_AT_ONCE, MOST_REFUSED_AT_ONCE, PATIENCE, STANDING, TURN, WaitingLine

COST = 1 / 128  # seconds, without a rounding error


class Loop:
    """An event loop that works on one request after the other, and the line before it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.served: list[float] = []  # how long each had waited
        self.refused: list[float] = []
        self.turns: list[float] = []  # how long each took
        self._soon: deque[Callable[[], None]] = deque()
        self.line = WaitingLine(cast("asyncio.AbstractEventLoop", self), lambda: self.now)

    def call_soon(self, callback: Callable[[], None], *_: Any) -> None:
        self._soon.append(callback)

    def arrive(self, requests: int, cost: float = COST) -> None:
        """So many requests at once, each of which takes `cost` seconds when it is answered."""
        since = self.now

        def start(_: object, is_in_time: bool) -> None:  # noqa: FBT001  as the line calls it
            (self.served if is_in_time else self.refused).append(self.now - since)
            if is_in_time:
                self.call_soon(lambda: self.rest(cost))

        for _ in range(requests):
            self.line.join(start, ANY)

    @property
    def calls(self) -> int:
        """How many are to be made in the next turn."""
        return len(self._soon)

    def turn(self) -> None:
        """What was to be called before it; what these call for comes in the next."""
        began = self.now
        for _ in range(len(self._soon)):
            self._soon.popleft()()
        self.turns.append(self.now - began)

    def run(self) -> None:
        while self._soon:
            self.turn()

    def press(self, seconds: float, a_second: float) -> None:
        """That load for that time."""
        until, due = self.now + seconds, self.now
        while self.now < until:
            if due > self.now and not self._soon:
                self.now = due
            arriving = max(int((self.now - due) * a_second) + 1, 0) if due <= self.now else 0
            due += arriving / a_second
            self.arrive(arriving)
            self.turn()

    def rest(self, seconds: float) -> None:
        self.now += seconds


def test_what_comes_one_by_one_is_served_however_long_each_takes() -> None:
    loop = Loop()
    for _ in range(100):
        loop.arrive(1, cost=0.9)
        loop.run()

    assert [0.0] * 100 == loop.served


def test_they_are_served_in_the_order_in_which_they_came() -> None:
    loop, order = Loop(), list[int]()
    for number in range(200):
        loop.line.join(lambda _request, _is_in_time, number=number: order.append(number), ANY)  # type: ignore[misc]
    loop.run()

    assert list(range(200)) == order


def test_one_that_joins_while_another_is_refused_is_no_reason_to_advance_twice() -> None:
    loop, order = Loop(), list[int]()

    def refused(_request: object, _is_in_time: bool) -> None:  # noqa: FBT001  as the line calls it
        order.append(1)
        loop.line.join(lambda _request, _is_in_time: order.append(2), ANY)

    loop.line.join(refused, ANY)
    loop.rest(2 * PATIENCE)
    loop.turn()
    loop.line.join(lambda _request, _is_in_time: order.append(3), ANY)

    assert [1, 2] == order
    assert 1 == loop.calls
    loop.run()
    assert [1, 2, 3] == order


def test_a_burst_gets_patience() -> None:
    loop = Loop()
    loop.rest(60)
    loop.arrive(20)
    loop.run()

    assert (20, 0) == (len(loop.served), len(loop.refused))
    assert STANDING < max(loop.served) <= PATIENCE


def test_nobody_is_served_after_having_waited_too_long() -> None:
    loop = Loop()
    loop.arrive(500)
    loop.run()

    assert 0 < len(loop.refused)
    assert max(loop.served) <= PATIENCE < min(loop.refused)


def test_of_a_line_that_stands_those_are_served_who_wait_little() -> None:
    loop = Loop()
    loop.press(2, 10 / COST)
    loop.served.clear()
    loop.press(5, 10 / COST)

    assert max(loop.served) <= STANDING


def test_ten_times_the_load_does_not_lessen_what_is_served() -> None:
    loop = Loop()
    loop.press(10, 10 / COST)

    assert len(loop.served) > 0.95 * 10 / COST


def test_turns_stay_short() -> None:
    loop = Loop()
    loop.press(2, 10 / COST)
    loop.turns.clear()
    loop.press(5, 10 / COST)

    assert max(loop.turns) <= TURN


def test_many_that_cost_little_are_started_together() -> None:
    loop = Loop()
    loop.arrive(2 * MOST_AT_ONCE, cost=TURN / MOST_AT_ONCE / 2)
    loop.run()

    assert len(loop.turns) <= 5  # the first starts one, to see what one costs


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_load_that_can_be_served_is(share: float) -> None:
    loop = Loop()
    loop.press(20, share / COST)

    assert not loop.refused


def test_when_the_load_has_gone_back_nobody_is_refused() -> None:
    loop = Loop()
    loop.press(5, 10 / COST)
    loop.press(2 * INTERVAL, 0.8 / COST)
    loop.refused.clear()
    loop.press(10, 0.8 / COST)

    assert not loop.refused


def test_refusals_do_not_hold_up_the_loop_either() -> None:
    loop = Loop()
    loop.arrive(3_000)
    loop.rest(1)
    loop.turn()

    assert MOST_REFUSED_AT_ONCE == len(loop.refused)
    loop.run()
    assert 3_000 == len(loop.refused)


def test_a_request_that_cannot_be_started_does_not_hold_up_those_behind_it() -> None:
    loop = Loop()

    def fail(_: object, _is_in_time: bool) -> None:  # noqa: FBT001  as the line calls it
        raise RuntimeError

    loop.line.join(fail, ANY)
    loop.arrive(1)
    with pytest.raises(RuntimeError):
        loop.turn()
    loop.run()

    assert 1 == len(loop.served)
