"""The checker of histories: it lets pass what can be true, and finds out what cannot."""

import base64
import json
from time import monotonic

import pytest

from soak.history import UNKNOWN, Kind, Operation, generation, is_linearizable

CREATE, GET, ISSUE, REVOKE, DELETE, LIVE = Kind

CREATED = Operation(CREATE, 0, 1)
ISSUED = Operation(ISSUE, 2, 3, generation=0)
REVOKED = Operation(REVOKE, 4, 5)

TRUE: dict[str, list[Operation]] = {
    "nothing": [],
    "one after the other": [CREATED, ISSUED, Operation(LIVE, 3.1, 3.2), REVOKED, Operation(LIVE, 6, 7, answer=False)],
    "a new token after a revocation": [CREATED, REVOKED, Operation(ISSUE, 6, 7, generation=1)],
    "a revocation that counted twice": [CREATED, REVOKED, Operation(ISSUE, 6, 7, generation=2)],
    "a token issued between a revocation's two effects": [
        CREATED,
        Operation(REVOKE, 4, 10),
        Operation(ISSUE, 5, 6, generation=1),
        Operation(ISSUE, 11, 12, generation=2),
    ],
    "a token read as dead while the revocation is under way, then as alive": [
        CREATED,
        ISSUED,
        Operation(REVOKE, 4, 20),
        Operation(LIVE, 5, 15, answer=False),
        Operation(LIVE, 6, 7, answer=True),
    ],
    "a revocation without an answer that counted": [
        CREATED,
        Operation(REVOKE, 4, UNKNOWN),
        Operation(LIVE, 8, 9, answer=False),
    ],
    "a revocation without an answer that did not": [CREATED, Operation(REVOKE, 4, UNKNOWN), Operation(LIVE, 8, 9)],
    "a revocation without an answer that counted late": [
        CREATED,
        Operation(REVOKE, 4, UNKNOWN),
        Operation(LIVE, 8, 9),
        Operation(LIVE, 10, 11, answer=False),
    ],
    "a deletion without an answer that came late": [
        CREATED,
        Operation(DELETE, 4, UNKNOWN),
        Operation(GET, 5, 6),
        Operation(GET, 7, 8, answer=False),
    ],
    "deleted twice": [
        CREATED,
        Operation(DELETE, 2, 3),
        Operation(DELETE, 4, 5),
        Operation(ISSUE, 6, 7, answer=False),
        Operation(REVOKE, 6, 7, answer=False),
        Operation(LIVE, 6, 7, answer=False),
    ],
    "reads at either side of a deletion that is under way": [
        CREATED,
        Operation(DELETE, 2, 9),
        Operation(GET, 3, 8, answer=False),
        Operation(GET, 4, 7, answer=True),
    ],
    "a creation without an answer that is not there": [Operation(CREATE, 0, UNKNOWN), Operation(GET, 1, 2, False)],
    "a creation without an answer that is there": [Operation(CREATE, 0, UNKNOWN), Operation(GET, 1, 2)],
}

FALSE: dict[str, list[Operation]] = {
    "a token alive after a revocation": [CREATED, ISSUED, REVOKED, Operation(LIVE, 6, 7)],
    "an old token alive after a revocation without an answer was seen to count": [
        CREATED,
        Operation(REVOKE, 4, UNKNOWN),
        Operation(LIVE, 6, 7, answer=False),
        Operation(LIVE, 8, 9, answer=True),
    ],
    "a token of an old generation after a revocation": [CREATED, REVOKED, Operation(ISSUE, 6, 7, generation=0)],
    "a generation that nobody asked for": [CREATED, Operation(ISSUE, 2, 3, generation=1)],
    "a revocation that counted three times": [CREATED, REVOKED, Operation(ISSUE, 6, 7, generation=3)],
    "two revocations that counted once": [
        CREATED,
        REVOKED,
        Operation(REVOKE, 6, 7),
        Operation(ISSUE, 8, 9, generation=1),
    ],
    "an identity back after a deletion": [CREATED, Operation(DELETE, 2, 3), Operation(GET, 4, 5)],
    "an identity that is back once it was seen to be gone": [
        CREATED,
        Operation(DELETE, 2, UNKNOWN),
        Operation(GET, 3, 4, answer=False),
        Operation(ISSUE, 5, 6),
    ],
    "a token alive after a deletion": [CREATED, Operation(DELETE, 2, 3), Operation(LIVE, 4, 5)],
    "a creation that is lost": [CREATED, Operation(GET, 2, 3, answer=False)],
    "a creation that is lost to one who issues": [CREATED, Operation(ISSUE, 2, 3, answer=False)],
    "a revocation that finds nobody": [CREATED, Operation(REVOKE, 2, 3, answer=False)],
    "a dead token that nobody revoked": [CREATED, Operation(LIVE, 2, 3, answer=False)],
    "a read that is out of date": [
        CREATED,
        Operation(DELETE, 2, 9),
        Operation(GET, 3, 4, answer=False),
        Operation(GET, 5, 6, answer=True),
    ],
    "a token of an older generation than one before": [
        CREATED,
        Operation(REVOKE, 2, 20),
        Operation(ISSUE, 3, 4, generation=1),
        Operation(ISSUE, 5, 6, generation=0),
    ],
}


@pytest.mark.parametrize("name", TRUE)
def test_what_can_be_true_passes(name: str) -> None:
    assert is_linearizable(TRUE[name])


@pytest.mark.parametrize("name", FALSE)
def test_what_cannot_be_true_is_found_out(name: str) -> None:
    assert not is_linearizable(FALSE[name])


def test_long_histories_with_much_at_once_are_checked_quickly() -> None:
    """Eight clients at once, forty changes, some of them without an answer; and one read that is out of date."""
    changes = [Operation(REVOKE, 10 + n, UNKNOWN if n % 7 == 0 else 18 + n) for n in range(40)]
    reads = [Operation(GET, 10 + n / 2, 14 + n / 2) for n in range(40)]
    answered = sum(each.ended != UNKNOWN for each in changes)
    began = monotonic()

    assert is_linearizable([CREATED, *changes, *reads, Operation(ISSUE, 100, 101, generation=answered)])
    assert not is_linearizable([CREATED, *changes, *reads, Operation(ISSUE, 100, 101, generation=answered - 1)])
    assert monotonic() - began < 20


def test_the_generation_is_read_from_a_token() -> None:
    payload = base64.urlsafe_b64encode(json.dumps({"gen": 7}).encode()).rstrip(b"=").decode()

    assert 7 == generation(f"e30.{payload}.e30")
