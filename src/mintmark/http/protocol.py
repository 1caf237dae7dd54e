"""One client's connection: uvicorn's protocol with bounds, and with an answer of our own to what breaks them."""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import Any, cast
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from mintmark.http.connections import GOODBYE, Connections, Phase
from mintmark.http.exchange import Exchange
from mintmark.http.framing import TRAILER, HeadRefused, Refusal, check_head
from mintmark.http.outbox import Outbox
from mintmark.http.waiting import WaitingLine
from mintmark.web.call import ABORT
from mintmark.web.problems import envelope

_log = logging.getLogger(__name__)

SLICE = 4096  # bytes given to the parser at once, after which bounds are looked at
SHORT_TARGET = 256  # bytes
CHUNK_FRAMING = 16  # bytes of size and line ends that a chunk may have for nothing

NO_HTTP = Refusal(400, "BadRequest", "Invalid HTTP request received.")
TIMED_OUT = Refusal(408, "RequestTimeout", "The request was not complete in time.")
TOO_LARGE = Refusal(431, "RequestHeaderFieldsTooLarge", "The request line and header fields are too large.")
OVERLOADED = Refusal(503, "ServiceUnavailable", "Too many connections. Try again later.", retry_after=1)

# From an ASGI scope to the answer's status, headers and body.
RefuseLate = Callable[[Any], tuple[int, Sequence[tuple[bytes, bytes]], bytes]]

_ASGI: Any = {"version": "3.0", "spec_version": "2.3"}
_NO_HOST = b"\n"  # which no request can name

# Names of this module are found faster than attributes of a class.
_HEADER, _BODY, _ANSWERING, _IDLE = Phase.HEADER, Phase.BODY, Phase.ANSWERING, Phase.IDLE


def _split_target(target: bytes) -> tuple[str, bytes, bytes]:
    """Path, path as sent, and query string."""
    parsed = httptools.parse_url(target)
    raw_path, path = parsed.path, parsed.path.decode("ascii")
    return unquote(path) if "%" in path else path, raw_path, parsed.query or b""


_split_short_target = lru_cache(maxsize=256)(_split_target)  # Create's is always the same.


class Strangers:
    """Counts connections that speak no HTTP, and says so once a second at most: anybody can make any number of them."""

    def __init__(self) -> None:
        self._count = 0
        self._has_spoken = False  # within the last second

    def note(self, loop: asyncio.AbstractEventLoop) -> None:
        """Takes note of one."""
        self._count += 1
        if not self._has_spoken:
            self._speak(loop)

    def _speak(self, loop: asyncio.AbstractEventLoop) -> None:
        count, self._count = self._count, 0
        self._has_spoken = count > 0
        if count:
            _log.warning(
                "What arrived is no HTTP/1.1 (a TLS client on the plain port, perhaps); answered 400. Connections: %d.",
                count,
            )
            loop.call_later(1, self._speak, loop)


class _Flow(FlowControl):
    """Reads nothing while a request waits for its turn: an application that asks for a body does not change that."""

    def __init__(self, transport: asyncio.Transport, waiting: Collection[object]) -> None:
        super().__init__(transport)
        self._waiting = waiting

    def resume_reading(self) -> None:
        if not self._waiting:
            super().resume_reading()


class Protocol(HttpToolsProtocol):
    """A connection that takes no more memory and no more time than its bounds allow.

    Attributes:
        phase: what it waits for.
        since: when that phase began, in seconds of the loop's clock.
    """

    cycle: Exchange  # the last that came

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        connections: Connections,
        strangers: Strangers,
        outbox: Outbox,
        line: WaitingLine,
        refuse_late: RefuseLate | None = None,
    ) -> None:
        """`refuse_late` makes the answer to what waits too long in the line; without it all are begun at once."""
        super().__init__(config, server_state, {})
        self._strangers = strangers
        self._outbox = outbox
        self._line, self._refuse_late = line, refuse_late
        self.phase = Phase.FRESH
        self.since = self.loop.time()
        self._connections = connections
        self._bounds = connections.bounds
        self._is_stopping = False
        self._is_deaf = False  # after the last request that is answered, whatever comes
        self._last_words: Refusal | None = None  # to be said when the requests before are answered
        self._unfed = b""  # what has to wait for the answers to requests before
        self._fed = 0  # bytes of pieces since the request's first, that one included, in which no header has ended
        self._is_chunked = False
        self._host = _NO_HOST  # the last that was found good
        self._excess = 0  # bytes of chunks that are no body, but for those that chunks need
        self._unsent = 0
        self._stuck_since = 0.0
        self._extensions: dict[str, Any] = {}  # what ASGI calls so
        self._running: Exchange | None = None  # not those that wait for it

    @property
    def is_answering(self) -> bool:
        """Whether a request is under way or waits for its turn."""
        cycle: Exchange | None = self.cycle  # None until the first request, whatever uvicorn says
        return cycle is not None and not cycle.response_complete

    # What the transport says.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client is there, to be served or to be told that there are too many."""
        super().connection_made(transport)
        self._extensions = {ABORT: {"close": transport.abort}}
        self.flow = _Flow(transport, self.pipeline)
        self.since = self.loop.time()
        self._outbox.flush()  # A connection that waits for its answer to leave looks idle, and idle ones make room.
        if not self._connections.admit(self):
            self._refuse(OVERLOADED)
        if self._connections.is_stopping:
            self.shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone, which the request under way shall hear; uvicorn tells only the last that came."""
        self._connections.discard(self)
        if self._running is not None and not self._running.response_complete:
            self._running.disconnected = True
            self._running.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses it in pieces, and no more of it than can be answered now."""
        if self._is_deaf:
            return
        if self._unfed or self.pipeline or len(data) > SLICE:
            self._unfed += data
            self._feed_slices()
        else:
            self._feed(data)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keeps a plain connection open for the answer when the client has only finished sending."""
        self._outbox.flush()  # Or the transport would close with an answer still waiting.
        if not self.is_answering or self.phase in (_BODY, Phase.CLOSING) or self.scheme != "http":
            return False
        self.cycle.keep_alive = False
        return True

    def resume_writing(self) -> None:
        """The client has taken a good part of what waited for it."""
        super().resume_writing()
        self._stuck_since = self.loop.time()

    # What comes in.

    def _feed_slices(self) -> None:
        """Feeds the parser until a request has to wait for its turn; what is left then has to wait too."""
        waiting, begin = memoryview(self._unfed), 0
        while begin < len(waiting) and not (self.pipeline or self._is_deaf):
            self._feed(waiting[begin : begin + SLICE])
            begin += SLICE
        self._unfed = b"" if self._is_deaf else bytes(waiting[begin:])

    def _feed(self, data: bytes | memoryview) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            # RFC 9110, section 7.8: a server may go on as if it had not been asked.
            if rest := data[upgrade.args[0] :]:
                self._feed(rest)
        except httptools.HttpParserError as error:
            reason = error.__context__
            self._refuse(reason.refusal if isinstance(reason, HeadRefused) else NO_HTTP)
        else:
            if self.phase is _HEADER:
                self._fed += len(data)
                if self._fed > self._bounds.header_bytes + SLICE or len(self.headers) > self._bounds.header_fields:
                    self._refuse(TOO_LARGE)
            elif self.phase is _BODY and self._is_chunked:
                self._excess += len(data)
                if self._excess > self._bounds.header_bytes:
                    self._refuse(TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request's first byte is there."""
        self.url, self.headers = b"", []
        self.phase = _HEADER
        self.since = self.loop.time()
        self._fed = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header field, or a trailer field."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Checks the header, then has the application start on it.

        Raises:
            HeadRefused: a bound or a rule is broken. The parser ends with that, and `_feed` answers it.
        """
        bounds, parser, headers = self._bounds, self.parser, self.headers
        if len(headers) > bounds.header_fields or (self._fed and self._header_size() > bounds.header_bytes):
            raise HeadRefused(TOO_LARGE)
        fields = dict(headers)
        version, upgrades = parser.get_http_version(), parser.should_upgrade()
        if (
            upgrades
            or version != "1.1"
            or len(fields) != len(headers)
            or fields.get(b"host") != self._host
            or b"transfer-encoding" in fields
            or not self.url.startswith(b"/")
        ):
            check_head(version, parser.get_method().decode(), self.url, headers, fields, upgrades=upgrades)
            self._host = fields.get(b"host") or _NO_HOST
        # RFC 9110, section 10.1.1: not in HTTP/1.0.
        self.expect_100_continue = version != "1.0" and fields.get(b"expect", b"").lower() == b"100-continue"
        self._begin(version, parser.get_method())
        self._is_chunked = b"transfer-encoding" in fields
        if self._is_chunked:
            self.headers = []  # Trailer fields do not become header fields.
        self.phase = _BODY
        self.since = self.loop.time()
        self._excess = 0

    def _begin(self, version: str, method: bytes) -> None:
        """Has the application start on the request, or wait for those before; uvicorn does it in more steps."""
        split = _split_short_target if len(self.url) <= SHORT_TARGET else _split_target
        path, raw_path, query = split(self.url)
        self.scope = {
            "type": "http",
            "asgi": _ASGI,
            "http_version": version,
            "method": method.decode("ascii"),
            "scheme": self.scheme or "http",
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
            "root_path": "",
            "headers": self.headers,
            "client": self.client,
            "server": self.server,
            "extensions": self._extensions,
        }
        must_wait = self.is_answering
        self.cycle = Exchange(
            scope=self.scope,
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=False,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=self.expect_100_continue,
            keep_alive=version != "1.0" and self.parser.should_keep_alive(),
            on_response=self.on_response_complete,
        )
        self.cycle.outbox = self._outbox
        if must_wait:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
        else:
            self._start(self.cycle)

    def _start(self, cycle: Exchange) -> None:
        """At once, or when its turn comes where requests wait in a line."""
        self._running = cycle
        if self._refuse_late is None:
            self._start_asgi_task(cycle, self.app)
        else:
            self._line.join(self._start_in_turn, cycle)

    def _start_in_turn(self, cycle: Exchange, is_in_time: bool) -> None:  # noqa: FBT001  as the line calls
        if is_in_time or self._refuse_late is None:
            self._start_asgi_task(cycle, self.app)
        elif self.flow.write_paused:
            task = self.loop.create_task(self._refuse_when_taken(cycle, self._refuse_late))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        else:
            self._refuse_now(cycle, self._refuse_late)

    async def _refuse_when_taken(self, cycle: Exchange, refuse_late: RefuseLate) -> None:
        """When the client has taken enough of the answers before."""
        await self.flow.drain()
        self._refuse_now(cycle, refuse_late)

    def _refuse_now(self, cycle: Exchange, refuse_late: RefuseLate) -> None:
        if cycle.disconnected:
            return
        is_answered = False
        try:
            is_answered = cycle.answer(*refuse_late(cycle.scope))
        finally:
            if not is_answered:
                self.transport.abort()

    def _header_size(self) -> int:
        """As it was sent, each field with one space after its colon."""
        fields = sum(len(name) + len(value) + 4 for name, value in self.headers)
        return len(self.parser.get_method()) + len(self.url) + len("  HTTP/1.1\r\n\r\n") + fields

    def on_body(self, body: bytes) -> None:
        """Keeps a part of the body; unlike uvicorn's, takes note of what chunks add to it.

        The application hears of it when the body is whole, or as large as it may be before somebody reads it.
        """
        self._excess -= len(body) + CHUNK_FRAMING
        cycle = self.cycle
        if not cycle.response_complete:
            cycle.body += body
            if len(cycle.body) > HIGH_WATER_LIMIT:
                self.flow.pause_reading()
                cycle.message_event.set()

    def on_message_complete(self) -> None:
        """The request is whole.

        Raises:
            HeadRefused: it has trailer fields.
        """
        if self._is_chunked and self.headers:
            raise HeadRefused(TRAILER)
        cycle = self.cycle
        if cycle.response_complete:
            self.phase = _IDLE
            self.since = self.loop.time()
        else:
            self.phase = _ANSWERING
            cycle.more_body = False
            cycle.message_event.set()

    # What goes out.

    def on_response_complete(self) -> None:
        """Goes on to the next request.

        Unlike uvicorn's, sets no timer for the idle connection, and resumes reading only when no request waits.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._hang_up_soon()
            return
        if self.pipeline:
            self._start(cast("Exchange", self.pipeline.pop()[0]))
        elif self._last_words is not None:
            self._say(self._last_words)
        elif self.phase is _ANSWERING:
            self.phase = _IDLE
            self.since = self.loop.time()
        if self._unfed:
            self._feed_slices()
        if self.flow.read_paused:
            self.flow.resume_reading()

    def _refuse(self, refusal: Refusal) -> None:
        """Reads nothing more, and says so when the requests before are answered."""
        self._is_deaf, self._unfed = True, b""
        if self.phase is _BODY:
            cycle = self.cycle
            cycle.disconnected = True
            cycle.message_event.set()
            if cycle.response_started:
                self._outbox.flush()
                self.transport.close()
                return
            if not self.pipeline:
                self._say(refusal)
                return
            self.pipeline.popleft()  # That very request.
        if self.is_answering:
            self._last_words = refusal
        else:
            self._say(refusal)

    def _say(self, refusal: Refusal) -> None:
        """The last answer. What still comes is thrown away for a while, or the client may never see the answer.

        RFC 9112, section 9.6 has the reason: data that arrives after a close resets the connection. TLS does the same
        by itself.
        """
        if self.transport.is_closing():
            return
        self._outbox.flush()
        if refusal is NO_HTTP:
            self._strangers.note(self.loop)
        body = envelope(refusal.code, refusal.message)
        retry = b"" if refusal.retry_after is None else b"retry-after: %d\r\n" % refusal.retry_after
        headers = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[refusal.status] + retry + headers + body)
        self.phase = Phase.CLOSING
        self.since = self.loop.time()
        if self.transport.can_write_eof():
            self.flow.resume_reading()
            self.transport.write_eof()
        else:
            self.transport.close()

    # What has taken too long.

    def look(self, now: float) -> None:
        """Ends the connection, or the request, if it is over time."""
        if unsent := self.transport.get_write_buffer_size():
            if not self._unsent or unsent < self._unsent:
                self._stuck_since = now
            elif now - self._stuck_since >= self._bounds.write_seconds:
                self.transport.abort()
        self._unsent = unsent
        if now - self.since >= self._connections.seconds[self.phase]:
            self._end(now)

    def _end(self, now: float) -> None:
        if self.phase is Phase.CLOSING:
            self.transport.abort()
        elif self.transport.is_closing():
            pass  # It waits for the client to take the rest of an answer, or to end TLS; that has a bound of its own.
        elif self.flow.read_paused or self._is_deaf:
            self.since = now
        elif self.phase is _IDLE:
            self.transport.close()
        else:
            self._refuse(TIMED_OUT)

    # The stop.

    def shutdown(self) -> None:
        """Stops without waiting for an idle client to answer TLS's goodbye: it may have gone to sleep."""
        self._outbox.flush()
        super().shutdown()
        self._is_stopping = True
        self._hang_up_soon()

    def _hang_up_soon(self) -> None:
        if self._is_stopping and self.transport.is_closing():
            self.loop.call_later(GOODBYE, self.transport.abort)
