"""A request as it came, before anything of it is believed."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from mintmark.errors import BodyTooLarge

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MAX_BODY = 64 * 1024  # bytes
ABORT = "mintmark.abort"  # an ASGI extension of our own worker: how to close the connection


class Disconnected(Exception):  # noqa: N818  nobody is left to be told of an error
    """The client went away before its request was complete."""


class Call:
    """One request: an ASGI scope read once, and its body when it is asked for.

    The target is path and query as sent, but for what uvicorn drops: a fragment, a `?` with nothing behind it, and the
    scheme and authority of the absolute form; no SDK sends any of them.

    What becomes known of it on its way is noted for log and metrics: `id`, its correlation vector; `route`, the path
    that it was found to fit; `operation` and `api_version`; `resource_id`, of the resource that it was found to be for.
    Empty where nothing is known.
    """

    __slots__ = (
        "_receive",
        "_scope",
        "api_version",
        "headers",
        "id",
        "method",
        "operation",
        "path",
        "query",
        "raw_headers",
        "resource_id",
        "route",
        "target",
    )

    def __init__(self, scope: Scope, receive: Receive) -> None:
        """Takes method, target and headers from the scope."""
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: bytes = scope["query_string"]
        raw_path: bytes = scope["raw_path"]
        self.target = raw_path + b"?" + self.query if self.query else raw_path
        self.raw_headers: Sequence[tuple[bytes, bytes]] = scope["headers"]
        self.headers: dict[bytes, bytes] = dict(self.raw_headers)
        self._scope = scope
        self._receive = receive
        self.id = self.route = self.operation = self.api_version = self.resource_id = ""

    @property
    def client(self) -> str:
        """The address that the connection came from."""
        client = self._scope.get("client")
        return client[0] if client else ""

    @property
    def identity_id(self) -> str:
        """The identity in the path, percent-decoded: SDKs differ in whether they encode its colons."""
        return self.path_parameter("id")

    def path_parameter(self, name: str) -> str:
        """A part of the path, percent-decoded."""
        value: str = self._scope["path_params"][name]
        return value

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

    async def abort(self) -> None:
        """Closes the connection without an answer, if the server under us can (development only)."""
        extension = self._scope.get("extensions", {}).get(ABORT)
        if extension is not None:
            extension["close"]()
            while (await self._receive())["type"] != "http.disconnect":
                pass
        raise Disconnected
