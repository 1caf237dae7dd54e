"""Requests to a running server over real sockets, signed as SDKs sign them."""

import json
import ssl
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPSConnection
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from builders import signed_headers
from mintmark.development import DEVELOPMENT_KEYS
from mintmark.sources import system
from running import RunningServer

CREATE = "/identities?api-version=2023-10-01"
WITH_TOKEN = b'{"createTokenWithScopes":["chat","voip"],"expiresInMinutes":60}'
SECONDS = 20


class Answer(NamedTuple):
    """An HTTP answer; its header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def ask(
    address: str,
    target: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    ca: str | None = None,
) -> Answer:
    """One request on a connection of its own; `ca` is the file of the authority to trust for https."""
    parts = urlsplit(address)
    assert parts.hostname
    connection = (
        HTTPConnection(parts.hostname, parts.port, timeout=SECONDS)
        if parts.scheme == "http"
        else HTTPSConnection(parts.hostname, parts.port, timeout=SECONDS, context=ssl.create_default_context(cafile=ca))
    )
    try:
        connection.request(method, target, body, dict(headers or {}))
        response = connection.getresponse()
        names = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, names, response.read())
    finally:
        connection.close()


def create_headers(address: str, body: bytes = WITH_TOKEN, key: bytes = DEVELOPMENT_KEYS[0]) -> dict[str, str]:
    """The headers of a Create that is signed now, for a listener's address."""
    signed = signed_headers("POST", CREATE, body, now=system().now(), host=urlsplit(address).netloc, key=key)
    return {name.decode(): value.decode() for name, value in signed}


def create(server: RunningServer, address: str | None = None, body: bytes = WITH_TOKEN) -> Answer:
    """Creates an identity; by plain HTTP unless another listener's address is given."""
    where = address or server.http_endpoint
    return ask(where, CREATE, method="POST", headers=create_headers(where, body), body=body, ca=server.ca)


def holds(server: RunningServer, token: str) -> bool:
    """Whether the server says that a token holds."""
    body = json.dumps({"token": token}).encode()
    headers = {"content-type": "application/json"}
    answer = ask(server.admin_endpoint, "/_mintmark/introspect", method="POST", headers=headers, body=body)
    active: bool = answer.json["active"]
    return active


def create_bytes(address: str, body: bytes = WITH_TOKEN) -> bytes:
    """A whole Create as it goes over the wire."""
    lines = [f"POST {CREATE} HTTP/1.1", *(f"{name}: {value}" for name, value in create_headers(address, body).items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
