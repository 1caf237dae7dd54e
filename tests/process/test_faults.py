"""Faults on demand over real sockets: each kind, over HTTP and HTTPS, used up exactly however many workers serve."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from http.client import RemoteDisconnected
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from calls import Answer, ask
from mintmark.faults import OPERATIONS
from process.calling import admin, signed
from process.connections import connected_to_each
from process.raw import connect, read_to_end, send
from process.watching import eventually
from running import RunningServer, running_server

WORKERS = 3
PREVIEW = "2025-03-02-preview"
LONG = 3_000  # milliseconds


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with running_server("--ephemeral", "--workers", str(WORKERS), "--quiet") as started:
        yield started


@pytest.fixture
def server(running: RunningServer) -> Iterator[RunningServer]:
    """Without a fault."""
    yield running
    assert 204 == admin(running, "DELETE", "faults").status


@pytest.fixture(params=["http", "https"])
def address(request: pytest.FixtureRequest, server: RunningServer) -> str:
    return server.http_endpoint if request.param == "http" else server.https_endpoint


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """A custom id of the test's own."""
    return str(request.node.name)


def add(server: RunningServer, **fault: object) -> Answer:
    return admin(server, "POST", "faults", fault)


def left(server: RunningServer) -> list[dict[str, Any]]:
    faults: list[dict[str, Any]] = admin(server, "GET", "faults").json["faults"]
    return faults


def create(server: RunningServer, address: str = "", name: str | None = None) -> Answer:
    body = {} if name is None else {"customId": name}
    return signed(server, "POST", "/identities", body, address=address, version=PREVIEW)


def exists(server: RunningServer, name: str) -> bool:
    """Whether there is an identity of that custom id."""
    return bool(admin(server, "GET", f"identities?customId={quote(name)}").json["identities"])


class TestKinds:
    @pytest.mark.parametrize(
        ("status", "code"),
        [
            (429, "TooManyRequests"),
            (500, "InternalServerError"),
            (503, "ServiceUnavailable"),
            (400, "Fault"),
            (599, "Fault"),
        ],
    )
    def test_a_status_in_the_envelope(
        self, server: RunningServer, address: str, status: int, code: str, name: str
    ) -> None:
        assert 200 == add(server, operation="create", status=status).status

        faulty, after = create(server, address, name), create(server, address)

        assert (status, code) == (faulty.status, faulty.json["error"]["code"])
        assert "asked for" in faulty.json["error"]["message"]
        assert "retry-after" not in faulty.headers
        assert "api-supported-versions" in faulty.headers
        assert not exists(server, name)
        assert 201 == after.status

    @pytest.mark.parametrize("seconds", [0, 7, 3600])
    def test_a_status_with_the_time_to_wait(self, server: RunningServer, address: str, seconds: int) -> None:
        add(server, status=503, retryAfter=seconds)

        faulty = create(server, address)

        assert (503, str(seconds)) == (faulty.status, faulty.headers["retry-after"])

    def test_a_delay_before_the_usual_answer(self, server: RunningServer, address: str) -> None:
        add(server, delay=120)

        start = time.monotonic()
        slow = create(server, address)
        took = time.monotonic() - start

        assert 201 == slow.status
        assert took >= 0.12

    def test_a_delay_before_a_status(self, server: RunningServer, address: str) -> None:
        add(server, delay=120, status=500)

        start = time.monotonic()
        assert 500 == create(server, address).status
        assert time.monotonic() - start >= 0.12

    def test_a_connection_closed_instead_of_an_answer(self, server: RunningServer, address: str, name: str) -> None:
        add(server, drop=True)

        with pytest.raises((RemoteDisconnected, ConnectionResetError)):
            create(server, address, name)

        assert not exists(server, name)
        assert 201 == create(server, address, name).status

    def test_the_same_after_the_operation_was_carried_out(self, server: RunningServer, address: str, name: str) -> None:
        add(server, drop=True, when="after")

        with pytest.raises((RemoteDisconnected, ConnectionResetError)):
            create(server, address, name)

        assert exists(server, name)
        assert 200 == create(server, address, name).status

    def test_a_status_after_the_operation_was_carried_out(self, server: RunningServer, address: str, name: str) -> None:
        add(server, status=500, when="after")

        assert 500 == create(server, address, name).status

        assert exists(server, name)

    def test_a_refused_request_stays_refused_behind_a_mere_delay(self, server: RunningServer, address: str) -> None:
        add(server, delay=1, when="after")

        refused = signed(server, "POST", "/identities", {}, key=b"nobody's", address=address)

        assert (401, "Denied") == (refused.status, refused.json["error"]["code"])


def ask_for(server: RunningServer, operation: str, identity: str) -> int:
    method, path, body = {
        "create": ("POST", "/identities", None),
        "get": ("GET", f"/identities/{identity}", None),
        "issue": ("POST", f"/identities/{identity}/:issueAccessToken", {"scopes": ["chat"]}),
        "revoke": ("POST", f"/identities/{identity}/:revokeAccessTokens", None),
        "delete": ("DELETE", f"/identities/{identity}", None),
        "exchange": ("POST", "/teamsUser/:exchangeAccessToken", {}),
    }[operation]
    return signed(server, method, path, body, version=PREVIEW).status


class TestWhich:
    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_a_fault_befalls_its_own_operation_only(self, server: RunningServer, operation: str) -> None:
        identity = create(server).json["identity"]["id"]
        add(server, operation=operation, status=418)

        others = {each: ask_for(server, each, identity) for each in OPERATIONS if each not in (operation, "delete")}
        itself = ask_for(server, operation, identity)

        assert 418 == itself
        assert 401 == others.pop("exchange", 401)  # of the token that it lacks
        assert all(status < 300 for status in others.values()), others
        assert [] == left(server)

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_a_star_befalls_any(self, server: RunningServer, operation: str) -> None:
        identity = create(server).json["identity"]["id"]
        add(server, status=418)

        assert 418 == ask_for(server, operation, identity)

    def test_faults_happen_in_the_order_in_which_they_were_added(self, server: RunningServer) -> None:
        add(server, status=500, count=2)
        add(server, status=503)
        add(server, operation="create", status=429)

        assert [500, 500, 503, 429, 201] == [create(server).status for _ in range(5)]

    def test_an_operation_skips_the_faults_of_others(self, server: RunningServer) -> None:
        add(server, operation="revoke", status=500)
        add(server, operation="create", status=503)

        assert [503, 201] == [create(server).status for _ in range(2)]
        assert ["revoke"] == [each["operation"] for each in left(server)]

    def test_the_list_has_what_is_left(self, server: RunningServer) -> None:
        asked = add(server, operation="create", status=503, retryAfter=1, count=3)
        create(server)

        assert 200 == asked.status
        assert [{"operation": "create", "status": 503, "retryAfter": 1, "count": 3}] == asked.json["faults"]
        assert [{"operation": "create", "status": 503, "retryAfter": 1, "count": 2}] == left(server)

    def test_cleared_they_are_gone(self, server: RunningServer) -> None:
        add(server, status=500, count=100)
        add(server, drop=True)

        cleared = admin(server, "DELETE", "faults")

        assert (204, b"") == (cleared.status, cleared.body)
        assert [] == left(server)
        assert 201 == create(server).status

    def test_nothing_happens_on_the_admin_listener_or_to_what_relying_parties_read(self, server: RunningServer) -> None:
        add(server, status=500, count=100)
        add(server, drop=True, count=100)

        asked = [
            *(admin(server, "GET", path) for path in ("live", "ready", "identities", "resources", "clock", "faults")),
            admin(server, "POST", "identities", {}),
            admin(server, "POST", "introspect", {"token": "x"}),
            *(ask(server.http_endpoint, f"/.well-known/{path}") for path in ("jwks.json", "openid-configuration")),
            ask(server.https_endpoint, "/.well-known/jwks.json", ca=server.ca),
        ]

        assert {200, 201} == {answer.status for answer in asked}
        assert 404 == ask(server.http_endpoint, "/nothing").status
        assert [100, 100] == [each["count"] for each in left(server)]


@pytest.mark.anyio
async def test_a_count_is_used_up_exactly_by_all_workers_together(server: RunningServer) -> None:
    add(server, operation="create", status=503, count=150)
    add(server, operation="create", status=429, count=50)
    add(server, operation="delete", status=500)
    async with connected_to_each(server, WORKERS, 6) as by_worker:
        answers: Counter[int] = Counter()

        async def ask_often(connection: Any) -> None:
            for _ in range(20):
                answers[(await connection.sign("POST", "/identities")).status] += 1

        await asyncio.gather(*(ask_often(each) for those in by_worker.values() for each in those))

    assert {503: 150, 429: 50, 201: WORKERS * 6 * 20 - 200} == dict(answers)
    assert ["delete"] == [each["operation"] for each in left(server)]


@pytest.mark.anyio
async def test_a_long_delay_holds_up_nobody_else(server: RunningServer) -> None:
    async with connected_to_each(server, WORKERS, 2) as by_worker:
        for slow, other in by_worker.values():
            add(server, operation="create", delay=LONG)
            waiting = asyncio.ensure_future(slow.sign("POST", "/identities"))
            await asyncio.to_thread(eventually, "the fault befalls it", lambda: not left(server))
            assert 201 == (await other.sign("POST", "/identities")).status
            assert not waiting.done()
            waiting.cancel()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "A fault needs a status, a delay or drop."),
        ({"operation": "create", "count": 3}, "A fault needs a status, a delay or drop."),
        ({"operation": "sign", "status": 500}, "operation"),
        ({"status": 399}, "status"),
        ({"status": 600}, "status"),
        ({"status": "500"}, "status"),
        ({"status": 500, "count": 0}, "count"),
        ({"status": 500, "count": 1_000_001}, "count"),
        ({"status": 500, "retryAfter": -1}, "retryAfter"),
        ({"status": 500, "retryAfter": 3601}, "retryAfter"),
        ({"delay": 600_001}, "delay"),
        ({"delay": -1}, "delay"),
        ({"drop": 1}, "drop"),
        ({"drop": True, "when": "never"}, "when"),
        ({"status": 500, "retry_after": 1}, "retry_after"),
        ([], "object"),
        (None, "body is required"),
    ],
)
def test_bad_input_is_refused_by_name_and_adds_nothing(server: RunningServer, body: object, words: str) -> None:
    refused = admin(server, "POST", "faults", body)

    assert (400, "ValidationError") == (refused.status, refused.json["error"]["code"])
    assert words in refused.json["error"]["message"]
    assert [] == left(server)


@pytest.mark.long
def test_faults_of_an_old_server_do_not_haunt_a_new_one_on_the_same_data(tmp_path: Path) -> None:
    flags = ("--data", str(tmp_path / "data"), "--quiet")
    with running_server(*flags) as first:
        add(first, status=500, count=1000)
        assert 500 == create(first).status
    with running_server(*flags) as second:
        assert [] == left(second)
        assert 201 == create(second).status
        add(second, status=503)
        assert [503, 201] == [create(second).status for _ in range(2)]


def test_a_fault_that_hangs_up_on_several_requests_of_one_connection_leaves_nothing_behind() -> None:
    with running_server("--ephemeral", "--quiet") as server:
        add(server, drop=True)
        request = b"POST /identities?api-version=2023-10-01 HTTP/1.1\r\nhost: localhost\r\ncontent-length: 2\r\n\r\n{}"
        with connect(server) as connected:
            send(connected, request * 2)
            assert b"" == read_to_end(connected)
        began = time.monotonic()
    assert time.monotonic() - began < 5  # The stop waits ten seconds for requests under way.
