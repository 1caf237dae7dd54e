"""Faults on demand, for `mintmark dev` only: so that programs can be tested against a service that misbehaves.

The list stands in a file of the data folder, with a lock beside it; a shared number says how many faults are left, so
that a request without faults pays for one look at that number.
"""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from mintmark.shared import FAULTS, SharedWords

OPERATIONS = ("create", "get", "delete", "issue", "revoke", "exchange")
Operation = Literal["*", "create", "get", "delete", "issue", "revoke", "exchange"]


class Fault(Struct, frozen=True, rename="camel", forbid_unknown_fields=True, omit_defaults=True):
    """What shall go wrong.

    Attributes:
        operation: which operation of the ACS surface; `*` for any.
        count: how many requests it befalls.
        status: the status to answer with instead; None to answer as usual.
        retry_after: seconds, as the header `Retry-After` of that answer.
        delay: milliseconds to wait before the answer.
        drop: whether the connection is closed instead of an answer.
        when: before the operation, or after it was carried out: then the client does not learn that it was.
    """

    operation: Operation = "*"
    count: Annotated[int, Meta(ge=1, le=1_000_000)] = 1
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    retry_after: Annotated[int, Meta(ge=0, le=3600)] | None = None
    delay: Annotated[int, Meta(ge=0, le=600_000)] = 0
    drop: bool = False
    when: Literal["before", "after"] = "before"


class Faults:
    """The faults that are still to happen, shared by all workers."""

    def __init__(self, folder: Path, words: SharedWords) -> None:
        self._file = folder / "faults.json"
        self._lock = folder / "faults.lock"
        self._words = words

    def take(self, operation: str) -> Fault | None:
        """The fault that befalls this request, which is thereby used up by one; None for none."""
        if not self._words[FAULTS]:
            return None
        with self._held():
            faults = self._read()
            for place, fault in enumerate(faults):
                if fault.operation in ("*", operation):
                    left = msgspec.structs.replace(fault, count=fault.count - 1)
                    self._write([*faults[:place], *([left] if left.count else []), *faults[place + 1 :]])
                    return fault
        return None

    def all(self) -> list[Fault]:
        """What is still to happen, in the order in which it will."""
        with self._held():
            return self._read()

    def add(self, fault: Fault) -> None:
        """Puts a fault behind the others."""
        with self._held():
            self._write([*self._read(), fault])

    def clear(self) -> None:
        """No more faults."""
        with self._held():
            self._write([])

    @contextmanager
    def _held(self) -> Iterator[None]:
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _read(self) -> list[Fault]:
        # The number counts, not the file: a new server has none, whatever an old one left.
        if not self._words[FAULTS]:
            return []
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=list[Fault])
        except (OSError, msgspec.MsgspecError):  # The disk is full, or somebody changed the file.
            self._words[FAULTS] = 0
            return []

    def _write(self, faults: Sequence[Fault]) -> None:
        part = self._file.with_suffix(".part")
        part.write_bytes(msgspec.json.encode(faults))
        part.replace(self._file)
        self._words[FAULTS] = sum(fault.count for fault in faults)
