"""Processes are killed under load, on both engines; the clock is stepped; and a database is spoilt.

MINTMARK_FAULT_ROUNDS sets how many rounds of kills.
"""

import asyncio
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from time import monotonic, sleep

import pytest

from builders import ISSUER, NOON, SEALER, FakeClock, counted_sources
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
from postgres import Cluster, running_cluster
from process.watching import await_end, children, free_port
from running import MINTMARK, STOP_SECONDS
from serving import Files, Serving, serving
from soak.history import UNKNOWN, Kind, Operation, is_linearizable, shown
from soak.load import Load
from soak.stored import in_postgres, in_sqlite
from soak.tally import Stored, Tally, show

ROUNDS = int(os.environ.get("MINTMARK_FAULT_ROUNDS", "2"))
WARM, CALM = 0.7, 0.7  # seconds of load before a fault, and after writes succeed again
HEADER = 100  # bytes
SECOND, HOUR, DAY, YEAR = 1_000, 3_600_000, 86_400_000, 31_557_600_000  # milliseconds
STEPS = (SECOND, -SECOND, HOUR, -HOUR, -DAY, 10 * YEAR)
OWNER, CHAT = Caller(DEVELOPMENT_RESOURCE), TokenRequest(("chat",))

pytestmark = pytest.mark.long


class System:
    """A server with two workers on one engine, which starts again where it was, and what can happen to it."""

    def __init__(self, folder: Path, cluster: Cluster | None) -> None:
        self._folder, self._cluster = folder, cluster
        self._flags = ["--workers", "2", "--http-port", str(free_port()), "--admin-port", str(free_port())]
        self._stack = ExitStack()
        self.server = self._start()

    def faults(self) -> dict[str, Callable[[], None]]:
        """What can happen, by name."""
        own = {"worker killed": self._kill_worker, "server killed": self._kill_server}
        if self._cluster is None:
            return own
        return {"backend killed": self._kill_backend, "PostgreSQL killed": self._kill_postgres, **own}

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


@contextmanager
def a_system(engine: str, folder: Path) -> Iterator[System]:
    with ExitStack() as stack:
        started = System(folder, stack.enter_context(running_cluster()) if engine == "postgres" else None)
        stack.callback(started.stop)
        yield started


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
def test_nothing_acknowledged_is_undone_when_processes_are_killed(engine: str, tmp_path: Path) -> None:
    tally = Tally()
    with a_system(engine, tmp_path) as it:
        resource = it.server.add_resource("shop")
        for number in range(ROUNDS):
            fault, happens = list(it.faults().items())[number % len(it.faults())]
            load = Load([it.server], resource, f"round-{number}")
            with load.running():
                sleep(WARM)
                moment = monotonic()
                happens()
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


def test_a_database_whose_header_was_spoilt_is_refused_in_plain_words(tmp_path: Path) -> None:
    refused = 0
    for number in range(ROUNDS):
        folder = tmp_path / str(number)
        folder.mkdir()
        with serving(folder) as server:
            server.add_resource("shop")
            files = server.files
        spoil(files.database, system().random(HEADER))
        done = start(files)

        assert (2, "") == (done.returncode, done.stdout), done.stderr
        assert f"{files.database}" in done.stderr
        assert "Traceback" not in done.stderr
        refused += 1
    print(f"\n{ROUNDS} spoilt headers, {refused} refused")  # noqa: T201


def spoil(path: Path, content: bytes) -> None:
    """Writes over the beginning of a file."""
    with path.open("r+b") as file:
        file.write(content)


def start(files: Files) -> "subprocess.CompletedProcess[str]":
    """A start that is expected to be refused at once."""
    command = [*MINTMARK, "serve", *files.flags()]
    return subprocess.run(command, capture_output=True, text=True, timeout=STOP_SECONDS, check=False)
