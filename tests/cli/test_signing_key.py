"""`mintmark signing-key` and `mintmark key-encryption-key`, on a server of their own: they change its keys."""

from collections.abc import Iterator

import pytest

from cli.conftest import Mintmark
from running import RunningServer, running_server


@pytest.fixture(scope="module")
def own_server() -> Iterator[RunningServer]:
    with running_server("--ephemeral") as started:
        yield started


@pytest.fixture
def keys(mintmark: Mintmark, own_server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Mintmark:
    monkeypatch.setenv("MINTMARK_ADMIN_ENDPOINT", own_server.admin_endpoint)
    return mintmark


def kid_that(keys: Mintmark, state: str) -> str:
    listed = keys("signing-key", "list", "--json").json["signingKeys"]
    return next(str(key["kid"]) for key in reversed(listed) if key["state"] == state)


def test_keys_are_listed_with_what_they_do(keys: Mintmark) -> None:
    ended = keys("signing-key", "list")

    heading, *rows = ended.out.splitlines()
    assert (0, ["KID", "ALGORITHM", "STATE", "SIGNS", "FROM"]) == (ended.status, heading.split())
    assert [kid_that(keys, "signing"), "ES256", "signing"] == rows[-1].split()[:3]


def test_a_rotation_shows_the_key_that_comes_next_and_a_second_one_the_same(keys: Mintmark) -> None:
    first, second = (keys("signing-key", "rotate", "--json") for _ in range(2))

    assert ([0, 0], "published") == ([first.status, second.status], first.json["state"])
    assert first.json == second.json
    assert first.json["kid"] in keys("signing-key", "rotate").out


def test_one_at_once_signs_and_the_old_one_can_be_removed(keys: Mintmark) -> None:
    old = kid_that(keys, "signing")

    new = keys("signing-key", "rotate", "--at-once", "--json").json
    removed = keys("signing-key", "remove", old)

    assert ("signing", new["kid"]) == (new["state"], kid_that(keys, "signing"))
    assert (0, f"  Removed. Tokens that {old} signed hold no more.\n") == (removed.status, removed.out)
    assert old not in keys("signing-key", "list").out


def test_removing_answers_json_when_asked(keys: Mintmark) -> None:
    old = kid_that(keys, "signing")
    keys("signing-key", "rotate", "--at-once")

    assert {"removed": old} == keys("signing-key", "remove", old, "--json").json


def test_the_key_that_signs_stays(keys: Mintmark) -> None:
    ended = keys("signing-key", "remove", kid_that(keys, "signing"))

    assert (2, "") == (ended.status, ended.out)
    assert "rotate at once first" in ended.err


@pytest.mark.parametrize("kid", ["nobody", "a/b", "", "..", "%2e", "é"])
def test_an_unknown_key_is_said_to_be_none(keys: Mintmark, kid: str) -> None:
    ended = keys("signing-key", "remove", "--", kid)

    assert (2, "") == (ended.status, ended.out)
    assert "There is no signing key with that kid." in ended.err


def test_key_encryption_keys_are_listed_with_how_much_each_seals(keys: Mintmark) -> None:
    ended, as_json = keys("key-encryption-key", "list"), keys("key-encryption-key", "list", "--json")

    (key,) = as_json.json["keyEncryptionKeys"]
    assert key["seals"] == 2 + len(keys("signing-key", "list", "--json").json["signingKeys"])
    assert ["KEY", "SEALS"] == ended.out.split()[:2]
    assert [key["id"], str(key["seals"])] == ended.out.split()[2:]
