"""Single requests to a running server, signed and not, each on a connection of its own."""

import json
from typing import Any
from urllib.parse import urlsplit

from builders import signed_headers
from calls import Answer, ask
from mintmark.development import DEVELOPMENT_KEYS
from mintmark.sources import system
from running import RunningServer

VERSION = "2023-10-01"


def signed(
    server: RunningServer,
    method: str,
    path: str,
    body: object = None,
    *,
    key: bytes = DEVELOPMENT_KEYS[0],
    now: int | None = None,
    version: str = VERSION,
    address: str = "",
) -> Answer:
    """A request of the ACS surface, signed at `now` (milliseconds; real time if not said), over HTTP if not said."""
    where = address or server.http_endpoint
    target, content = f"{path}?api-version={version}", b"" if body is None else json.dumps(body).encode()
    when = system().now() if now is None else now
    headers = signed_headers(method, target, content, now=when, host=urlsplit(where).netloc, key=key)
    names = {name.decode(): value.decode() for name, value in headers}
    return ask(where, target, method=method, headers=names, body=content, ca=server.ca)


def admin(server: RunningServer, method: str, path: str, body: object = None) -> Answer:
    """A request to the admin listener, whatever it answers."""
    content = None if body is None else json.dumps(body).encode()
    return ask(server.admin_endpoint, f"/_mintmark/{path}", method=method, body=content)


def introspected(server: RunningServer, token: str) -> Any:
    """What the server says of a token."""
    return admin(server, "POST", "introspect", {"token": token}).json
