"""What is not quite HTTP, over a real socket: refused in the envelope or hung up on, and the server goes on."""

import json
import socket
from urllib.parse import urlsplit

import pytest

from running import RunningServer

LINE = b"POST /identities?api-version=2023-10-01 HTTP/1.1\r\n"
HOST = b"Host: localhost\r\n"


def exchange(server: RunningServer, sent: bytes, *, hang_up: bool = False) -> bytes:
    address = urlsplit(server.http_endpoint)
    assert address.port is not None
    with socket.create_connection(("127.0.0.1", address.port), timeout=5) as connection:
        connection.sendall(sent)
        if hang_up:
            connection.shutdown(socket.SHUT_WR)
        received = b""
        try:
            while piece := connection.recv(65536):
                received += piece
        except ConnectionResetError:
            pass
        return received


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"hello\r\n\r\n",
        b"GET\r\n\r\n",
        b"POST /identities HTTP/9.9\r\n\r\n",
        b"CONNECT localhost:1 HTTP/1.1\r\n" + HOST + b"\r\n",
        b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n",
        b"GET http:// HTTP/1.1\r\n" + HOST + b"\r\n",
        LINE + HOST + b"Content-Length: -1\r\n\r\n",
        LINE + HOST + b"Content-Length: 1, 2\r\n\r\nab",
        LINE + HOST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        LINE + HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        LINE + HOST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        LINE + HOST + b"Bad Name: x\r\n\r\n",
        LINE + HOST + b"X: a\x00b\r\n\r\n",
        LINE + HOST + b" folded\r\n\r\n",
    ],
)
def test_what_is_no_http_is_400_in_the_envelope_or_closed(server: RunningServer, sent: bytes) -> None:
    received = exchange(server, sent, hang_up=True)

    if received:
        head, _, body = received.partition(b"\r\n\r\n")
        assert b" 4" in head[:12]
        assert json.loads(body)["error"]["code"]
    assert exchange(
        server, b"GET /.well-known/jwks.json HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
    ).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("value", [b"a\x01b", b"\xff\xfe", b"\t", b"x" * 5000])
def test_headers_that_are_said_back_cannot_break_the_answer(server: RunningServer, value: bytes) -> None:
    sent = LINE + HOST + b"x-ms-client-request-id: " + value + b"\r\nConnection: close\r\n\r\n"

    assert exchange(server, sent)[:12] in (b"HTTP/1.1 401", b"HTTP/1.1 400")


@pytest.mark.parametrize("host", [b"localhost:12080:12080", b"", b"[::1]:1", b"x" * 3000])
def test_a_host_of_any_form_is_read_as_it_is(server: RunningServer, host: bytes) -> None:
    """JS common up to 2.4.0 sends the port twice (contract section 3.3)."""
    sent = LINE + b"Host: " + host + b"\r\nConnection: close\r\n\r\n"

    assert b"HTTP/1.1 401" == exchange(server, sent)[:12]


@pytest.mark.parametrize("host", [b"?", b"a?b", b"a/b", b"a@b"])
def test_a_host_that_is_none_is_refused(server: RunningServer, host: bytes) -> None:
    sent = LINE + b"Host: " + host + b"\r\nConnection: close\r\n\r\n"

    assert b"HTTP/1.1 400" == exchange(server, sent)[:12]


def test_requests_sent_at_once_are_answered_in_order(server: RunningServer) -> None:
    first, second = b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n", b"GET /.well-known/jwks.json HTTP/1.1\r\n" + HOST
    received = exchange(server, first + second + b"Connection: close\r\n\r\n")

    assert received.index(b"404 Not Found") < received.index(b"200 OK")


def test_a_body_too_large_is_refused_before_it_is_sent(server: RunningServer) -> None:
    sent = LINE + HOST + b"Content-Length: 100000000\r\nConnection: close\r\n\r\n"

    assert b"HTTP/1.1 413" == exchange(server, sent)[:12]


def test_a_client_that_asks_first_is_told_to_go_on(server: RunningServer) -> None:
    received = exchange(
        server, LINE + HOST + b"Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n{}"
    )

    assert received.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 401 ")


def test_an_old_client_is_not_told_to_go_on(server: RunningServer) -> None:
    """RFC 9110, section 10.1.1: it would take that for the answer."""
    received = exchange(
        server, b"POST /identities HTTP/1.0\r\n" + HOST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n{}"
    )

    assert received.startswith(b"HTTP/1.1 400 ")
