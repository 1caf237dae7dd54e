"""Histories of one identity under concurrent clients, and whether they can be true.

A history is true if its operations can be put into one order in which each answers as a single identity would, and in
which none comes before one that was answered before it began (linearizability). The search is Wing and Gong's, with the
states that were visited kept, so that none is tried twice.
"""

import base64
import json
import math
from collections.abc import Iterable, Sequence
from enum import Enum, auto

from msgspec import Struct

ABSENT, DELETED = -2, -1  # States; every other is the generation of an identity that exists.
UNKNOWN = math.inf  # when an operation ended of which nobody knows whether it took effect, or will


class Kind(Enum):
    """What was asked."""

    CREATE = auto()
    GET = auto()
    ISSUE = auto()
    REVOKE = auto()
    DELETE = auto()
    LIVE = auto()


CHANGES = frozenset({Kind.CREATE, Kind.REVOKE, Kind.DELETE})
WRITES = CHANGES | {Kind.ISSUE}


class Operation(Struct, frozen=True):
    """One operation on one identity.

    Attributes:
        kind: what was asked.
        began: when, in seconds of any clock that never goes back.
        ended: when it was answered; UNKNOWN if it was not, or not with a definite answer.
        answer: whether the identity was there; of LIVE, whether the token lives. Means nothing if `ended` is UNKNOWN.
        generation: of ISSUE, that of the token that was answered; of LIVE, that of the token that was asked about.
    """

    kind: Kind
    began: float
    ended: float
    answer: bool = True
    generation: int = 0


def generation(token: str) -> int:
    """That of the identity when the token was issued."""
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    found: int = claims["gen"]
    return found


def is_linearizable(history: Iterable[Operation]) -> bool:
    """Whether there is an order in which all of it is true, of an identity that did not exist before."""
    required, optional = _split(history)
    everything = (1 << len(required)) - 1
    untried, seen = [(0, 0, ABSENT)], set()
    while untried:
        done, used, state = untried.pop()
        done = _with_reads(required, done, state)
        if done == everything:
            return True
        if (done, used, state) in seen:
            continue
        seen.add((done, used, state))
        horizon = _horizon(required, done)
        for number in _next_required(required, done, horizon):
            after = _after(state, required[number])
            if after is not None:
                untried.append((done | 1 << number, used, after))
        for number in _next_optional(optional, used, horizon):
            after = _after(state, optional[number])
            if after is not None and after != state:
                untried.append((done, used | 1 << number, after))
    return False


def _split(history: Iterable[Operation]) -> tuple[list[Operation], list[Operation]]:
    """What must have happened, and what may have, in the order in which they began.

    The store tries a revocation again where it lost a connection: it may count once more, even later than its answer.
    """
    required: list[Operation] = []
    optional: list[Operation] = []
    for operation in sorted(history, key=lambda each: each.began):
        is_known = operation.ended != UNKNOWN
        if is_known:
            required.append(operation)
        elif operation.kind in CHANGES:
            optional.append(operation)
        if operation.kind is Kind.REVOKE:
            optional.append(Operation(Kind.REVOKE, operation.began, UNKNOWN))
    return required, optional


def _horizon(required: Sequence[Operation], done: int) -> float:
    """What began later than this cannot come next: something that must come first is not done yet."""
    return min(each.ended for number, each in enumerate(required) if not done >> number & 1)


def _next_required(required: Sequence[Operation], done: int, horizon: float) -> Iterable[int]:
    """The changes to try next: of those that do the same, the one that was answered first can always go first."""
    found: dict[tuple[Kind, bool], int] = {}
    for number, each in enumerate(required):
        if each.kind in CHANGES and each.began <= horizon and not done >> number & 1:
            alike = each.kind, each.answer
            if alike not in found or each.ended < required[found[alike]].ended:
                found[alike] = number
    return found.values()


def _next_optional(optional: Sequence[Operation], used: int, horizon: float) -> Iterable[int]:
    """The changes that may come next: of those that do the same, any will do, as they have no end."""
    found: dict[Kind, int] = {}
    for number, each in enumerate(optional):
        if each.began <= horizon and not used >> number & 1:
            found.setdefault(each.kind, number)
    return found.values()


def _with_reads(required: Sequence[Operation], done: int, state: int) -> int:
    """With all that can come next and changes nothing: to wait with it would not help."""
    everything, before = (1 << len(required)) - 1, -1
    while done not in (before, everything):
        before, horizon = done, _horizon(required, done)
        for number, operation in enumerate(required):
            if operation.kind not in CHANGES and operation.began <= horizon and _after(state, operation) is not None:
                done |= 1 << number
    return done


def _after(state: int, operation: Operation) -> int | None:
    """The state after an operation; None where it cannot have been answered so."""
    exists = state >= 0
    match operation.kind:
        case Kind.CREATE:  # By a name of its own it may be asked for again.
            return None if state == DELETED else max(state, 0)
        case Kind.GET:
            return state if operation.answer == exists else None
        case Kind.ISSUE:
            is_right = operation.generation == state if operation.answer else not exists
            return state if is_right else None
        case Kind.REVOKE:
            return (state + 1 if exists else state) if operation.answer == exists else None
        case Kind.DELETE:
            return DELETED if state != ABSENT else ABSENT
        case Kind.LIVE:
            return state if operation.answer == (state == operation.generation) else None


def shown(history: Iterable[Operation]) -> str:
    """A line for each operation, in the order in which they began, for whoever looks for the cause."""
    ordered = sorted(history, key=lambda each: each.began)
    start = ordered[0].began if ordered else 0
    return "\n".join(
        f"{each.began - start:9.4f} {each.ended - start:9.4f} {each.kind.name:6} "
        f"{'unknown' if each.ended == UNKNOWN else each.answer!s:7} generation {each.generation}"
        for each in ordered
    )
