"""The clock of `mintmark dev`, moved over HTTP and from the command line: all that asks for the time follows it."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from calls import Answer
from mintmark.sources import system
from mintmark.web.wire import moment
from process.calling import admin, introspected, signed
from process.connections import connected_to_each
from running import MINTMARK, RunningServer, running_server

WORKERS = 2
SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000  # milliseconds
TOLERANCE = 20 * SECOND  # of a busy machine
DAY_LONG = {"createTokenWithScopes": ["chat"]}
HOUR_LONG = {**DAY_LONG, "expiresInMinutes": 60}
THEN = 4_102_444_800_000  # 2100-01-01 00:00 UTC, far from whenever this runs
BEGIN, END = 1_577_865_600_000, 32_503_680_000_000  # 2020 to 3000


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with running_server("--ephemeral", "--workers", str(WORKERS), "--quiet") as started:
        yield started


@pytest.fixture
def server(running: RunningServer) -> Iterator[RunningServer]:
    """With real time at first."""
    yield running
    assert 200 == move(running, "resume").status


def move(server: RunningServer, action: str, **more: object) -> Answer:
    return admin(server, "POST", "clock", {"action": action, **more})


def stop_at(server: RunningServer, now: int) -> None:
    assert 200 == move(server, "freeze").status
    assert now == move(server, "set", now=now).json["now"]


def shown(server: RunningServer) -> dict[str, Any]:
    answer = admin(server, "GET", "clock")
    assert (200, "no-store") == (answer.status, answer.headers["cache-control"])
    state: dict[str, Any] = answer.json
    return state


def create(server: RunningServer, now: int, body: object = None) -> Answer:
    return signed(server, "POST", "/identities", HOUR_LONG if body is None else body, now=now)


def claims(token: str) -> dict[str, Any]:
    said: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return said


def is_real(state: dict[str, Any]) -> bool:
    return abs(state["now"] - system().now()) < TOLERANCE and (False, 0) == (state["frozen"], state["offset"])


class TestMoves:
    def test_at_first_it_is_real_time(self, server: RunningServer) -> None:
        state = shown(server)

        assert {"now", "time", "frozen", "offset"} == set(state)
        assert is_real(state)
        assert moment(state["now"]) == state["time"]

    def test_frozen_it_stands_while_time_goes_on(self, server: RunningServer) -> None:
        state = move(server, "freeze").json
        while system().now() <= state["now"] + 5:
            time.sleep(0.001)
        later = shown(server)

        assert (True, state["now"], state["time"]) == (later["frozen"], later["now"], later["time"])
        assert later["offset"] < state["offset"] + 1 <= 1

    def test_frozen_it_advances_to_the_millisecond_and_stays_frozen(self, server: RunningServer) -> None:
        stop_at(server, THEN)

        moved = [move(server, "advance", milliseconds=each).json for each in (1, 23 * HOUR, -24 * HOUR)]

        assert [THEN + 1, THEN + 1 + 23 * HOUR, THEN + 1 - HOUR] == [state["now"] for state in moved]
        assert all(state["frozen"] for state in moved)

    def test_running_it_advances_and_runs_on(self, server: RunningServer) -> None:
        state = move(server, "advance", milliseconds=HOUR).json
        again = move(server, "advance", milliseconds=HOUR).json

        assert [(False, HOUR), (False, 2 * HOUR)] == [(each["frozen"], each["offset"]) for each in (state, again)]
        assert 0 <= again["now"] - state["now"] - HOUR < TOLERANCE
        while shown(server)["now"] == again["now"]:
            time.sleep(0.001)

    def test_set_it_runs_on_from_there(self, server: RunningServer) -> None:
        state = move(server, "set", now=THEN).json
        while shown(server)["now"] <= state["now"]:
            time.sleep(0.001)

        assert not state["frozen"]
        assert 0 <= state["now"] - THEN < TOLERANCE

    def test_resumed_it_is_real_time_again(self, server: RunningServer) -> None:
        stop_at(server, THEN)

        assert is_real(move(server, "resume").json)
        assert is_real(shown(server))

    def test_frozen_twice_it_still_stands_where_it_stood(self, server: RunningServer) -> None:
        stop_at(server, THEN)

        assert THEN == move(server, "freeze").json["now"]

    @pytest.mark.parametrize("now", [BEGIN, END - 1])
    def test_at_the_ends_of_time_it_still_serves(self, server: RunningServer, now: int) -> None:
        stop_at(server, now)

        created = create(server, now)

        assert 201 == created.status
        assert moment(now // SECOND * SECOND + HOUR) == created.json["accessToken"]["expiresOn"]
        assert introspected(server, created.json["accessToken"]["token"])["active"]


class TestWhatFollows:
    def test_a_token_is_issued_and_expires_by_it(self, server: RunningServer) -> None:
        stop_at(server, THEN + 999)

        issued = create(server, THEN).json["accessToken"]

        said = claims(issued["token"])
        assert (THEN // SECOND, THEN // SECOND, (THEN + HOUR) // SECOND) == (said["iat"], said["nbf"], said["exp"])
        assert "2100-01-01T01:00:00.0000000+00:00" == issued["expiresOn"]

    def test_it_lives_to_its_last_millisecond_and_not_beyond(self, server: RunningServer) -> None:
        stop_at(server, THEN)
        token = create(server, THEN, DAY_LONG).json["accessToken"]["token"]
        said = []
        for step in (23 * HOUR, HOUR - 1, 1):
            move(server, "advance", milliseconds=step)
            said.append(introspected(server, token))

        assert [True, True, False] == [each["active"] for each in said]
        assert "The token has expired." == said[2]["reason"]

    def test_before_its_time_it_does_not_hold_yet(self, server: RunningServer) -> None:
        stop_at(server, THEN)
        token = create(server, THEN).json["accessToken"]["token"]
        move(server, "advance", milliseconds=-1)

        assert "The token is not valid yet." == introspected(server, token)["reason"]

    def test_a_revoked_one_stays_dead_wherever_the_clock_goes(self, server: RunningServer) -> None:
        stop_at(server, THEN)
        created = create(server, THEN).json
        move(server, "advance", milliseconds=MINUTE)
        path = f"/identities/{created['identity']['id']}/:revokeAccessTokens"
        assert 204 == signed(server, "POST", path, now=THEN + MINUTE).status

        for now in (THEN, THEN + MINUTE - 1, THEN + MINUTE, THEN + 59 * MINUTE):
            move(server, "set", now=now)
            assert "The token was revoked." == introspected(server, created["accessToken"]["token"])["reason"]

    @pytest.mark.parametrize("skew", [-901, -900, -1, 0, 1, 900, 901])
    def test_a_signature_is_fresh_by_it(self, server: RunningServer, skew: int) -> None:
        stop_at(server, THEN)

        answer = create(server, THEN + skew * SECOND)

        assert (201 if abs(skew) <= 900 else 401) == answer.status
        if abs(skew) > 900:
            assert "The signed date is 901 seconds" in answer.json["error"]["message"]

    @pytest.mark.parametrize("hours", [1, -1, 24 * 365 * 100])
    def test_an_sdk_that_signs_by_real_time_is_served_on(self, server: RunningServer, hours: int) -> None:
        """It cannot be told of the moved clock; what it gets is by that clock all the same."""
        move(server, "advance", milliseconds=hours * HOUR)

        by_real_time, by_its_clock = create(server, system().now()), create(server, shown(server)["now"])
        by_neither = create(server, system().now() + hours * HOUR // 2)

        assert (201, 201, 401) == (by_real_time.status, by_its_clock.status, by_neither.status)
        assert "Denied" == by_neither.json["error"]["code"]
        for created in (by_real_time, by_its_clock):
            token = created.json["accessToken"]["token"]
            assert abs(claims(token)["iat"] * SECOND - shown(server)["now"]) < TOLERANCE
            assert introspected(server, token)["active"]

    def test_what_is_known_of_an_identity_has_its_times(self, server: RunningServer) -> None:
        stop_at(server, THEN)
        identity = create(server, THEN, {}).json["identity"]["id"]
        move(server, "advance", milliseconds=HOUR + 1)
        path = f"/identities/{identity}/:issueAccessToken"
        assert 200 == signed(server, "POST", path, {"scopes": ["chat"]}, now=THEN + HOUR).status

        known = admin(server, "GET", f"identities/{identity}").json

        assert (moment(THEN), moment(THEN + HOUR + 1)) == (known["createdAt"], known["lastTokenIssuedAt"])

    @pytest.mark.anyio
    async def test_every_worker_has_the_same(self, server: RunningServer) -> None:
        async with connected_to_each(server, WORKERS, 2) as by_worker:
            for hours in range(10):
                now = THEN + hours * HOUR
                stop_at(server, now)
                for connection in (each for those in by_worker.values() for each in those):
                    created = await connection.sign("POST", "/identities", HOUR_LONG, now=now)
                    assert (201, moment(now + HOUR)) == (created.status, created.json["accessToken"]["expiresOn"])


@pytest.mark.parametrize(
    ("body", "target", "words"),
    [
        ({"action": "advance"}, "milliseconds", "milliseconds is required"),
        ({"action": "set"}, "now", "now is required"),
        ({"action": "advance", "now": THEN}, "milliseconds", "milliseconds is required"),
        ({"action": "set", "now": END}, "now", "outside the years 2020 to 2999"),
        ({"action": "set", "now": -1}, "now", "outside the years 2020 to 2999"),
        ({"action": "set", "now": 10**30}, "now", "outside the years 2020 to 2999"),
        ({"action": "advance", "milliseconds": END}, "milliseconds", "outside the years 2020 to 2999"),
        ({"action": "advance", "milliseconds": -END}, "milliseconds", "outside the years 2020 to 2999"),
        ({"action": "jump"}, None, "action"),
        ({"action": "set", "now": "noon"}, None, "now"),
        ({"action": "set", "now": 1.5}, None, "now"),
        ({"action": "advance", "milliseconds": True}, None, "milliseconds"),
        ({"action": "advance", "minutes": 1}, None, "minutes"),
        ({"milliseconds": 1}, None, "action"),
        ([], None, "object"),
        (None, None, "body is required"),
    ],
)
def test_bad_input_is_refused_by_name_and_moves_nothing(
    server: RunningServer, body: object, target: str | None, words: str
) -> None:
    stop_at(server, THEN)

    refused = admin(server, "POST", "clock", body)

    assert (400, "ValidationError") == (refused.status, refused.json["error"]["code"])
    assert words in refused.json["error"]["message"]
    if target is not None:
        assert target == refused.json["error"]["target"]
    assert (THEN, True) == (shown(server)["now"], shown(server)["frozen"])


def test_the_command_line_moves_the_same_clock(server: RunningServer) -> None:
    def clock(*arguments: str) -> Any:
        command = [*MINTMARK, "clock", *arguments, "--json"]
        environ = {**os.environ, **server.variables}
        return json.loads(subprocess.run(command, env=environ, capture_output=True, check=True).stdout)

    assert clock("freeze")["now"] == shown(server)["now"]
    assert THEN == clock("set", "2100-01-01T00:00:00Z")["now"]
    assert THEN + 23 * HOUR == clock("advance", "23h")["now"] == shown(server)["now"]
    assert THEN + 22 * HOUR + 30 * MINUTE == clock("advance", "-30m")["now"]
    assert 201 == create(server, THEN + 22 * HOUR + 30 * MINUTE).status
    assert THEN + 22 * HOUR + 30 * MINUTE == clock("show")["now"]
    assert is_real(clock("resume"))
    assert is_real(shown(server))


@pytest.mark.long
def test_after_a_restart_it_is_real_time(tmp_path: Path) -> None:
    flags = ("--data", str(tmp_path / "data"), "--quiet")
    with running_server(*flags) as first:
        stop_at(first, THEN)
        token = create(first, THEN).json["accessToken"]["token"]
        assert introspected(first, token)["active"]
    with running_server(*flags) as second:
        assert is_real(shown(second))
        assert 201 == create(second, system().now()).status
        assert "The token is not valid yet." == introspected(second, token)["reason"]
