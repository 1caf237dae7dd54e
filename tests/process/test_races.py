"""Races over real sockets: revoke, delete and issue on one identity at once, through every worker of a server.

Whatever the order turns out to be: no live token that should be dead, no dead one that should live, and so after a
restart too. MINTMARK_RACE_ROUNDS sets how many rounds there are; `make test-all` runs 10,000.
"""

import asyncio
import itertools
import os
import random  # noqa: TID251  with fixed seeds
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from msgspec import Struct

from calls import Answer
from process.connections import Admin, Connection, connected, connected_to_each
from running import RunningServer, running_server

pytestmark = pytest.mark.anyio

ROUNDS = int(os.environ.get("MINTMARK_RACE_ROUNDS", "120"))
WORKERS = 3
LANES = 4  # rounds that run at the same time, each on an identity and on connections of its own
LANE = 2  # connections to each worker, in each lane: two for each of three clients
KEPT = 500  # tokens that are asked for once more after a restart
CHAT, WITH_TOKEN = {"scopes": ["chat"]}, {"createTokenWithScopes": ["chat"]}
# Clients that start together; each does one thing after the other, so that much of the order is known and much is not.
RACES = (
    (("issue", "revoke", "issue"), ("revoke", "issue"), ("issue", "issue")),
    (("revoke", "issue", "issue"), ("issue", "issue"), ("issue",)),
    (("issue", "delete", "issue"), ("issue", "revoke"), ("issue", "issue")),
    (("delete", "issue"), ("issue", "delete"), ("revoke", "issue")),
)


class Done(Struct, frozen=True):
    """An operation: when it was asked for and answered, in moments of this process, and the token that it brought."""

    name: str
    asked: int
    answered: int
    token: str | None = None


class Verdict(Struct, frozen=True):
    """Whether a token must live; None where the order of things is not known."""

    token: str
    must_live: bool | None


class Lane:
    """Where one round after the other is run."""

    def __init__(self, connections: list[Connection], admin: Connection, chance: random.Random) -> None:
        self._connections, self._admin, self._chance = connections, admin, chance
        self._moment = 0

    async def round(self) -> list[Verdict]:
        """A race on a new identity; the verdicts were found to be true."""
        created = (await self._connections[0].sign("POST", "/identities", WITH_TOKEN)).json
        self._chance.shuffle(self._connections)
        clients = [
            self._client(names, self._connections[number::3], created["identity"]["id"])
            for number, names in enumerate(self._chance.choice(RACES))
        ]

        done = [Done("issue", 0, 0, created["accessToken"]["token"])]
        for by_client in await asyncio.gather(*clients):
            done += by_client

        verdicts = [verdict(each.token, each, done) for each in done if each.token is not None]
        for each in verdicts:
            assert each.must_live in (None, await self._lives(each.token)), (each, done)
        return verdicts

    async def _client(self, names: Sequence[str], connections: Sequence[Connection], identity: str) -> list[Done]:
        turns = itertools.cycle(connections)
        return [await self._do(name, next(turns), identity) for name in names]

    async def _do(self, name: str, connection: Connection, identity: str) -> Done:
        path = f"/identities/{identity}"
        asked = self._tick()
        if name == "issue":
            answer = await connection.sign("POST", f"{path}/:issueAccessToken", CHAT)
        elif name == "revoke":
            answer = await connection.sign("POST", f"{path}/:revokeAccessTokens")
        else:
            answer = await connection.sign("DELETE", path)
        assert answer.status in (200, 204, 404), answer
        return Done(name, asked, self._tick(), answer.json["token"] if answer.status == 200 else None)

    async def _lives(self, token: str) -> bool:
        body = f'{{"token":"{token}"}}'.encode()
        active: bool = (await self._admin.ask("POST", "/_mintmark/introspect", body)).json["active"]
        return active

    def _tick(self) -> int:
        self._moment += 1
        return self._moment


def verdict(token: str, issued: Done, done: list[Done]) -> Verdict:
    """What must be true of a token once all is answered, whatever the order was."""
    revoked = [each for each in done if each.name == "revoke"]
    if any(each.name == "delete" for each in done) or any(issued.answered < each.asked for each in revoked):
        return Verdict(token, must_live=False)
    return Verdict(token, True if all(each.answered < issued.asked for each in revoked) else None)


@asynccontextmanager
async def lanes(server: RunningServer) -> AsyncIterator[list[Lane]]:
    async with connected_to_each(server, WORKERS, LANES * LANE) as by_worker, AsyncExitStack() as stack:
        yield [
            Lane(
                [each for those in by_worker.values() for each in those[number * LANE : (number + 1) * LANE]],
                await stack.enter_async_context(connected(server.admin_endpoint)),
                random.Random(number),
            )
            for number in range(LANES)
        ]


@pytest.mark.long
async def test_no_race_over_sockets_leaves_a_wrong_token_nor_does_a_restart(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    flags = ("--data", str(tmp_path / "data"), "--workers", str(WORKERS), "--quiet")
    verdicts: list[Verdict] = []

    async def run(lane: Lane) -> None:
        for _ in range(ROUNDS // LANES):
            verdicts.extend(await lane.round())

    with running_server(*flags) as server:
        async with lanes(server) as opened:
            await asyncio.gather(*(run(lane) for lane in opened))

    certain = [each for each in verdicts if each.must_live is not None]
    print(f"\n{ROUNDS} rounds, {len(verdicts)} tokens, the fate of {len(certain)} certain")  # noqa: T201
    record_property("rounds", ROUNDS)
    record_property("tokens", len(verdicts))
    assert {True, False} == {each.must_live for each in certain}
    assert len(certain) > len(verdicts) / 2
    with running_server(*flags) as server:
        again = Admin(server)
        for each in certain[:: len(certain) // KEPT + 1]:
            assert each.must_live == await again.lives(each.token)


async def test_fifty_who_race_to_be_first_get_one_identity() -> None:
    with running_server("--ephemeral", "--workers", str(WORKERS), "--quiet") as server:
        async with connected_to_each(server, WORKERS, 50 // WORKERS + 1) as by_worker:
            racers = [each for those in zip(*by_worker.values(), strict=True) for each in those][:50]
            for number in range(10):
                body = {"customId": f"name {number}"}

                async def ask(racer: Connection, body: object = body) -> Answer:
                    return await racer.sign("POST", "/identities", body, version="2025-03-02-preview")

                answers = await asyncio.gather(*(ask(racer) for racer in racers))

                assert [200] * 49 + [201] == sorted(each.status for each in answers)
                assert 1 == len({each.json["identity"]["id"] for each in answers})
