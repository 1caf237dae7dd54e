"""What changes while a server runs is in effect in every one of its workers, and in those that replace them.

Requests go over connections of which it is known which worker serves them. They run before, while and after something
is changed: all that end before the change is asked for see what was, all that begin once it is acknowledged see what
is.
"""

import asyncio
import base64
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from calls import Answer
from mintmark.development import DEVELOPMENT_KEYS
from mintmark.sources import system
from mintmark.store.sqlite import SqliteStore
from mintmark.web.wire import moment
from process import calling
from process.connections import Admin, Connection, connected, connected_to_each, paused
from process.watching import children, eventually
from running import RunningServer, running_server

pytestmark = pytest.mark.anyio

WORKERS = 3
CONNECTIONS = 6  # to each worker
REQUESTS = 8  # on each connection, before and after
CHAT = {"createTokenWithScopes": ["chat"], "expiresInMinutes": 60}
HOUR = 3_600_000  # milliseconds
OLD_KEY, OTHER_KEY = DEVELOPMENT_KEYS

Connections = list[Connection]
Ask = Callable[[Connection], Awaitable[Answer]]


@pytest.fixture(scope="module")
def running() -> Iterator[RunningServer]:
    with running_server("--ephemeral", "--workers", str(WORKERS), "--quiet") as started:
        yield started


@pytest.fixture
def server(running: RunningServer) -> Iterator[RunningServer]:
    """At real time, without faults; its secondary key is the one that it had at first."""
    yield running
    assert 200 == calling.admin(running, "POST", "clock", {"action": "resume"}).status
    assert 204 == calling.admin(running, "DELETE", "faults").status


@pytest.fixture
def admin(server: RunningServer) -> Admin:
    return Admin(server)


@pytest.fixture
async def connections(server: RunningServer) -> AsyncIterator[Connections]:
    """The same number to each worker."""
    async with connected_to_each(server, WORKERS, CONNECTIONS) as each:
        yield [connection for those in each.values() for connection in those]


def create(key: bytes = OTHER_KEY, **signing: Any) -> Ask:
    return lambda connection: connection.sign("POST", "/identities", CHAT, key=key, **signing)


class Seen:
    """What answers said before, while and after something was changed."""

    def __init__(self) -> None:
        self.before: list[Answer] = []
        self.meanwhile: list[Answer] = []
        self.after: list[Answer] = []

    def statuses(self) -> tuple[set[int], set[int]]:
        """Before and after."""
        return {answer.status for answer in self.before}, {answer.status for answer in self.after}


async def seen_around(connections: Connections, ask: Ask, change: Callable[[], Awaitable[Any]]) -> Seen:
    """Asks on all connections without a pause, and changes something meanwhile."""
    seen, changing, changed = Seen(), asyncio.Event(), asyncio.Event()
    warm = asyncio.Barrier(len(connections) + 1)

    async def keep_asking(connection: Connection) -> None:
        for _ in range(REQUESTS):
            seen.before.append(await ask(connection))
        await warm.wait()
        while not changed.is_set():
            began_before = changing.is_set()
            answer = await ask(connection)
            (seen.meanwhile if changing.is_set() or began_before else seen.before).append(answer)
        for _ in range(REQUESTS):
            seen.after.append(await ask(connection))

    async def make_the_change() -> None:
        await warm.wait()
        changing.set()
        await change()
        changed.set()

    await asyncio.gather(make_the_change(), *(keep_asking(connection) for connection in connections))
    assert WORKERS * CONNECTIONS * REQUESTS == len(seen.after)
    return seen


def secret(keys: dict[str, Any], slot: str) -> bytes:
    (key,) = (base64.b64decode(each["key"]) for each in keys["accessKeys"] if each["slot"] == slot)
    return key


def token_of(answer: Answer) -> str:
    token: str = answer.json["accessToken"]["token"]
    return token


def obtained_last(seen: Seen) -> list[str]:
    """The tokens nearest to the change, and those that overlapped with it."""
    return [token_of(each) for each in (*seen.before, *seen.meanwhile) if each.status == 201][-60:]


async def test_each_connection_is_known_to_belong_to_one_worker(server: RunningServer) -> None:
    async with connected_to_each(server, WORKERS, 2) as by_worker:
        assert children(server.process.pid) == set(by_worker)
        for stopped, its in by_worker.items():
            others = [each for worker, those in by_worker.items() if worker != stopped for each in those]
            with paused({stopped}):
                waiting = [asyncio.ensure_future(each.ask("GET", "/.well-known/jwks.json")) for each in its]
                for other in others:
                    assert 200 == (await other.ask("GET", "/.well-known/jwks.json")).status
                assert not any(each.done() for each in waiting)
            assert [200, 200] == [(await each).status for each in waiting]


class TestAtOnce:
    async def test_a_new_resource(self, admin: Admin, connections: Connections) -> None:
        made: dict[str, Any] = {}

        async def add() -> None:
            made.update(await admin("POST", "resources", {"name": "added"}))

        # Nobody has its keys before it is there: until then the requests are signed with none of anybody's.
        def ask(connection: Connection) -> Awaitable[Answer]:
            return connection.sign("POST", "/identities", CHAT, key=secret(made, "secondary") if made else b"nobody's")

        seen = await seen_around(connections, ask, add)

        assert ({401}, {201}) == seen.statuses()
        assert all(made["id"] in each.json["identity"]["id"] for each in seen.after)

    async def test_a_removed_resource(self, admin: Admin, connections: Connections) -> None:
        made = await admin("POST", "resources", {"name": "gone"})
        gone = create(secret(made, "primary"))

        seen = await seen_around(connections, gone, lambda: admin("DELETE", "resources/gone"))

        assert ({201}, {401}) == seen.statuses()
        assert not any([await admin.lives(token) for token in obtained_last(seen)])

    async def test_a_regenerated_key(self, admin: Admin, connections: Connections) -> None:
        path = "resources/development/access-keys"
        old = secret(await admin("GET", path), "primary")

        seen = await seen_around(connections, create(old), lambda: admin("POST", f"{path}/primary/:regenerate"))

        assert ({201}, {401}) == seen.statuses()
        assert not any([await admin.lives(token) for token in obtained_last(seen)])
        fresh = secret(await admin("GET", "resources/development/access-keys"), "primary")
        by_fresh = await asyncio.gather(*(create(fresh)(each) for each in connections))
        assert all([await admin.lives(token_of(each)) for each in by_fresh])

    async def test_the_other_key_serves_on_while_resources_and_keys_come_and_go(
        self, admin: Admin, connections: Connections
    ) -> None:
        async def change_much() -> None:
            for number in range(10):
                await admin("POST", "resources", {"name": f"number-{number}"})
                await admin("POST", "resources/development/access-keys/primary/:regenerate")
                await admin("DELETE", f"resources/number-{number}")

        seen = await seen_around(connections, create(), change_much)

        answers = [*seen.before, *seen.meanwhile, *seen.after]
        assert {201} == {each.status for each in answers}
        assert len(answers) == len({each.json["identity"]["id"] for each in answers})
        assert all([await admin.lives(token_of(each)) for each in answers[:: len(answers) // 60]])

    async def test_a_moved_clock(self, admin: Admin, connections: Connections) -> None:
        an_hour_ahead = create(now=system().now() + HOUR)

        seen = await seen_around(
            connections, an_hour_ahead, lambda: admin("POST", "clock", {"action": "advance", "milliseconds": HOUR})
        )

        assert ({401}, {201}) == seen.statuses()

    async def test_a_fault_and_its_end(self, admin: Admin, connections: Connections) -> None:
        teapot = {"operation": "create", "status": 418, "count": 1_000_000}

        begun = await seen_around(connections, create(), lambda: admin("POST", "faults", teapot))
        ended = await seen_around(connections, create(), lambda: admin("DELETE", "faults"))

        assert ({201}, {418}) == begun.statuses()
        assert ({418}, {201}) == ended.statuses()


async def replaced(server: RunningServer, worker: int) -> None:
    """Kills a worker and returns when there are as many as before."""
    before = children(server.process.pid)
    os.kill(worker, signal.SIGKILL)
    eventually("another worker", lambda: len(children(server.process.pid) - before) == 1)
    eventually("the old one is gone", lambda: worker not in children(server.process.pid))


async def admin_worker_of(server: RunningServer) -> int:
    """The one that answers on the admin listener while all others stand still."""
    pids = children(server.process.pid)
    for pid in sorted(pids):
        with paused(pids - {pid}), suppress(TimeoutError):
            async with asyncio.timeout(1), connected(server.admin_endpoint) as connection:
                assert 200 == (await connection.ask("GET", "/_mintmark/live")).status
                return pid
    raise AssertionError("no worker answers alone")


@asynccontextmanager
async def one_to_each(server: RunningServer) -> AsyncIterator[Connections]:
    async with connected_to_each(server, WORKERS, 1) as by_worker:
        yield [connection for (connection,) in by_worker.values()]


class TestAReplacedWorker:
    @pytest.fixture
    async def server(self, tmp_path: Path) -> AsyncIterator[RunningServer]:
        """One of its own, as it was made, whose workers all serve: until then it would rather stop than replace one."""
        with running_server("--data", str(tmp_path / "data"), "--workers", str(WORKERS), "--quiet") as started:
            async with one_to_each(started):
                pass
            yield started

    async def test_it_knows_all_that_changed_whichever_it_replaces(self, server: RunningServer, admin: Admin) -> None:
        second = await admin("POST", "resources", {"name": "second"})
        third = await admin("POST", "resources", {"name": "third"})
        await admin("DELETE", "resources/third")
        fresh = await admin("POST", "resources/development/access-keys/primary/:regenerate")
        await admin("POST", "clock", {"action": "freeze"})
        moved = await admin("POST", "clock", {"action": "advance", "milliseconds": 5 * HOUR})
        await admin("POST", "faults", {"operation": "delete", "status": 418, "count": 1_000_000})
        expected = {
            secret(second, "primary"): 201,
            secret(second, "secondary"): 201,
            secret(third, "primary"): 401,
            OLD_KEY: 401,
            base64.b64decode(fresh["key"]): 201,
            OTHER_KEY: 201,
        }

        for worker in sorted(children(server.process.pid)):  # The one that serves the admin listener is among them.
            await replaced(server, worker)
            async with one_to_each(server) as connections:
                for connection in connections:
                    answers = {key: await create(key, now=moved["now"])(connection) for key in expected}
                    assert expected == {key: answer.status for key, answer in answers.items()}
                    issued = answers[OTHER_KEY].json["accessToken"]
                    assert moment((moved["now"] + HOUR) // 1000 * 1000) == issued["expiresOn"]
                    assert await admin.lives(issued["token"])
                    deleted = await connection.sign("DELETE", "/identities/any", key=OTHER_KEY, now=moved["now"])
                    assert 418 == deleted.status

    async def test_a_change_that_was_cut_short_is_in_effect_everywhere_or_nowhere(
        self, server: RunningServer, admin: Admin
    ) -> None:
        """The worker of the admin listener is killed while it regenerates a key."""
        admin_worker, key = await admin_worker_of(server), bytes(OLD_KEY)
        for number in range(4):
            before = children(server.process.pid)
            asking = asyncio.ensure_future(admin("POST", "resources/development/access-keys/primary/:regenerate"))
            await asyncio.sleep(0.0015 * number)
            await replaced(server, admin_worker)
            outcomes = await asyncio.gather(asking, return_exceptions=True)
            (admin_worker,) = children(server.process.pid) - before
            now_valid = secret(await admin("GET", "resources/development/access-keys"), "primary")
            for acknowledged in (each for each in outcomes if isinstance(each, dict)):
                assert base64.b64decode(acknowledged["key"]) == now_valid
            async with one_to_each(server) as connections:
                for connection in connections:
                    assert 201 == (await create(now_valid)(connection)).status
                    assert (201 if key == now_valid else 401) == (await create(key)(connection)).status
            key = now_valid

    async def test_it_tells_the_others_what_its_predecessor_did_but_could_not_tell(
        self, server: RunningServer, admin: Admin, tmp_path: Path
    ) -> None:
        second = await admin("POST", "resources", {"name": "second"})
        its_key = create(secret(second, "primary"))
        async with one_to_each(server) as connections:
            assert [201] * WORKERS == [(await its_key(each)).status for each in connections]
            store = SqliteStore(tmp_path / "data" / "mintmark.db")
            assert await store.remove_resource(second["id"], 0)
            await store.close()
            assert [201] * WORKERS == [(await its_key(each)).status for each in connections], "nobody told them"
        await replaced(server, await admin_worker_of(server))

        async with one_to_each(server) as connections:
            assert [401] * WORKERS == [(await its_key(each)).status for each in connections]
