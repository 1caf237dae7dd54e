"""From a guarded handler to bytes on the wire: an endpoint a path, the same headers and error answers for all."""

import asyncio
import logging
from binascii import b2a_base64
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from time import perf_counter
from typing import Any, Protocol

from msgspec import Struct

from mintmark.errors import MethodNotAllowed, Overloaded, RequestRefused, RouteNotFound, StoreUnavailable
from mintmark.sources import Sources, quick_random
from mintmark.web.answer import Answer
from mintmark.web.call import Call, Disconnected, Receive, Scope, Send
from mintmark.web.problems import internal_error, refusal

Guarded = Callable[[Call], Awaitable[Answer]]
Reply = tuple[int, list[tuple[bytes, bytes]], bytes]  # status, headers and body as they go out

LONGEST_ECHO = 1024  # bytes; a longer header is not echoed
CV_BYTES = 16
CV_LENGTH = 22  # of these bytes in base64, without padding
SEED_BYTES = 32

_log = logging.getLogger(__name__)
_EXPOSED = b"api-supported-versions, MS-CV, Retry-After, X-Processing-Time, x-ms-client-request-id"
_PREFLIGHT_AGE = b"7200"  # seconds; browsers keep no longer
_OVERLOADED = refusal(Overloaded())


class RequestLog(Protocol):
    """Takes note of each request and its answer."""

    def __call__(self, call: Call, answer: Answer, milliseconds: float) -> None:
        """One request; `milliseconds` is how long the answer took."""


class Cors(Struct, frozen=True):
    """Which web pages may call (the CORS protocol of the Fetch standard): those of these origins, or of any."""

    any: bool = False
    origins: frozenset[bytes] = frozenset()

    def allow(self, origin: bytes) -> tuple[tuple[bytes, bytes], ...]:
        """The headers that let a page of that origin read the answer; none where it may not."""
        if self.any:
            return ((b"access-control-allow-origin", b"*"),)
        if origin in self.origins:
            return ((b"access-control-allow-origin", origin),)
        return ()


class Edge:
    """What all endpoints of a listener share.

    Attributes:
        cors: which web pages may call.
        logs: take note of each request.
        constant_headers: what every answer says: `api-supported-versions`, where there are any; and `Vary`, where it
            depends on the origin who may read an answer (CORS protocol of the Fetch standard, on HTTP caches).
    """

    def __init__(
        self,
        sources: Sources,
        logs: Sequence[RequestLog],
        supported_versions: str = "",
        cors: Cors | None = None,
    ) -> None:
        self._random = quick_random(sources.random(SEED_BYTES))
        self.cors = cors or Cors()
        self.logs = logs
        versions = ((b"api-supported-versions", supported_versions.encode()),) if supported_versions else ()
        self.constant_headers = (*versions, (b"vary", b"origin")) if self.cors.origins else versions

    def vector(self) -> str:
        """A new correlation vector, `MS-CV`, which users quote when they ask for support: a name and no secret."""
        return b2a_base64(self._random(CV_BYTES))[:CV_LENGTH].decode() + ".0"


class Endpoint:
    """What one path answers: an ASGI application over handlers by method, each in its guard."""

    def __init__(self, edge: Edge, methods: Mapping[str, Guarded], route: str = "") -> None:
        """Takes the path for the log, with its parameters named; none where there is nothing."""
        self._edge = edge
        self._route = route
        self._methods = {**methods, "HEAD": methods["GET"]} if "GET" in methods else methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; whatever is refused or fails comes out as an ACS error."""
        started = perf_counter()
        call = self._call(scope, receive)
        try:
            answer = await self._handler(call)(call)
        except RequestRefused as refused:
            answer = refusal(refused)
            if isinstance(refused, StoreUnavailable):
                _log.error("The store is unavailable: %s", refused.reason)
        except Disconnected:
            return
        except asyncio.CancelledError:
            _log.warning("Request %s was cut off: the server stops.", call.id)  # Not its path: a caller chose that.
            return
        except Exception:  # noqa: BLE001  the last net: logged, and answered without a word about it
            _log.exception("Request %s failed: %s", call.id, self._route)
            answer = internal_error()
        milliseconds = (perf_counter() - started) * 1000
        status, headers, body = self._reply(call, answer, milliseconds)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})
        for log in self._edge.logs:
            log(call, answer, milliseconds)

    def refuse_late(self, scope: Scope) -> Reply:
        """The answer to a request that has waited too long for its turn; logged and counted, without its operation.

        Where it is needed time is short: so it is made without ASGI's calls to and fro.
        """
        call = self._call(scope, _receive_nothing)
        for log in self._edge.logs:
            log(call, _OVERLOADED, 0)
        return self._reply(call, _OVERLOADED, 0)

    def _call(self, scope: Scope, receive: Receive) -> Call:
        call = Call(scope, receive)
        call.route = self._route
        call.id = self._edge.vector()
        return call

    def _reply(self, call: Call, answer: Answer, milliseconds: float) -> Reply:
        headers = self._headers(call, answer, milliseconds)
        return answer.status, headers, b"" if call.method == "HEAD" else answer.body

    def _handler(self, call: Call) -> Guarded:
        handler = self._methods.get(call.method)
        if call.path.endswith("\n"):  # The router's pattern would let that pass.
            raise RouteNotFound
        if handler is not None:
            return handler
        if call.method == "OPTIONS" and b"access-control-request-method" in call.headers and self._allows(call):
            return self._preflight
        if not self._methods:
            raise RouteNotFound(f"{RouteNotFound.default_message()} {call.method} {call.path[:100]}")
        raise MethodNotAllowed(call.method, list(self._methods))

    async def _preflight(self, call: Call) -> Answer:
        """CORS protocol of the Fetch standard: what a page on another origin may send here."""
        asked = call.headers.get(b"access-control-request-headers", b"*")
        asked = asked if _is_plain(asked) else b"*"
        headers: tuple[tuple[bytes, bytes], ...] = (
            (b"access-control-allow-methods", ", ".join(self._methods).encode()),
            (b"access-control-allow-headers", asked),
            (b"access-control-max-age", _PREFLIGHT_AGE),
        )
        if b"access-control-request-private-network" in call.headers:
            headers = (*headers, (b"access-control-allow-private-network", b"true"))
        return Answer(204, headers=headers)

    def _headers(self, call: Call, answer: Answer, milliseconds: float) -> list[tuple[bytes, bytes]]:
        headers = [
            *self._edge.constant_headers,
            (b"ms-cv", call.id.encode()),
            (b"x-processing-time", b"%dms" % milliseconds),
            *answer.headers,
        ]
        if answer.status != 204:  # noqa: PLR2004  RFC 9110, section 8.6: no length where there can be no body
            headers.append((b"content-length", b"%d" % len(answer.body)))
        if answer.body:
            headers.append((b"content-type", answer.content_type))
        request_id = call.headers.get(b"x-ms-client-request-id")
        if request_id is not None and _is_plain(request_id):
            headers.append((b"x-ms-client-request-id", request_id))
        if b"origin" in call.headers and (allowed := self._allows(call)):
            headers += (*allowed, (b"access-control-expose-headers", _EXPOSED))
        return headers

    def _allows(self, call: Call) -> tuple[tuple[bytes, bytes], ...]:
        return self._edge.cors.allow(call.headers.get(b"origin", b""))


async def _receive_nothing() -> MutableMapping[str, Any]:
    return {"type": "http.disconnect"}


def _is_plain(value: bytes) -> bool:
    """Whether a header's value can be said back: short printable ASCII."""
    return len(value) <= LONGEST_ECHO and value.isascii() and value.decode().isprintable()
