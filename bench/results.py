"""What a run gave, as it is kept in a file: every measurement, so that tables and pictures can be made anew."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

from bench.load import Load


@dataclass(frozen=True, order=True)
class Cell:
    """One row of the table."""

    subject: str
    workers: int
    connections: int
    operation: str = "create"


@dataclass(frozen=True)
class Sample:
    """One measurement of a cell, or the reason why it does not count."""

    cell: Cell
    round: int
    load: Load | None = None
    cpu: float = 0.0
    """Seconds of CPU time while the load ran."""
    memory: int = 0
    """Bytes of all its processes right after it."""
    verified: int = 0
    """Answers of the load before it whose tokens were verified."""
    fault: str = ""


@dataclass(frozen=True)
class Run:
    """One run: when (a date), on what (a line each), how long each load was, and what came of it."""

    date: str
    machine: list[str]
    seconds: int
    samples: list[Sample]

    @property
    def verified(self) -> int:
        """Answers whose tokens were verified, in all."""
        return sum(sample.verified for sample in self.samples)


def save(run: Run, path: Path) -> None:
    """As JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(run)) + b"\n")


def read(path: Path) -> Run:
    """Raises OSError, or ValueError where the file is not what `save` writes."""
    return msgspec.json.decode(path.read_bytes(), type=Run)
