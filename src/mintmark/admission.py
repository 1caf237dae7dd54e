"""Which requests are still worth answering when more come than can be answered.

A request waits for its turn while the worker is busy with others. One that has waited too long is refused at once: its
client may have given up, and answering it would only make those behind it late too. How long is too long depends on
whether the queue stands: a burst gets patience, a queue that does not go away gets none. That is the rule of
"controlled delay" (RFC 8289, for packets) in the form that it has for requests in B. Maurer, "Fail at Scale", ACM
Queue 13/8, 2015.
"""

from collections.abc import Callable

PATIENCE = 0.25  # seconds that a request may wait in a burst
STANDING = 0.05  # seconds that it may wait where the queue stands
INTERVAL = 0.25  # seconds without a short queue after which it is said to stand


class Admission:
    """One worker's judgement. All times are seconds of the event loop's clock, which is the system's monotonic one.

    The loop reads from all connections, then works on what it has read: that is a turn, and what arrived in it has the
    same time. So a turn in which nobody waited for long shows that the queue is short.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        """Takes a clock that goes on while the loop is busy, as `time.monotonic` does."""
        self._clock = clock
        self._turn = self._last = self._calm_at = clock()
        self._longest = 0.0

    def admits(self, waiting_since: float) -> bool:
        """Whether a request, whose turn it is, shall be answered."""
        now = self._clock()
        if waiting_since != self._turn:
            if self._longest <= STANDING or waiting_since - self._last > INTERVAL:
                self._calm_at = waiting_since
            self._turn, self._longest = waiting_since, 0.0
        self._last = now
        self._longest = wait = now - waiting_since
        return wait <= (PATIENCE if now - self._calm_at <= INTERVAL else STANDING)
