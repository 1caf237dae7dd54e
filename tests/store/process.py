"""Processes that race on one database. Each runs this file as a program:

    python process.py DATABASE migrate
    python process.py DATABASE create FIRST COUNT

The database is a file, or the address of one on PostgreSQL.

It prints `ready`, starts when a line tells it to, and prints the suffixes of the identities whose creation was
acknowledged, in hexadecimal digits.
"""

# ruff: noqa: T201  what it prints is its answer

import asyncio
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.model import Identity, new_suffix
from mintmark.store import Store
from mintmark.store.postgres import PostgresStore
from mintmark.store.postgres_address import parse_address
from mintmark.store.sqlite import SqliteStore

NOW = 1_795_435_200_000
REQUESTS = 16  # at once, in each process
PATIENCE = 20  # seconds until processes that hang fail the test


def run_together(database: Path | str, commands: Sequence[Sequence[str]]) -> list[list[str]]:
    """Starts a process for each command, lets all of them go at once, and answers what each printed.

    Raises:
        AssertionError: one failed.
    """
    with ExitStack() as stack:
        processes = [stack.enter_context(_started(database, command)) for command in commands]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        answers = [process.communicate(timeout=PATIENCE) for process in processes]
    failures = [err for process, (_, err) in zip(processes, answers, strict=True) if process.returncode]
    assert not failures, failures[0]
    return [out.split() for out, _ in answers]


@contextmanager
def _started(database: Path | str, command: Sequence[str]) -> "Iterator[subprocess.Popen[str]]":
    pipe = subprocess.PIPE
    arguments = [sys.executable, __file__, str(database), *command]
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def opened(database: Path | str) -> Store:
    text = str(database)
    return PostgresStore(parse_address(text)) if "://" in text else SqliteStore(Path(text))


async def migrate(database: Path | str) -> None:
    store = opened(database)
    await store.migrate(NOW)
    await store.close()


async def create(database: str, first: int, count: int) -> None:
    store = opened(database)
    numbers = iter(range(first, first + count))
    acknowledged = []

    async def requests() -> None:
        for number in numbers:
            identity = Identity(DEVELOPMENT_RESOURCE.id, new_suffix(NOW, number.to_bytes(8, "big")), NOW)
            await store.create_identity(identity)
            acknowledged.append(identity.suffix.hex())

    await asyncio.gather(*(requests() for _ in range(REQUESTS)))
    await store.close()
    print("\n".join(acknowledged))


def main(database: str, command: str, *numbers: str) -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    if command == "migrate":
        asyncio.run(migrate(database))
    else:
        first, count = map(int, numbers)
        asyncio.run(create(database, first, count))


if __name__ == "__main__":
    main(*sys.argv[1:])
