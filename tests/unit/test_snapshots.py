import pytest

from mintmark.snapshots import Snapshots
from unit.forked import run_forked

OLDER, OLD, NEW = b"older", b"old" * 20, b"new" * 30


def test_nothing_was_written_at_first() -> None:
    assert [b"", b""] == [Snapshots(2, 10).read(number) for number in (0, 1)]


def test_the_last_one_is_read() -> None:
    snapshots = Snapshots(3, 100)

    for payload in (OLDER, OLD, NEW, b"", NEW):
        snapshots.write(1, payload)
        assert [b"", payload, b""] == [snapshots.read(number) for number in range(3)]


def test_neighbours_do_not_touch() -> None:
    snapshots = Snapshots(2, 5)
    for payload in (b"aaaaa", b"bbbbb", b"ccccc"):
        snapshots.write(0, payload)
        snapshots.write(1, payload.upper())

    assert [b"ccccc", b"CCCCC"] == [snapshots.read(0), snapshots.read(1)]


def test_one_that_is_too_long_is_refused_and_the_last_stays() -> None:
    snapshots = Snapshots(1, 5)
    snapshots.write(0, b"short")

    with pytest.raises(ValueError, match="6 bytes, and room for 5"):
        snapshots.write(0, b"longer")
    assert b"short" == snapshots.read(0)


@pytest.mark.parametrize("earlier", [[], [OLD], [OLDER, OLD]], ids=len)
def test_however_far_a_write_came_a_whole_snapshot_is_read(earlier: list[bytes]) -> None:
    """Memory as a writer leaves it that is killed: the front of what it wrote, or its end, and the rest as it was."""
    snapshots = Snapshots(1, 100)
    for payload in earlier:
        snapshots.write(0, payload)
    memory = snapshots._memory
    before = memory[:]
    snapshots.write(0, NEW)
    after = memory[:]

    for cut in range(len(before) + 1):
        for torn in (after[:cut] + before[cut:], before[:cut] + after[cut:]):
            memory[:] = torn
            assert snapshots.read(0) == (NEW if torn == after else earlier[-1] if earlier else b""), cut
            snapshots.write(0, b"next")
            assert b"next" == snapshots.read(0)


def test_readers_see_whole_snapshots_in_order_while_writers_write_and_are_killed() -> None:
    rounds, steps = 5, 50

    assert run_forked("racing", rounds, steps) >= rounds * steps
