"""`mintmark resource …` and `mintmark access-key …`."""

import base64
import itertools
import re
from collections.abc import Iterator
from typing import Any

import pytest

from cli.conftest import Mintmark
from mintmark.development import DEVELOPMENT_KEYS, DEVELOPMENT_RESOURCE
from process.calling import signed
from running import RunningServer, running_server

GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    """One of its own: resources come and go."""
    with running_server("--ephemeral", "--quiet") as started:
        yield started


@pytest.fixture
def ask(mintmark: Mintmark, server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Mintmark:
    monkeypatch.setenv("MINTMARK_ADMIN_ENDPOINT", server.admin_endpoint)
    return mintmark


@pytest.fixture
def name(ask: Mintmark) -> Iterator[str]:
    """A resource that the test has for itself."""
    chosen = f"resource-{next(_numbers)}"
    assert 0 == ask("resource", "add", chosen).status
    yield chosen
    ask("resource", "remove", chosen)


def rows(out: str) -> dict[str, str]:
    """What was printed, by name."""
    return dict(re.split(r"  +", line.strip(), maxsplit=1) for line in out.splitlines() if line)


def key_of(connection_string: str) -> bytes:
    return base64.b64decode(connection_string.partition("accesskey=")[2], validate=True)


def works(server: RunningServer, key: bytes) -> bool:
    return signed(server, "POST", "/identities", {}, key=key).status == 201


class TestAdd:
    def test_it_prints_the_resource_and_both_connection_strings(self, ask: Mintmark, server: RunningServer) -> None:
        status, out, err = ask("resource", "add", "printed", "--region", "eu", "--host", "b.test", "--host", "a.test")

        printed = rows(out)
        assert (0, "") == (status, err)
        assert ["Name", "Id", "Region", "Hosts", "Primary", "Secondary"] == list(printed)
        assert ("printed", "eu", "a.test, b.test") == (printed["Name"], printed["Region"], printed["Hosts"])
        assert re.fullmatch(GUID, printed["Id"])
        for slot in ("Primary", "Secondary"):
            assert printed[slot].startswith(f"endpoint={server.https_endpoint}/;accesskey=")
            assert works(server, key_of(printed[slot]))

    def test_it_prints_json_as_the_service_answers_it(self, ask: Mintmark, server: RunningServer) -> None:
        wanted = "12345678-1234-4234-8234-123456789abc"
        done = ask("resource", "add", "as-json", "--id", wanted, "--json")

        assert (0, "") == (done.status, done.err)
        assert {"id", "name", "region", "hosts", "accessKeys"} == set(done.json)
        assert (wanted, "as-json", "local", []) == tuple(done.json[each] for each in ("id", "name", "region", "hosts"))
        assert all(works(server, base64.b64decode(key["key"])) for key in done.json["accessKeys"])

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["a b"], "name must be 1 to 63 letters, digits and inner hyphens, and not a GUID."),
            (["-"], "name must be"),
            (["fine", "--region", "~"], "region must be"),
            (
                ["fine", "--host", "A.test"],
                "hosts must be host names in lower case, without port, other than those of the server itself.",
            ),
            (["fine", "--id", "one"], "id must be a GUID in lower case."),
            (["development"], "belongs to the development resource"),
        ],
    )
    def test_what_cannot_be_is_refused_by_name(self, ask: Mintmark, arguments: list[str], words: str) -> None:
        status, out, err = ask("resource", "add", *arguments)

        assert (2, "") == (status, out)
        assert err.startswith("Error: ")
        assert words in err


class TestShow:
    @pytest.mark.parametrize("by", ["name", "id"])
    def test_it_prints_one_by_name_or_id(self, ask: Mintmark, name: str, by: str) -> None:
        known = ask("resource", "show", name, "--json").json
        status, out, err = ask("resource", "show", known[by])

        expected = {"Name": name, "Id": known["id"], "Region": "local", "Hosts": "none of its own"}
        assert (0, "", expected) == (status, err, rows(out))
        assert {"id", "name", "region", "hosts"} == set(known)

    @pytest.mark.parametrize("wrong", ["nobody", "development/access-keys", "..", "%2e", "a b?c#d", "ä"])
    def test_one_that_is_none_is_refused(self, ask: Mintmark, wrong: str) -> None:
        status, out, err = ask("resource", "show", wrong)

        assert (2, "", "Error: There is no resource of that id or name.\n") == (status, out, err)


class TestList:
    def test_it_prints_a_table_the_oldest_first(self, ask: Mintmark, name: str) -> None:
        status, out, err = ask("resource", "list")

        head, *lines = out.splitlines()
        assert (0, "") == (status, err)
        assert ["Name", "Id", "Region", "Hosts"] == head.split()
        assert ["development", DEVELOPMENT_RESOURCE.id, "local"] == lines[0].split()
        assert name == lines[-1].split()[0]
        assert 1 == len({line.index(line.split()[1]) for line in lines}), "columns are aligned"

    def test_it_prints_json(self, ask: Mintmark, name: str) -> None:
        listed = ask("resource", "list", "--json").json

        assert {"resources"} == set(listed)
        assert ["development", name] == [listed["resources"][place]["name"] for place in (0, -1)]


class TestRemove:
    def test_one_is_removed_with_all_that_is_its(self, ask: Mintmark, server: RunningServer, name: str) -> None:
        keys = ask("access-key", "list", "--resource", name, "--json").json["accessKeys"]
        created = ask("identity", "create", "--resource", name, "--scope", "chat", "--json").json

        status, out, err = ask("resource", "remove", name)

        assert (0, "") == (status, err)
        assert f"Removed {name}; its identities and their tokens have ended.\n" == out
        assert not any(works(server, base64.b64decode(key["key"])) for key in keys)
        token = ask("token", "show", created["accessToken"]["token"])
        assert (1, True) == (token.status, "The token's resource does not exist." in token.out)
        assert 2 == ask("resource", "remove", name).status

    def test_it_says_so_as_json(self, ask: Mintmark, name: str) -> None:
        done = ask("resource", "remove", name, "--json")

        assert (0, "", {"removed": name}) == (done.status, done.err, done.json)


class TestAccessKeys:
    def test_both_are_printed_with_connection_strings(self, ask: Mintmark, server: RunningServer) -> None:
        status, out, err = ask("access-key", "list")

        assert (0, "") == (status, err)
        assert ["primary, generation 0", "secondary, generation 0"] == re.findall(r"Slot +(.*)", out)
        keys = [base64.b64encode(key).decode() for key in DEVELOPMENT_KEYS]
        assert keys == re.findall(r"Key +(\S+)", out)
        strings = [f"endpoint={server.https_endpoint}/;accesskey={key}" for key in keys]
        assert strings == re.findall(r"Connection string +(\S+)", out)

    def test_they_are_printed_as_json(self, ask: Mintmark, name: str) -> None:
        keys = ask("access-key", "list", "--resource", name, "--json").json["accessKeys"]

        assert [("primary", 0), ("secondary", 0)] == [(key["slot"], key["generation"]) for key in keys]

    @pytest.mark.parametrize("slot", ["primary", "secondary"])
    def test_one_is_regenerated_and_the_other_stays(
        self, ask: Mintmark, server: RunningServer, name: str, slot: str
    ) -> None:
        def listed() -> dict[str, Any]:
            keys = ask("access-key", "list", "--resource", name, "--json").json["accessKeys"]
            return {key["slot"]: key for key in keys}

        before = listed()
        status, out, err = ask("access-key", "regenerate", slot, "--resource", name)
        after = listed()

        printed = rows(out)
        assert (0, "", f"{slot}, generation 1") == (status, err, printed["Slot"])
        assert (after[slot]["key"], after[slot]["connectionString"]) == (printed["Key"], printed["Connection string"])
        assert {each for each in before if before[each] == after[each]} == {"primary", "secondary"} - {slot}
        assert works(server, base64.b64decode(printed["Key"]))
        assert not works(server, base64.b64decode(before[slot]["key"]))

    def test_it_prints_json(self, ask: Mintmark, name: str) -> None:
        done = ask("access-key", "regenerate", "primary", "--resource", name, "--json")

        assert (0, "") == (done.status, done.err)
        assert {"resource", "slot", "generation", "key", "connectionString"} == set(done.json)
        assert ("primary", 1) == (done.json["slot"], done.json["generation"])

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["regenerate", "tertiary"], "'tertiary' is not one of 'primary', 'secondary'."),
            (["regenerate"], "Missing argument"),
            (["regenerate", "primary", "--resource", "nobody"], "There is no resource of that id or name."),
            (["list", "--resource", "nobody"], "There is no resource of that id or name."),
        ],
    )
    def test_what_cannot_be_is_refused(self, ask: Mintmark, arguments: list[str], words: str) -> None:
        status, out, err = ask("access-key", *arguments)

        assert (2, "") == (status, out)
        assert words in err
