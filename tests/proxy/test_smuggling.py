"""Bytes that two programs could read differently, sent to nginx: Mintmark never sees a request that nginx did not send.

nginx hands requests on over a connection that it keeps. If Mintmark read the end of a request elsewhere than nginx, it
would see one more, and every answer after that would go to somebody else. So after each of them a plain request is
sent, which has to get its own answer.
"""

import ssl

import pytest

from process.raw import GET, read_to_end, send, statuses
from process.test_smuggling import CHUNKS, CODINGS, HOSTS, LENGTHS, LINES, OTHER_PROTOCOLS, SMUGGLED
from process.watching import eventually
from proxy.nginx import Nginx
from serving import Serving

pytestmark = pytest.mark.proxy

IN_DOUBT = {**LENGTHS, **CODINGS, **LINES, **CHUNKS, **HOSTS, **OTHER_PROTOCOLS}
LAST = GET + b"connection: close\r\n\r\n"  # nginx closes at the end of it, if it takes it for a request at all
AMBIGUOUS = {**LENGTHS, **CODINGS}


def requests(mintmark: Serving) -> list[str]:
    """The ids of those that Mintmark has seen, in their order."""
    return [line["id"] for line in mintmark.lines() if line["event"] == "request"]


def handed_on(nginx: Nginx, before: int) -> list[str]:
    """The ids in the answers that nginx got, but for those to its first requests."""
    return [line["id"] for line in nginx.log()[before:] if line["id"]]


def exchange(nginx: Nginx, sent: bytes) -> bytes:
    """All that comes back on a connection that sends nothing more."""
    with nginx.connect() as connected:
        send(connected, sent + LAST)
        try:
            return read_to_end(connected)
        except ssl.SSLError:  # nginx may close without the farewell of TLS.
            return b""


@pytest.mark.parametrize("sent", IN_DOUBT.values(), ids=IN_DOUBT)
def test_mintmark_sees_the_requests_that_nginx_has_handed_on_and_no_other(
    mintmark: Serving, nginx: Nginx, sent: bytes
) -> None:
    before, handed_on_before = len(requests(mintmark)), len(nginx.log())

    exchange(nginx, sent)
    plain = nginx.ask("/.well-known/jwks.json")

    assert 200 == plain.status
    assert b'"keys"' in plain.body
    eventually("the plain request is logged", lambda: plain.headers["ms-cv"] in requests(mintmark))
    seen = requests(mintmark)[before:]
    assert plain.headers["ms-cv"] == seen[-1]
    eventually(f"nginx logs that it handed on {seen}", lambda: seen == handed_on(nginx, handed_on_before))
    # The others Mintmark took for no HTTP at all.
    assert {line["upstream"] for line in nginx.log()[handed_on_before:] if not line["id"]} <= {"", "400"}


@pytest.mark.parametrize("sent", AMBIGUOUS.values(), ids=AMBIGUOUS)
def test_what_has_two_ends_reaches_mintmark_once_at_most(mintmark: Serving, nginx: Nginx, sent: bytes) -> None:
    before = len(requests(mintmark))

    received = exchange(nginx, sent)

    assert 1 == len(statuses(received))
    plain = nginx.ask("/.well-known/jwks.json")
    assert 200 == plain.status
    eventually("the plain request is logged", lambda: plain.headers["ms-cv"] in requests(mintmark))
    assert 2 >= len(requests(mintmark)) - before


def test_smuggled_bytes_are_a_request_where_they_stand_alone(nginx: Nginx) -> None:
    """Otherwise the tests above would prove nothing."""
    assert [404, 200] == statuses(exchange(nginx, SMUGGLED))
