"""No input gives a 5xx, and every refusal stands in the ACS envelope."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders import ISSUER, NOON, SEALER, FakeClock, counted_sources, signed_headers
from mintmark.compose import open_service
from mintmark.doors.dev import fill_store
from mintmark.shared import SharedWords
from mintmark.store.sqlite import SqliteStore
from mintmark.web import Application, build_public_app
from mintmark.web.endpoint import Cors
from web.asgi_client import Reply, call

TARGET = "/identities?api-version=2023-10-01"
EXAMPLES = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20) | st.just("chat"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)


class Running:
    """An application and the loop that it lives in, for tests that are not coroutines."""

    def __init__(self, folder: Path) -> None:
        self.runner = asyncio.Runner()
        self.app: Application
        self.store: SqliteStore
        self.runner.run(self._open(folder))

    async def _open(self, folder: Path) -> None:
        self.store = SqliteStore(folder / "mintmark.db")
        sources = counted_sources(FakeClock())
        await fill_store(self.store, SEALER, "ES256", sources)
        service = await open_service(self.store, SEALER, "ES256", ISSUER, sources, SharedWords(), development=True)
        self.app = build_public_app(service, sources, cors=Cors(any=True))

    def call(self, method: str, target: str, headers: list[tuple[bytes, bytes]], body: bytes) -> Reply:
        return self.runner.run(call(self.app, method, target, headers, body))


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    started = Running(tmp_path_factory.mktemp("fuzz"))
    yield started
    started.runner.run(started.store.close())
    started.runner.close()


def check(reply: Reply) -> None:
    assert reply.status < 500
    if reply.status >= 400 and reply.body:  # HEAD has none.
        assert reply.error["code"]


@EXAMPLES
@given(body=st.binary(max_size=200))
def test_any_bytes_signed_well(running: Running, body: bytes) -> None:
    check(running.call("POST", TARGET, signed_headers("POST", TARGET, body), body))


@EXAMPLES
@given(
    body=st.fixed_dictionaries({}, optional={"createTokenWithScopes": JSON_VALUES, "expiresInMinutes": JSON_VALUES})
    | JSON_VALUES
)
def test_any_json_signed_well(running: Running, body: object) -> None:
    content = json.dumps(body).encode()
    reply = running.call("POST", TARGET, signed_headers("POST", TARGET, content), content)

    check(reply)
    assert reply.status in (201, 400)


@EXAMPLES
@given(
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE", "OPTIONS", "HEAD", "TRACE"])
    | st.text("ABCXYZ-", min_size=1),
    path=st.sampled_from(["/identities", "/.well-known/jwks.json", "/", "/identities/8%3Aacs%3Ax"])
    | st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="?#"), max_size=40).map(
        "/{}".format
    ),
    query=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60)
    | st.sampled_from(["api-version=2023-10-01", "api-version=%00", "api-version=2030-01-01&api-version=x"]),
)
def test_any_method_and_target(running: Running, method: str, path: str, query: str) -> None:
    check(running.call(method, f"{path}?{query}", [(b"host", b"localhost")], b""))


HEADER_NAMES = st.sampled_from(
    b"authorization host date x-ms-date x-ms-content-sha256 content-type content-length x-ms-client-request-id origin "
    b"access-control-request-method access-control-request-headers x-ms-hmac-string-to-sign-base64".split()
)


@EXAMPLES
@given(
    extra=st.lists(st.tuples(HEADER_NAMES, st.binary(max_size=40)), max_size=5),
    dropped=st.sets(st.integers(0, 6), max_size=3),
)
def test_any_headers(running: Running, extra: list[tuple[bytes, bytes]], dropped: set[int]) -> None:
    headers = [header for place, header in enumerate(signed_headers("POST", TARGET, b"{}")) if place not in dropped]

    check(running.call("POST", TARGET, headers + extra, b"{}"))


@EXAMPLES
@given(
    names=st.lists(
        st.sampled_from(["x-ms-date", "date", "host", "x-ms-content-sha256", "content-type", ""]), max_size=6
    ),
    signature=st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60),
    date=st.text(max_size=30) | st.just("Mon, 23 Nov 2026 12:00:00 GMT"),
)
def test_any_authorization(running: Running, names: list[str], signature: str, date: str) -> None:
    value = f"HMAC-SHA256 SignedHeaders={';'.join(names)}&Signature={signature}".encode()
    headers = [header for header in signed_headers("POST", TARGET, now=NOON) if header[0] != b"authorization"]
    reply = running.call("POST", TARGET, [*headers, (b"authorization", value), (b"date", date.encode())], b"")

    check(reply)
    assert reply.status in (400, 401)
