"""What rounds have shown, and a table of it."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import NamedTuple

from msgspec import Struct, field

from soak.history import UNKNOWN, Kind, Operation, is_linearizable, shown
from soak.load import Load, Subject

MOST_SHOWN = 3  # histories that cannot be


class Stored(NamedTuple):
    """An identity as it stands in the database: its id, and its custom id or nothing."""

    id: str
    name: str


class Tally(Struct):
    """Counts over rounds.

    Attributes:
        rounds: how many.
        acknowledged: writes that were.
        lost: identities that were acknowledged and are not there, or are said not to be.
        doubled: identities that share an id or a name, or that are more than were asked for.
        revived: identities and tokens that are alive though their end was acknowledged.
        untrue: histories that cannot be.
        gaps: milliseconds for which a node acknowledged nothing after a fault, by the kind of fault.
    """

    rounds: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    revived: int = 0
    untrue: int = 0
    gaps: dict[str, list[float]] = field(default_factory=dict)
    made: list[str] = field(default_factory=list)  # ids of all rounds
    unanswered: int = 0  # requests to create of which nobody knows whether they did

    def add(self, load: Load, stored: Sequence[Stored]) -> None:
        """Takes in a round whose clients have asked about everything once more."""
        self.rounds += 1
        self.acknowledged += len(load.acknowledged)
        there, made = {each.id for each in stored}, [each.id for each in load.subjects]
        self.made += made
        self.unanswered += load.unanswered_creates
        missing = {each.id for each in load.subjects if _is_lost(each.history)}
        self.lost += len(missing | set(self.made) - there)
        names = [each.name for each in stored if each.name]
        too_many = max(len(there) - len(set(self.made)) - self.unanswered, 0)
        self.doubled += len(made) - len(set(made)) + len(names) - len(set(names)) + too_many
        self.revived += sum(_revived(each) for each in load.subjects)
        for subject in load.subjects:
            if not is_linearizable(subject.history):
                self.untrue += 1
                if self.untrue <= MOST_SHOWN:
                    print(f"\n{subject.id} cannot be:\n{shown(subject.history)}")  # noqa: T201

    def add_gaps(self, fault: str, gaps: Sequence[float]) -> None:
        """Takes note of how long writes failed after a fault."""
        self.gaps.setdefault(fault, []).extend(gaps)

    def assert_clean(self) -> None:
        """Nothing was lost, doubled or revived, and each history can be true."""
        found: Mapping[str, int] = {
            "lost": self.lost,
            "doubled": self.doubled,
            "revived": self.revived,
            "untrue": self.untrue,
        }
        assert dict.fromkeys(found, 0) == found
        assert self.acknowledged


def show(name: str, tally: Tally) -> None:
    """Prints two tables: the counts, and the gaps."""
    counts = (tally.rounds, tally.acknowledged, tally.lost, tally.doubled, tally.revived, tally.untrue)
    _print_table(("rounds", "acknowledged", "lost", "doubled", "revived", "untrue"), {name: counts})
    gaps = {fault: (len(gaps), round(median(gaps)), round(max(gaps))) for fault, gaps in tally.gaps.items() if gaps}
    _print_table(("gaps", "p50 ms", "max ms"), gaps)


def _print_table(columns: Sequence[str], rows: Mapping[str, Sequence[int]]) -> None:
    first = max(map(len, rows), default=0)
    print(f"\n{'':{first}}  {'  '.join(columns)}")  # noqa: T201
    for name, cells in rows.items():
        numbers = (f"{cell:>{len(column)}}" for cell, column in zip(cells, columns, strict=True))
        print(f"{name:{first}}  {'  '.join(numbers)}")  # noqa: T201


def _is_lost(history: Sequence[Operation]) -> bool:
    """Whether it is said not to be there though nobody asked for its end."""
    return _last(history, Kind.GET) is False and not any(each.kind is Kind.DELETE for each in history)


def _revived(subject: Subject) -> int:
    """It, if its deletion was acknowledged; and tokens that live though a later revocation was acknowledged."""
    history = subject.history
    ends = [each for each in history if each.kind in {Kind.DELETE, Kind.REVOKE} and each.answer and _is_known(each)]
    is_back = any(each.kind is Kind.DELETE for each in ends) and _last(history, Kind.GET) is True
    tokens = 0
    for issued in {number for _, number in subject.tokens}:
        alive = [each.began for each in history if _says_alive(each, issued)]
        seen = [each.ended for each in history if _brings(each, issued)]
        ended = [each.ended for each in ends if each.began > min(seen)]
        tokens += bool(alive and ended and max(alive) > min(ended))
    return is_back + tokens


def _says_alive(operation: Operation, issued: int) -> bool:
    is_about = operation.kind is Kind.LIVE and operation.generation == issued
    return is_about and operation.answer and _is_known(operation)


def _brings(operation: Operation, issued: int) -> bool:
    is_about = operation.kind is Kind.ISSUE and operation.generation == issued
    return is_about and operation.answer and _is_known(operation)


def _last(history: Sequence[Operation], kind: Kind) -> bool | None:
    return next((each.answer for each in reversed(history) if each.kind is kind and _is_known(each)), None)


def _is_known(operation: Operation) -> bool:
    return operation.ended != UNKNOWN
