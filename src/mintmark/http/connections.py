"""The bounds of what clients can take of a worker, and the connections that it has: how many, and for how long."""

import asyncio
import contextlib
import logging
import resource
from enum import IntEnum
from typing import Protocol

from msgspec import Struct, structs

_log = logging.getLogger(__name__)

KEEP_ALIVE = 75  # seconds; longer than common clients keep an idle connection, so that they close first
GOODBYE = 1  # seconds that a client has to close after an answer that ends the connection, and to end TLS at the stop
SWEEP = 1.0  # seconds between two looks at all connections, at most
RESERVE = 64  # open files that are no connections: the store, listeners, pipes, and those who are turned away
TURNED_AWAY = 32  # connections beyond the bound that are told so at the same time
SEARCH = 0.05  # seconds after a search that found nothing to close until the next; fewer the more it found


class Bounds(Struct, frozen=True):
    """What a client, and all of them together, can take of a worker.

    Attributes:
        header_bytes: of a request line and its header fields, and of what chunks add to a body; 4 KiB at least.
        header_fields: in one request.
        header_seconds: from a request's first byte to the end of its header; and from a connection to its first byte.
        body_seconds: from the end of its header to the end of its body.
        write_seconds: that an answer may wait without the client taking any of it.
        handshake_seconds: for TLS to be established.
        idle_seconds: between two requests.
        connections: of one worker, over all its listeners.
    """

    header_bytes: int = 32 * 1024
    header_fields: int = 100
    header_seconds: float = 10
    body_seconds: float = 30
    write_seconds: float = 30
    handshake_seconds: float = 10
    idle_seconds: float = KEEP_ALIVE
    connections: int = 8192


DEFAULT_BOUNDS = Bounds()


class Phase(IntEnum):
    """What a connection waits for."""

    FRESH = 0  # its first byte
    HEADER = 1  # the rest of a header
    BODY = 2  # the rest of a body
    ANSWERING = 3  # the application
    IDLE = 4  # the next request
    CLOSING = 5  # the client to close, after the last answer


class Connection(Protocol):
    """What `Connections` has to know of one. `since` is when its phase began, in seconds of the loop's clock."""

    loop: asyncio.AbstractEventLoop
    transport: asyncio.Transport
    phase: Phase
    since: float

    @property
    def is_answering(self) -> bool:
        """Whether a request is under way."""

    def look(self, now: float) -> None:
        """Deals with what has taken too long."""


class Connections:
    """All connections of a worker. One timer serves them all, and nothing is done for them while requests flow.

    Attributes:
        is_stopping: what comes now, such as the end of a TLS handshake, comes too late.
    """

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.is_stopping = False
        times = {
            Phase.FRESH: bounds.header_seconds,
            Phase.HEADER: bounds.header_seconds,
            Phase.BODY: bounds.body_seconds,
            Phase.ANSWERING: float("inf"),
            Phase.IDLE: bounds.idle_seconds,
            Phase.CLOSING: min(GOODBYE, bounds.header_seconds),
        }
        self.seconds = tuple(times[phase] for phase in Phase)
        self._interval = min(SWEEP, min(*self.seconds, bounds.write_seconds) / 4)
        self._open: dict[Connection, None] = {}  # in the order in which they came
        self._timer: asyncio.TimerHandle | None = None
        self._to_close: list[tuple[float, Connection]] = []
        self._search_again = 0.0

    def admit(self, connection: Connection) -> bool:
        """Takes a new connection, another one being closed for it if need be.

        Returns:
            False where none can be closed: then the new one is to be turned away.
        """
        is_welcome = len(self._open) < self.bounds.connections or self._make_room(connection.since)
        if not is_welcome and len(self._open) >= self.bounds.connections + TURNED_AWAY:
            connection.transport.abort()
            return True
        self._open[connection] = None
        if self._timer is None:
            self._timer = connection.loop.call_later(self._interval, self._sweep, connection.loop)
        return is_welcome

    def discard(self, connection: Connection) -> None:
        """Forgets one that was lost."""
        self._open.pop(connection, None)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        now = loop.time()
        self._to_close.clear()
        try:
            for connection in tuple(self._open):
                self._look(connection, now)
        finally:  # Without the timer nothing would have a bound any more.
            self._timer = loop.call_later(self._interval, self._sweep, loop) if self._open else None

    def _look(self, connection: Connection, now: float) -> None:
        try:
            connection.look(now)
        except BaseException:  # It shall not keep the next sweep too from those that came after it.
            self.discard(connection)
            connection.transport.abort()
            raise

    def _make_room(self, now: float) -> bool:
        """Closes the connection that is idle for longest, or else the one that has been sending a header for longest.

        A search finds all that can be closed, in their order, so that a crowd at the door does not cost a search each.
        """
        if not self._to_close and now >= self._search_again:
            found = [(_rank(connection), connection.since, connection) for connection in self._open]
            found = sorted((entry for entry in found if entry[0]), key=lambda entry: entry[:2])
            self._to_close = [(since, connection) for _, since, connection in reversed(found)]
            self._search_again = now + SEARCH * (1 - len(found) / len(self._open))
        while self._to_close:
            since, connection = self._to_close.pop()
            if connection in self._open and connection.since == since and _rank(connection):
                del self._open[connection]
                connection.transport.abort()
                return True
        return False


def _rank(connection: Connection) -> int:
    """1 for those to close first, 2 for those to close next, 0 for those that stay."""
    if connection.phase is Phase.IDLE:
        return 1
    return 2 if connection.phase in (Phase.FRESH, Phase.HEADER) and not connection.is_answering else 0


def fit_open_files(bounds: Bounds) -> Bounds:
    """Raises this process's limit of open files towards the hard one, and lowers the bound of connections to fit.

    Clients that never get further than the start of TLS hold files too, and are not counted as connections: so the
    limit is raised beyond what connections need.
    """
    wanted = bounds.connections + RESERVE
    limit = _raise_open_files(wanted)
    if limit == resource.RLIM_INFINITY or limit >= wanted:
        return bounds
    fitting = max(limit - RESERVE, 1)
    _log.warning(
        "Of %d connections a worker takes %d: the limit of open files (ulimit -n) is %d.",
        bounds.connections,
        fitting,
        limit,
    )
    return structs.replace(bounds, connections=fitting)


def _raise_open_files(wanted: int) -> int:
    """To the hard limit, or to `wanted` where the system takes that only, as macOS may; answers what came of it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (hard, max(soft, wanted)):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
            return limit
    return soft
