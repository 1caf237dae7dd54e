"""Rotating, removing and sealing anew, by several workers on one store."""

import asyncio
import fcntl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from builders import ISSUER, NOON, SEALER, FakeClock
from mintmark.administration import Administration
from mintmark.compose import open_service
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.directory import open_access_key
from mintmark.doors.dev import fill_store
from mintmark.errors import InvalidRequest, SigningKeyNotFound, StartRefused, StoreUnavailable
from mintmark.jose import Sealer, decode_unverified
from mintmark.keyring import PUBLISHED_AHEAD, seal_place
from mintmark.model import SealedSecret, SigningAlgorithm
from mintmark.service import Caller, Service, TokenRequest
from mintmark.shared import SharedWords
from mintmark.signing_keys import KeyPolicy, SigningKeys
from mintmark.sources import Sources
from mintmark.store import Store
from mintmark.store.sqlite import SqliteStore
from mintmark.web.answer import Answer
from mintmark.web.problems import refusal
from web.apps import announce

pytestmark = pytest.mark.anyio

DAY = 86_400_000
OTHER_KEY, RACERS = bytes([1] * 32), 20
WITH_BOTH, WITH_NEW = Sealer(OTHER_KEY, bytes(32)), Sealer(OTHER_KEY)
CHAT = TokenRequest(("chat",))


def keys_of(
    store: Store,
    sources: Sources,
    words: SharedWords,
    sealer: Sealer = SEALER,
    algorithm: SigningAlgorithm = "ES256",
) -> SigningKeys:
    return SigningKeys(store, sealer, KeyPolicy(algorithm, 90 * DAY), lambda: announce(words), sources)


@pytest.fixture
def keys(service: Service, sources: Sources, words: SharedWords) -> SigningKeys:
    return keys_of(service.store, sources, words)


class Counter:
    """Counts how many have asked for chance: each does when it has read the keys, and before it writes one."""

    def __init__(self, sources: Sources) -> None:
        self.asked = 0
        self.sources = Sources(sources.now, self._random)
        self._next = sources.random

    def _random(self, size: int) -> bytes:
        self.asked += 1
        return self._next(size)


@pytest.fixture
def counter(sources: Sources) -> Counter:
    return Counter(sources)


@pytest.fixture
async def racers(
    service: Service,  # noqa: ARG001  fills the store
    tmp_path: Path,
    counter: Counter,
    words: SharedWords,
) -> AsyncIterator[list[SigningKeys]]:
    """Many of them over four stores on one file."""
    stores = [SqliteStore(tmp_path / "mintmark.db") for _ in range(4)]
    yield [keys_of(stores[number % 4], counter.sources, words) for number in range(RACERS)]
    for store in stores:
        await store.close()


async def states(keys: SigningKeys) -> list[str]:
    return [state for _, state in await keys.all()]


async def kid_of_a_token(service: Service) -> str:
    caller = Caller(await service.resource())
    _, token, _ = await service.create_identity(caller, CHAT)
    assert token is not None
    return str(decode_unverified(token.token)[0]["kid"])


class TestRotation:
    async def test_the_next_key_signs_when_every_verifier_can_know_it(
        self, keys: SigningKeys, service: Service, clock: FakeClock
    ) -> None:
        first = await kid_of_a_token(service)

        key, is_new = await keys.rotate()

        assert (True, NOON + PUBLISHED_AHEAD) == (is_new, key.signs_at)
        assert ["signing", "published"] == await states(keys)
        clock.now = key.signs_at - 1
        assert first == await kid_of_a_token(service)
        clock.now = key.signs_at
        assert key.kid == await kid_of_a_token(service)

    async def test_one_that_waits_is_enough(self, keys: SigningKeys) -> None:
        key, _ = await keys.rotate()

        assert (key, False) == await keys.rotate()

    async def test_at_once_means_from_the_next_token_on(self, keys: SigningKeys, service: Service) -> None:
        """The clock stands still: of keys that begin in one moment the last one signs."""
        for _ in range(5):
            key, is_new = await keys.rotate(at_once=True)

            assert (True, key.kid) == (is_new, await kid_of_a_token(service))

    async def test_at_once_goes_before_the_one_that_waits_which_takes_over_in_its_time(
        self, keys: SigningKeys, service: Service, clock: FakeClock
    ) -> None:
        waiting, _ = await keys.rotate()
        clock.advance(minutes=1)
        key, _ = await keys.rotate(at_once=True)

        assert key.kid == await kid_of_a_token(service)
        assert (waiting, False) == await keys.rotate()
        clock.now = waiting.signs_at
        assert waiting.kid == await kid_of_a_token(service)

    @pytest.mark.parametrize("at_once", [False, True])
    @pytest.mark.parametrize("one_waits", [False, True])
    async def test_however_many_rotate_together_there_is_one_new_key(
        self,
        racers: list[SigningKeys],
        keys: SigningKeys,
        counter: Counter,
        tmp_path: Path,
        at_once: bool,  # noqa: FBT001  a column
        one_waits: bool,  # noqa: FBT001
    ) -> None:
        if one_waits:
            await keys.rotate()
        before, asked = len(await keys.all()), counter.asked

        with (tmp_path / "mintmark.db.turn").open() as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # Nobody can write until all have read.
            rotating = asyncio.gather(*(each.rotate(at_once=at_once) for each in racers))
            while not rotating.done() and counter.asked < asked + RACERS:  # noqa: ASYNC110  it happens in this loop
                await asyncio.sleep(0)
        rotated = await rotating

        made = 0 if one_waits and not at_once else 1
        assert (made, before + made) == (sum(is_new for _, is_new in rotated), len(await keys.all()))
        assert 1 == len({key.kid for key, _ in rotated})

    async def test_at_once_is_not_content_with_a_key_for_later(self, racers: list[SigningKeys]) -> None:
        rotated = await asyncio.gather(*(each.rotate(at_once=number % 2 == 0) for number, each in enumerate(racers)))

        assert all(key.signs_at == NOON for key, _ in rotated[::2])

    async def test_however_many_maintain_together_there_is_one_new_key(
        self, racers: list[SigningKeys], keys: SigningKeys, clock: FakeClock
    ) -> None:
        clock.now += 90 * DAY

        await asyncio.gather(*(each.maintain() for each in racers))

        assert ["signing", "published"] == await states(keys)


class TestAlgorithm:
    async def test_with_another_the_old_key_goes_when_its_last_token_has_expired(
        self, service: Service, sources: Sources, words: SharedWords, clock: FakeClock
    ) -> None:
        rsa = keys_of(service.store, sources, words, algorithm="RS256")
        await rsa.maintain()
        assert ["signing", "published"] == await states(rsa)
        clock.now += PUBLISHED_AHEAD
        await rsa.maintain()
        assert ["retired", "signing"] == await states(rsa)
        clock.now += DAY + 60_000

        await rsa.maintain()

        assert ["RS256"] == [key.algorithm for key, _ in await rsa.all()]

    async def test_in_development_it_signs_from_the_next_start_on(
        self, service: Service, sources: Sources, words: SharedWords
    ) -> None:
        used: list[str] = []
        for algorithm in ("RS256", "ES256", "ES256"):
            await fill_store(service.store, SEALER, algorithm, sources)
            restarted = await open_service(service.store, SEALER, algorithm, ISSUER, sources, words, development=True)
            kid = await kid_of_a_token(restarted)
            used += [key.algorithm for key in await service.store.signing_keys() if key.kid == kid]

        assert (["RS256", "ES256", "ES256"], 3) == (used, len(await service.store.signing_keys()))


class TestRemoval:
    async def test_the_key_that_signs_stays(self, keys: SigningKeys) -> None:
        ((key, _),) = await keys.all()

        with pytest.raises(InvalidRequest, match="rotate at once first"):
            await keys.remove(key.kid)

    async def test_an_unknown_one_is_named_so(self, keys: SigningKeys) -> None:
        with pytest.raises(SigningKeyNotFound):
            await keys.remove("nobody")

    async def test_tokens_end_with_the_key_that_signed_them(self, keys: SigningKeys, service: Service) -> None:
        ((key, _),) = await keys.all()
        _, token, _ = await service.create_identity(Caller(DEVELOPMENT_RESOURCE), CHAT)
        await keys.rotate(at_once=True)
        assert token is not None
        assert (await service.introspect(token.token)).active

        await keys.remove(key.kid)

        assert "not in the key set" in (await service.introspect(token.token)).reason


class TestSealingAnew:
    async def test_everything_moves_to_the_first_key(self, keys: SigningKeys, store: Store, sources: Sources) -> None:
        await keys.rotate()
        both = SigningKeys(store, WITH_BOTH, KeyPolicy("ES256", 90 * DAY), lambda: None, sources)
        assert [0, 4] == list((await both.sealed_by()).values())

        assert (4, 0) == (await both.reseal(), await both.reseal())

        assert {WITH_NEW.key_id: 4} == await both.sealed_by()
        assert {SEALER.key_id: 0, WITH_NEW.key_id: 4} == await keys.sealed_by()
        for sealed, place in await self.all_sealed(store):
            assert WITH_NEW.unseal(sealed, place)
            with pytest.raises(StartRefused):
                SEALER.unseal(sealed, place)

    async def all_sealed(self, store: Store) -> list[tuple[SealedSecret, str]]:
        access_keys = [(key.sealed, f"access-key/{key.resource_id}/{key.slot}") for key in await store.access_keys()]
        return access_keys + [(key.sealed, seal_place(key.kid)) for key in await store.signing_keys()]

    @pytest.mark.usefixtures("service")
    async def test_the_secrets_are_the_same(self, store: Store, sources: Sources) -> None:
        before = [bytes(open_access_key(key, SEALER).secret) for key in await store.access_keys()]

        await SigningKeys(store, WITH_BOTH, KeyPolicy("ES256", 90 * DAY), lambda: None, sources).reseal()

        assert before == [bytes(open_access_key(key, WITH_NEW).secret) for key in await store.access_keys()]

    async def test_an_access_key_that_is_regenerated_meanwhile_is_not_lost(
        self, service: Service, sources: Sources, words: SharedWords, tmp_path: Path
    ) -> None:
        """Regenerated by a worker that still seals with the old key."""
        store, other = service.store, SqliteStore(tmp_path / "mintmark.db")
        opening = await open_service(store, WITH_BOTH, "ES256", ISSUER, sources, words, development=True)
        administration = Administration(opening, SEALER, lambda: announce(words), sources)
        for generation in range(1, 11):
            key, *_ = await asyncio.gather(
                administration.regenerate_access_key(DEVELOPMENT_RESOURCE.id, "primary"),
                keys_of(store, sources, words, WITH_BOTH).reseal(),
                keys_of(other, sources, words, WITH_BOTH).reseal(),
            )
            primary = (await store.access_keys())[0]
            assert (generation, key.secret) == (primary.generation, open_access_key(primary, WITH_BOTH).secret)
        await other.close()


class TestKeyThatIsMissing:
    async def test_the_service_is_unavailable_until_the_key_is_there(
        self, store: Store, sources: Sources, words: SharedWords
    ) -> None:
        sealer = Sealer(bytes(32))
        await fill_store(store, sealer, "ES256", sources)
        service = await open_service(store, sealer, "ES256", ISSUER, sources, words, development=True)
        await keys_of(store, sources, words, WITH_BOTH).reseal()
        announce(words)

        with pytest.raises(StoreUnavailable) as unavailable:
            await service.directory()
        sealer.replace([OTHER_KEY])

        answer: Answer = refusal(unavailable.value)
        assert (503, (b"retry-after", b"1")) == (answer.status, answer.headers[0])
        assert await kid_of_a_token(service) in (await service.keyring()).signers


async def test_with_another_key_encryption_key_nothing_is_added(
    service: Service, sources: Sources, words: SharedWords, clock: FakeClock
) -> None:
    before = await service.store.signing_keys()
    clock.advance(hours=24 * 91)

    with pytest.raises(StartRefused, match="was sealed by the key-encryption key"):
        await keys_of(service.store, sources, words, sealer=WITH_NEW).maintain()

    assert before == await service.store.signing_keys()


async def test_a_rotation_whose_competitor_was_removed_is_tried_again(keys: SigningKeys, service: Service) -> None:
    """A key that waited when this one looked is gone when it adds: none followed."""
    waiting, _ = await keys.rotate()
    seen = await service.store.signing_keys()
    await keys.remove(waiting.kid)

    assert (None, False) == await keys._add(seen, 0)
    assert (await keys.rotate(at_once=True))[1]
