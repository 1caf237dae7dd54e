import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import NOON, FakeClock
from mintmark.development_clock import ClockState, DevelopmentClock
from mintmark.shared import SharedWords

LATEST = 32_503_680_000_000  # 3000-01-01 00:00 UTC, in milliseconds
TIMES = st.integers(0, LATEST)
STEPS = st.integers(-LATEST, LATEST)


@pytest.fixture
def real() -> FakeClock:
    return FakeClock()


@pytest.fixture
def clock(real: FakeClock, words: SharedWords) -> DevelopmentClock:
    return DevelopmentClock(words, real)


def test_at_first_it_is_real_time(clock: DevelopmentClock, real: FakeClock) -> None:
    assert NOON == clock()
    real.advance(hours=1)
    assert ClockState(NOON + 3_600_000, frozen=False, offset=0) == clock.state()


def test_frozen_it_stands(clock: DevelopmentClock, real: FakeClock) -> None:
    clock.freeze()
    real.advance(minutes=5)

    assert NOON == clock()
    assert ClockState(NOON, frozen=True, offset=-300_000) == clock.state()


@pytest.mark.parametrize("step", [1, -1, 0, 82_800_000, -NOON])
def test_it_advances_frozen_and_running(clock: DevelopmentClock, real: FakeClock, step: int) -> None:
    clock.advance(step)
    assert (NOON + step, False) == (clock(), clock.state().frozen)
    clock.freeze()
    clock.advance(step)
    real.advance(hours=1)

    assert (NOON + 2 * step, True) == (clock(), clock.state().frozen)


@pytest.mark.parametrize("time", [0, 1, NOON - 1, NOON, LATEST])
def test_set_it_is_there_frozen_and_running(clock: DevelopmentClock, real: FakeClock, time: int) -> None:
    clock.set(time)
    assert time == clock()
    real.advance(seconds=1)
    assert time + 1000 == clock()
    clock.freeze()
    clock.set(time)
    real.advance(seconds=1)

    assert (time, True) == (clock(), clock.state().frozen)


@pytest.mark.parametrize("frozen", [True, False])
def test_resumed_it_is_real_time(clock: DevelopmentClock, frozen: bool) -> None:  # noqa: FBT001  a column
    clock.set(0)
    if frozen:
        clock.freeze()
    clock.resume()

    assert ClockState(NOON, frozen=False, offset=0) == clock.state()


@given(
    moves=st.lists(
        st.tuples(st.just("set"), TIMES)
        | st.tuples(st.just("advance"), STEPS)
        | st.tuples(st.just("pass"), st.integers(0, 10**9))
        | st.tuples(st.sampled_from(["freeze", "resume"]), st.none()),
        max_size=20,
    )
)
def test_whatever_the_moves_it_is_the_sum_of_them(moves: list[tuple[str, int | None]]) -> None:
    real = FakeClock()
    clock = DevelopmentClock(SharedWords(), real)
    time, frozen = NOON, False
    for move, value in moves:
        if move == "set" and value is not None:
            clock.set(value)
            time = value
        elif move == "advance" and value is not None:
            if not 0 <= time + value <= LATEST:
                continue
            clock.advance(value)
            time += value
        elif move == "pass" and value is not None:
            real.now += value
            time += 0 if frozen else value
        elif move == "freeze":
            clock.freeze()
            frozen = True
        else:
            clock.resume()
            time, frozen = real.now, False
        assert ClockState(time, frozen, time - real.now) == clock.state()


def test_a_millisecond_that_passes_meanwhile_does_not_count(words: SharedWords) -> None:
    real = iter(range(NOON, NOON + 10))
    clock = DevelopmentClock(words, lambda: next(real))

    assert 0 == clock.state().offset
