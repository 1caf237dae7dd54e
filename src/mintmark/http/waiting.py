"""The line in which requests wait for their turn, and which of them are still worth answering when it comes.

When more comes than can be answered, somebody has to go without. A request that has waited too long is refused at once:
its client may have given up, and answering it would only make those behind it late too. How long is too long depends on
whether the line stands: a burst gets patience, a line that does not go away gets less. That is the rule of "controlled
delay" (RFC 8289, for packets) in the form that it has for requests in B. Maurer, "Fail at Scale", ACM Queue 13/8, 2015.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from time import monotonic

from mintmark.http.exchange import Exchange

PATIENCE = 0.25  # seconds that a request may wait in a burst
STANDING = 0.1  # seconds that it may wait where the line stands
INTERVAL = 0.25  # seconds without an empty line after which it is said to stand
TURN = 0.01  # seconds of work begun at once: an answer needs several turns of the event loop, each as long as this
MOST_AT_ONCE = 64
MOST_REFUSED_AT_ONCE = 256  # which costs less, but something

Start = Callable[[Exchange, bool], None]  # told whether the request is to be answered


class WaitingLine:
    """That of one worker. The first come are the first served, as many in a turn of the event loop as keep it short."""

    def __init__(self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float] = monotonic) -> None:
        """Takes a clock in seconds, which goes on while the loop is busy."""
        self._call_soon, self._clock = loop.call_soon, clock
        self._waiting: deque[tuple[float, Start, Exchange]] = deque()
        self._empty_at = clock()
        self._began, self._begun = 0.0, 0  # the last turn: since when, and how many requests
        self._at_once = 1  # until it is known what one costs
        self._is_to_advance = False  # or does so: who is refused may make room for the next on the same connection

    def join(self, start: Start, cycle: Exchange) -> None:
        """Has `start` called with a request when its turn comes."""
        now = self._clock()
        if not self._waiting:
            self._empty_at = now
        if not self._is_to_advance:
            self._is_to_advance = True
            self._begun = 0  # The time since the last turn was not all work.
            self._call_soon(self._advance)
        self._waiting.append((now, start, cycle))

    def _advance(self) -> None:
        now = self._clock()
        if self._begun:
            fitting = int(TURN * self._begun / max(now - self._began, 1e-6))
            self._at_once = min(max(fitting, 1), MOST_AT_ONCE)
        patience = PATIENCE if now - self._empty_at <= INTERVAL else STANDING
        self._began, self._begun = now, 0
        refused = 0
        try:
            while self._waiting and self._begun < self._at_once and refused < MOST_REFUSED_AT_ONCE:
                since, start, cycle = self._waiting.popleft()
                is_in_time = now - since <= patience
                self._begun += is_in_time
                refused += not is_in_time
                start(cycle, is_in_time)
        finally:
            self._is_to_advance = bool(self._waiting)
            if self._is_to_advance:
                self._call_soon(self._advance)
