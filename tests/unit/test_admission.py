import pytest

from mintmark.admission import INTERVAL, PATIENCE, STANDING, Admission

COST = 1 / 128  # seconds, without a rounding error
IN_A_BURST = int(PATIENCE / COST) + 1
IN_A_QUEUE = int(STANDING / COST) + 1


class Loop:
    """An event loop that reads requests and then works on them, one after the other."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.admission = Admission(lambda: self.now)

    def turn(self, requests: int, cost: float, *, refusing: float = 0.0) -> list[bool]:
        """Which of so many requests, read together, are admitted; each that is takes `cost` seconds."""
        read_at, admitted = self.now, []
        for _ in range(requests):
            admitted.append(self.admission.admits(read_at))
            self.now += cost if admitted[-1] else refusing
        return admitted

    def rest(self, seconds: float) -> None:
        self.now += seconds


def test_what_comes_one_by_one_is_admitted_however_long_each_takes() -> None:
    loop = Loop()

    assert all(loop.turn(1, 0.9) == [True] for _ in range(100))


def test_a_burst_gets_patience() -> None:
    loop = Loop()
    loop.rest(60)

    admitted = loop.turn(100, COST)

    assert [True] * IN_A_BURST + [False] * (100 - IN_A_BURST) == admitted


def test_a_queue_that_stands_gets_little() -> None:
    loop = Loop()

    rounds = [sum(loop.turn(100, COST)) for _ in range(20)]

    assert {IN_A_QUEUE} == set(rounds[4:])


def test_many_that_are_served_fast_are_no_queue() -> None:
    loop = Loop()

    assert all(all(loop.turn(200, 0.0002)) for _ in range(1000))


@pytest.mark.parametrize("seconds", [INTERVAL + COST, 3600.0])
def test_after_a_rest_a_burst_gets_patience_again(seconds: float) -> None:
    loop = Loop()
    for _ in range(20):
        loop.turn(100, COST)

    loop.rest(seconds)

    assert sum(loop.turn(100, COST)) == IN_A_BURST


def test_when_the_load_has_gone_back_nobody_is_refused() -> None:
    loop = Loop()
    for _ in range(20):
        loop.turn(100, COST)

    assert all(all(loop.turn(3, COST)) for _ in range(100))
    assert sum(loop.turn(100, COST)) == IN_A_BURST


def test_ten_times_the_load_costs_little_more_than_the_refusals() -> None:
    """Each turn brings ten times what could be served in the time of the turn before."""
    loop, served, spent, arrived = Loop(), 0, 0.0, 10
    for _ in range(200):
        began = loop.now
        served += sum(loop.turn(arrived, COST, refusing=COST / 128))
        spent += loop.now - began
        arrived = round((loop.now - began) / (COST / 10))

    assert served / spent > 0.9 / COST
