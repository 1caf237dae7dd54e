"""`mintmark identity …`."""

import itertools
import re

import pytest

from builders import NOON, an_identity
from cli.conftest import Mintmark
from running import RunningServer

ID = r"8:acs:[0-9a-f-]{36}_[0-9a-f-]{36}"


def rows(out: str) -> dict[str, str]:
    """What was printed, by name."""
    return dict(re.split(r"  +", line.strip(), maxsplit=1) for line in out.splitlines())


def test_it_prints_the_new_identity(connected: Mintmark) -> None:
    status, out, err = connected("identity", "create")

    assert (0, "") == (status, err)
    assert ["Identity"] == list(rows(out))
    assert re.fullmatch(ID, rows(out)["Identity"])


def test_it_prints_a_token_for_the_scopes_asked_for(connected: Mintmark) -> None:
    status, out, err = connected("identity", "create", "--scope", "chat", "--scope", "voip", "--expires-in", "60")
    printed = rows(out)
    shown = connected("token", "show", printed["Token"], "--json").json

    assert (0, "") == (status, err)
    assert ["Identity", "Expires", "Token"] == list(printed)
    assert shown["active"]
    assert printed["Identity"] == shown["claims"]["sub"]
    assert "chat,voip" == shown["claims"]["acsScope"]
    assert 3600 == shown["claims"]["exp"] - shown["claims"]["iat"]
    assert "akg" not in shown["claims"], "no access key asked for it"


def test_it_prints_json_as_the_service_answers_it(connected: Mintmark) -> None:
    with_token = connected("identity", "create", "--scope", "voip.join", "--json")
    without = connected("identity", "create", "--json")

    assert (0, "") == (with_token.status, with_token.err)
    assert {"identity", "accessToken"} == set(with_token.json)
    assert {"token", "expiresOn"} == set(with_token.json["accessToken"])
    assert re.fullmatch(ID, with_token.json["identity"]["id"])
    assert {"identity"} == set(without.json)


def test_a_life_is_a_day_unless_said_otherwise(connected: Mintmark) -> None:
    token = connected("identity", "create", "--scope", "chat", "--json").json["accessToken"]["token"]
    claims = connected("token", "show", token, "--json").json["claims"]

    assert 24 * 3600 == claims["exp"] - claims["iat"]


def test_an_unknown_scope_is_refused_with_those_that_exist(connected: Mintmark) -> None:
    status, out, err = connected("identity", "create", "--scope", "chat", "--scope", "fax")

    assert (2, "") == (status, out)
    assert err.startswith("Error: ")
    assert "'fax'" in err
    assert "chat, voip, chat.join, chat.join.limited, voip.join" in err


@pytest.mark.parametrize("minutes", ["59", "1441", "0", "-5"])
def test_a_life_out_of_range_is_refused(connected: Mintmark, minutes: str) -> None:
    status, out, err = connected("identity", "create", "--scope", "chat", "--expires-in", minutes)

    assert (2, "") == (status, out)
    assert err.startswith("Error: ")
    assert f"value {minutes} is invalid" in err
    assert "[60, 1440]" in err


@pytest.mark.parametrize("minutes", ["an hour", "60.5", ""])
def test_a_life_that_is_no_whole_number_is_refused(connected: Mintmark, minutes: str) -> None:
    status, out, err = connected("identity", "create", "--scope", "chat", "--expires-in", minutes)

    assert (2, "") == (status, out)
    assert "'--expires-in'" in err
    assert "is not a valid integer" in err


_numbers = itertools.count(1)
UNKNOWN = an_identity(0, now=NOON - 1).id
FOREIGN = an_identity(0, resource_id="00000000-0000-0000-0000-000000000000").id


@pytest.fixture
def name(server: RunningServer) -> str:
    """A custom id that nobody else uses."""
    return f"identity {next(_numbers)} of {server.process.pid}"


class TestCustomId:
    def test_the_same_name_gives_the_same_identity(self, connected: Mintmark, name: str) -> None:
        first, second = (connected("identity", "create", "--custom-id", name) for _ in range(2))

        assert (0, 0) == (first.status, second.status)
        assert rows(first.out) == rows(second.out)

    def test_one_that_is_too_long_is_refused(self, connected: Mintmark) -> None:
        status, out, err = connected("identity", "create", "--custom-id", "x" * 257)

        assert (2, "", "Error: customId must be a string of 1 to 256 characters.\n") == (status, out, err)

    def test_a_resource_that_is_none_is_refused(self, connected: Mintmark) -> None:
        for command in ("create", "list"):
            status, out, err = connected("identity", command, "--resource", "nobody's")
            assert (2, "", "Error: There is no resource of that id or name.\n") == (status, out, err)


class TestShow:
    def test_it_prints_what_is_known(self, connected: Mintmark, name: str) -> None:
        identity = rows(connected("identity", "create", "--custom-id", name, "--scope", "chat").out)["Identity"]
        connected("token", "revoke", identity)
        status, out, err = connected("identity", "show", identity)

        printed = rows(out)
        assert (0, "") == (status, err)
        assert ["Identity", "Custom id", "Created", "Last token", "Generation"] == list(printed)
        assert (identity, name) == (printed["Identity"], printed["Custom id"])
        assert printed["Created"] == printed["Last token"]
        assert "1  (how often its tokens were revoked)" == printed["Generation"]

    def test_what_there_is_not_is_said_so(self, connected: Mintmark) -> None:
        identity = rows(connected("identity", "create").out)["Identity"]
        printed = rows(connected("identity", "show", identity).out)

        assert ("none", "never") == (printed["Custom id"], printed["Last token"])

    def test_it_prints_json(self, connected: Mintmark, name: str) -> None:
        identity = connected("identity", "create", "--custom-id", name, "--json").json["identity"]["id"]
        done = connected("identity", "show", identity, "--json")

        assert (0, "") == (done.status, done.err)
        assert {"id", "customId", "createdAt", "lastTokenIssuedAt", "generation"} == set(done.json)
        assert (identity, name, None, 0) == tuple(
            done.json[each] for each in ("id", "customId", "lastTokenIssuedAt", "generation")
        )


class TestDelete:
    def test_one_is_deleted_for_good(self, connected: Mintmark) -> None:
        created = connected("identity", "create", "--scope", "chat", "--json").json
        identity = created["identity"]["id"]

        assert (0, f"Deleted {identity}; its tokens have ended.\n", "") == connected("identity", "delete", identity)
        assert 1 == connected("token", "show", created["accessToken"]["token"]).status
        assert (2, "", "Error: Provided identity doesn't exist.\n") == connected("identity", "show", identity)
        assert 0 == connected("identity", "delete", identity).status

    def test_it_says_so_as_json(self, connected: Mintmark) -> None:
        identity = rows(connected("identity", "create").out)["Identity"]
        done = connected("identity", "delete", identity, "--json")

        assert (0, "", {"deleted": identity}) == (done.status, done.err, done.json)


@pytest.mark.parametrize(
    "command",
    [("identity", "show"), ("identity", "delete"), ("token", "issue", "--scope", "chat"), ("token", "revoke")],
    ids=" ".join,
)
@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ("nobody", "'nobody' is not an identity id of the form '8:acs:{guid}_{guid}'."),
        ("8:acs:a b?c#d", "is not an identity id of the form"),
        (FOREIGN, "Provided identity doesn't exist."),
        (UNKNOWN, "Provided identity doesn't exist."),
    ],
)
def test_an_id_that_is_none_is_refused(
    connected: Mintmark, command: tuple[str, ...], identity: str, words: str
) -> None:
    status, out, err = connected(*command, identity)

    if (command[1], identity) == ("delete", UNKNOWN):
        assert (0, "") == (status, err), "what does not exist is deleted already"
    else:
        assert (2, "") == (status, out)
        assert err.startswith("Error: ")
        assert words in err


class TestList:
    @pytest.fixture
    def resource(self, connected: Mintmark) -> str:
        """A resource that the test has for itself."""
        chosen = f"list-{next(_numbers)}"
        assert 0 == connected("resource", "add", chosen).status
        return chosen

    @pytest.fixture
    def ids(self, connected: Mintmark, resource: str) -> list[str]:
        """Five, the oldest first."""
        arguments = ("identity", "create", "--resource", resource, "--json", "--custom-id")
        return [connected(*arguments, f"name {number}").json["identity"]["id"] for number in range(5)]

    def test_it_prints_a_table(self, connected: Mintmark, resource: str, ids: list[str]) -> None:
        status, out, err = connected("identity", "list", "--resource", resource)

        head, *lines = out.splitlines()
        assert (0, "") == (status, err)
        assert ["Identity", "Created (UTC)", "Custom id"] == re.split(r"  +", head.strip())
        cells = [re.split(r"  +", line.strip()) for line in lines]
        assert sorted(ids) == sorted(each[0] for each in cells)
        assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", each[1]) for each in cells)
        assert {f"name {number}" for number in range(5)} == {each[2] for each in cells}

    def test_of_none_it_says_so(self, connected: Mintmark, resource: str) -> None:
        assert (0, "  There are none.\n", "") == connected("identity", "list", "--resource", resource)

    def test_pages_follow_one_another(self, connected: Mintmark, resource: str, ids: list[str]) -> None:
        arguments = ["identity", "list", "--resource", resource, "--limit", "2"]
        pages, cursor = [connected(*arguments).out], ""
        while match := re.search(r"\n\n  More with --cursor (\S+)\n$", pages[-1]):
            cursor = match[1]
            pages.append(connected(*arguments, "--cursor", cursor).out)

        assert 3 == len(pages)
        assert [2, 2, 1] == [len(re.findall(ID, page)) for page in pages]
        assert sorted(ids) == sorted(each for page in pages for each in re.findall(ID, page))

    def test_it_prints_json(self, connected: Mintmark, resource: str, ids: list[str]) -> None:
        done = connected("identity", "list", "--resource", resource, "--limit", "3", "--json")
        rest = connected("identity", "list", "--resource", resource, "--cursor", done.json["cursor"], "--json")

        assert (0, "") == (done.status, done.err)
        assert sorted(ids) == sorted(each["id"] for page in (done, rest) for each in page.json["identities"])
        assert rest.json["cursor"] is None

    def test_one_is_found_by_its_name(self, connected: Mintmark, resource: str, ids: list[str]) -> None:
        arguments = ("identity", "list", "--resource", resource, "--custom-id")
        found = connected(*arguments, "name 3", "--json").json["identities"]

        assert [(ids[3], "name 3")] == [(each["id"], each["customId"]) for each in found]
        assert "  There are none.\n" == connected(*arguments, "name").out

    @pytest.mark.usefixtures("ids")
    @pytest.mark.parametrize(
        ("arguments", "count"),
        [
            (("--created-after", "1h"), 5),
            (("--created-after", "2020-01-01", "--created-before", "2999-01-01T00:00:00Z"), 5),
            (("--created-before", "1h"), 0),
            (("--created-after", "2999-01-01"), 0),
            (("--created-before", "2020-01-01T00:00:00+02:00"), 0),
        ],
    )
    def test_times_bound_it(self, connected: Mintmark, resource: str, arguments: tuple[str, ...], count: int) -> None:
        listed = connected("identity", "list", "--resource", resource, *arguments, "--json").json["identities"]

        assert count == len(listed)

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (("--limit", "0"), "limit must be a number from 1 to 1000."),
            (("--limit", "1001"), "limit must be a number from 1 to 1000."),
            (("--limit", "ten"), "'--limit'"),
            (("--cursor", "x"), "cursor must be the cursor of the page before."),
            (("--created-after", "yesterday"), "'yesterday' is no time such as 2026-11-23"),
            (("--created-before", "2h "), "is no length of time"),
        ],
    )
    def test_what_cannot_be_searched_for_is_refused(
        self, connected: Mintmark, arguments: tuple[str, ...], words: str
    ) -> None:
        status, out, err = connected("identity", "list", *arguments)

        assert (2, "") == (status, out)
        assert words in err

    def test_a_name_of_somebody_else_cannot_steer_the_terminal(self, connected: Mintmark, resource: str) -> None:
        """A program's user may choose it, whom nobody knows."""
        evil = "\x1b]0;owned\x07\x1b[2J\r\x9b1A"
        identity = connected("identity", "create", "--resource", resource, "--custom-id", evil, "--json").json
        shown = connected("identity", "show", identity["identity"]["id"]).out
        listed = connected("identity", "list", "--resource", resource).out

        assert not [each for each in shown + listed if not each.isprintable() and each != "\n"]
