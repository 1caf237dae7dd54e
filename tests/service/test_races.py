"""Whatever races: no live token that should be dead, no dead token that should live, one identity for a custom id.

Several services on one store stand for several workers. Each round starts operations at the same moment, lets the event
loop mix them, and then asks for the truth. MINTMARK_RACE_ROUNDS sets how many; `make test-all` runs 10,000.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from msgspec import Struct

from builders import ISSUER, NOON, SEALER, FakeClock, counted_sources
from mintmark.compose import open_service
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.doors.dev import fill_store
from mintmark.errors import IdentityNotFound
from mintmark.service import Caller, Service, TokenRequest
from mintmark.shared import SharedWords
from mintmark.sources import Sources
from mintmark.store import Store
from mintmark.store.postgres import PostgresStore
from mintmark.store.postgres_address import parse_address
from mintmark.store.sqlite import SqliteStore
from web.apps import an_administration

pytestmark = pytest.mark.anyio

ROUNDS = int(os.environ.get("MINTMARK_RACE_ROUNDS", "300"))
OWNER, CHAT, NO_TOKEN = Caller(DEVELOPMENT_RESOURCE), TokenRequest(("chat",)), TokenRequest()


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.long)])
async def services(
    tmp_path: Path, words: SharedWords, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[Service]]:
    """Three workers: each with its own store on one file or one database, and one clock that stands still."""
    stores: list[Store]
    if request.param == "sqlite":
        stores = [SqliteStore(tmp_path / "mintmark.db") for _ in range(3)]
    else:
        address = parse_address(request.getfixturevalue("database"))
        stores = [PostgresStore(address) for _ in range(3)]
        monkeypatch.setitem(globals(), "ROUNDS", max(ROUNDS // 10, 100))  # A way to a server takes longer.
    sources = Sources(FakeClock(), random.Random(1).randbytes)
    await fill_store(stores[0], SEALER, "ES256", sources)
    yield [await open_service(store, SEALER, "ES256", ISSUER, sources, words, development=True) for store in stores]
    for store in stores:
        await store.close()


class Done(Struct):
    """An operation on one identity: when it started and ended, and the token that it brought, if any."""

    started: int
    ended: int
    token: str | None = None


class Round:
    """One round on one identity: operations by any of the workers, and a counter that orders their starts and ends."""

    def __init__(self, services: list[Service], identity_id: str, chance: random.Random) -> None:
        self._services, self._id, self._chance = services, identity_id, chance
        self._moment = 0

    def any(self) -> Service:
        return self._chance.choice(self._services)

    def _tick(self) -> int:
        self._moment += 1
        return self._moment

    async def issue(self) -> Done:
        started = self._tick()
        try:
            token = (await self.any().issue_token(OWNER, self._id, CHAT)).token
        except IdentityNotFound:
            return Done(started, self._tick())
        return Done(started, self._tick(), token)

    async def revoke(self) -> Done:
        started = self._tick()
        await self.any().revoke_tokens(OWNER, self._id)
        return Done(started, self._tick())

    async def delete(self) -> Done:
        started = self._tick()
        await self.any().delete_identity(OWNER, self._id)
        return Done(started, self._tick())

    async def client(self, *work: Callable[[], Awaitable[Done]]) -> list[Done]:
        """One client does several things, each when the one before was answered."""
        return [await each() for each in work]

    async def lives(self, token: str) -> bool:
        return (await self.any().introspect(token)).active


async def test_revoking_while_issuing(services: list[Service]) -> None:
    chance = random.Random(2)
    dead = alive = 0
    for _ in range(ROUNDS):
        identity, _, _ = await services[0].create_identity(OWNER, NO_TOKEN)
        this = Round(services, identity.id, chance)
        clients = [
            this.client(this.issue, this.revoke, this.issue),
            this.client(this.revoke, this.issue),
            this.client(this.issue, this.issue),
        ]
        chance.shuffle(clients)

        done = [each for answers in await asyncio.gather(*clients) for each in answers]

        revoked = [each for each in done if each.token is None]
        for issued in (each for each in done if each.token is not None):
            assert issued.token is not None
            lives = await this.lives(issued.token)
            if any(issued.ended < revoke.started for revoke in revoked):
                assert not lives
                dead += 1
            if all(revoke.ended < issued.started for revoke in revoked):
                assert lives
                alive += 1
    assert min(dead, alive) > ROUNDS // 10  # Enough of both whose fate is certain.


async def test_deleting_while_issuing(services: list[Service]) -> None:
    chance = random.Random(3)
    for _ in range(ROUNDS):
        identity, first, _ = await services[0].create_identity(OWNER, CHAT)
        this = Round(services, identity.id, chance)
        work = [this.issue(), this.delete(), this.issue(), this.issue()]
        chance.shuffle(work)

        done = await asyncio.gather(*work)

        assert first is not None
        tokens = [first.token, *(each.token for each in done if each.token is not None)]
        assert not any([await this.lives(token) for token in tokens])
        assert (await this.issue()).token is None


async def test_revoking_twice_at_once_counts_twice(services: list[Service]) -> None:
    chance = random.Random(7)
    for _ in range(max(ROUNDS // 10, 30)):
        identity, _, _ = await services[0].create_identity(OWNER, NO_TOKEN)
        this = Round(services, identity.id, chance)

        await asyncio.gather(*(this.revoke() for _ in range(6)))

        assert 6 == (await this.any().identity(OWNER, identity.id)).generation


async def test_regenerating_a_key_while_issuing(services: list[Service], words: SharedWords) -> None:
    chance = random.Random(4)
    administration = an_administration(services[0], counted_sources(FakeClock(NOON)), words)
    for generation in range(max(ROUNDS // 10, 30)):
        caller = Caller(DEVELOPMENT_RESOURCE, f"p{generation}")
        creating = asyncio.gather(*(chance.choice(services).create_identity(caller, CHAT) for _ in range(4)))

        fresh = await administration.regenerate_access_key("development", "primary")

        assert generation + 1 == fresh.generation
        for _, token, _ in await creating:
            assert token is not None
            assert not (await chance.choice(services).introspect(token.token)).active


async def test_fifty_who_race_to_be_first_get_one_identity(services: list[Service]) -> None:
    chance = random.Random(5)
    for number in range(max(ROUNDS // 30, 10)):
        work = (chance.choice(services).create_identity(OWNER, CHAT, f"name {number}") for _ in range(50))

        made = await asyncio.gather(*work)

        assert 1 == len({identity.id for identity, _, _ in made})
        assert 1 == sum(is_new for _, _, is_new in made)
        for _, token, _ in made:
            assert token is not None
            assert (await chance.choice(services).introspect(token.token)).active


async def test_a_name_freed_while_others_ask_for_it_is_never_two_identities(services: list[Service]) -> None:
    chance = random.Random(6)
    for number in range(max(ROUNDS // 10, 30)):
        name = f"name {number}"
        first, _, _ = await services[0].create_identity(OWNER, NO_TOKEN, name)
        asking = asyncio.gather(*(chance.choice(services).create_identity(OWNER, CHAT, name) for _ in range(6)))

        await Round(services, first.id, chance).delete()

        others = {identity.id for identity, _, _ in await asking} - {first.id}
        final, _, _ = await services[0].create_identity(OWNER, NO_TOKEN, name)
        assert first.id != final.id
        assert others <= {final.id}
