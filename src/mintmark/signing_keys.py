"""What the product does with its own keys for those who run it: listing, rotating, removing, sealing anew.

Several processes and machines may do so at once: the store lets one win, and the others find nothing left to do.
"""

from collections.abc import Callable, Sequence

from msgspec import Struct

from mintmark import directory
from mintmark.errors import InvalidRequest, SigningKeyNotFound
from mintmark.jose import NONCE_BYTES, Sealer
from mintmark.keyring import PUBLISHED_AHEAD, KeyState, expired, is_due, new_signing_key, newest, seal_place, state
from mintmark.model import SealedSecret, SigningAlgorithm, StoredSigningKey
from mintmark.sources import Sources
from mintmark.store import Store


class KeyPolicy(Struct, frozen=True):
    """How signing keys live.

    Attributes:
        algorithm: what new tokens are signed with.
        longest_use: how long one key signs before the next takes over, in milliseconds.
        ahead: how long a key is published before it signs, in milliseconds.
    """

    algorithm: SigningAlgorithm
    longest_use: int
    ahead: int = PUBLISHED_AHEAD


class SigningKeys:
    """The use cases of signing keys; `announce` makes every worker take up a change, as in `Administration`."""

    def __init__(
        self, store: Store, sealer: Sealer, policy: KeyPolicy, announce: Callable[[], None], sources: Sources
    ) -> None:
        self._store = store
        self._sealer = sealer
        self._policy = policy
        self._announce = announce
        self._sources = sources
        self._sealed_by = ""  # the key-encryption key that is known to seal everything

    async def all(self) -> Sequence[tuple[StoredSigningKey, KeyState]]:
        """Every key that is published, in the order in which they begin to sign, and what each does now."""
        keys, now = await self._store.signing_keys(), self._sources.now()
        return [(key, state(key, keys, now)) for key in keys]

    async def rotate(self, *, at_once: bool = False) -> tuple[StoredSigningKey, bool]:
        """Publishes a new key, which signs as soon as every verifier can know it; or at once.

        Answers the key that comes next, and whether this call made it: a key that waits to sign already is enough.
        """
        while True:
            keys, now = await self._store.signing_keys(), self._sources.now()
            waiting = [key for key in keys if key.signs_at > now and key.algorithm == self._policy.algorithm]
            if waiting and not at_once:
                return waiting[0], False
            key, is_new = await self._add(keys, 0 if at_once else self._policy.ahead)
            if key is not None and (is_new or not at_once or key.signs_at <= self._sources.now()):
                return key, is_new
            # Somebody has removed a key meanwhile, or published one for later: neither is what was asked for.

    async def remove(self, kid: str) -> None:
        """Ends a key that does not sign any more, or does not yet, and with it every token that it signed.

        Raises:
            SigningKeyNotFound: there is none.
            InvalidRequest: it is the one that signs.
        """
        held = next((each for each in await self.all() if each[0].kid == kid), None)
        if held is None:
            raise SigningKeyNotFound
        if held[1] == "signing":
            raise InvalidRequest("This is the key that signs: rotate at once first.", "kid")
        await self._remove(kid)

    async def maintain(self) -> None:
        """Seals anew, publishes the next key when it is time, and removes those whose last token has expired.

        Raises:
            StartRefused: the key-encryption keys do not open the data; nothing was added.
        """
        # First of all: with a key-encryption key that does not open the data nothing may be added to them.
        if self._sealed_by != self._sealer.key_id:
            key_id = self._sealer.key_id
            if not await self.reseal():
                self._sealed_by = key_id
        keys, now = await self._store.signing_keys(), self._sources.now()
        if is_due(keys, self._policy.algorithm, now, self._policy.longest_use):
            await self._add(keys, self._policy.ahead if keys else 0)
        for key in expired(keys, now):
            await self._remove(key.kid)

    async def reseal(self) -> int:
        """Seals with the first key-encryption key what another has sealed; answers how many secrets that were."""
        resealed = 0
        for access_key in await self._store.access_keys():
            place = directory.seal_place(access_key.resource_id, access_key.slot)
            if (sealed := self._sealed_anew(access_key.sealed, place)) is not None:
                await self._store.reseal_access_key(access_key, sealed)
                resealed += 1
        for key in await self._store.signing_keys():
            if (sealed := self._sealed_anew(key.sealed, seal_place(key.kid))) is not None:
                await self._store.reseal_signing_key(key, sealed)
                resealed += 1
        return resealed

    async def sealed_by(self) -> dict[str, int]:
        """How many secrets each key-encryption key seals, the one that seals now first."""
        counts = {self._sealer.key_id: 0}
        sealed = [key.sealed for key in await self._store.access_keys()]
        sealed += [key.sealed for key in await self._store.signing_keys()]
        for each in sealed:
            counts[each.key_id] = counts.get(each.key_id, 0) + 1
        return counts

    def _sealed_anew(self, sealed: SealedSecret, place: str) -> SealedSecret | None:
        if sealed.key_id == self._sealer.key_id:
            return None
        return self._sealer.seal(self._sealer.unseal(sealed, place), place, self._sources.random(NONCE_BYTES))

    async def _add(self, keys: Sequence[StoredSigningKey], ahead: int) -> tuple[StoredSigningKey | None, bool]:
        """The key that follows `keys`, and whether it is this one; None if there is none, because one was removed."""
        algorithm, nonce = self._policy.algorithm, self._sources.random(NONCE_BYTES)
        key = new_signing_key(algorithm, self._sources.now(), self._sealer, nonce, ahead=ahead, keys=keys)
        last = newest(keys, algorithm)
        try:
            added = await self._store.add_signing_key(key, None if last is None else last.kid)
        finally:
            self._announce()
        if added:
            return key, True
        # Another process was faster: its key is the next one.
        winner = newest(await self._store.signing_keys(), algorithm)
        return None if winner in keys else winner, False

    async def _remove(self, kid: str) -> None:
        try:
            await self._store.remove_signing_key(kid)
        finally:
            self._announce()
