"""What a client sees of a server that has more requests than it can answer, and what its operator does."""

import http.client
import json
import socket
import sys
from collections.abc import Iterator
from contextlib import suppress
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from process.watching import eventually
from serving import Serving, serving

ORIGIN = "https://app.example.com"
KEY_SET = b"GET /.well-known/jwks.json HTTP/1.1\r\nhost: localhost\r\n\r\n"


@pytest.fixture(scope="module")
def overloaded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    impatient = Path(__file__).with_name("impatient.py")
    flags = ("--log-format", "json", "--workers", "1", "--cors-origin", ORIGIN)
    with serving(tmp_path_factory.mktemp("overloaded"), *flags, wrapped=[sys.executable, str(impatient)]) as server:
        yield server


def address(server: Serving) -> tuple[str, int]:
    parts = urlsplit(server.http_endpoint)
    assert parts.hostname is not None
    assert parts.port is not None
    return parts.hostname, parts.port


def fill(connection: socket.socket) -> None:
    """Sends requests until nothing more is taken."""
    with suppress(TimeoutError):
        while True:
            connection.sendall(KEY_SET * 1000)


@pytest.mark.parametrize("body", [None, b'{"createTokenWithScopes":["chat"]}', bytes(100_000)])
def test_it_is_refused_in_full_and_the_connection_goes_on(overloaded: Serving, body: bytes | None) -> None:
    connection = HTTPConnection(*address(overloaded), timeout=10)
    for _ in range(3):
        connection.request("POST", "/identities?api-version=2023-10-01", body, {"content-type": "application/json"})
        answer = connection.getresponse()
        error = json.loads(answer.read())["error"]

        assert (503, "1", "ServiceUnavailable") == (answer.status, answer.headers["retry-after"], error["code"])
        assert answer.headers["ms-cv"]
    connection.close()


@pytest.mark.parametrize("path", ["/identities/it", "/nowhere", "/identities/%0a"])
def test_a_page_can_read_the_refusal_and_a_client_finds_its_request(overloaded: Serving, path: str) -> None:
    connection = HTTPConnection(*address(overloaded), timeout=10)
    connection.request("GET", path, headers={"origin": ORIGIN, "x-ms-client-request-id": "mine"})
    answer = connection.getresponse()

    assert (503, "1") == (answer.status, answer.headers["retry-after"])
    assert (ORIGIN, "mine") == (answer.headers["access-control-allow-origin"], answer.headers["x-ms-client-request-id"])
    connection.close()


def test_requests_on_one_connection_are_refused_one_after_the_other(overloaded: Serving) -> None:
    with socket.create_connection(address(overloaded), timeout=10) as connection:
        connection.sendall(KEY_SET * 50)
        answers = connection.makefile("rb")
        for _ in range(50):
            assert answers.readline().startswith(b"HTTP/1.1 503 ")
            answers.read(int(http.client.parse_headers(answers)["content-length"]))


def test_one_who_takes_no_answers_holds_up_nobody(overloaded: Serving) -> None:
    with socket.create_connection(address(overloaded), timeout=1) as deaf:
        fill(deaf)

        connection = HTTPConnection(*address(overloaded), timeout=10)
        connection.request("HEAD", "/.well-known/jwks.json")
        assert 503 == connection.getresponse().status
        connection.close()


def test_the_log_and_the_metrics_have_it(overloaded: Serving) -> None:
    connection = HTTPConnection(*address(overloaded), timeout=10)
    connection.request("DELETE", "/identities/it?api-version=2023-10-01")
    connection.getresponse().read()
    connection.close()

    eventually("it is in the log", lambda: any(line.get("method") == "DELETE" for line in overloaded.lines()))
    line = next(line for line in overloaded.lines() if line.get("method") == "DELETE")
    assert (503, "/identities/{id}", "ServiceUnavailable") == (line["status"], line["route"], line["reason"])
    assert 'status="503"' in overloaded.admin("GET", "metrics").body.decode()
