"""What `Store` promises, asked of every engine."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar, cast

import pytest
from msgspec.structs import replace

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
from mintmark.store.postgres import PostgresStore
from mintmark.store.postgres_address import parse_address
from mintmark.store.sqlite import SqliteStore

# Opens a store on the test's own data, as often as a test likes and in any event loop, and closes it in the end.
OpenStore = Callable[[], AbstractAsyncContextManager[Store]]

RACERS = 8
Answer = TypeVar("Answer")
EVERYWHERE = (b"", b"\xff" * 17)  # bounds beyond every suffix
FRESH = SealedSecret("another-key-encryption-key", b"fresh")
OTHER_RESOURCE = Resource(id="ffffffff-0000-4000-8000-000000000001", name="other", region="europe")

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["sqlite", "postgres"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> OpenStore:
    make: Callable[[], Store]
    if request.param == "sqlite":
        make = partial(SqliteStore, tmp_path / "mintmark.db")
    else:
        make = partial(PostgresStore, parse_address(request.getfixturevalue("database")))

    @asynccontextmanager
    async def opened() -> AsyncIterator[Store]:
        store = make()
        try:
            yield store
        finally:
            await store.close()

    return opened


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
        kid, algorithm, f'{{"kid":"{kid}"}}', created_at, created_at, SealedSecret("a-key-encryption-key", kid.encode())
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


async def test_a_signing_key_follows_the_newest_of_its_algorithm_only(store: Store) -> None:
    first, second, rsa = a_signing_key("first"), a_signing_key("a", created_at=NOON + 1), a_signing_key("rsa", "RS256")

    assert await store.add_signing_key(first, None)
    assert not await store.add_signing_key(a_signing_key("late"), None)
    assert await store.add_signing_key(rsa, None)
    assert not await store.add_signing_key(second, "rsa")
    assert await store.add_signing_key(second, "first")
    assert not await store.add_signing_key(a_signing_key("later"), "first")

    assert await store.signing_keys() == [first, rsa, second]


async def test_signing_keys_are_listed_in_the_order_in_which_they_sign(store: Store) -> None:
    newer, older = a_signing_key("a", "ES256", created_at=NOON), a_signing_key("b", "RS256", created_at=NOON - 1)
    await store.add_signing_key(newer, None)
    await store.add_signing_key(older, None)

    assert await store.signing_keys() == [older, newer]


async def test_a_removed_signing_key_is_gone(store: Store) -> None:
    await store.add_signing_key(a_signing_key("first"), None)

    assert await store.remove_signing_key("first")
    assert not await store.remove_signing_key("first")
    assert await store.signing_keys() == []


async def test_one_signing_key_wins_when_one_store_is_asked_for_many_at_once(store: Store) -> None:
    added = await asyncio.gather(
        *(store.add_signing_key(a_signing_key(f"key-{number}"), None) for number in range(RACERS))
    )

    assert 1 == sum(added) == len(await store.signing_keys())


async def test_one_signing_key_wins_however_many_stores_race(store: Store, open_store: OpenStore) -> None:
    line = threading.Barrier(RACERS, timeout=10)

    async def race(number: int) -> list[StoredSigningKey]:
        async with open_store() as racer:
            line.wait()
            await asyncio.gather(
                racer.add_signing_key(a_signing_key(f"ES256-{number}", "ES256"), None),
                racer.add_signing_key(a_signing_key(f"RS256-{number}", "RS256"), None),
            )
            return list(await racer.signing_keys())

    seen = await in_event_loops_of_their_own(race)

    winners = await store.signing_keys()
    assert ["ES256", "RS256"] == sorted(key.algorithm for key in winners)
    assert seen == [winners] * RACERS


async def test_a_secret_is_sealed_anew_unless_it_changed_meanwhile(store: Store) -> None:
    key, anew = a_signing_key("first"), SealedSecret("another-key", b"anew")
    await store.add_signing_key(key, None)
    await store.add_resource(DEVELOPMENT_RESOURCE, access_keys(), NOON)
    primary, secondary = await store.access_keys()
    await store.replace_access_key(DEVELOPMENT_RESOURCE.id, secondary.slot, FRESH, NOON)

    await store.reseal_signing_key(key, anew)
    await store.reseal_signing_key(key, SealedSecret("another-key", b"too late"))
    await store.reseal_access_key(primary, anew)
    await store.reseal_access_key(secondary, anew)

    assert [anew] == [each.sealed for each in await store.signing_keys()]
    assert [anew, FRESH] == [each.sealed for each in await store.access_keys()]
    assert [primary.generation, secondary.generation + 1] == [each.generation for each in await store.access_keys()]


async def test_the_newest_record_tells_its_time(store: Store) -> None:
    assert NOON == await store.newest_record_at()  # that of the tables

    await store.add_resource(DEVELOPMENT_RESOURCE, access_keys(), NOON + 1)
    await store.create_identity(an_identity(1, now=NOON + 3))
    await store.create_identity(an_identity(2, now=NOON + 2))
    assert NOON + 3 == await store.newest_record_at()

    await store.add_signing_key(a_signing_key("first", created_at=NOON + 4), None)
    assert NOON + 4 == await store.newest_record_at()


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
        await store.add_signing_key(a_signing_key("first"), None)
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
        lambda: store.add_signing_key(a_signing_key("late"), None),
        lambda: store.remove_signing_key("late"),
        lambda: store.reseal_signing_key(a_signing_key("late"), FRESH),
        lambda: store.reseal_access_key(access_keys()[0], FRESH),
        store.newest_record_at,
        store.signing_keys,
        lambda: store.create_or_get_identity(named("ann")),
        lambda: store.identities(DEVELOPMENT_RESOURCE.id, *EVERYWHERE, 10),
        lambda: store.issue(DEVELOPMENT_RESOURCE.id, an_identity(1).suffix, NOON),
        lambda: store.revoke_tokens(DEVELOPMENT_RESOURCE.id, an_identity(1).suffix, NOON),
        lambda: store.delete_identity(DEVELOPMENT_RESOURCE.id, an_identity(1).suffix, NOON),
        lambda: store.forget_changes(NOON),
        lambda: store.remove_resource(DEVELOPMENT_RESOURCE.id, NOON),
        lambda: store.replace_access_key(DEVELOPMENT_RESOURCE.id, "primary", FRESH, NOON),
    ]

    for ask in asked:
        with pytest.raises(StoreUnavailable):
            await ask()


class TestCustomIds:
    """`create_or_get_identity`."""

    async def test_the_first_is_kept_and_the_next_gets_it(self, store: Store) -> None:
        first, second = named("ann", 1), named("ann", 2)

        assert await store.create_or_get_identity(first) == (first, True)
        assert await store.create_or_get_identity(second) == (first, False)
        assert await found(store, first) == first
        assert await found(store, second) is None

    async def test_the_known_one_comes_as_it_is_now(self, store: Store) -> None:
        first = named("ann", 1)
        await store.create_or_get_identity(first)
        await store.revoke_tokens(first.resource_id, first.suffix, NOON)

        known, _ = await store.create_or_get_identity(named("ann", 2))

        assert replace(first, generation=1) == known

    async def test_it_takes_over_the_time_of_a_token_and_keeps_it(self, store: Store) -> None:
        first = named("ann", 1)
        await store.create_or_get_identity(first)

        with_token, _ = await store.create_or_get_identity(replace(named("ann", 2), last_issued_at=NOON + 5))
        without, _ = await store.create_or_get_identity(named("ann", 3))

        assert replace(first, last_issued_at=NOON + 5) == with_token == without == await found(store, first)

    async def test_every_resource_has_names_of_its_own(self, store: Store) -> None:
        ours, theirs = named("ann", 1), named("ann", 1, resource_id=OTHER_RESOURCE.id)

        assert [(ours, True), (theirs, True)] == [await store.create_or_get_identity(each) for each in (ours, theirs)]

    async def test_names_are_told_apart_to_the_last_character(self, store: Store) -> None:
        names = ["a", "A", "a ", " a", "ä", "a\u0308", "\0", "a\0b", "a\0c", "😀", "%", "_", "x" * 256, "x" * 255]

        made = [await store.create_or_get_identity(named(name, number)) for number, name in enumerate(names)]
        again = [await store.create_or_get_identity(named(name, 100)) for name in names]

        assert [(named(name, number), True) for number, name in enumerate(names)] == made
        assert [(identity, False) for identity, _ in made] == again

    async def test_the_name_of_a_deleted_one_is_free_again(self, store: Store) -> None:
        first, second = named("ann", 1), named("ann", 2)
        await store.create_or_get_identity(first)
        await store.delete_identity(first.resource_id, first.suffix, NOON)

        assert await store.create_or_get_identity(second) == (second, True)
        assert await store.create_or_get_identity(named("ann", 3)) == (second, False)

    async def test_one_wins_when_one_store_is_asked_for_many_at_once(self, store: Store) -> None:
        outcomes = await asyncio.gather(*(store.create_or_get_identity(named("ann", each)) for each in range(50)))

        assert 1 == len({identity.suffix for identity, _ in outcomes})
        assert 1 == sum(is_new for _, is_new in outcomes)

    async def test_one_wins_however_many_stores_race(self, store: Store, open_store: OpenStore) -> None:
        line = threading.Barrier(RACERS, timeout=10)

        async def race(number: int) -> list[tuple[Identity, bool]]:
            async with open_store() as racer:
                line.wait()
                names = [named(f"name {each}", number * 100 + each) for each in range(20)]
                return await asyncio.gather(*(racer.create_or_get_identity(each) for each in names))

        outcomes = await in_event_loops_of_their_own(race)

        for same_name in zip(*outcomes, strict=True):
            assert 1 == len({identity for identity, _ in same_name})
            assert 1 == sum(is_new for _, is_new in same_name)
        assert 20 == len(await store.identities(DEVELOPMENT_RESOURCE.id, *EVERYWHERE, 100))

    async def test_it_survives_closing_and_opening_again(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.migrate(NOON)
            first, _ = await store.create_or_get_identity(named("ann", 1))

        async with open_store() as store:
            assert await store.create_or_get_identity(named("ann", 2)) == (first, False)


class TestIssue:
    async def test_it_notes_the_time_and_answers_the_identity(self, store: Store) -> None:
        identity = named("ann", 1)
        await store.create_or_get_identity(identity)

        issued = await store.issue(identity.resource_id, identity.suffix, NOON + 7)

        assert replace(identity, last_issued_at=NOON + 7) == issued == await found(store, identity)

    async def test_it_answers_the_generation_of_now(self, store: Store) -> None:
        identity = await made(store)
        await store.revoke_tokens(identity.resource_id, identity.suffix, NOON)
        await store.revoke_tokens(identity.resource_id, identity.suffix, NOON)

        issued = await store.issue(identity.resource_id, identity.suffix, NOON)

        assert issued is not None
        assert 2 == issued.generation

    async def test_there_is_none_for_what_is_not_there(self, store: Store) -> None:
        identity, deleted = await made(store, 1), await made(store, 2)
        await store.delete_identity(deleted.resource_id, deleted.suffix, NOON)

        assert await store.issue(OTHER_RESOURCE.id, identity.suffix, NOON) is None
        assert await store.issue(identity.resource_id, an_identity(3).suffix, NOON) is None
        assert await store.issue(deleted.resource_id, deleted.suffix, NOON) is None
        assert await found(store, identity) == identity

    async def test_a_revocation_that_is_acknowledged_later_ends_it_whichever_store_did_it(
        self, store: Store, open_store: OpenStore
    ) -> None:
        """Each racer revokes and issues: between two revocations of its own the generation rises."""
        identity = await made(store)

        async def race(_: int) -> list[int]:
            generations = []
            async with open_store() as racer:
                for _round in range(10):
                    issued = await racer.issue(identity.resource_id, identity.suffix, NOON)
                    assert await racer.revoke_tokens(identity.resource_id, identity.suffix, NOON)
                    assert issued is not None
                    generations.append(issued.generation)
            return generations

        for generations in await in_event_loops_of_their_own(race):
            assert generations == sorted(set(generations))
        final = await store.issue(identity.resource_id, identity.suffix, NOON)
        assert final is not None
        assert RACERS * 10 == final.generation

    async def test_it_survives_closing_and_opening_again(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.migrate(NOON)
            identity = await made(store)
            issued = await store.issue(identity.resource_id, identity.suffix, NOON + 7)

        async with open_store() as store:
            assert await found(store, identity) == issued


class TestRevoke:
    """`revoke_tokens`."""

    async def test_it_raises_the_generation_and_changes_nothing_else(self, store: Store) -> None:
        identity, neighbour = await made(store, 1), await made(store, 2)

        assert await store.revoke_tokens(identity.resource_id, identity.suffix, NOON + 1)

        assert await found(store, identity) == replace(identity, generation=1)
        assert await found(store, neighbour) == neighbour

    async def test_what_is_not_there_cannot_be_revoked(self, store: Store) -> None:
        identity, deleted = await made(store, 1), await made(store, 2)
        await store.delete_identity(deleted.resource_id, deleted.suffix, NOON)

        assert not await store.revoke_tokens(OTHER_RESOURCE.id, identity.suffix, NOON)
        assert not await store.revoke_tokens(identity.resource_id, an_identity(3).suffix, NOON)
        assert not await store.revoke_tokens(deleted.resource_id, deleted.suffix, NOON)
        assert await found(store, identity) == identity

    async def test_every_one_counts_in_one_store(self, store: Store) -> None:
        identity = await made(store)

        await asyncio.gather(*(store.revoke_tokens(identity.resource_id, identity.suffix, NOON) for _ in range(50)))

        assert await found(store, identity) == replace(identity, generation=50)

    async def test_every_one_counts_however_many_stores_race(self, store: Store, open_store: OpenStore) -> None:
        identity = await made(store)

        async def race(_: int) -> None:
            async with open_store() as racer:
                for _round in range(10):
                    assert await racer.revoke_tokens(identity.resource_id, identity.suffix, NOON)

        await in_event_loops_of_their_own(race)

        assert await found(store, identity) == replace(identity, generation=RACERS * 10)

    async def test_it_survives_closing_and_opening_again(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.migrate(NOON)
            identity = await made(store)
            await store.revoke_tokens(identity.resource_id, identity.suffix, NOON)

        async with open_store() as store:
            assert await found(store, identity) == replace(identity, generation=1)


class TestDelete:
    """`delete_identity`."""

    async def test_a_deleted_one_is_still_known_as_deleted(self, store: Store) -> None:
        identity, neighbour = await made(store, 1), await made(store, 2)

        await store.delete_identity(identity.resource_id, identity.suffix, NOON + 1)

        assert await found(store, identity) == replace(identity, deleted_at=NOON + 1)
        assert await found(store, neighbour) == neighbour

    async def test_a_second_time_does_nothing(self, store: Store) -> None:
        identity = await made(store)
        for now in (NOON + 1, NOON + 2):
            await store.delete_identity(identity.resource_id, identity.suffix, now)

        assert await found(store, identity) == replace(identity, deleted_at=NOON + 1)

    async def test_what_is_not_there_is_deleted_already(self, store: Store) -> None:
        identity = await made(store)

        await store.delete_identity(OTHER_RESOURCE.id, identity.suffix, NOON)
        await store.delete_identity(identity.resource_id, an_identity(2).suffix, NOON)

        assert await found(store, identity) == identity

    async def test_once_acknowledged_no_token_comes_from_any_store(self, store: Store, open_store: OpenStore) -> None:
        identities = [await made(store, number) for number in range(RACERS)]

        async def race(number: int) -> list[Identity | None]:
            own = identities[number]
            async with open_store() as racer:
                outcomes = await asyncio.gather(
                    *(racer.issue(own.resource_id, each.suffix, NOON) for each in identities),
                    racer.delete_identity(own.resource_id, own.suffix, NOON),
                )
                assert len(outcomes) == RACERS + 1
                return [await racer.issue(own.resource_id, own.suffix, NOON)]

        assert [[None]] * RACERS == await in_event_loops_of_their_own(race)
        for each in identities:
            after = await found(store, each)
            assert after is not None
            assert NOON == after.deleted_at

    async def test_it_survives_closing_and_opening_again(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.migrate(NOON)
            identity = await made(store)
            await store.delete_identity(identity.resource_id, identity.suffix, NOON)

        async with open_store() as store:
            assert await found(store, identity) == replace(identity, deleted_at=NOON)
            assert await store.issue(identity.resource_id, identity.suffix, NOON) is None


class TestList:
    """`identities`."""

    async def test_they_come_in_the_order_of_their_suffixes(self, store: Store) -> None:
        identities = [an_identity(number, now=NOON + number % 3) for number in range(20)]
        await asyncio.gather(*(store.create_identity(each) for each in identities))

        listed = await store.identities(DEVELOPMENT_RESOURCE.id, *EVERYWHERE, 100)

        assert sorted(identities, key=lambda each: each.suffix) == listed

    async def test_bounds_are_excluded_and_a_limit_holds(self, store: Store) -> None:
        identities = [await made(store, number) for number in range(10)]
        after, before = identities[2].suffix, identities[7].suffix

        async def listed(limit: int) -> list[Identity]:
            return await store.identities(DEVELOPMENT_RESOURCE.id, after, before, limit)

        assert identities[3:7] == await listed(10) == await listed(4)
        assert identities[3:5] == await listed(2)
        assert [] == await store.identities(DEVELOPMENT_RESOURCE.id, before, after, 10)

    async def test_only_those_of_the_resource_that_exist(self, store: Store) -> None:
        kept, deleted = await made(store, 1), await made(store, 2)
        await store.create_identity(an_identity(3, resource_id=OTHER_RESOURCE.id))
        await store.delete_identity(deleted.resource_id, deleted.suffix, NOON)

        assert [kept] == await store.identities(DEVELOPMENT_RESOURCE.id, *EVERYWHERE, 10)

    async def test_one_is_found_by_its_name_within_the_bounds(self, store: Store) -> None:
        ann, bob = named("ann", 1), named("bob", 2)
        for each in (ann, bob, named("ann", 3, resource_id=OTHER_RESOURCE.id)):
            await store.create_or_get_identity(each)

        async def listed(name: str, after: bytes = EVERYWHERE[0]) -> list[Identity]:
            return await store.identities(DEVELOPMENT_RESOURCE.id, after, EVERYWHERE[1], 10, name)

        assert [[ann], [bob], [], []] == [await listed(name) for name in ("ann", "bob", "an", "")]
        assert [] == await listed("ann", ann.suffix)
        await store.delete_identity(ann.resource_id, ann.suffix, NOON)
        assert [] == await listed("ann")

    async def test_they_come_as_they_are_now_after_closing_and_opening_again(self, open_store: OpenStore) -> None:
        async with open_store() as store:
            await store.migrate(NOON)
            await store.create_or_get_identity(named("ann", 1))
            await store.issue(DEVELOPMENT_RESOURCE.id, named("ann", 1).suffix, NOON + 1)
            await store.revoke_tokens(DEVELOPMENT_RESOURCE.id, named("ann", 1).suffix, NOON + 2)

        async with open_store() as store:
            listed = await store.identities(DEVELOPMENT_RESOURCE.id, *EVERYWHERE, 10)
            assert [replace(named("ann", 1), last_issued_at=NOON + 1, generation=1)] == listed


class TestForget:
    """`forget_changes`."""

    async def test_a_deleted_one_is_forgotten_when_its_time_is_over(self, store: Store) -> None:
        identity = await made(store)
        await store.delete_identity(identity.resource_id, identity.suffix, NOON)

        assert 0 == await store.forget_changes(NOON)
        assert await found(store, identity) is not None
        assert 1 == await store.forget_changes(NOON + 1)
        assert await found(store, identity) is None
        assert 0 == await store.forget_changes(NOON + 1)

    async def test_a_forgotten_revocation_does_not_lower_the_generation(self, store: Store) -> None:
        identity = await made(store)
        await store.revoke_tokens(identity.resource_id, identity.suffix, NOON)

        assert [0, 1, 0] == [await store.forget_changes(before) for before in (NOON, NOON + 1, NOON + 1)]
        assert await found(store, identity) == replace(identity, generation=1)
        issued = await store.issue(identity.resource_id, identity.suffix, NOON + 2)
        assert issued is not None
        assert 1 == issued.generation

    async def test_the_last_change_counts(self, store: Store) -> None:
        identity = await made(store)
        await store.revoke_tokens(identity.resource_id, identity.suffix, NOON)
        await store.delete_identity(identity.resource_id, identity.suffix, NOON + 10)

        assert 0 == await store.forget_changes(NOON + 10)
        assert 1 == await store.forget_changes(NOON + 11)
        assert await found(store, identity) is None

    async def test_what_never_changed_stays_however_old(self, store: Store) -> None:
        identity = await made(store)
        await store.issue(identity.resource_id, identity.suffix, NOON)

        assert 0 == await store.forget_changes(NOON * 2)
        assert await found(store, identity) is not None

    async def test_many_take_several_times(self, store: Store) -> None:
        identities = [an_identity(number) for number in range(2300)]
        await asyncio.gather(*(store.create_identity(each) for each in identities))
        await asyncio.gather(
            *(store.delete_identity(each.resource_id, each.suffix, NOON) for each in identities[:1200])
        )
        await asyncio.gather(*(store.revoke_tokens(each.resource_id, each.suffix, NOON) for each in identities[1200:]))

        counts = [await store.forget_changes(NOON + 1) for _ in range(4)]

        assert 2300 == sum(counts)
        assert 0 == counts[-1]
        assert max(counts) < 2300
        assert 1100 == len(await store.identities(DEVELOPMENT_RESOURCE.id, *EVERYWHERE, 5000))

    async def test_it_is_counted_once_however_many_stores_sweep(self, store: Store, open_store: OpenStore) -> None:
        identities = [await made(store, number) for number in range(40)]
        await asyncio.gather(*(store.delete_identity(each.resource_id, each.suffix, NOON) for each in identities))

        async def race(_: int) -> int:
            async with open_store() as racer:
                return await racer.forget_changes(NOON + 1)

        assert 40 == sum(await in_event_loops_of_their_own(race))


class TestResources:
    """`add_resource` with host names, `remove_resource`."""

    async def test_host_names_read_back(self, store: Store) -> None:
        with_hosts = replace(OTHER_RESOURCE, hosts=("a.test", "b.test"))
        await store.add_resource(DEVELOPMENT_RESOURCE, access_keys(), NOON)
        await store.add_resource(with_hosts, access_keys(with_hosts), NOON)

        assert [DEVELOPMENT_RESOURCE, with_hosts] == await store.resources()

    @pytest.mark.parametrize("taken", ["id", "name", "hosts"])
    async def test_what_is_taken_is_refused_and_nothing_of_it_is_kept(self, store: Store, taken: str) -> None:
        first = replace(OTHER_RESOURCE, hosts=("a.test", "b.test"))
        second = Resource("ffffffff-0000-4000-8000-000000000002", "another", "europe", ("c.test", "b.test"))
        if taken != "hosts":
            second = replace(second, hosts=("c.test",), **{taken: getattr(first, taken)})
        await store.add_resource(first, access_keys(first), NOON)

        with pytest.raises(ResourceExists):
            await store.add_resource(second, access_keys(second, secret=b"another"), NOON)

        assert [first] == await store.resources()
        assert set(access_keys(first)) == set(await store.access_keys())
        free = Resource("ffffffff-0000-4000-8000-000000000003", "free", "europe", ("c.test",))
        await store.add_resource(free, access_keys(free), NOON)

    async def test_one_name_goes_to_one_however_many_stores_race(self, store: Store, open_store: OpenStore) -> None:
        async def race(number: int) -> bool:
            resource = Resource(f"ffffffff-0000-4000-8000-00000000001{number}", "one", "europe", ("a.test",))
            async with open_store() as racer:
                try:
                    await racer.add_resource(resource, access_keys(resource), NOON)
                except ResourceExists:
                    return False
                return True

        assert 1 == sum(await in_event_loops_of_their_own(race))
        (winner,) = await store.resources()
        assert set(access_keys(winner)) == set(await store.access_keys())

    async def test_a_removed_one_is_gone_with_its_keys_hosts_and_identities(self, store: Store) -> None:
        removed = replace(OTHER_RESOURCE, hosts=("a.test",))
        for resource in (removed, DEVELOPMENT_RESOURCE):
            await store.add_resource(resource, access_keys(resource), NOON)
        theirs = [an_identity(number, resource_id=removed.id) for number in range(1200)]
        ours = await made(store)
        await asyncio.gather(*(store.create_identity(each) for each in theirs))
        await store.delete_identity(removed.id, theirs[0].suffix, NOON)

        assert await store.remove_resource(removed.id, NOON)
        while await store.forget_changes(NOON):
            pass

        assert [DEVELOPMENT_RESOURCE] == await store.resources()
        assert set(access_keys()) == set(await store.access_keys())
        assert [None] * 1200 == [await found(store, each) for each in theirs]
        assert await found(store, ours) == ours
        assert not await store.remove_resource(removed.id, NOON)

    async def test_one_that_is_not_there_cannot_be_removed(self, store: Store) -> None:
        await store.add_resource(DEVELOPMENT_RESOURCE, access_keys(), NOON)

        assert not await store.remove_resource(OTHER_RESOURCE.id, NOON)
        assert [DEVELOPMENT_RESOURCE] == await store.resources()

    async def test_id_name_and_hosts_are_free_again_and_nothing_returns(self, store: Store) -> None:
        resource = replace(OTHER_RESOURCE, hosts=("a.test",))
        await store.add_resource(resource, access_keys(resource), NOON)
        identity = an_identity(1, resource_id=resource.id)
        await store.create_or_get_identity(replace(identity, custom_id="ann"))
        await store.remove_resource(resource.id, NOON)

        await store.add_resource(resource, access_keys(resource, secret=b"fresh"), NOON)

        fresh = {replace(key, generation=1) for key in access_keys(resource, secret=b"fresh")}
        assert fresh == set(await store.access_keys())
        assert await found(store, identity) is None
        second = replace(an_identity(2, resource_id=resource.id), custom_id="ann")
        assert await store.create_or_get_identity(second) == (second, True)

    async def test_one_is_removed_once_however_many_stores_race_and_stays_so(
        self, store: Store, open_store: OpenStore
    ) -> None:
        await store.add_resource(OTHER_RESOURCE, access_keys(OTHER_RESOURCE), NOON)

        async def race(_: int) -> bool:
            async with open_store() as racer:
                return await racer.remove_resource(OTHER_RESOURCE.id, NOON)

        assert 1 == sum(await in_event_loops_of_their_own(race))
        async with open_store() as again:
            assert ([], []) == (await again.resources(), await again.access_keys())


class TestReplaceAccessKey:
    @pytest.fixture
    async def store(self, store: Store) -> Store:
        for resource in (DEVELOPMENT_RESOURCE, OTHER_RESOURCE):
            await store.add_resource(resource, access_keys(resource), NOON)
        return store

    @pytest.mark.parametrize("slot", ["primary", "secondary"])
    async def test_one_slot_gets_a_new_secret_and_the_next_generation(self, store: Store, slot: KeySlot) -> None:
        generations = [await store.replace_access_key(OTHER_RESOURCE.id, slot, FRESH, NOON) for _ in range(3)]

        kept = {*access_keys(), *access_keys(OTHER_RESOURCE)} - {_access_key(OTHER_RESOURCE, slot, b"sealed")}
        assert [1, 2, 3] == generations
        assert {*kept, StoredAccessKey(OTHER_RESOURCE.id, slot, 3, FRESH)} == set(await store.access_keys())

    async def test_what_is_not_there_cannot_be_replaced(self, store: Store) -> None:
        before = await store.access_keys()

        assert await store.replace_access_key(an_identity(1).id[6:42][::-1], "primary", FRESH, NOON) is None
        assert await store.replace_access_key(OTHER_RESOURCE.id, cast("KeySlot", "tertiary"), FRESH, NOON) is None
        assert before == await store.access_keys()

    async def test_every_one_counts_and_the_last_stays_however_many_stores_race(
        self, store: Store, open_store: OpenStore
    ) -> None:
        async def race(number: int) -> dict[int | None, SealedSecret]:
            done = {}
            async with open_store() as racer:
                for each in range(5):
                    sealed = SealedSecret("a-key-encryption-key", f"{number} {each}".encode())
                    done[await racer.replace_access_key(OTHER_RESOURCE.id, "primary", sealed, NOON)] = sealed
            return done

        done = {
            generation: sealed
            for each in await in_event_loops_of_their_own(race)
            for generation, sealed in each.items()
        }

        assert set(range(1, RACERS * 5 + 1)) == set(done)
        last = StoredAccessKey(OTHER_RESOURCE.id, "primary", RACERS * 5, done[RACERS * 5])
        assert last in await store.access_keys()

    async def test_it_survives_closing_and_opening_again(self, store: Store, open_store: OpenStore) -> None:
        await store.replace_access_key(OTHER_RESOURCE.id, "secondary", FRESH, NOON)
        await store.close()

        async with open_store() as again:
            assert StoredAccessKey(OTHER_RESOURCE.id, "secondary", 1, FRESH) in await again.access_keys()


def named(name: str, number: int = 1, *, resource_id: str = DEVELOPMENT_RESOURCE.id) -> Identity:
    return replace(an_identity(number, resource_id=resource_id), custom_id=name)


async def made(store: Store, number: int = 1) -> Identity:
    identity = an_identity(number)
    await store.create_identity(identity)
    return identity


async def found(store: Store, identity: Identity) -> Identity | None:
    return await store.identity(identity.resource_id, identity.suffix)


async def in_event_loops_of_their_own(race: Callable[[int], Coroutine[None, None, Answer]]) -> list[Answer]:
    """What each racer answers, in a thread with an event loop of its own."""

    def run() -> list[Answer]:
        with ThreadPoolExecutor(RACERS) as threads:
            return list(threads.map(lambda number: asyncio.run(race(number)), range(RACERS)))

    return await asyncio.to_thread(run)
