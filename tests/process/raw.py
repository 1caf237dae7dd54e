"""Bytes as they are: to a server, and what comes back until it closes."""

import re
import socket
import time
from contextlib import suppress
from urllib.parse import urlsplit

from running import RunningServer

SECONDS = 20
GET = b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: localhost\r\n"  # and more fields, if need be


def connect(server: RunningServer) -> socket.socket:
    """A new connection to the plain listener, whose reads do not last for ever."""
    return socket.create_connection(("127.0.0.1", urlsplit(server.http_endpoint).port or 0), timeout=SECONDS)


def send(connected: socket.socket, data: bytes) -> None:
    """Sends it, or as much of it as the server takes before it closes."""
    with suppress(ConnectionError):
        connected.sendall(data)


def read_to_end(connected: socket.socket) -> bytes:
    """All that comes until the server closes: it has to do so by itself."""
    received = b""
    with suppress(ConnectionError):
        while part := connected.recv(65536):
            received += part
    return received


def statuses(received: bytes) -> list[int]:
    """Those of all answers, one after the other."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", received)]


def read_statuses(connected: socket.socket, count: int) -> list[int]:
    """Those of so many answers; fewer if the server closes before."""
    received, end = b"", time.monotonic() + SECONDS
    while len(statuses(received)) < count and time.monotonic() < end:
        part = connected.recv(65536)
        if not part:
            break
        received += part
    return statuses(received)
