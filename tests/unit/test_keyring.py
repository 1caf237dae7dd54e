"""Which key does what, and when."""

import json

import pytest

from builders import NOON, SEALER
from mintmark.errors import StartRefused
from mintmark.jose import Sealer
from mintmark.keyring import (
    KEPT_AFTERWARDS,
    KEY_SET_CACHE,
    PUBLISHED_AHEAD,
    Keyring,
    expired,
    is_due,
    new_signing_key,
    newest,
    signing_key_at,
    state,
)
from mintmark.model import LONGEST_LIFE, SealedSecret, SigningAlgorithm, StoredSigningKey

DAY = 86_400_000
USE = 90 * DAY


def a_key(
    kid: str, signs_at: int = NOON, algorithm: SigningAlgorithm = "ES256", *, created_at: int | None = None
) -> StoredSigningKey:
    return StoredSigningKey(
        kid, algorithm, "{}", signs_at if created_at is None else created_at, signs_at, SealedSecret("", b"")
    )


FIRST, NEXT, RSA = a_key("first"), a_key("next", NOON + DAY), a_key("rsa", NOON + 2 * DAY, "RS256")


def test_a_key_is_published_for_longer_than_verifiers_keep_the_key_set() -> None:
    assert KEY_SET_CACHE * 1000 < PUBLISHED_AHEAD


def test_a_key_stays_for_longer_than_any_token_lives() -> None:
    assert LONGEST_LIFE < KEPT_AFTERWARDS


@pytest.mark.parametrize(
    ("now", "kid"),
    [
        (NOON - 1, "first"),
        (NOON, "first"),
        (NOON + DAY - 1, "first"),
        (NOON + DAY, "next"),
        (NOON + 2 * DAY - 1, "next"),
        (NOON + 2 * DAY, "rsa"),
        (NOON + 900 * DAY, "rsa"),
    ],
)
def test_the_last_key_whose_time_has_come_signs_whatever_its_algorithm(now: int, kid: str) -> None:
    for keys in ([FIRST, NEXT, RSA], [RSA, NEXT, FIRST]):
        assert kid == signing_key_at(keys, now).kid


@pytest.mark.parametrize("kids", [("a", "b"), ("b", "a")])
def test_of_two_that_begin_in_the_same_moment_the_one_made_later_signs(kids: tuple[str, str]) -> None:
    earlier, later = a_key(kids[0], created_at=NOON), a_key(kids[1], created_at=NOON + 1)

    assert later == signing_key_at([later, earlier], NOON) == signing_key_at([earlier, later], NOON)


def test_a_new_key_counts_as_made_later_also_where_the_clock_stands_still_or_went_back() -> None:
    for now in (NOON, NOON - DAY):
        key = new_signing_key("ES256", now, SEALER, bytes(12), keys=[FIRST])

        assert (NOON + 1, now) == (key.created_at, key.signs_at)


@pytest.mark.parametrize(
    ("keys", "algorithm", "now", "due"),
    [
        ([], "ES256", NOON, True),
        ([FIRST], "ES256", NOON + USE - PUBLISHED_AHEAD - 1, False),
        ([FIRST], "ES256", NOON + USE - PUBLISHED_AHEAD, True),
        ([FIRST, NEXT], "ES256", NOON + USE, False),
        ([FIRST, NEXT], "ES256", NOON + DAY + USE - PUBLISHED_AHEAD, True),
        ([FIRST], "RS256", NOON, True),
        ([FIRST, RSA], "RS256", NOON + DAY, False),
        ([FIRST, RSA], "ES256", NOON + 2 * DAY - 1, False),
        ([FIRST, RSA], "ES256", NOON + 2 * DAY, True),
    ],
    ids=[
        "none",
        "not yet",
        "now",
        "one waits",
        "after the one that waited",
        "other algorithm",
        "other algorithm waits",
        "changed back while the other waits",
        "changed back",
    ],
)
def test_the_next_key_is_due_in_time(
    keys: list[StoredSigningKey],
    algorithm: SigningAlgorithm,
    now: int,
    due: bool,  # noqa: FBT001  a column
) -> None:
    assert due == is_due(keys, algorithm, now, USE)


@pytest.mark.parametrize(
    ("now", "kids"),
    [
        (NOON + DAY + KEPT_AFTERWARDS - 1, []),
        (NOON + DAY + KEPT_AFTERWARDS, ["first"]),
        (NOON + 2 * DAY + KEPT_AFTERWARDS, ["first", "next"]),
        (NOON + 900 * DAY, ["first", "next"]),
    ],
)
def test_a_key_has_expired_a_token_life_after_another_took_over(now: int, kids: list[str]) -> None:
    assert kids == [key.kid for key in expired([RSA, FIRST, NEXT], now)]


def test_a_key_waits_signs_and_is_retired() -> None:
    states = [[state(key, [FIRST, NEXT], now) for key in (FIRST, NEXT)] for now in (NOON, NOON + DAY)]

    assert [["signing", "published"], ["retired", "signing"]] == states


def test_the_newest_is_the_one_made_last_whenever_it_signs() -> None:
    waiting, at_once = a_key("waiting", NOON + DAY, created_at=NOON), a_key("at once", NOON + 1, created_at=NOON + 1)

    assert at_once == newest([waiting, at_once, RSA], "ES256")
    assert newest([RSA], "ES256") is None


class TestKeyring:
    def test_it_signs_with_the_key_of_the_moment_and_publishes_all(self) -> None:
        first = new_signing_key("ES256", NOON, SEALER, bytes(12))
        second = new_signing_key("ES256", NOON, SEALER, bytes(12), ahead=DAY, keys=[first])
        keyring = Keyring([first, second], "RS256", SEALER)

        assert keyring.signers[first.kid] is keyring.signer(NOON)
        assert keyring.signers[second.kid] is keyring.signer(NOON + DAY)
        assert [second.kid, first.kid] == [key["kid"] for key in json.loads(keyring.jwks_json)["keys"]]
        assert ["RS256", "ES256"] == keyring.algorithms

    def test_what_is_published_has_no_private_half(self) -> None:
        keyring = Keyring([new_signing_key("ES256", NOON, SEALER, bytes(12))], "ES256", SEALER)

        (key,) = json.loads(keyring.jwks_json)["keys"]

        assert {"kty", "crv", "x", "y", "kid", "alg", "use"} == set(key)

    def test_what_is_open_is_not_opened_again(self) -> None:
        key = new_signing_key("ES256", NOON, SEALER, bytes(12))
        opened = Keyring([key], "ES256", SEALER)

        assert opened.signer(NOON) is Keyring([key], "ES256", Sealer(bytes([1] * 32)), opened).signer(NOON)

    def test_without_keys_and_without_the_right_sealer_there_is_none(self) -> None:
        with pytest.raises(StartRefused, match="no signing key"):
            Keyring([], "ES256", SEALER)
        with pytest.raises(StartRefused, match="sealed by the key-encryption key"):
            Keyring([new_signing_key("ES256", NOON, SEALER, bytes(12))], "ES256", Sealer(bytes([1] * 32)))
