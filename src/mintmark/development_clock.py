"""The clock of `mintmark dev`, which tests can move: at once in every worker, because it is one shared number.

That number is twice the offset to real time while the clock runs, and twice the time at which it stands plus one while
it is frozen; so one read of one number tells all.
"""

from collections.abc import Callable

from msgspec import Struct

from mintmark.shared import CLOCK, SharedWords


class ClockState(Struct, frozen=True):
    """Where the clock stands.

    Attributes:
        now: milliseconds since 1970-01-01 00:00 UTC.
        frozen: whether it stands still.
        offset: milliseconds that it is ahead of real time.
    """

    now: int
    frozen: bool
    offset: int


class DevelopmentClock:
    """Real time until somebody moves it. Calling it tells the time in milliseconds."""

    def __init__(self, words: SharedWords, real: Callable[[], int]) -> None:
        self._words = words
        self._real = real

    def __call__(self) -> int:
        """Milliseconds since 1970-01-01 00:00 UTC."""
        word = self._words[CLOCK]
        return word >> 1 if word & 1 else self._real() + (word >> 1)

    def state(self) -> ClockState:
        """Where the clock stands."""
        word, real = self._words[CLOCK], self._real()  # Once: a millisecond may pass before it is asked for again.
        now = word >> 1 if word & 1 else real + (word >> 1)
        return ClockState(now, bool(word & 1), now - real)

    def freeze(self) -> None:
        """Stops the clock where it stands."""
        self._words[CLOCK] = self() << 1 | 1

    def advance(self, milliseconds: int) -> None:
        """Moves it on, or back if negative; a frozen clock stays frozen."""
        self._words[CLOCK] += milliseconds << 1

    def set(self, now: int) -> None:
        """Moves it to a time; a frozen clock stays frozen."""
        frozen = self._words[CLOCK] & 1
        self._words[CLOCK] = (now << 1 | 1) if frozen else (now - self._real()) << 1

    def resume(self) -> None:
        """Back to real time."""
        self._words[CLOCK] = 0
