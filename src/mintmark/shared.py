"""A few numbers that all processes of a server see at once: in memory that the workers inherit from their parent."""

import mmap
from collections.abc import Callable
from functools import partial

REVISION, CLOCK, FAULTS, STARTED = range(4)
_WORDS = 8
_BYTES = 8


class SharedWords:
    """Signed 64-bit numbers, each read and written as a whole; all zero at first.

    Each has one writer at a time (the process of the admin listener, or whoever holds a lock beside), so none is here.
    """

    def __init__(self) -> None:
        # Anonymous and shared: it lives as long as any process that inherited it.
        self._words = memoryview(mmap.mmap(-1, _WORDS * _BYTES)).cast("q")

    def __getitem__(self, place: int) -> int:
        return self._words[place]

    def reader(self, place: int) -> Callable[[], int]:
        """What reads that number, for those who ask again and again."""
        return partial(self._words.__getitem__, place)

    def __setitem__(self, place: int, value: int) -> None:
        self._words[place] = value
