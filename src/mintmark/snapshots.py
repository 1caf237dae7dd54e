"""What each process of a server last said of itself, for the others to read: in memory inherited from the parent.

No file: it works with a full disk and with a file system that is read-only.
"""

import mmap
import zlib
from struct import Struct

_HEADER = Struct("<QII")  # sequence, length, checksum
_TRIES = 1000


class Snapshots:
    """Bytes by the number of the process that wrote them; empty at first.

    Each number has one writer at a time, and readers do not wait for it: there are two places for each, used in turns,
    so that a whole snapshot is always there, also when its writer was killed while it wrote the next one. A checksum
    tells a half-written one.
    """

    def __init__(self, count: int, size: int) -> None:
        """Room for `count` processes, each with snapshots of up to `size` bytes.

        Memory that was never written to takes no room.
        """
        self.count = count
        self._place = _HEADER.size + size
        self._size = size
        self._memory = mmap.mmap(-1, count * 2 * self._place)

    def write(self, number: int, payload: bytes) -> None:
        """Replaces the snapshot of a number.

        Raises:
            ValueError: it is longer than there is room.
        """
        if len(payload) > self._size:
            raise ValueError(f"A snapshot has {len(payload)} bytes, and room for {self._size}.")
        sequence = self._latest(number)[0] + 1
        start = self._start(number, sequence % 2)
        body = start + _HEADER.size
        self._memory[body : body + len(payload)] = payload
        self._memory[start:body] = _HEADER.pack(sequence, len(payload), _checksum(payload, sequence))

    def read(self, number: int) -> bytes:
        """The last snapshot of a number."""
        return self._latest(number)[1]

    def _latest(self, number: int) -> tuple[int, bytes]:
        """The sequence number and the bytes of the newer place, or of the other where that one is half-written."""
        places = (self._start(number, 0), self._start(number, 1))
        for _ in range(_TRIES):
            # The newer one first: then nobody reads an older one than before, however far the writer came meanwhile.
            for start in sorted(places, key=self._sequence, reverse=True):
                if whole := self._read(start):
                    return whole
            # The writer came by twice while this process looked. It writes once a second: not for long.
        raise AssertionError("A writer never leaves both places half-written.")

    def _sequence(self, start: int) -> int:
        sequence: int = _HEADER.unpack_from(self._memory, start)[0]
        return sequence

    def _read(self, start: int) -> tuple[int, bytes] | None:
        """The sequence number and the bytes of one place; None while it is half-written."""
        body = start + _HEADER.size
        sequence, length, checksum = _HEADER.unpack_from(self._memory, start)
        if length > self._size:
            return None
        payload = self._memory[body : body + length]
        return (sequence, payload) if checksum == _checksum(payload, sequence) else None

    def _start(self, number: int, place: int) -> int:
        return (2 * number + place) * self._place


def _checksum(payload: bytes, sequence: int) -> int:
    """Of both, so that neither passes with the other one's; 0 for what was never written."""
    return zlib.crc32(payload, sequence & 0xFFFFFFFF)
