"""From a guarded handler to bytes on the wire: an endpoint a path, the same headers and error answers for all."""

import asyncio
import logging
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping
from time import perf_counter
from typing import Protocol

from mintmark.errors import MethodNotAllowed, RequestRefused, RouteNotFound, StoreUnavailable
from mintmark.sources import Sources
from mintmark.web.answer import Answer
from mintmark.web.call import Call, Disconnected, Receive, Scope, Send
from mintmark.web.problems import internal_error, refusal

Guarded = Callable[[Call], Awaitable[Answer]]

LONGEST_ECHO = 1024  # bytes; a longer header is not echoed
CV_BYTES = 16

_log = logging.getLogger(__name__)
_EXPOSED = b"api-supported-versions, MS-CV, Retry-After, X-Processing-Time, x-ms-client-request-id"
_PREFLIGHT_AGE = b"7200"  # seconds; browsers keep no longer


class RequestLog(Protocol):
    """Takes note of each request and its answer."""

    def __call__(self, call: Call, answer: Answer, milliseconds: float) -> None:
        """One line."""


class Edge:
    """What all endpoints of a listener share.

    Attributes:
        random: for the correlation vector `MS-CV`, which users quote when they ask for support.
        cors: whether any web page may call.
        log: takes note of each request; None for no log.
        constant_headers: what every answer says: `api-supported-versions`, where there are any.
    """

    def __init__(
        self, sources: Sources, supported_versions: str = "", *, cors: bool = False, log: RequestLog | None = None
    ) -> None:
        self.random = sources.random
        self.cors = cors
        self.log = log
        self.constant_headers = (
            ((b"api-supported-versions", supported_versions.encode()),) if supported_versions else ()
        )


class Endpoint:
    """What one path answers: an ASGI application over handlers by method, each in its guard."""

    def __init__(self, edge: Edge, methods: Mapping[str, Guarded]) -> None:
        self._edge = edge
        self._methods = {**methods, "HEAD": methods["GET"]} if "GET" in methods else methods

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; whatever is refused or fails comes out as an ACS error."""
        started = perf_counter()
        call = Call(scope, receive)
        try:
            answer = await self._handler(call)(call)
        except RequestRefused as refused:
            answer = refusal(refused)
            if isinstance(refused, StoreUnavailable):
                _log.error("The store is unavailable: %s", refused.reason)
        except Disconnected:
            return
        except asyncio.CancelledError:
            _log.warning("%s %s was cut off: the server stops", call.method, call.path)
            return
        except Exception:  # noqa: BLE001  the last net: logged, and answered without a word about it
            _log.exception("%s %s failed", call.method, call.path)
            answer = internal_error()
        milliseconds = (perf_counter() - started) * 1000
        await _send(send, call, answer, self._headers(call, answer, milliseconds))
        if self._edge.log is not None:
            self._edge.log(call, answer, milliseconds)

    def _handler(self, call: Call) -> Guarded:
        handler = self._methods.get(call.method)
        if call.path.endswith("\n"):  # The router's pattern would let that pass.
            raise RouteNotFound
        if handler is not None:
            return handler
        if self._edge.cors and call.method == "OPTIONS" and b"access-control-request-method" in call.headers:
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
            (b"ms-cv", b64encode(self._edge.random(CV_BYTES))[:22] + b".0"),
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
        if self._edge.cors and b"origin" in call.headers:
            headers.append((b"access-control-allow-origin", b"*"))
            headers.append((b"access-control-expose-headers", _EXPOSED))
        return headers


def _is_plain(value: bytes) -> bool:
    """Whether a header's value can be said back: short printable ASCII."""
    return len(value) <= LONGEST_ECHO and value.isascii() and value.decode().isprintable()


async def _send(send: Send, call: Call, answer: Answer, headers: list[tuple[bytes, bytes]]) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if call.method == "HEAD" else answer.body})
