"""What all processes of a server have used, also those that left its session, as PostgreSQL's do."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from bench.server import CLOCK_TICK, Server


@dataclass(frozen=True)
class Usage:
    """CPU seconds since the server's start, and bytes of memory now; what processes share counts once."""

    cpu: float
    memory: int


def usage(server: Server) -> Usage:
    """A process that has ended counts through the parent that waited for it."""
    found = dict(_descendants(server.process.pid))
    ticks = sum(int(tick) for fields in found.values() for tick in fields[11:15])
    return Usage(ticks * CLOCK_TICK, sum(map(_memory, found)))


def _descendants(leader: int) -> Iterator[tuple[int, list[str]]]:
    """The leader, what it started and what they started, with proc(5)'s stat from the state on; 1 is the parent."""
    every: dict[int, list[str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # It ended meanwhile.
            every[int(path.parent.name)] = path.read_text(errors="replace").rpartition(")")[2].split()
    generation = [leader]
    while generation:
        yield from ((process, every[process]) for process in generation if process in every)
        generation = [process for process, fields in every.items() if int(fields[1]) in generation]


def _memory(process: int) -> int:
    """The process's proportional share: a page that three have in memory counts for a third in each."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
