import math
from collections.abc import Sequence

import pytest

from bench.overload import (
    BEGIN,
    END,
    Outcome,
    Phase,
    Run,
    arrivals,
    cpu_times,
    middle,
    percentile,
    read_answer,
    recovery,
    requirements,
    table,
    with_figures,
)

PHASES = (Phase("usual", 0.8, 2), Phase("overload", 10, 2), Phase("recovery", 0.8, 3))
SERVED, SHED, LOST = (201, False), (503, True), (0, False)


def outcomes(second: int, count: int, answer: tuple[int, bool] = SERVED, latency: float = 0.02) -> list[Outcome]:
    return [Outcome(second + number / count * 0.9, latency, *answer) for number in range(count)]


def a_run(overload: Sequence[Outcome], recovering: Sequence[Outcome]) -> Run:
    usual = outcomes(0, 80) + outcomes(1, 80)
    return Run(100.0, PHASES, [*usual, *overload, *recovering], (0.16, 0.38, 0.24))


CALM = [outcome for second in (4, 5, 6) for outcome in outcomes(second, 80)]
SHEDDING = [
    *outcomes(2, 95, latency=0.06), *outcomes(2, 905, SHED), *outcomes(3, 95, latency=0.06), *outcomes(3, 905, SHED),
]  # fmt: skip


def met(run: Run) -> list[bool]:
    """Goodput, latency, recovery, no failures."""
    return [each.is_met for each in requirements(run)]


def test_a_server_that_sheds_meets_the_requirements() -> None:
    run = a_run(SHEDDING, CALM)

    assert [True] * 4 == met(run)
    assert ["0.95", "3.0", "0", "0"] == [each.found for each in requirements(run)]
    assert ("overload", "1,000", "95.0", "905.0", "0", "60", "60", "20") == table(run)[2]


@pytest.mark.parametrize(("served", "expected"), [((95, 80, 90), 90), ((95, 80, 90, 85), 85), ((95,), 95)])
def test_what_is_shown_is_the_run_with_the_median_goodput(served: Sequence[int], expected: int) -> None:
    runs = [a_run([each for second in (2, 3) for each in outcomes(second, count)], CALM) for count in served]

    assert middle(runs).goodput == pytest.approx(expected / 100)


def test_what_is_answered_after_the_overload_is_no_goodput() -> None:
    late = [*outcomes(2, 95, latency=3.0), *outcomes(2, 905, SHED), *outcomes(3, 95, latency=3.0)]

    assert [False, False, True, True] == met(a_run(late, CALM))


@pytest.mark.parametrize("answer", [LOST, (503, False), (500, True), (200, False)])
def test_every_other_answer_is_a_failure(answer: tuple[int, bool]) -> None:
    run = a_run([*SHEDDING, *outcomes(3, 7, answer)], CALM)

    assert [True, True, True, False] == met(run)
    assert "7" == table(run)[2][4]


@pytest.mark.parametrize(
    ("spoilt", "expected"),
    [
        ([], 0),
        (outcomes(4, 1, SHED), 1),
        (outcomes(5, 80, latency=0.04), 0),
        (outcomes(4, 2, latency=0.04), 1),
        ([one for second in (4, 5, 6) for one in outcomes(second, 1, SHED)], math.inf),
    ],
)
def test_recovery_is_the_first_whole_second_as_usual(spoilt: list[Outcome], expected: float) -> None:
    assert expected == recovery(a_run(SHEDDING, CALM + spoilt))


def test_a_run_without_answers_meets_nothing() -> None:
    lost = [Outcome(number / 10, 0, 0) for number in range(70)]

    assert [False] * 4 == met(Run(100.0, PHASES, lost, (0, 0, 0)))


def test_all_the_cpu_time_of_the_overload_is_an_upper_bound_for_what_was_shed() -> None:
    serving, shedding = cpu_times(a_run(SHEDDING, CALM))

    assert 0.001 == pytest.approx(serving)
    assert 0.38 / 1810 == pytest.approx(shedding)


def test_an_answer_is_read_when_it_is_whole() -> None:
    answer = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 2\r\n\r\n{}"

    assert (503, True) == read_answer(answer)
    assert (201, False) == read_answer(b"HTTP/1.1 201 Created\r\ncontent-length: 0\r\n\r\n")
    assert {None} == {read_answer(answer[:end]) for end in range(len(answer))}


def test_arrivals_keep_their_rate_and_are_the_same_each_time() -> None:
    times = list(arrivals(Phase("overload", 10, 20), 100, 5))

    assert 20_000 == pytest.approx(len(times), rel=0.03)
    assert times == sorted(times)
    assert 5 <= times[0] <= times[-1] < 25
    assert times == list(arrivals(Phase("overload", 10, 20), 100, 5))


@pytest.mark.parametrize(("part", "expected"), [(0.5, 50), (0.99, 99), (1, 100), (0.001, 1)])
def test_a_percentile_is_a_value_that_was_measured(part: float, expected: int) -> None:
    assert expected == percentile(range(1, 101), part)


def test_figures_are_written_between_the_marks() -> None:
    page = with_figures(f"before\n{BEGIN}\nold\n{END}\nafter\n", [a_run(SHEDDING, CALM)], "a machine\nits system")

    assert page.startswith(f"before\n{BEGIN}\n\n| phase |")
    assert page.endswith(f"* its system\n\n{END}\nafter\n")
    assert "old" not in page
