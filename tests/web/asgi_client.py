"""Speaks ASGI to an application in this process, byte for byte as uvicorn would."""

import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import unquote

from msgspec import Struct

Headers = Sequence[tuple[bytes, bytes]]


class Reply(Struct, frozen=True):
    """What came back."""

    status: int
    header_list: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def headers(self) -> dict[str, str]:
        return {name.decode(): value.decode() for name, value in self.header_list}

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """The ACS error, its envelope checked."""
        error = self.json["error"]
        assert ["error"] == list(self.json)
        assert {"code", "message"} <= set(error) <= {"code", "message", "target", "details"}
        assert self.headers["content-type"] == "application/json"
        return error


async def call(app: Any, method: str, target: str, headers: Headers = (), body: bytes | Sequence[bytes] = b"") -> Reply:
    """One request; a body given as a list arrives in as many pieces."""
    path, _, query = target.partition("?")
    pieces = [body] if isinstance(body, bytes) else list(body)
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        if not pieces:
            return {"type": "http.disconnect"}
        piece = pieces.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(path),
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": list(headers),
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 12080),
    }
    await app(scope, receive, send)
    if not sent:
        return Reply(0, [], b"")
    return Reply(sent[0]["status"], list(sent[0]["headers"]), sent[1]["body"])
