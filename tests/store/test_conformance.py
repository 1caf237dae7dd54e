"""What `Store` promises, asked of every engine."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import TypeVar, cast

import pytest

from builders import NOON, an_identity
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.errors import ResourceExists, StoreUnavailable
from mintmark.model import (
    Identity,
    KeySlot,
    Resource,
    SealedSecret,
    SigningAlgorithm,
    StoredAccessKey,
    StoredSigningKey,
)
from mintmark.store import Store
from mintmark.store.sqlite import SqliteStore

# Opens a store on the test's own data, as often as a test likes and in any event loop, and closes it in the end.
OpenStore = Callable[[], AbstractAsyncContextManager[Store]]

RACERS = 8
Answer = TypeVar("Answer")
OTHER_RESOURCE = Resource(id="ffffffff-0000-4000-8000-000000000001", name="other", region="europe")

pytestmark = pytest.mark.anyio


def sqlite_in(folder: Path) -> OpenStore:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        store = SqliteStore(folder / "mintmark.db")
        try:
            yield store
        finally:
            await store.close()

    return opened


ENGINES = {"sqlite": sqlite_in}


@pytest.fixture(params=ENGINES)
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    return ENGINES[request.param](tmp_path)


@pytest.fixture
async def store(open_store: OpenStore) -> AsyncIterator[Store]:
    async with open_store() as opened:
        await opened.migrate(NOON)
        yield opened


def access_keys(
    resource: Resource = DEVELOPMENT_RESOURCE, *, secret: bytes = b"sealed"
) -> tuple[StoredAccessKey, StoredAccessKey]:
    return _access_key(resource, "primary", secret), _access_key(resource, "secondary", secret)


def _access_key(resource: Resource, slot: KeySlot, secret: bytes) -> StoredAccessKey:
    return StoredAccessKey(resource.id, slot, 0, SealedSecret("a-key-encryption-key", secret))


def a_signing_key(kid: str, algorithm: SigningAlgorithm = "ES256", *, created_at: int = NOON) -> StoredSigningKey:
    return StoredSigningKey(
        kid, algorithm, f'{{"kid":"{kid}"}}', created_at, SealedSecret("a-key-encryption-key", kid.encode())
    )


async def test_an_identity_reads_back_as_it_was_created(store: Store) -> None:
    never_issued = an_identity(1)
    issued = Identity(DEVELOPMENT_RESOURCE.id, bytes(range(16)), NOON, last_issued_at=NOON + 1, generation=7)

    await store.create_identity(never_issued)
    await store.create_identity(issued)

    assert await store.identity(never_issued.resource_id, never_issued.suffix) == never_issued
    assert await store.identity(issued.resource_id, issued.suffix) == issued


async def test_an_identity_is_found_by_its_own_resource_and_suffix_only(store: Store) -> None:
    identity = an_identity(1)
    await store.create_identity(identity)

    assert await store.identity(OTHER_RESOURCE.id, identity.suffix) is None
    assert await store.identity(identity.resource_id, an_identity(2).suffix) is None


async def test_two_resources_may_have_identities_of_one_suffix(store: Store) -> None:
    ours, theirs = an_identity(1), an_identity(1, resource_id=OTHER_RESOURCE.id)

    await asyncio.gather(store.create_identity(ours), store.create_identity(theirs))

    assert await store.identity(ours.resource_id, ours.suffix) == ours
    assert await store.identity(theirs.resource_id, theirs.suffix) == theirs


async def test_a_second_identity_of_the_same_id_is_refused_and_the_first_stays(store: Store) -> None:
    first = an_identity(1)
    second = Identity(first.resource_id, first.suffix, first.created_at + 1, generation=1)
    await store.create_identity(first)

    with pytest.raises(Exception) as refused:  # noqa: PT011  it has no name yet: chance makes it impossible
        await store.create_identity(second)

    assert not isinstance(refused.value, StoreUnavailable)
    assert await store.identity(first.resource_id, first.suffix) == first


async def test_a_bad_row_in_a_batch_fails_its_own_caller_and_no_neighbour(store: Store) -> None:
    taken = an_identity(0)
    await store.create_identity(taken)
    batch = [an_identity(1), taken, an_identity(2), an_identity(3), an_identity(3), an_identity(4)]

    outcomes = await asyncio.gather(*(store.create_identity(each) for each in batch), return_exceptions=True)

    assert [outcome is None for outcome in outcomes] == [True, False, True, True, False, True]
    for each in batch:
        assert await store.identity(each.resource_id, each.suffix) == each


async def test_a_row_that_no_column_can_hold_fails_its_own_caller_and_no_neighbour(store: Store) -> None:
    good = an_identity(1)
    too_late = Identity(good.resource_id, an_identity(2).suffix, created_at=2**63)

    outcomes = await asyncio.gather(
        store.create_identity(good), store.create_identity(too_late), return_exceptions=True
    )

    assert outcomes[0] is None
    assert isinstance(outcomes[1], Exception)
    assert await store.identity(good.resource_id, good.suffix) == good


async def test_resources_and_their_keys_read_back_in_the_order_in_which_they_came(store: Store) -> None:
    await store.add_resource(OTHER_RESOURCE, access_keys(OTHER_RESOURCE), NOON)
    await store.add_resource(DEVELOPMENT_RESOURCE, access_keys(DEVELOPMENT_RESOURCE), NOON - 1)

    assert await store.resources() == [OTHER_RESOURCE, DEVELOPMENT_RESOURCE]
    assert set(await store.access_keys()) == {*access_keys(DEVELOPMENT_RESOURCE), *access_keys(OTHER_RESOURCE)}


async def test_a_second_add_is_refused_and_leaves_a_resource_and_its_keys_as_they_are(store: Store) -> None:
    await store.add_resource(DEVELOPMENT_RESOURCE, access_keys(), NOON)

    renamed = Resource(DEVELOPMENT_RESOURCE.id, name="renamed", region="elsewhere")
    with pytest.raises(ResourceExists):
        await store.add_resource(renamed, access_keys(secret=b"another"), NOON + 1)

    assert await store.resources() == [DEVELOPMENT_RESOURCE]
    assert set(await store.access_keys()) == set(access_keys())


async def test_a_resource_is_kept_with_both_its_keys_or_not_at_all(store: Store) -> None:
    primary, secondary = access_keys(OTHER_RESOURCE)
    no_such_slot = StoredAccessKey(OTHER_RESOURCE.id, cast("KeySlot", "tertiary"), 0, secondary.sealed)

    outcomes = await asyncio.gather(
        store.add_resource(OTHER_RESOURCE, (primary, no_such_slot), NOON),
        store.add_resource(DEVELOPMENT_RESOURCE, access_keys(), NOON),
        return_exceptions=True,
    )

    assert isinstance(outcomes[0], Exception)
    assert outcomes[1] is None
    assert await store.resources() == [DEVELOPMENT_RESOURCE]
    assert set(await store.access_keys()) == set(access_keys())


async def test_the_first_signing_key_of_an_algorithm_stays_the_only_one(store: Store) -> None:
    await store.add_first_signing_key(a_signing_key("first"))
    await store.add_first_signing_key(a_signing_key("late"))
    await store.add_first_signing_key(a_signing_key("rsa", "RS256"))

    assert await store.signing_keys() == [a_signing_key("first"), a_signing_key("rsa", "RS256")]


async def test_signing_keys_are_listed_oldest_first(store: Store) -> None:
    newer, older = a_signing_key("a", "ES256", created_at=NOON), a_signing_key("b", "RS256", created_at=NOON - 1)
    await store.add_first_signing_key(newer)
    await store.add_first_signing_key(older)

    assert await store.signing_keys() == [older, newer]


async def test_one_first_signing_key_wins_when_one_store_is_asked_for_many_at_once(store: Store) -> None:
    await asyncio.gather(*(store.add_first_signing_key(a_signing_key(f"key-{number}")) for number in range(RACERS)))

    assert len(await store.signing_keys()) == 1


async def test_one_first_signing_key_wins_however_many_stores_race(store: Store, open_store: OpenStore) -> None:
    line = threading.Barrier(RACERS, timeout=10)

    async def race(number: int) -> list[StoredSigningKey]:
        async with open_store() as racer:
            line.wait()
            await asyncio.gather(
                racer.add_first_signing_key(a_signing_key(f"ES256-{number}", "ES256")),
                racer.add_first_signing_key(a_signing_key(f"RS256-{number}", "RS256")),
            )
            return await racer.signing_keys()

    seen = await in_event_loops_of_their_own(race)

    winners = await store.signing_keys()
    assert ["ES256", "RS256"] == sorted(key.algorithm for key in winners)
    assert seen == [winners] * RACERS


async def test_stores_that_write_at_once_lose_nothing_of_each_other(store: Store, open_store: OpenStore) -> None:
    async def write(number: int) -> list[Identity]:
        identities = [an_identity(number * 1000 + each) for each in range(25)]
        async with open_store() as writer:
            await asyncio.gather(*(writer.create_identity(identity) for identity in identities))
        return identities

    for identities in await in_event_loops_of_their_own(write):
        for identity in identities:
            assert await store.identity(identity.resource_id, identity.suffix) == identity


async def test_everything_survives_closing_and_opening_again(open_store: OpenStore) -> None:
    identity = an_identity(1)
    async with open_store() as store:
        await store.migrate(NOON)
        await store.add_resource(DEVELOPMENT_RESOURCE, access_keys(), NOON)
        await store.add_first_signing_key(a_signing_key("first"))
        await store.create_identity(identity)

    async with open_store() as store:
        await store.migrate(NOON + 1)
        assert await store.resources() == [DEVELOPMENT_RESOURCE]
        assert set(await store.access_keys()) == set(access_keys())
        assert await store.signing_keys() == [a_signing_key("first")]
        assert await store.identity(identity.resource_id, identity.suffix) == identity


async def test_a_store_that_closes_finishes_the_writes_under_way(open_store: OpenStore) -> None:
    identities = [an_identity(number) for number in range(50)]
    async with open_store() as store:
        await store.migrate(NOON)
        writes = [asyncio.ensure_future(store.create_identity(identity)) for identity in identities]
        await asyncio.sleep(0)  # They have been handed to the store, no more.

    await asyncio.gather(*writes)
    async with open_store() as store:
        for identity in identities:
            assert await store.identity(identity.resource_id, identity.suffix) == identity


async def test_a_store_is_ready_once_it_has_its_tables_and_until_it_closes(open_store: OpenStore) -> None:
    async with open_store() as store:
        assert not await store.is_ready()

        await store.migrate(NOON)
        assert await store.is_ready()

    assert not await store.is_ready()


async def test_to_close_a_store_again_does_nothing(open_store: OpenStore) -> None:
    async with open_store() as store, open_store() as another:
        await store.migrate(NOON)
        await store.close()
        await store.close()

        assert await another.is_ready()


async def test_a_closed_store_refuses_everything(open_store: OpenStore) -> None:
    async with open_store() as store:
        await store.migrate(NOON)
    asked: list[Callable[[], Awaitable[object]]] = [
        lambda: store.migrate(NOON),
        lambda: store.create_identity(an_identity(1)),
        lambda: store.identity(DEVELOPMENT_RESOURCE.id, an_identity(1).suffix),
        lambda: store.add_resource(DEVELOPMENT_RESOURCE, access_keys(), NOON),
        store.resources,
        store.access_keys,
        lambda: store.add_first_signing_key(a_signing_key("late")),
        store.signing_keys,
    ]

    for ask in asked:
        with pytest.raises(StoreUnavailable):
            await ask()


async def in_event_loops_of_their_own(race: Callable[[int], Coroutine[None, None, Answer]]) -> list[Answer]:
    """What each racer answers, in a thread with an event loop of its own."""

    def run() -> list[Answer]:
        with ThreadPoolExecutor(RACERS) as threads:
            return list(threads.map(lambda number: asyncio.run(race(number)), range(RACERS)))

    return await asyncio.to_thread(run)
