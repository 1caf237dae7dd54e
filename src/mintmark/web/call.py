"""A request as it came, before anything of it is believed."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from mintmark.errors import BodyTooLarge

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY = 64 * 1024  # bytes


class Disconnected(Exception):  # noqa: N818  nobody is left to be told of an error
    """The client went away before its request was complete."""


class Call:
    """One request: an ASGI scope read once, and its body when it is asked for."""

    __slots__ = ("_receive", "headers", "method", "path", "query", "raw_headers", "target")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        """Takes method, target and headers from the scope."""
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        raw_path: bytes = scope["raw_path"]
        self.target = raw_path + b"?" + self.query if self.query else raw_path  # As sent: that is what was signed.
        self.raw_headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        self.headers = dict(self.raw_headers)
        self._receive = receive

    async def body(self) -> bytes:
        """The whole body.

        Raises:
            BodyTooLarge: it is announced or arrives with more than 64 KiB.
            Disconnected: the client went away.
        """
        announced = self.headers.get(b"content-length", b"0")
        if not announced.isdigit() or int(announced[:20]) > MAX_BODY:
            raise BodyTooLarge(MAX_BODY)
        body = b""
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            chunk: bytes = message.get("body", b"")
            body += chunk
            if len(body) > MAX_BODY:
                raise BodyTooLarge(MAX_BODY)
            if not message.get("more_body", False):
                return body
