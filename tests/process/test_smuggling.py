"""Requests that two programs in a row could read differently: refused, and never read as more requests than one.

Each is sent with a second request behind it, or within it, which must not be answered. Some have a name of their own in
the literature: CL.TE, TE.CL, TE.TE. The rules are those of RFC 9112.
"""

import json

import pytest

from process.raw import GET, connect, read_statuses, read_to_end, send, statuses
from running import RunningServer

SMUGGLED = b"GET /smuggled HTTP/1.1\r\nhost: localhost\r\n\r\n"
POST = b"POST /identities?api-version=2023-10-01 HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
NO_BODY = b"0\r\n\r\n" + SMUGGLED
FIVE = b"hello" + SMUGGLED
PATH = b"/.well-known/jwks.json"

LENGTHS = {
    "a length and chunks": POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n" + NO_BODY,
    "chunks and a length": POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n" + NO_BODY,
    "two lengths": POST + b"content-length: 0\r\ncontent-length: 5\r\n\r\n" + FIVE,
    "one length twice": POST + b"content-length: 5\r\ncontent-length: 5\r\n\r\n" + FIVE,
    "one length twice in a field": POST + b"content-length: 5, 5\r\n\r\n" + FIVE,
    "a length with a plus": POST + b"content-length: +5\r\n\r\n" + FIVE,
    "a length below zero": POST + b"content-length: -1\r\n\r\n" + SMUGGLED,
    "a length without digits": POST + b"content-length: \r\n\r\n" + SMUGGLED,
    "a length with a space in it": POST + b"content-length: 5 5\r\n\r\n" + FIVE,
    "a length in hexadecimal": POST + b"content-length: 0x5\r\n\r\n" + FIVE,
    "a length without end": POST + b"content-length: 99999999999999999999999\r\n\r\n" + FIVE,
}
CODINGS = {
    "chunked, then identity": POST + b"transfer-encoding: chunked, identity\r\n\r\n" + NO_BODY,
    "identity, then chunked": POST + b"transfer-encoding: identity, chunked\r\n\r\n" + NO_BODY,
    "gzip, then chunked": POST + b"transfer-encoding: gzip, chunked\r\n\r\n" + NO_BODY,
    "identity": POST + b"transfer-encoding: identity\r\n\r\n" + NO_BODY,
    "xchunked": POST + b"transfer-encoding: xchunked\r\n\r\n" + NO_BODY,
    "a quoted coding": POST + b'transfer-encoding: "chunked"\r\n\r\n' + NO_BODY,
    "a coding with a parameter": POST + b"transfer-encoding: chunked;q=1\r\n\r\n" + NO_BODY,
    "no coding": POST + b"transfer-encoding: \r\n\r\n" + NO_BODY,
    "a coding behind a vertical tab": POST + b"transfer-encoding: \x0bchunked\r\n\r\n" + NO_BODY,
    "a coding on a line of its own": POST + b"transfer-encoding:\r\n chunked\r\n\r\n" + NO_BODY,
    "a coding behind a tab on a line of its own": POST + b"transfer-encoding:\r\n\tchunked\r\n\r\n" + NO_BODY,
    "chunked twice": POST + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n" + NO_BODY,
    "two codings": POST + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n" + NO_BODY,
    "a coding in HTTP/1.0": CHUNKED.replace(b"HTTP/1.1", b"HTTP/1.0") + NO_BODY,
}
LINES = {
    "a space before the colon": POST + b"content-length : 5\r\n\r\n" + FIVE,
    "a space before the colon of a coding": POST + b"transfer-encoding : chunked\r\n\r\n" + NO_BODY,
    "bare line feeds": SMUGGLED.replace(b"\r\n", b"\n"),
    "a bare line feed after the request line": b"GET " + PATH + b" HTTP/1.1\nhost: localhost\r\n\r\n",
    "a bare line feed within a field": POST + b"x: y\ncontent-length: 5\r\n\r\n" + FIVE,
    "a bare line feed at the end": GET + b"\n" + SMUGGLED,
    "a bare carriage return": POST + b"x: y\rcontent-length: 5\r\n\r\n" + FIVE,
    "a folded line": POST + b"x: y\r\n content-length: 5\r\n\r\n" + FIVE,
    "a space before the first field": b"GET " + PATH + b" HTTP/1.1\r\n host: localhost\r\n\r\n",
    "NUL in a value": POST + b"x: a\x00b\r\n\r\n" + SMUGGLED,
    "NUL in a name": POST + b"x\x00: b\r\n\r\n" + SMUGGLED,
    "a control character": POST + b"x: a\x01b\r\n\r\n" + SMUGGLED,
    "a name with parentheses": POST + b"x(y): 5\r\n\r\n" + SMUGGLED,
    "a name that is not ASCII": POST + b"x\xe9: 5\r\n\r\n" + SMUGGLED,
    "no name": POST + b": 5\r\n\r\n" + SMUGGLED,
    "no colon": POST + b"content-length\r\n\r\n" + SMUGGLED,
}
CHUNKS = {
    "a size with 0x": CHUNKED + b"0x5\r\nhello\r\n" + NO_BODY,
    "a size without end": CHUNKED + b"ffffffffffffffffff\r\nhello\r\n" + NO_BODY,
    "a size below zero": CHUNKED + b"-5\r\nhello\r\n" + NO_BODY,
    "a size with a plus": CHUNKED + b"+5\r\nhello\r\n" + NO_BODY,
    "a size and a space": CHUNKED + b"5 \r\nhello\r\n" + NO_BODY,
    "a size and a letter": CHUNKED + b"5g\r\nhello\r\n" + NO_BODY,
    "no size": CHUNKED + b"\r\nhello\r\n" + NO_BODY,
    "a size with a bare line feed": CHUNKED + b"5\nhello\r\n" + NO_BODY,
    "an extension with a bare line feed": CHUNKED + b"5;a\nhello\r\n" + NO_BODY,
    "an extension with a bare carriage return": CHUNKED + b"5;a\rb\r\nhello\r\n" + NO_BODY,
    "a chunk that ends in something else": CHUNKED + b"5\r\nhelloXX" + NO_BODY,
    "a chunk that ends in a bare line feed": CHUNKED + b"5\r\nhello\n" + NO_BODY,
    "a chunk that does not end": CHUNKED + b"5\r\nhello" + NO_BODY,
    "a bare line feed after the last chunk": CHUNKED + b"0\r\n\n" + SMUGGLED,
    "a trailer with Authorization": CHUNKED + b"0\r\nauthorization: Bearer x\r\n\r\n" + SMUGGLED,
    "a trailer with Content-Length": CHUNKED + b"0\r\ncontent-length: 5\r\n\r\n" + SMUGGLED,
    "a trailer with Transfer-Encoding": CHUNKED + b"0\r\ntransfer-encoding: chunked\r\n\r\n" + SMUGGLED,
    "a trailer with Host": CHUNKED + b"0\r\nhost: elsewhere\r\n\r\n" + SMUGGLED,
}
HOSTS = {
    "another host in the target": b"GET http://elsewhere" + PATH + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "a user before the host in the target": b"GET http://u@localhost/ HTTP/1.1\r\nhost: localhost\r\n\r\n",
    "two hosts": GET + b"host: elsewhere\r\n\r\n",
    "one host twice": GET + b"host: localhost\r\n\r\n",
    "no host": b"GET " + PATH + b" HTTP/1.1\r\n\r\n",
    "two hosts in a field": b"GET " + PATH + b" HTTP/1.1\r\nhost: localhost, elsewhere\r\n\r\n",
    "a host with a space": b"GET " + PATH + b" HTTP/1.1\r\nhost: local host\r\n\r\n",
    "a host with a path": b"GET " + PATH + b" HTTP/1.1\r\nhost: localhost/x\r\n\r\n",
    "a host with a user": b"GET " + PATH + b" HTTP/1.1\r\nhost: u@localhost\r\n\r\n",
}
OTHER_PROTOCOLS = {
    "HTTP/0.9 with fields": b"GET " + PATH + b"\r\nhost: localhost\r\n\r\n",
    "HTTP/0.9 with a bare line feed": b"GET " + PATH + b"\nhost: localhost\r\ncontent-length: 5\r\n\r\n" + FIVE,
    "HTTP/0.9 by name": b"GET " + PATH + b" HTTP/0.9\r\nhost: localhost\r\n\r\n",
    "HTTP/1.2": b"GET " + PATH + b" HTTP/1.2\r\nhost: localhost\r\n\r\n",
    "HTTP/2.0": b"GET " + PATH + b" HTTP/2.0\r\nhost: localhost\r\n\r\n",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("16030100c8010000c403") + bytes(190),
    "an upgrade with a body": POST
    + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: %d\r\n\r\n" % len(SMUGGLED)
    + SMUGGLED,
    "an upgrade with chunks": POST
    + b"connection: upgrade\r\nupgrade: h2c\r\ntransfer-encoding: chunked\r\n\r\n"
    + NO_BODY,
    "CONNECT": b"CONNECT localhost:443 HTTP/1.1\r\nhost: localhost\r\n\r\n" + SMUGGLED,
    "CONNECT to a path": b"CONNECT / HTTP/1.1\r\nhost: localhost\r\n\r\n" + SMUGGLED,
    "a method that is not ASCII": b"G\x80T " + PATH + b" HTTP/1.1\r\nhost: localhost\r\n\r\n" + SMUGGLED,
    "a method with a NUL": b"G\x00T " + PATH + b" HTTP/1.1\r\nhost: localhost\r\n\r\n" + SMUGGLED,
    "a method in lower case": b"get " + PATH + b" HTTP/1.1\r\nhost: localhost\r\n\r\n" + SMUGGLED,
}
REFUSED = {**LENGTHS, **CODINGS, **LINES, **CHUNKS, **HOSTS, **OTHER_PROTOCOLS}


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
def test_a_request_in_doubt_is_refused_and_the_connection_closed(server: RunningServer, sent: bytes) -> None:
    with connect(server) as connected:
        send(connected, sent)
        received = read_to_end(connected)

    assert [400] == statuses(received)
    assert "BadRequest" == json.loads(received.partition(b"\r\n\r\n")[2])["error"]["code"]
    assert b"\r\nconnection: close\r\n" in received


@pytest.mark.parametrize("sent", REFUSED.values(), ids=REFUSED)
def test_it_makes_no_difference_where_the_packets_end(server: RunningServer, sent: bytes) -> None:
    """Where the header is fine and the body is not, it may have been refused for another reason before."""
    head, end, rest = sent.partition(b"\r\n\r\n")
    with connect(server) as connected:
        for part in (head[:20], head[20:] + end, rest):
            send(connected, part)
        received = read_to_end(connected)

    assert 1 == len(statuses(received))
    assert statuses(received)[0] in (400, 401)


@pytest.mark.parametrize(
    "sent",
    {
        "a tab before the coding": POST + b"transfer-encoding:\tchunked\r\n\r\n" + b"0\r\n\r\n",
        "an extension of a chunk": CHUNKED + b'5;a=b;c="d"\r\nhello\r\n0\r\n\r\n',
        "an empty field": GET + b"x:\r\n\r\n",
        "the host in the target too": b"GET HTTP://LocalHost" + PATH + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "empty lines before it": b"\r\n\r\n" + GET + b"\r\n",
        "an upgrade without a body": GET + b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\n\r\n",
        "an upgrade with a body of no bytes": GET + b"connection: upgrade\r\nupgrade: h2c\r\ncontent-length: 0\r\n\r\n",
        "TRACE": b"TRACE " + PATH + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        "any field twice": GET + b"x: 1\r\nx: 2\r\n\r\n",
    }.items(),
    ids=lambda item: item[0],
)
def test_what_is_odd_but_in_no_doubt_ends_where_it_ends(server: RunningServer, sent: tuple[str, bytes]) -> None:
    expected = {"TRACE": 405, "a tab before the coding": 401, "an extension of a chunk": 401}.get(sent[0], 200)
    with connect(server) as connected:
        send(connected, sent[1] + GET + b"\r\n")

        assert [expected, 200] == read_statuses(connected, 2)


@pytest.mark.parametrize("field", [b"connection: close\r\n", b"connection: x, Close\r\n"], ids=["close", "and others"])
def test_nothing_is_read_after_the_last_request(server: RunningServer, field: bytes) -> None:
    with connect(server) as connected:
        send(connected, GET + field + b"\r\n" + SMUGGLED)

        assert [200] == statuses(read_to_end(connected))


@pytest.mark.parametrize("last", ["two lengths", "a size with 0x", "HTTP/2.0"])
def test_a_request_before_one_in_doubt_gets_its_own_answer_first(server: RunningServer, last: str) -> None:
    with connect(server) as connected:
        send(connected, GET + b"\r\n" + GET + b"\r\n" + REFUSED[last])

        assert [200, 200, 400] == statuses(read_to_end(connected))


def test_a_line_without_version_is_not_answered_as_a_request(server: RunningServer) -> None:
    """HTTP/0.9 had no header, so this was a whole request."""
    with connect(server) as connected:
        send(connected, b"GET " + PATH + b"\r\n\r\n")

        assert [400] == statuses(read_to_end(connected))
