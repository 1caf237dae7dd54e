"""How many requests of a kind a resource may make in 30 seconds: the limits that ACS publishes, or others.

All workers count together, without a lock: each writes to cells of its own in memory inherited from the parent, and
adds up those of all. So a few more may pass than are allowed, at most one for each other worker.
"""

import mmap
import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import blake2b

WINDOW = 30_000  # milliseconds; windows begin at multiples of it
MAX_LIMIT = 1_000_000
OPERATIONS = ("create", "get", "delete", "issue", "revoke", "exchange")
# Microsoft Learn, "Service limits for Azure Communication Services", Identity (contract section 6.3): no limit for get.
ACS: Mapping[str, int] = {"create": 1000, "delete": 500, "issue": 1000, "revoke": 500, "exchange": 500}

CELLS = 1 << 18  # of each worker; only those in use take memory
_WORD = 8  # bytes
_COUNT_BITS, _MARK_BITS, _WINDOW_BITS = 20, 16, 28  # of a word; the count is in its lowest bits
_COUNT = (1 << _COUNT_BITS) - 1
_LIMIT = re.compile(r"\s*([^=]*?)\s*=\s*(\d{1,9})\s*", re.ASCII)


def parse_limits(text: str) -> Mapping[str, int]:
    """Requests per 30 seconds by operation; an operation that is not in it has no limit.

    Args:
        text: `off`, `acs`, or own numbers such as `create=100,issue=50`.

    Raises:
        ValueError: it is none of these; the message says what is allowed.
    """
    if text in ("off", "acs"):
        return ACS if text == "acs" else {}
    limits: dict[str, int] = {}
    for part in text.split(","):
        match = _LIMIT.fullmatch(part)
        if match is None or match[1] not in OPERATIONS or match[1] in limits or not 1 <= int(match[2]) <= MAX_LIMIT:
            raise ValueError(
                f"Limits are off, acs, or requests per 30 s such as create=100,issue=50: {', '.join(OPERATIONS)}, "
                f"each at most once, from 1 to {MAX_LIMIT}."
            )
        limits[match[1]] = int(match[2])
    return limits


def shared_cells(workers: int) -> memoryview:
    """Memory for the counts of so many workers; the parent makes it before it forks."""
    return memoryview(mmap.mmap(-1, CELLS * workers * _WORD)).cast("Q")


class Limiter:
    """Counts one worker's requests, and holds them and those of the others against the limits.

    A cell has the window that it counts in, a mark of what it counts, and the count. What belongs to another window or
    to something else counts as nothing and is overwritten: two that meet in a cell are refused too late at worst, never
    too soon, and a clock that goes back locks nobody out.
    """

    def __init__(self, limits: Mapping[str, int], cells: memoryview, number: int) -> None:
        """Takes the worker's number; whoever replaces a worker goes on with its counts."""
        self._limits = limits
        self._cells = cells
        self._workers = len(cells) // CELLS
        self._number = number

    def take(self, resource_id: str, operation: str, now: int) -> int | None:
        """Lets a request pass and counts it; a refused one does not count.

        Args:
            resource_id: whose request it is.
            operation: one of `OPERATIONS`.
            now: in milliseconds since 1970-01-01 00:00 UTC.

        Returns:
            None if it may pass; else the seconds until the window ends, at least 1.
        """
        limit = self._limits.get(operation)
        if limit is None:
            return None
        place, mark = _place(resource_id, operation)
        window, since = divmod(now, WINDOW)
        label = (window % (1 << _WINDOW_BITS)) << _MARK_BITS | mark
        first = place * self._workers
        cells = self._cells[first : first + self._workers]
        counts = [cell & _COUNT if cell >> _COUNT_BITS == label else 0 for cell in cells]
        if sum(counts) >= limit:
            return -(-(WINDOW - since) // 1000)
        cells[self._number] = label << _COUNT_BITS | counts[self._number] + 1
        return None


@lru_cache(maxsize=4096)
def _place(resource_id: str, operation: str) -> tuple[int, int]:
    """The cell and the mark of what is counted, the same in every process (Python's own hash is not)."""
    digest = int.from_bytes(blake2b(f"{resource_id} {operation}".encode(), digest_size=8).digest(), "big")
    return digest % CELLS, digest >> (64 - _MARK_BITS)
