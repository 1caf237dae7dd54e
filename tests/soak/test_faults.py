"""Processes are killed under load and disks fill, on both engines; the clock is stepped; and a database is spoilt.

MINTMARK_FAULT_ROUNDS sets how many rounds of each.
"""

import asyncio
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic, sleep
from typing import BinaryIO

import pytest

from builders import ISSUER, NOON, SEALER, FakeClock, counted_sources
from calls import ask
from disks import SmallDisk, small_disk
from mintmark.compose import open_service
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.doors.dev import fill_store
from mintmark.errors import IdentityNotFound
from mintmark.jose import decode_unverified
from mintmark.service import Caller, Service, TokenRequest
from mintmark.shared import SharedWords
from mintmark.sources import system
from mintmark.store import Store
from mintmark.store.postgres import PostgresStore
from mintmark.store.postgres_address import parse_address
from mintmark.store.sqlite import SqliteStore
from nodes.several import node
from postgres import Cluster, folder
from process.watching import await_end, children, free_port
from running import MINTMARK, STOP_SECONDS
from serving import Files, Serving, serving
from soak.history import UNKNOWN, WRITES, Kind, Operation, is_linearizable, shown
from soak.load import Load
from soak.stored import in_postgres, in_sqlite
from soak.tally import Stored, Tally, show

ROUNDS = int(os.environ.get("MINTMARK_FAULT_ROUNDS", "5"))
WARM, CALM = 0.7, 0.7  # seconds of load before a fault, and after writes succeed again
FULL = 0.5  # seconds for which a disk stays full after the first refusal
DISK = "600m"
SOON = 5.0  # seconds
HEADER, PAGE = 100, 4096  # bytes
SECOND, HOUR, DAY, YEAR = 1_000, 3_600_000, 86_400_000, 31_557_600_000  # milliseconds
STEPS = (SECOND, -SECOND, HOUR, -HOUR, -DAY, 10 * YEAR)
OWNER, CHAT = Caller(DEVELOPMENT_RESOURCE), TokenRequest(("chat",))


class System:
    """A server with two workers on one engine, which starts again where it was, and what can happen to it.

    The data are on a small disk.
    """

    def __init__(self, disk: SmallDisk, folder: Path, cluster: Cluster | None) -> None:
        self._disk, self._folder, self._cluster = disk, folder, cluster
        self._flags = ["--workers", "2", "--http-port", str(free_port()), "--admin-port", str(free_port())]
        self._stack = ExitStack()
        self.server = self._start()

    def faults(self, load: Load) -> dict[str, Callable[[], float]]:
        """What can happen under that load, by name; each says when all could be well again, by `monotonic`."""
        kills = {"worker killed": self._kill_worker, "server killed": self._kill_server}
        if self._cluster is not None:
            kills |= {"backend killed": self._kill_backend, "PostgreSQL killed": self._kill_postgres}
        return {**{name: partial(_at, kill) for name, kill in kills.items()}, "disk full": partial(self._fill, load)}

    def stored(self) -> list[Stored]:
        """The identities in the database."""
        return in_sqlite(self.server.files.database) if self._cluster is None else in_postgres(self._cluster)

    def stop(self) -> None:
        """Ends the server."""
        self._stack.close()

    def _start(self) -> Serving:
        if self._cluster is None:
            return self._stack.enter_context(serving(self._folder, *self._flags))
        return self._stack.enter_context(node(self._folder, self._cluster.address(), 0, *self._flags))

    def _kill_worker(self) -> None:
        workers = sorted(children(self.server.process.pid))
        os.kill(workers[system().random(1)[0] % len(workers)], signal.SIGKILL)

    def _kill_server(self) -> None:
        """Its workers end with it, and free its ports and its folder."""
        workers = children(self.server.process.pid)
        self.server.process.kill()
        self.server.process.wait(STOP_SECONDS)
        await_end(workers)
        self._stack.close()
        self.server = self._start()

    def _kill_backend(self) -> None:
        """PostgreSQL then ends all connections and recovers, as it cannot know what that process did to the memory."""
        assert self._cluster is not None
        chosen = "select pid from pg_stat_activity where application_name = 'mintmark' order by random() limit 1"
        if pid := self._cluster.sql(chosen):
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)

    def _kill_postgres(self) -> None:
        assert self._cluster is not None
        self._cluster.kill()
        self._cluster.start()

    def _fill(self, load: Load) -> float:
        """Writes are refused, reads and the key set go on, and soon after there is room again all is well."""
        self._disk.fill()
        refused = load.await_refusal()
        sleep(FULL)
        assert ask(self.server.http_endpoint, "/.well-known/jwks.json").json["keys"]
        freed = monotonic()
        assert not [kind for kind, moment in load.refusals if moment > refused and kind not in WRITES]
        self._disk.free()
        load.await_writes(freed)
        assert monotonic() - freed < SOON
        return freed


def _at(kill: Callable[[], None]) -> float:
    moment = monotonic()
    kill()
    return moment


@contextmanager
def a_system(engine: str) -> Iterator[System]:
    """PostgreSQL's log is elsewhere: without room for that PostgreSQL itself ends."""
    with ExitStack() as stack:
        parent = stack.enter_context(folder())
        disk = stack.enter_context(small_disk(parent / "disk", DISK))
        cluster = None
        if engine == "postgres":
            cluster = Cluster(disk.folder / "primary")
            cluster.initialise(parent / "wal")
            cluster.start()
            stack.callback(cluster.stop)
        started = System(disk, parent / "server" if cluster else disk.folder, cluster)
        stack.callback(started.stop)
        yield started


@pytest.mark.root
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_nothing_acknowledged_is_undone_by_kills_and_full_disks(engine: str) -> None:
    tally = Tally()
    with a_system(engine) as it:
        resource = it.server.add_resource("shop")
        for number in range(ROUNDS):
            load = Load([it.server], resource, f"round-{number}")
            fault, happens = list(it.faults(load).items())[number % len(it.faults(load))]
            with load.running():
                sleep(WARM)
                moment = happens()
                load.await_writes(monotonic())
                sleep(CALM)
            load.ask_all_again()
            tally.add_gaps(fault, load.pauses_since(moment))
            tally.add(load, it.stored())
            assert [] == load.surprises
    show(engine, tally)
    tally.assert_clean()


class Users:
    """Operations on one identity at a time, by a service, at the moments of a counter; and what they were answered."""

    def __init__(self, service: Service, clock: FakeClock, moments: Iterator[int]) -> None:
        self._service, self._clock, self._moments = service, clock, moments
        self.history: list[Operation] = []
        self.tokens: list[str] = []
        self.id = ""

    async def create(self) -> None:
        began = next(self._moments)
        identity, token, _ = await self._service.create_identity(OWNER, CHAT)
        assert token is not None
        self.id = identity.id
        self._keep(token.token)
        self.history.append(Operation(Kind.CREATE, began, next(self._moments)))

    async def issue(self) -> None:
        began = next(self._moments)
        try:
            token = (await self._service.issue_token(OWNER, self.id, CHAT)).token
        except IdentityNotFound:
            self.history.append(Operation(Kind.ISSUE, began, next(self._moments), answer=False))
        else:
            self.history.append(Operation(Kind.ISSUE, began, next(self._moments), generation=self._keep(token)))

    async def revoke(self) -> None:
        began = next(self._moments)
        found = True
        try:
            await self._service.revoke_tokens(OWNER, self.id)
        except IdentityNotFound:
            found = False
        self.history.append(Operation(Kind.REVOKE, began, next(self._moments), found))

    async def delete(self) -> None:
        began = next(self._moments)
        await self._service.delete_identity(OWNER, self.id)
        self.history.append(Operation(Kind.DELETE, began, next(self._moments)))

    async def look(self) -> None:
        """Whether any of its tokens lives; one that does not may only be out of its time."""
        for token in self.tokens[-3:]:
            began = next(self._moments)
            status = await self._service.introspect(token)
            ended = next(self._moments) if status.active else UNKNOWN
            self.history.append(Operation(Kind.LIVE, began, ended, status.active, status.claims["gen"]))

    async def sweep(self) -> None:
        await self._service.forget_changes()

    def _keep(self, token: str) -> int:
        _, claims = decode_unverified(token)
        assert claims["iat"] <= claims["nbf"] < claims["exp"]
        self.tokens.append(token)
        generation: int = claims["gen"]
        return generation


@pytest.mark.long
@pytest.mark.anyio
@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_no_token_is_revived_or_absurd_when_the_clock_is_stepped(
    engine: str, tmp_path: Path, database: str, words: SharedWords
) -> None:
    clock, moments = FakeClock(), count()
    sources = counted_sources(clock)
    store: Store = PostgresStore(parse_address(database)) if engine == "postgres" else SqliteStore(tmp_path / "db")
    await fill_store(store, SEALER, "ES256", sources)
    service = await open_service(store, SEALER, "ES256", ISSUER, sources, words, development=True)
    everybody: list[Users] = []
    dead = 0
    for step in STEPS * ROUNDS:
        clock.now = NOON
        users = Users(service, clock, moments)
        everybody.append(users)
        await users.create()
        await asyncio.gather(_step_to_and_fro(clock, step), *map(_at_once, _mixed(users)))
        clock.now = NOON
        await users.delete()
        await users.look()
        clock.now = NOON + step
        await asyncio.gather(users.look(), users.sweep())
        clock.now = NOON
        for token in users.tokens:  # What was deleted stays dead, though the sweep may have forgotten it.
            assert not (await service.introspect(token)).active
            dead += 1
    for users in everybody:
        assert is_linearizable(users.history), shown(users.history)
    print(f"\n{engine}: {len(STEPS) * ROUNDS} steps of the clock, {dead} tokens ended, 0 revived")  # noqa: T201
    await store.close()


def _mixed(users: Users) -> Sequence[Sequence[Callable[[], Awaitable[None]]]]:
    """What several clients do at the same time, each one thing after the other."""
    one, other, third = (users.issue, users.look, users.revoke, users.issue, users.look), users.look, users.sweep
    return (one, (users.issue, other, third, users.issue), (users.revoke, users.issue, other, other), (third, other))


async def _at_once(work: Sequence[Callable[[], Awaitable[None]]]) -> None:
    for each in work:
        await each()


async def _step_to_and_fro(clock: FakeClock, step: int) -> None:
    for _ in range(10):
        clock.now += step
        await asyncio.sleep(0.001)
        clock.now -= step
        await asyncio.sleep(0.001)


@pytest.mark.long
def test_a_damaged_database_is_refused_in_plain_words(tmp_path: Path) -> None:
    refused: Counter[str] = Counter()
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        with serving(folder) as server:
            server.add_resource("shop")
            files = server.files
        name, spoil = list(DAMAGES.items())[number % len(DAMAGES)]
        with files.database.open("r+b") as file:
            spoil(file)
        done = start(files)

        assert (2, "") == (done.returncode, done.stdout), done.stderr
        assert f"{files.database} is damaged" in done.stderr
        assert "backup" in done.stderr
        assert "Traceback" not in done.stderr
        refused[name] += 1
    print(f"\n{ROUNDS} damaged databases, {refused.total()} refused: {dict(refused)}")  # noqa: T201


DAMAGES: dict[str, Callable[[BinaryIO], object]] = {
    "header": lambda file: file.write(system().random(HEADER)),
    "schema": lambda file: (file.seek(HEADER), file.write(system().random(PAGE - HEADER))),
    "cut off": lambda file: file.truncate(file.seek(0, os.SEEK_END) // 2),
}


def start(files: Files) -> "subprocess.CompletedProcess[str]":
    """A start that is expected to be refused at once."""
    command = [*MINTMARK, "serve", *files.flags()]
    return subprocess.run(command, capture_output=True, text=True, timeout=STOP_SECONDS, check=False)
