"""The keys of an issuer over real sockets: fetched once for all, kept for a while, and given up in time."""

import asyncio
import json
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socket import create_connection, create_server, socket
from typing import Any

import pytest
from msgspec import Struct

from builders import NOON, FakeClock
from foreign import SECONDS, a_token, claims, jwk, signed_by_hand
from mintmark import fetching
from mintmark.bearer import TrustedIssuer
from mintmark.certificates import alternative_name, new_authority, new_certificate
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.errors import Forbidden, InvalidToken, IssuerUnavailable
from mintmark.fetching import MOST_BYTES
from mintmark.model import Resource
from mintmark.openid import BearerVerifier, IssuerKeys, trust
from mintmark.sources import system

pytestmark = pytest.mark.anyio

CONFIGURATION, KEYS = "/.well-known/openid-configuration", "/keys"
OLD, NEW = jwk("RS256"), jwk("ES256")
DEADLINE, PAUSE = 10, 0.005  # seconds
OTHER_RESOURCE = Resource("00000000-0000-4000-8000-000000000001", "other", "eu")


class Reply(Struct, frozen=True):
    """What the issuer answers at one path."""

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b""


class Issuer:
    """An issuer's server, which counts what it is asked."""

    def __init__(self, server: ThreadingHTTPServer, scheme: str = "http", host: str = "127.0.0.1") -> None:
        self.port = server.server_address[1]
        self.url = f"{scheme}://{host}:{self.port}"
        self.asked: Counter[str] = Counter()
        self.replies: dict[str, Reply] = {}
        self.open = threading.Event()  # Closed, requests arrive but are not answered.
        self.open.set()
        self.publish(OLD)
        self.say(CONFIGURATION, {"issuer": self.url, "jwks_uri": self.url + KEYS})

    def say(self, path: str, document: object, status: int = 200) -> None:
        self.replies[path] = Reply(status, {}, json.dumps(document).encode())

    def publish(self, *keys: dict[str, Any]) -> None:
        self.say(KEYS, {"keys": keys})

    def fail(self) -> None:
        self.replies[KEYS] = Reply(503)

    @property
    def fetches(self) -> int:
        return self.asked[KEYS]


def handler(issuer: Callable[[], Issuer]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            this = issuer()
            this.asked[self.path] += 1
            assert this.open.wait(DEADLINE)
            reply = this.replies.get(self.path, Reply(404))
            self.send_response(reply.status)
            for name, value in {"content-length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(reply.body)

        def do_CONNECT(self) -> None:
            """As a proxy: whatever the name, everything is on this machine."""
            this = issuer()
            this.asked[f"{self.path} {self.headers.get('proxy-authorization', '')}"] += 1
            self.send_response(200)
            self.end_headers()
            with create_connection(("127.0.0.1", int(self.path.rpartition(":")[2])), DEADLINE) as target:
                back = threading.Thread(target=pump, args=(target, self.connection))
                back.start()
                pump(self.connection, target)
                back.join(DEADLINE)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  the library's name
            pass

    return Handler


def pump(source: Any, sink: Any) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(1)


class QuietServer(ThreadingHTTPServer):
    """Says nothing of connections that were cut, which is what some tests are about."""

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@contextmanager
def running_issuer(certificate: Path | None = None, host: str = "127.0.0.1") -> Iterator[Issuer]:
    issuers: list[Issuer] = []
    server = QuietServer(("127.0.0.1", 0), handler(lambda: issuers[0]))
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    issuers.append(Issuer(server, "http" if certificate is None else "https", host))
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    try:
        yield issuers[0]
    finally:
        issuers[0].open.set()
        server.shutdown()
        server.server_close()
        serving.join(DEADLINE)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    with running_issuer() as running:
        yield running


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    """A private authority; `server.pem` beside it is a certificate that it signed."""
    now = system().now()
    authority = new_authority(now)
    server = new_certificate(authority, [alternative_name(name) for name in ("localhost", "issuer.test")], now)
    (tmp_path / "server.pem").write_bytes(bytes(server.certificate) + bytes(server.private_key))
    (tmp_path / "authority.pem").write_bytes(authority.certificate)
    return tmp_path / "authority.pem"


def its_keys(issuer: Issuer, clock: FakeClock, **settings: Any) -> IssuerKeys:
    return IssuerKeys(issuer.url, settings.pop("jwks_uri", ""), lambda: clock() / 1000, **settings)


async def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE
    while not holds():
        assert time.monotonic() < deadline
        await asyncio.sleep(PAUSE)


async def refreshed(source: IssuerKeys) -> None:
    """Waits for what goes on in the background."""
    await eventually(lambda: source._refresh is None)


class TestFetching:
    async def test_the_keys_are_found_by_discovery_and_fetched_once(self, issuer: Issuer, clock: FakeClock) -> None:
        source = its_keys(issuer, clock)

        assert [OLD] == await source.keys(OLD["kid"])
        assert [OLD] == await source.keys(None)
        assert {CONFIGURATION: 1, KEYS: 1} == issuer.asked

    async def test_where_their_address_is_set_nothing_is_discovered(self, issuer: Issuer, clock: FakeClock) -> None:
        source = its_keys(issuer, clock, jwks_uri=issuer.url + KEYS)

        assert [OLD] == await source.keys(OLD["kid"])
        assert {KEYS: 1} == issuer.asked

    async def test_the_address_keeps_its_query(self, issuer: Issuer, clock: FakeClock) -> None:
        issuer.say("/keys?p=policy", {"keys": [NEW]})

        assert [NEW] == await its_keys(issuer, clock, jwks_uri=issuer.url + "/keys?p=policy").keys(None)

    async def test_an_issuer_may_end_with_a_slash(self, issuer: Issuer, clock: FakeClock) -> None:
        """OpenID Connect Discovery 1.0, section 4.1: its slash is left out of the address, and stays in its name."""
        name = issuer.url + "/tenant/"
        issuer.say("/tenant" + CONFIGURATION, {"issuer": name, "jwks_uri": issuer.url + KEYS})

        assert [OLD] == await IssuerKeys(name, "", lambda: clock() / 1000).keys(None)

    async def test_fifty_at_once_are_one_fetch(self, issuer: Issuer, clock: FakeClock) -> None:
        source = its_keys(issuer, clock)
        issuer.open.clear()
        waiting = [asyncio.create_task(source.keys(OLD["kid"])) for _ in range(50)]
        await eventually(lambda: issuer.asked[CONFIGURATION] == 1)
        issuer.open.set()

        assert [[OLD]] * 50 == await asyncio.gather(*waiting)
        assert {CONFIGURATION: 1, KEYS: 1} == issuer.asked

    async def test_whoever_goes_away_leaves_the_fetch_to_the_others(self, issuer: Issuer, clock: FakeClock) -> None:
        source = its_keys(issuer, clock)
        issuer.open.clear()
        first, second = (asyncio.create_task(source.keys(OLD["kid"])) for _ in range(2))
        await eventually(lambda: issuer.asked[CONFIGURATION] == 1)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        issuer.open.set()

        assert [OLD] == await second
        assert {CONFIGURATION: 1, KEYS: 1} == issuer.asked

    async def test_what_else_is_in_a_key_set_does_no_harm(self, issuer: Issuer, clock: FakeClock) -> None:
        strange: dict[str, Any] = {"kty": "AKP", "kid": 1}
        issuer.say(KEYS, {"keys": [1, None, strange, OLD], "more": {}})

        assert [strange, OLD] == await its_keys(issuer, clock).keys(OLD["kid"])


REFUSED: list[tuple[str, str, Reply]] = [
    ("another issuer's configuration", "another issuer", Reply(body=b'{"issuer":"https://other","jwks_uri":"x"}')),
    ("a configuration without an issuer", "another issuer", Reply(body=b'{"jwks_uri":"https://a/keys"}')),
    ("no answer of that kind", "answered 404", Reply(404)),
    ("an error", "answered 500", Reply(500)),
    ("no content", "answered 204", Reply(204)),
    ("a redirect", "answered 302", Reply(302, {"location": KEYS})),
    ("a lasting redirect", "answered 308", Reply(308, {"location": KEYS})),
    ("HTML", "malformed", Reply(body=b"<!doctype html><title>Sign in</title>")),
    ("nothing", "truncated", Reply(body=b"")),
    ("a list", "not a JSON object", Reply(body=b"[]")),
    ("a huge answer", "more than 1048576 bytes", Reply(body=b" " * MOST_BYTES + b"{}")),
    ("deep JSON", "recursion", Reply(body=b"[" * 100_000)),
    ("what is not UTF-8", "utf-8", Reply(body=b'{"issuer":"\xff"}')),
    ("an answer that breaks off", "", Reply(headers={"content-length": "100"}, body=b"{")),
]


class TestRefusals:
    @pytest.mark.parametrize(("words", "reply"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED])
    async def test_no_configuration_no_keys(self, issuer: Issuer, clock: FakeClock, words: str, reply: Reply) -> None:
        issuer.replies[CONFIGURATION] = reply
        with pytest.raises(IssuerUnavailable) as refused:
            await its_keys(issuer, clock, timeout=1).keys("x")

        assert words in refused.value.reason
        assert issuer.url in refused.value.reason
        assert {CONFIGURATION: 1} == issuer.asked

    @pytest.mark.parametrize(
        "uri",
        [None, "", 1, "http://keys.example.com/", "file:///etc/passwd", "data:,{}", "//a", "https://a b/", []],
        ids=repr,
    )
    async def test_the_address_of_keys_must_be_safe_too(self, issuer: Issuer, clock: FakeClock, uri: object) -> None:
        issuer.say(CONFIGURATION, {"issuer": issuer.url, "jwks_uri": uri})
        with pytest.raises(IssuerUnavailable) as refused:
            await its_keys(issuer, clock).keys("x")

        assert "is not https" in refused.value.reason

    @pytest.mark.parametrize("document", [{}, {"keys": None}, {"keys": {}}, {"keys": "x"}, {"Keys": []}], ids=str)
    async def test_a_key_set_has_a_list_of_keys(self, issuer: Issuer, clock: FakeClock, document: object) -> None:
        issuer.say(KEYS, document)
        with pytest.raises(IssuerUnavailable) as refused:
            await its_keys(issuer, clock).keys("x")

        assert "no list of keys" in refused.value.reason

    async def test_an_issuer_that_is_not_there(self, clock: FakeClock) -> None:
        with running_issuer() as issuer:
            pass
        with pytest.raises(IssuerUnavailable) as refused:
            await its_keys(issuer, clock).keys("x")

        assert "refused" in refused.value.reason

    async def test_a_slow_issuer_is_not_waited_for(self, issuer: Issuer, clock: FakeClock) -> None:
        issuer.open.clear()
        source = its_keys(issuer, clock, timeout=0.05)
        with pytest.raises(IssuerUnavailable) as refused:
            await source.keys("x")

        assert "TimeoutError" in refused.value.reason

    @pytest.mark.parametrize("sent", [b"H", b"HTTP/1.1 200 OK\r\nx: ", b"HTTP/1.1 200 OK\r\n\r\n{"], ids=repr)
    async def test_an_issuer_that_never_ends_is_cut_off(self, clock: FakeClock, sent: bytes) -> None:
        cut = asyncio.Event()

        async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(sent)
            with suppress(OSError):
                while True:
                    writer.write(b" ")
                    await writer.drain()
                    await asyncio.sleep(PAUSE)
            cut.set()

        server = await asyncio.start_server(drip, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        with pytest.raises(IssuerUnavailable):
            await IssuerKeys(url, "", lambda: clock() / 1000, timeout=0.1).keys("x")

        async with asyncio.timeout(2):  # Sooner than the time-out of one read.
            await cut.wait()
        server.close()

    async def test_of_an_issuer_that_hangs_while_it_is_connected_there_is_one_fetch_at_a_time(
        self, clock: FakeClock, authority: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(fetching, "FETCH_SECONDS", DEADLINE)  # Else that would end it.
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        with create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(DEADLINE)
            url = f"https://localhost:{listener.getsockname()[1]}"
            source = IssuerKeys(url, "", lambda: clock() / 1000, timeout=0.05)
            for words in ("TimeoutError", "hangs still", "hangs still"):
                with pytest.raises(IssuerUnavailable):
                    await source.keys("x")
                assert words in source.failure
                clock.advance(seconds=1)

            said = await asyncio.to_thread(what_is_said, listener, authority.with_name("server.pem"))
            assert b"" == said, "it was asked although the fetch had been given up"
            await eventually(lambda: "fetch" not in {thread.name for thread in threading.enumerate()})
            with pytest.raises(IssuerUnavailable):
                await source.keys("x")
            assert "TimeoutError" in source.failure
            listener.accept()[0].close()
            listener.setblocking(False)
            with pytest.raises(BlockingIOError):
                listener.accept()

    def test_a_fetch_that_hangs_does_not_hold_up_the_end_of_the_process(self) -> None:
        with create_server(("127.0.0.1", 0)) as listener:
            url = f"https://localhost:{listener.getsockname()[1]}"
            ended = subprocess.run(
                [sys.executable, "-c", GIVES_UP, url], capture_output=True, text=True, check=False, timeout=DEADLINE
            )

        assert (0, "given up\n", "") == (ended.returncode, ended.stdout, ended.stderr)


GIVES_UP = """
import asyncio, os, sys, time
from mintmark import fetching
from mintmark.errors import IssuerUnavailable
from mintmark.openid import IssuerKeys

fetching.FETCH_SECONDS = 3600
try:
    asyncio.run(IssuerKeys(sys.argv[1], "", time.monotonic, timeout=0.05).keys("x"))
except IssuerUnavailable:
    print("given up", flush=True)
    os._exit(0)  # As a worker ends: OpenSSL must not be taken down while a thread is in it.
"""


def what_is_said(listener: socket, certificate: Path) -> bytes:
    """Takes a connection that waits, establishes TLS on it, and answers what comes first."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    connection, _ = listener.accept()
    connection.settimeout(DEADLINE)
    with connection, suppress(OSError), context.wrap_socket(connection, server_side=True) as secured:
        return secured.recv(1024)
    return b""


class TestKeeping:
    async def test_keys_are_fresh_for_ten_minutes(self, issuer: Issuer, clock: FakeClock) -> None:
        source = its_keys(issuer, clock)
        await source.keys(None)
        clock.advance(seconds=599)
        await source.keys(OLD["kid"])

        assert source._refresh is None
        assert 1 == issuer.fetches

    async def test_they_age_from_when_they_were_asked_for(self, issuer: Issuer, clock: FakeClock) -> None:
        source = its_keys(issuer, clock)
        issuer.open.clear()
        first = asyncio.create_task(source.keys(None))
        await eventually(lambda: issuer.asked[CONFIGURATION] == 1)
        clock.advance(minutes=10)
        issuer.open.set()
        await first
        clock.advance(seconds=30)
        await source.keys(None)
        await refreshed(source)

        assert 2 == issuer.fetches

    async def test_stale_keys_are_served_while_one_refresh_is_under_way(self, issuer: Issuer, clock: FakeClock) -> None:
        source = its_keys(issuer, clock)
        await source.keys(None)
        issuer.publish(NEW)
        issuer.open.clear()
        clock.advance(minutes=10)

        assert [[OLD]] * 50 == await asyncio.gather(*(source.keys(OLD["kid"]) for _ in range(50)))
        issuer.open.set()
        await refreshed(source)
        assert [NEW] == await source.keys(NEW["kid"])
        assert {CONFIGURATION: 2, KEYS: 2} == issuer.asked

    async def test_after_an_idle_hour_a_withdrawn_key_counts_no_more(self, issuer: Issuer, clock: FakeClock) -> None:
        source = its_keys(issuer, clock)
        await source.keys(None)
        issuer.publish(NEW)
        clock.advance(hours=1)

        assert [NEW] == await source.keys(OLD["kid"])

    async def test_a_set_without_a_key_is_a_mistake_and_throws_none_away(
        self, issuer: Issuer, clock: FakeClock
    ) -> None:
        source = its_keys(issuer, clock)
        await source.keys(None)
        issuer.publish()
        clock.advance(hours=1)

        assert [OLD] == await source.keys("unknown")
        assert "has no key that could be used" in source.failure

    async def test_a_new_key_is_fetched_when_a_token_names_it(self, issuer: Issuer, clock: FakeClock) -> None:
        source = its_keys(issuer, clock)
        await source.keys(None)
        issuer.publish(OLD, NEW)
        clock.advance(seconds=30)

        assert [OLD, NEW] == await source.keys(NEW["kid"])
        assert 2 == issuer.fetches

    async def test_but_made_up_names_are_one_fetch_in_half_a_minute(self, issuer: Issuer, clock: FakeClock) -> None:
        source = its_keys(issuer, clock)
        await source.keys(None)
        for second in range(60):
            clock.advance(seconds=1)
            assert [OLD] == await source.keys(f"made up {second}")

        assert 3 == issuer.fetches

    async def test_nor_do_they_make_more_fetches_of_an_issuer_that_is_down(
        self, issuer: Issuer, clock: FakeClock
    ) -> None:
        source = its_keys(issuer, clock)
        await source.keys(None)
        issuer.fail()
        for second in range(60):
            clock.advance(seconds=1)
            assert [OLD] == await source.keys(f"made up {second}")

        assert 3 == issuer.fetches

    async def test_whoever_knows_the_key_does_not_wait_for_who_does_not(self, issuer: Issuer, clock: FakeClock) -> None:
        source = its_keys(issuer, clock)
        await source.keys(None)
        clock.advance(seconds=30)
        issuer.open.clear()
        stranger = asyncio.create_task(source.keys("made up"))
        await eventually(lambda: issuer.asked[CONFIGURATION] == 2)

        assert [OLD] == await source.keys(OLD["kid"])
        assert not stranger.done()
        issuer.open.set()
        assert [OLD] == await stranger


class TestOutage:
    async def test_old_keys_are_served_for_a_day_and_not_a_moment_longer(
        self, issuer: Issuer, clock: FakeClock
    ) -> None:
        source = its_keys(issuer, clock)
        await source.keys(None)
        issuer.fail()
        for _ in range(23):
            clock.advance(hours=1)
            assert [OLD] == await source.keys(OLD["kid"])
        clock.advance(hours=1, seconds=-0.001)
        assert [OLD] == await source.keys(OLD["kid"])

        clock.advance(seconds=0.001)
        with pytest.raises(IssuerUnavailable) as refused:
            await source.keys(OLD["kid"])
        assert "answered 503" in refused.value.reason

    async def test_how_long_is_a_setting(self, issuer: Issuer, clock: FakeClock) -> None:
        source = its_keys(issuer, clock, max_age=60)
        await source.keys(None)
        issuer.fail()
        clock.advance(seconds=60)

        with pytest.raises(IssuerUnavailable):
            await source.keys(OLD["kid"])

    async def test_it_is_tried_every_half_minute_without_anybody_waiting(
        self, issuer: Issuer, clock: FakeClock
    ) -> None:
        source = its_keys(issuer, clock)
        await source.keys(None)
        issuer.fail()
        clock.advance(minutes=10)
        for _ in range(60):
            assert [OLD] == await source.keys(OLD["kid"])
            await refreshed(source)
            clock.advance(seconds=1)

        assert 3 == issuer.fetches
        assert "answered 503" in source.failure

    async def test_and_its_return_is_noticed(self, issuer: Issuer, clock: FakeClock) -> None:
        source = its_keys(issuer, clock)
        await source.keys(None)
        issuer.fail()
        clock.advance(minutes=10)
        await source.keys(None)
        await refreshed(source)
        issuer.publish(NEW)
        clock.advance(seconds=30)
        await source.keys(None)
        await refreshed(source)

        assert [NEW] == await source.keys(None)
        assert "" == source.failure

    async def test_without_any_keys_it_is_tried_again_a_second_later(self, issuer: Issuer, clock: FakeClock) -> None:
        source = its_keys(issuer, clock)
        issuer.fail()
        for _ in range(3):
            with pytest.raises(IssuerUnavailable) as refused:
                await source.keys("x")
            assert "answered 503" in refused.value.reason
        assert 1 == issuer.fetches

        issuer.publish(OLD)
        clock.advance(seconds=1)
        assert [OLD] == await source.keys(OLD["kid"])

    async def test_all_who_wait_are_told_of_the_failure(self, issuer: Issuer, clock: FakeClock) -> None:
        source = its_keys(issuer, clock)
        issuer.fail()
        told = await asyncio.gather(*(source.keys("x") for _ in range(50)), return_exceptions=True)

        assert {IssuerUnavailable} == {type(each) for each in told}
        assert 1 == issuer.fetches


class TestHttps:
    async def test_a_private_authority_is_trusted_where_the_environment_says_so(
        self, authority: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        with running_issuer(authority.with_name("server.pem"), "localhost") as issuer:
            assert [OLD] == await its_keys(issuer, clock).keys(OLD["kid"])

    @pytest.mark.parametrize(("trusted", "host"), [(False, "localhost"), (True, "127.0.0.1")], ids=["root", "name"])
    async def test_and_otherwise_refused(
        self, authority: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, *, trusted: bool, host: str
    ) -> None:
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        with running_issuer(authority.with_name("server.pem"), host) as issuer:
            with pytest.raises(IssuerUnavailable) as refused:
                await its_keys(issuer, clock).keys("x")
            assert {} == issuer.asked

        assert "CERTIFICATE_VERIFY_FAILED" in refused.value.reason

    @pytest.mark.parametrize("user", ["", "me:p%40ss@"], ids=["open", "with a password"])
    async def test_the_proxy_of_the_environment_is_asked(
        self, authority: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch, user: str
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        with running_issuer() as proxy, running_issuer(authority.with_name("server.pem"), "issuer.test") as issuer:
            monkeypatch.setenv("https_proxy", f"http://{user}127.0.0.1:{proxy.port}")

            assert [OLD] == await its_keys(issuer, clock).keys(OLD["kid"])
            name = f"issuer.test:{issuer.port} " + ("Basic bWU6cEBzcw==" if user else "")
            assert {name: 2} == proxy.asked

    async def test_but_not_for_what_is_on_this_machine(
        self, authority: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        with running_issuer() as proxy, running_issuer(authority.with_name("server.pem"), "localhost") as issuer:
            for variable in ("http_proxy", "https_proxy"):
                monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.port}")

            assert [OLD] == await its_keys(issuer, clock).keys(OLD["kid"])
            assert [OLD] == await its_keys(proxy, clock).keys(OLD["kid"])
            assert {CONFIGURATION: 1, KEYS: 1} == proxy.asked


def a_verifier(clock: FakeClock, *trusted: TrustedIssuer) -> BearerVerifier:
    return BearerVerifier(trust(trusted, lambda: clock() / 1000), lambda: [clock()])


class TestVerifying:
    async def test_a_token_answers_its_claims(self, issuer: Issuer, clock: FakeClock) -> None:
        verifier = a_verifier(clock, TrustedIssuer(issuer.url))
        said = claims(iss=issuer.url)

        assert said == await verifier.verify(a_token(said), DEVELOPMENT_RESOURCE)

    async def test_a_token_of_nobody_who_is_trusted_is_refused_without_asking_anybody(
        self, issuer: Issuer, clock: FakeClock
    ) -> None:
        verifier = a_verifier(clock, TrustedIssuer(issuer.url))
        for said in (claims(), claims(iss=None), claims(iss=issuer.url + "/"), claims(iss=[issuer.url])):
            with pytest.raises(InvalidToken, match="not trusted"):
                await verifier.verify(signed_by_hand({}, json.dumps(said).encode()), DEVELOPMENT_RESOURCE)

        assert {} == issuer.asked

    @pytest.mark.parametrize("token", ["", "a.b.c", "." * 20_000], ids=["empty", "no token", "giant"])
    async def test_what_is_no_token_is_refused(self, clock: FakeClock, issuer: Issuer, token: str) -> None:
        with pytest.raises(InvalidToken):
            await a_verifier(clock, TrustedIssuer(issuer.url)).verify(token, DEVELOPMENT_RESOURCE)

        assert {} == issuer.asked

    async def test_time_passes_and_the_token_expires(self, issuer: Issuer, clock: FakeClock) -> None:
        verifier = a_verifier(clock, TrustedIssuer(issuer.url))
        token = a_token(claims(iss=issuer.url))
        clock.advance(hours=1)

        with pytest.raises(InvalidToken, match="has expired"):
            await verifier.verify(token, DEVELOPMENT_RESOURCE)

    async def test_the_second_of_two_clocks_counts_too(self, issuer: Issuer, clock: FakeClock) -> None:
        pairs = trust([TrustedIssuer(issuer.url)], lambda: clock() / 1000)
        verifier = BearerVerifier(pairs, lambda: [clock() + 10**12, NOON])

        assert SECONDS == (await verifier.verify(a_token(claims(iss=issuer.url)), DEVELOPMENT_RESOURCE))["iat"]

    async def test_a_token_signed_by_a_rotated_key_is_accepted(self, issuer: Issuer, clock: FakeClock) -> None:
        verifier, said = a_verifier(clock, TrustedIssuer(issuer.url)), claims(iss=issuer.url)
        await verifier.verify(a_token(said), DEVELOPMENT_RESOURCE)
        issuer.publish(NEW)
        clock.advance(seconds=30)

        assert said == await verifier.verify(a_token(said, "ES256"), DEVELOPMENT_RESOURCE)
        with pytest.raises(InvalidToken, match="not in the key set"):
            await verifier.verify(a_token(said), DEVELOPMENT_RESOURCE)

    async def test_an_issuer_counts_for_the_resources_that_are_named(self, issuer: Issuer, clock: FakeClock) -> None:
        verifier = a_verifier(clock, TrustedIssuer(issuer.url, resources=("other",)))
        token = a_token(claims(iss=issuer.url))

        await verifier.verify(token, OTHER_RESOURCE)
        with pytest.raises(InvalidToken, match="not trusted for this resource"):
            await verifier.verify(token, DEVELOPMENT_RESOURCE)

    async def test_of_several_entries_any_that_accepts_is_enough(self, issuer: Issuer, clock: FakeClock) -> None:
        one = TrustedIssuer(issuer.url, audiences=("one",))
        two = TrustedIssuer(issuer.url, audiences=("two",), resources=("other",))
        verifier = a_verifier(clock, one, two)

        for audience, resource in (("one", DEVELOPMENT_RESOURCE), ("one", OTHER_RESOURCE), ("two", OTHER_RESOURCE)):
            await verifier.verify(a_token(claims(iss=issuer.url, aud=audience)), resource)
        with pytest.raises(InvalidToken, match="another audience"):
            await verifier.verify(a_token(claims(iss=issuer.url, aud="two")), DEVELOPMENT_RESOURCE)
        assert {CONFIGURATION: 1, KEYS: 1} == issuer.asked

    async def test_and_their_keys_are_apart_where_their_addresses_are(self, issuer: Issuer, clock: FakeClock) -> None:
        issuer.say("/other", {"keys": [NEW]})
        verifier = a_verifier(
            clock, TrustedIssuer(issuer.url), TrustedIssuer(issuer.url, jwks_uri=issuer.url + "/other")
        )

        for algorithm in ("RS256", "ES256"):
            await verifier.verify(a_token(claims(iss=issuer.url), algorithm), DEVELOPMENT_RESOURCE)

    @pytest.mark.parametrize("order", [1, -1], ids=["in order", "reversed"])
    async def test_without_the_role_it_is_forbidden(self, issuer: Issuer, clock: FakeClock, order: int) -> None:
        entries = [TrustedIssuer(issuer.url, roles=("minter",)), TrustedIssuer(issuer.url, audiences=("other",))]
        verifier = a_verifier(clock, *entries[::order])
        with pytest.raises(Forbidden, match="minter"):
            await verifier.verify(a_token(claims(iss=issuer.url)), DEVELOPMENT_RESOURCE)

        await verifier.verify(a_token(claims(iss=issuer.url, roles=["minter"])), DEVELOPMENT_RESOURCE)

    @pytest.mark.parametrize("order", [1, -1], ids=["in order", "reversed"])
    async def test_without_keys_nothing_is_certain(self, issuer: Issuer, clock: FakeClock, order: int) -> None:
        entries = [
            TrustedIssuer(issuer.url, jwks_uri=issuer.url + "/nothing"),
            TrustedIssuer(issuer.url, roles=("minter",)),
        ]
        with pytest.raises(IssuerUnavailable, match="Try again"):
            await a_verifier(clock, *entries[::order]).verify(a_token(claims(iss=issuer.url)), DEVELOPMENT_RESOURCE)

    async def test_the_issuer_of_a_forged_token_gains_nothing(self, issuer: Issuer, clock: FakeClock) -> None:
        """The unverified `iss` only chooses whose keys have to fit: another trusted issuer's do not."""
        with running_issuer() as other:
            other.publish(NEW)
            verifier = a_verifier(clock, TrustedIssuer(issuer.url), TrustedIssuer(other.url))
            forged = a_token(claims(iss=issuer.url), "ES256")

            with pytest.raises(InvalidToken, match="not in the key set"):
                await verifier.verify(forged, DEVELOPMENT_RESOURCE)
