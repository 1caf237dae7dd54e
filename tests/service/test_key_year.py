"""Years in the life of signing keys, in steps: whatever happens, every token that lives can be verified by everybody.

Several stores on one file stand for several workers, each of which maintains the keys. A step lets time pass, often to
where keys change places, and then something happens; after each, every promise is looked at.
"""

import asyncio
import json
import random  # noqa: TID251  seeded: the same years each time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec import Struct

from builders import ISSUER, SEALER, FakeClock, counted_sources
from mintmark.compose import open_service
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.doors.dev import fill_store
from mintmark.jose import decode_unverified, verify_signature
from mintmark.keyring import KEY_SET_CACHE
from mintmark.model import SigningAlgorithm
from mintmark.service import Caller, Service, TokenRequest
from mintmark.shared import SharedWords
from mintmark.signing_keys import KeyPolicy, SigningKeys
from mintmark.store.sqlite import SqliteStore
from web.apps import announce

Action = Literal["issue", "maintain", "rotate", "rotate at once", "restart", "change algorithm", "clock back"]

SECOND, MINUTE, HOUR, DAY = 1000, 60_000, 3_600_000, 86_400_000
CACHED = KEY_SET_CACHE * SECOND
LATEST = 2 * MINUTE  # for which a key may stay after its last token
OTHER: dict[SigningAlgorithm, SigningAlgorithm] = {"ES256": "RS256", "RS256": "ES256"}


class Step(Struct, frozen=True):
    """Time that passes, from now or else from the next moment of that number, and what happens then."""

    wait: int
    moment: int | None
    action: Action
    minutes: int = 60


class Token(Struct, frozen=True):
    """A token that was issued."""

    text: str
    kid: str
    issued_at: int
    expires_at: int


class Verifier:
    """A service that checks tokens, and keeps the key set for as long as it may."""

    def __init__(self) -> None:
        self._fetched_at = 0
        self._keys: list[dict[str, Any]] = []

    def check(self, token: Token, published: list[dict[str, Any]], elapsed: int, *, anew: bool) -> None:
        if anew or not self._keys or elapsed - self._fetched_at >= CACHED:
            self._keys, self._fetched_at = published, elapsed
        verify_signature(token.text, self._keys)


class World:
    """A server, and what was seen of it."""

    def __init__(self, folder: Path, age: int, workers: int) -> None:
        """`age` is how long a key signs, in milliseconds."""
        self.clock = FakeClock()
        self._sources, self._words = counted_sources(self.clock), SharedWords()
        self._stores = [SqliteStore(folder / "mintmark.db") for _ in range(workers)]
        self._age = age
        self._algorithm: SigningAlgorithm = "ES256"
        self._elapsed = 0  # what passed in truth, however the clock was set
        self._maintained_at = self.clock.now
        self._rotated_at: list[int] = []
        self._tokens: list[Token] = []
        self._first_seen: dict[str, int] = {}
        self._at_once: set[str] = set()
        self._verifier = Verifier()
        self._services: list[Service] = []
        self._keys: list[SigningKeys] = []
        self.signed_with: set[str] = set()
        self.algorithms: set[str] = set()

    async def start(self) -> None:
        await fill_store(self._stores[0], SEALER, "ES256", self._sources)
        await self._open()
        self._at_once |= {key["kid"] for key in await self._published()}
        self._identity = (await self._services[0].create_identity(Caller(DEVELOPMENT_RESOURCE), TokenRequest()))[0]
        await self._check()

    async def _open(self) -> None:
        def announced() -> None:
            announce(self._words)

        policy = KeyPolicy(self._algorithm, self._age)
        self._keys = [SigningKeys(store, SEALER, policy, announced, self._sources) for store in self._stores]
        self._services = [
            await open_service(store, SEALER, self._algorithm, ISSUER, self._sources, self._words, development=True)
            for store in self._stores
        ]

    async def close(self) -> None:
        for store in self._stores:
            await store.close()

    async def take(self, step: Step) -> None:
        await self._let_pass(step)
        await self._check()
        match step.action:
            case "issue":
                await self._issue(step.minutes)
            case "maintain":
                await self._maintain()
            case "rotate" | "rotate at once":
                await self._rotate(at_once=step.action == "rotate at once")
            case "restart":
                await self._open()
            case "change algorithm":
                self._algorithm = OTHER[self._algorithm]
                await self._open()
                await self._maintain()
            case "clock back":
                self.clock.now -= min(step.wait, 30 * SECOND)
        await self._check()
        await self._issue(60)
        await self._check()

    async def _let_pass(self, step: Step) -> None:
        """At each moment that counts a key begins, or shall end, to sign, or is published no more."""
        before, keys = self.clock.now, [key for key, _ in await self._keys[0].all()]
        moments = sorted(
            at for key in keys for offset in (0, self._age - 11 * MINUTE, DAY) if (at := key.signs_at + offset) > before
        )
        if step.moment is None or not moments:
            self.clock.now += step.wait
        else:
            self.clock.now = max(before, moments[step.moment % len(moments)] + step.wait % (4 * MINUTE) - 2 * MINUTE)
        self._elapsed += self.clock.now - before

    async def _issue(self, minutes: int) -> None:
        service = self._services[len(self._tokens) % len(self._services)]
        caller, asked = Caller(await service.resource()), TokenRequest(("chat",), minutes)
        token = await service.issue_token(caller, self._identity.id, asked)
        header, _ = decode_unverified(token.token)
        kid = header["kid"]
        assert kid in self._at_once or self._elapsed - self._first_seen[kid] >= CACHED
        self._tokens.append(Token(token.token, kid, self.clock.now, token.expires_at_seconds * SECOND))
        self.signed_with.add(kid)
        self.algorithms.add(header["alg"])

    async def _maintain(self) -> None:
        before = [key for key, _ in await self._keys[0].all()]
        gap = max(self.clock.now - self._maintained_at, 0)
        await asyncio.gather(*(keys.maintain() for keys in self._keys))
        self._maintained_at = self.clock.now
        after = await self._keys[0].all()
        new = [key for key, _ in after if key not in before]
        assert len(new) <= 1
        assert after[-1][0].signs_at + self._age > self.clock.now, "a key signs for too long"
        if new and new[0].algorithm == before[-1].algorithm:
            assert new[0].signs_at <= before[-1].signs_at + self._age + gap, "a key signs for too long"
        elif new:
            self._rotated_at.append(self.clock.now)
        successors = [key.signs_at for key, _ in after[1:]]
        assert all(at + DAY + LATEST > self.clock.now for at in successors), "a key stays that nobody needs"
        recent = sum(at + DAY + LATEST + 12 * MINUTE > self.clock.now for at in self._rotated_at)
        assert len(after) <= 3 + recent

    async def _rotate(self, *, at_once: bool) -> None:
        key, is_new = await self._keys[len(self._tokens) % len(self._services)].rotate(at_once=at_once)
        if is_new:
            self._rotated_at.append(self.clock.now)
        if at_once:
            self._at_once.add(key.kid)
            assert "signing" == next(state for each, state in await self._keys[0].all() if each.kid == key.kid)

    async def _published(self) -> list[dict[str, Any]]:
        service = self._services[len(self._tokens) % len(self._services)]
        keys: list[dict[str, Any]] = json.loads((await service.keyring()).jwks_json)["keys"]
        return keys

    async def _check(self) -> None:
        """The key of every token that lives is published, and the token lives for us and for a verifier."""
        published = await self._published()
        for key in published:
            self._first_seen.setdefault(key["kid"], self._elapsed)
        self._tokens = [token for token in self._tokens if token.expires_at > self.clock.now]
        assert {token.kid for token in self._tokens} <= {key["kid"] for key in published}
        for token in {token.kid: token for token in self._tokens}.values():
            service = self._services[len(self._tokens) % len(self._services)]
            if token.issued_at <= self.clock.now:  # Else the clock went back, and it does not hold yet.
                assert "" == (await service.introspect(token.text)).reason
            self._verifier.check(token, published, self._elapsed, anew=token.kid in self._at_once)


async def live(age: int, steps: Sequence[Step], *, until: int | None = None, workers: int = 3) -> World:
    with TemporaryDirectory() as folder:
        world = World(Path(folder), age, workers)
        try:
            await world.start()
            start = world.clock.now
            for step in steps:
                await world.take(step)
                if until is not None and world.clock.now >= start + until:
                    break
        finally:
            await world.close()
    return world


ACTIONS: list[Action] = [
    "issue",
    "maintain",
    "maintain",
    "maintain",
    "rotate",
    "rotate at once",
    "restart",
    "clock back",
]
WAITS = [MINUTE, 5 * MINUTE, 11 * MINUTE, HOUR, DAY, 3 * DAY]
"""The longest of each kind of wait, from which chance takes a part."""


def a_year(chance: random.Random) -> list[Step]:
    """Two hundred steps: a year, or some months where keys change every day."""
    return [
        Step(
            wait=chance.randrange(chance.choice(WAITS)),
            moment=chance.choice([None, None, 0, 0, 1, 2]),
            action=chance.choice(ACTIONS),
            minutes=chance.choice([60, 61, 600, 1439, 1440]),
        )
        for _ in range(200)
    ]


@pytest.mark.parametrize(
    ("seed", "days"), [(1, 90), pytest.param(2, 7, marks=pytest.mark.long), pytest.param(3, 1, marks=pytest.mark.long)]
)
def test_for_a_year_or_200_steps_every_token_that_lives_can_be_verified(seed: int, days: int) -> None:
    world = asyncio.run(live(days * DAY, a_year(random.Random(seed)), until=365 * DAY))

    assert len(world.signed_with) > 4


@pytest.mark.long
def test_so_it_is_when_the_algorithm_changes_and_changes_back() -> None:
    chance = random.Random(4)
    change = [Step(HOUR, None, "change algorithm"), *(Step(wait, 0, "maintain") for wait in range(0, DAY, 6 * HOUR))]
    in_between = [each for each in a_year(chance) if "rotate" not in each.action]

    world = asyncio.run(live(90 * DAY, [*change, *in_between[:10], *change, *change, *in_between[20:30]], workers=1))

    assert {"ES256", "RS256"} == world.algorithms


STEPS = st.builds(
    Step,
    wait=st.sampled_from(WAITS).flatmap(lambda longest: st.integers(0, longest)),
    moment=st.none() | st.integers(0, 3),
    action=st.sampled_from(ACTIONS),
    minutes=st.integers(60, 1440),
)


@pytest.mark.long
@given(days=st.integers(1, 120), steps=st.lists(STEPS, min_size=10, max_size=40))
@settings(max_examples=10, deadline=None, phases=(Phase.reuse, Phase.generate))  # Shrinking would take minutes.
def test_so_it_is_in_whatever_order_things_happen(days: int, steps: list[Step]) -> None:
    asyncio.run(live(days * DAY, steps))
