"""What is too large or too slow ends at nginx, in time; Mintmark hears nothing of it."""

import ssl
from collections.abc import Iterator
from contextlib import suppress

import pytest

from mintmark.web.call import MAX_BODY
from process.raw import read_to_end, send, statuses
from process.watching import eventually
from proxy.nginx import Nginx, nginx_before
from serving import Serving

pytestmark = pytest.mark.proxy

CREATE = "/identities?api-version=2023-10-01"
POST = f"POST {CREATE} HTTP/1.1\r\nhost: localhost\r\n".encode()
HEADER_BYTES = 32 * 1024

SLOW = {
    "nothing after TLS": b"",
    "half a header": POST,
    "a header without its body": POST + b"content-length: 5\r\n\r\n",
    "half a body": POST + b"content-length: 5\r\n\r\nhe",
    "half a chunk": POST + b"transfer-encoding: chunked\r\n\r\n5\r\nhe",
}


@pytest.fixture(scope="module")
def impatient(mintmark: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """As packaged, but in seconds what are ten of them there."""
    folder = tmp_path_factory.mktemp("impatient") / "nginx"
    changes = {f"client_{part}_timeout 10s;": f"client_{part}_timeout 1s;" for part in ("header", "body")}
    with nginx_before(mintmark.http_endpoint, mintmark.files, folder, changes) as started:
        yield started


def test_the_largest_body_reaches_mintmark_and_a_larger_one_does_not(nginx: Nginx) -> None:
    headers = {"content-type": "application/json"}
    largest = nginx.ask(CREATE, method="POST", headers=headers, body=b" " * MAX_BODY)
    assert 401 == largest.status
    assert "Denied" == largest.json["error"]["code"]

    before = len(nginx.log())
    with nginx.connect() as connected:
        send(connected, POST + b"content-length: %d\r\n\r\n" % (MAX_BODY + 1))  # The body itself is not waited for.
        assert [413] == statuses(connected.recv(65536))
    check_not_asked(nginx, before)


@pytest.mark.parametrize("count", [1, 100], ids=["one field", "a hundred fields"])
def test_a_header_that_is_too_large_does_not_reach_mintmark(nginx: Nginx, count: int) -> None:
    before = len(nginx.log())
    headers = {f"x-{number}": "x" * (HEADER_BYTES // count) for number in range(count)}

    assert 400 == nginx.ask("/.well-known/jwks.json", headers=headers).status
    check_not_asked(nginx, before)


@pytest.mark.parametrize("sent", SLOW.values(), ids=SLOW)
def test_who_sends_too_slowly_is_cut_off_and_mintmark_never_knew(impatient: Nginx, sent: bytes) -> None:
    before = len(impatient.log())
    received = b""
    with impatient.connect() as connected, suppress(ssl.SSLError):
        send(connected, sent)
        received = read_to_end(connected)

    assert statuses(received) in ([], [408])
    if sent:  # nginx logs no request where there was none.
        check_not_asked(impatient, before)


def check_not_asked(nginx: Nginx, before: int) -> None:
    """nginx has had one request since, and Mintmark none."""
    eventually("nginx logs the request", lambda: len(nginx.log()) > before)
    assert [""] == [line["upstream"] for line in nginx.log()[before:]]
