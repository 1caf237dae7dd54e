"""`mintmark clock …` and `mintmark fault …`."""

import re
from collections.abc import Iterator

import pytest

from builders import NOON
from calls import create
from cli.conftest import Mintmark
from process.calling import signed
from running import RunningServer, running_server

HOUR = 3_600_000  # milliseconds


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One of its own: its clock moves and it fails."""
    with running_server("--ephemeral", "--quiet") as started:
        yield started


@pytest.fixture
def ask(mintmark: Mintmark, server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mintmark]:
    monkeypatch.setenv("MINTMARK_ADMIN_ENDPOINT", server.admin_endpoint)
    yield mintmark
    assert 0 == mintmark("clock", "resume").status
    assert 0 == mintmark("fault", "clear").status


def rows(out: str) -> dict[str, str]:
    """What was printed, by name."""
    return dict(re.split(r"  +", line.strip(), maxsplit=1) for line in out.splitlines())


class TestClock:
    def test_real_time_is_shown_as_such(self, ask: Mintmark) -> None:
        status, out, err = ask("clock", "show")

        printed = rows(out)
        assert (0, "") == (status, err)
        assert ["Time", "Clock", "Offset"] == list(printed)
        assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC", printed["Time"])
        assert ("runs", "real time") == (printed["Clock"], printed["Offset"])

    def test_a_frozen_and_set_one_is_shown_as_such(self, ask: Mintmark) -> None:
        ask("clock", "freeze")
        status, out, err = ask("clock", "set", "2999-01-01T12:00:00.250Z")

        printed = rows(out)
        assert (0, "") == (status, err)
        assert ("2999-01-01 12:00:00.250 UTC", "frozen") == (printed["Time"], printed["Clock"])
        assert re.fullmatch(r"[\d,]+\.\d{3} s ahead of real time", printed["Offset"])
        assert printed["Time"] == rows(ask("clock", "show").out)["Time"]

    def test_one_that_was_put_back_is_shown_as_such(self, ask: Mintmark) -> None:
        printed = rows(ask("clock", "advance", "-2h").out)

        assert ("runs", "7,200.000 s behind real time") == (printed["Clock"], printed["Offset"])

    def test_it_is_printed_as_json(self, ask: Mintmark) -> None:
        ask("clock", "freeze")
        done = ask("clock", "set", "2026-11-23T12:00:00Z", "--json")

        assert (0, "") == (done.status, done.err)
        assert {"now", "time", "frozen", "offset"} == set(done.json)
        assert (NOON, "2026-11-23T12:00:00.0000000+00:00", True) == tuple(
            done.json[name] for name in ("now", "time", "frozen")
        )

    @pytest.mark.parametrize(
        ("length", "milliseconds"),
        [("23h", 23 * HOUR), ("1h30m", HOUR * 3 // 2), ("90s", 90_000), ("-5m", -300_000), ("1.5h", HOUR * 3 // 2)],
    )
    def test_it_advances_by_lengths_as_people_type_them(self, ask: Mintmark, length: str, milliseconds: int) -> None:
        ask("clock", "freeze")
        ask("clock", "set", "2026-11-23T12:00:00Z")

        assert NOON + milliseconds == ask("clock", "advance", length, "--json").json["now"]

    def test_resumed_it_is_real_time(self, ask: Mintmark) -> None:
        ask("clock", "set", "2999-01-01")
        printed = rows(ask("clock", "resume").out)

        assert ("runs", "real time") == (printed["Clock"], printed["Offset"])

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["advance", "soon"], "'soon' is no length of time such as 23h, 1h30m, 90s or -5m."),
            (["advance", "23"], "'23' is no length of time"),
            (["advance"], "Missing argument"),
            (["advance", "99999999d"], "outside the years 2020 to 2999"),
            (["advance", "-99999d"], "outside the years 2020 to 2999"),
            (["advance", "9" * 400 + "d"], "is no length of time"),
            (["set", "noon"], "'noon' is no time such as 2026-11-23 or 2026-11-23T12:00:00Z."),
            (["set", "1969-12-31"], "outside the years 2020 to 2999"),
            (["set", "3000-01-01"], "outside the years 2020 to 2999"),
            (["set"], "Missing argument"),
            (["freeze", "now"], "unexpected extra argument"),
        ],
    )
    def test_what_cannot_be_is_refused_and_moves_nothing(self, ask: Mintmark, arguments: list[str], words: str) -> None:
        status, out, err = ask("clock", *arguments)

        assert (2, "") == (status, out)
        assert words in err
        assert "real time" == rows(ask("clock", "show").out)["Offset"]

    def test_a_token_is_shown_by_the_clock_of_the_server(self, ask: Mintmark) -> None:
        ask("clock", "advance", "30d")
        token = ask("identity", "create", "--scope", "chat", "--expires-in", "60", "--json").json["accessToken"][
            "token"
        ]

        status, out, _ = ask("token", "show", token)

        assert (0, True) == (status, "Access token: lives" in out)
        assert re.search(r"Issued +\S+ \S+ UTC  \(\d+ (s|min) ago\)\n", out)
        assert re.search(r"Expires +\S+ \S+ UTC  \(in (59 min|1 h 0 min)\)\n", out)

    def test_a_search_looks_back_from_it(self, ask: Mintmark) -> None:
        ask("clock", "freeze")
        ask("clock", "advance", "60d")
        old = ask("identity", "create", "--json").json["identity"]["id"]
        ask("clock", "advance", "3h")
        new = ask("identity", "create", "--json").json["identity"]["id"]

        def listed(*arguments: str) -> list[str]:
            return [each["id"] for each in ask("identity", "list", *arguments, "--json").json["identities"]]

        assert [new] == listed("--created-after", "2h")
        assert [old, new] == listed("--created-after", "4h")
        assert new not in listed("--created-before", "1h")


class TestFault:
    def test_one_is_added_and_listed_in_a_table(self, ask: Mintmark, server: RunningServer) -> None:
        arguments = (
            "--operation",
            "create",
            "--count",
            "2",
            "--status",
            "503",
            "--retry-after",
            "3",
            "--delay",
            "10ms",
        )
        status, out, err = ask("fault", "add", *arguments)
        ask("fault", "add", "--drop", "--after")
        answer = create(server)
        listed = ask("fault", "list").out

        head, line = out.splitlines()
        assert (0, "") == (status, err)
        assert ["Operation", "Left", "When", "Answer", "Delay"] == head.split()
        assert ["create", "2", "before", "503", "10", "ms"] == line.split()
        assert (503, "3") == (answer.status, answer.headers["retry-after"])
        assert [
            ["create", "1", "before", "503", "10", "ms"],
            ["any", "1", "after", "connection", "dropped", "0", "ms"],
        ] == [each.split() for each in listed.splitlines()[1:]]

    def test_one_is_printed_as_json(self, ask: Mintmark) -> None:
        done = ask("fault", "add", "--operation", "issue", "--delay", "2s", "--json")

        assert (0, "", {"faults": [{"operation": "issue", "delay": 2000}]}) == (done.status, done.err, done.json)
        assert done.json == ask("fault", "list", "--json").json

    def test_cleared_there_are_none(self, ask: Mintmark, server: RunningServer) -> None:
        ask("fault", "add", "--status", "500", "--count", "100")

        assert (0, "  No faults are to happen.\n", "") == ask("fault", "clear")
        assert (0, "  No faults are to happen.\n", "") == ask("fault", "list")
        assert {"faults": []} == ask("fault", "clear", "--json").json
        assert 201 == create(server).status

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            ([], "A fault needs a status, a delay or drop."),
            (["--status", "200"], "status"),
            (["--status", "600"], "status"),
            (["--status", "x"], "'--status'"),
            (["--status", "500", "--count", "0"], "count"),
            (["--status", "500", "--operation", "sign"], "operation"),
            (["--status", "500", "--retry-after", "-1"], "retryAfter"),
            (["--delay", "soon"], "'soon' is no length of time"),
            (["--delay", "-1s"], "delay"),
            (["--delay", "1h"], "delay"),
        ],
    )
    def test_what_cannot_be_is_refused_and_adds_nothing(self, ask: Mintmark, arguments: list[str], words: str) -> None:
        status, out, err = ask("fault", "add", *arguments)

        assert (2, "") == (status, out)
        assert words in err
        assert {"faults": []} == ask("fault", "list", "--json").json

    def test_a_status_after_the_operation_is_shown_so(self, ask: Mintmark, server: RunningServer) -> None:
        ask("fault", "add", "--status", "500", "--after")

        assert "after" == ask("fault", "list").out.splitlines()[1].split()[2]
        body = {"customId": "kept"}
        assert 500 == signed(server, "POST", "/identities", body, version="2025-03-02-preview").status
        assert 1 == len(ask("identity", "list", "--custom-id", "kept", "--json").json["identities"])
