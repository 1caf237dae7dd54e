import subprocess
import sys
from collections.abc import Mapping

import pytest

from builders import NOON
from mintmark.limits import ACS, CELLS, MAX_LIMIT, OPERATIONS, WINDOW, Limiter, parse_limits, shared_cells
from mintmark.limits import _place as place_of
from unit.forked import run_forked


def a_limiter(limit: int = 3) -> Limiter:
    return Limiter({"create": limit}, shared_cells(1), 0)


def passed(limiter: Limiter, count: int, now: int = NOON, resource: str = "r", operation: str = "create") -> int:
    """How many of so many requests passed."""
    return sum(limiter.take(resource, operation, now) is None for _ in range(count))


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("off", {}),
        ("acs", {"create": 1000, "delete": 500, "issue": 1000, "revoke": 500, "exchange": 500}),
        ("create=100", {"create": 100}),
        ("create=100,issue=50", {"create": 100, "issue": 50}),
        (" get = 1 , exchange= 1000000 ", {"get": 1, "exchange": 1_000_000}),
        (",".join(f"{operation}=7" for operation in OPERATIONS), dict.fromkeys(OPERATIONS, 7)),
    ],
)
def test_limits_are_off_those_of_acs_or_own_numbers(text: str, limits: Mapping[str, int]) -> None:
    assert limits == parse_limits(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "on",
        "ACS",
        "off,create=1",
        "acs,create=1",
        "create",
        "create=",
        "=5",
        "create=0",
        "create=-1",
        "create=1.5",
        "create=٣",
        "create=1000001",
        "create=99999999999999",
        "create=1=2",
        "create=1,",
        "create=1;issue=2",
        "create=1,create=2",
        "rotate=5",
        "Create=5",
        "create=5/60",
    ],
)
def test_anything_else_is_refused_by_a_message_that_names_the_operations(text: str) -> None:
    with pytest.raises(ValueError, match=r"off, acs, or .*create, get, delete, issue, revoke, exchange"):
        parse_limits(text)


def test_as_many_pass_as_the_limit_says() -> None:
    limiter = a_limiter(3)

    assert [None, None, None, 30, 30] == [limiter.take("r", "create", NOON) for _ in range(5)]


def test_resources_and_operations_are_counted_apart() -> None:
    limiter = Limiter({"create": 2, "issue": 3}, shared_cells(1), 0)

    assert [2, 2] == [passed(limiter, 5, resource=resource) for resource in ("r", "s")]
    assert [3, 3] == [passed(limiter, 5, resource=resource, operation="issue") for resource in ("r", "s")]
    assert 5 == passed(limiter, 5, operation="get")


@pytest.mark.parametrize(
    ("moment", "seconds"),
    [(0, 30), (1, 30), (999, 30), (1000, 29), (15_000, 15), (29_000, 1), (29_001, 1), (29_999, 1)],
)
def test_who_is_refused_hears_when_the_window_ends(moment: int, seconds: int) -> None:
    limiter = a_limiter(1)
    limiter.take("r", "create", NOON)

    assert seconds == limiter.take("r", "create", NOON + moment)


def test_whoever_waits_as_long_as_told_passes() -> None:
    limiter = a_limiter(1)
    for moment in range(0, 100 * WINDOW, 7001):
        now = NOON + moment
        refused = limiter.take("r", "create", now)
        assert refused is None or limiter.take("r", "create", now + 1000 * refused) is None


def test_a_window_ends_at_thirty_seconds_and_the_next_begins_empty() -> None:
    limiter = a_limiter(3)

    assert [3, 0, 3, 0, 3] == [
        passed(limiter, 5, NOON + moment) for moment in (0, WINDOW - 1, WINDOW, 2 * WINDOW - 1, 9 * WINDOW)
    ]


def test_what_was_refused_does_not_count() -> None:
    cells = shared_cells(1)
    passed(Limiter({"create": 3}, cells, 0), 50)

    assert 1 == passed(Limiter({"create": 4}, cells, 0), 5)


@pytest.mark.parametrize("step", [-1, -WINDOW, -1000 * WINDOW, -NOON, -NOON - 5 * WINDOW])
def test_a_clock_that_goes_back_locks_nobody_out(step: int) -> None:
    limiter = a_limiter(3)
    passed(limiter, 5, NOON)

    assert [3, 0, 3] == [passed(limiter, 5, now) for now in (NOON + step, NOON + step, NOON + step + WINDOW)]


@pytest.mark.parametrize("now", [0, 1, -1, 32_503_680_000_000])
def test_it_counts_at_any_time(now: int) -> None:
    assert 3 == passed(a_limiter(3), 5, now)


def test_the_highest_limit_can_be_counted() -> None:
    cells = shared_cells(1)
    limiter = Limiter({"create": MAX_LIMIT}, cells, 0)
    limiter.take("r", "create", NOON)
    cells[place_of("r", "create")[0]] += MAX_LIMIT - 2

    assert 1 == passed(limiter, 3)


def two_in_one_cell() -> tuple[str, str]:
    """Two resources whose Creates are counted in the same cell."""
    seen: dict[int, str] = {}
    for number in range(20 * CELLS):
        cell, _ = place_of.__wrapped__(str(number), "create")
        if cell in seen:
            return seen[cell], str(number)
        seen[cell] = str(number)
    raise AssertionError


def test_two_that_meet_in_a_cell_are_never_refused_for_each_other() -> None:
    one, other = two_in_one_cell()
    assert place_of(one, "create")[0] == place_of(other, "create")[0]
    limiter = a_limiter(3)

    for window in range(5):
        now = NOON + window * WINDOW
        assert [3, 3] == [passed(limiter, 3, now, resource) for resource in (one, other)]
        assert 3 <= passed(limiter, 4, now, one)


def test_whatever_a_cell_holds_of_others_it_counts_as_nothing() -> None:
    cells = shared_cells(2)
    cell, _ = place_of("r", "create")
    cells[2 * cell] = cells[2 * cell + 1] = 2**64 - 1

    assert 3 == passed(Limiter({"create": 3}, cells, 1), 5)


def test_workers_count_together() -> None:
    cells = shared_cells(3)
    limiters = [Limiter({"create": 10}, cells, number) for number in range(3)]

    assert [4, 6, 0] == [passed(limiter, asked) for limiter, asked in zip(limiters, (4, 9, 9), strict=True)]
    assert 0 == passed(limiters[0], 9)


def test_whoever_replaces_a_worker_goes_on_with_its_counts() -> None:
    cells = shared_cells(2)
    assert 2 == passed(Limiter({"create": 3}, cells, 1), 2)

    assert 1 == passed(Limiter({"create": 3}, cells, 1), 5)


def test_workers_that_race_let_pass_at_most_one_more_each() -> None:
    workers, limit = 4, 20_000

    each = run_forked("limited", workers, limit)

    assert limit <= sum(each) <= limit + workers - 1


def test_every_process_finds_the_same_cell() -> None:
    program = "from mintmark.limits import _place; print(_place('r', 'create'))"

    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, check=True, env={"PYTHONHASHSEED": seed}
        )
        assert f"{place_of('r', 'create')}\n" == done.stdout.decode()


def test_the_limits_of_acs_name_operations() -> None:
    assert set(ACS) == set(OPERATIONS) - {"get"}
