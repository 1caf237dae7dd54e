"""What is kept, and what the store promises about it. Two engines keep these promises; one suite checks them.

Every write is durable when its call returns: the transaction was synced to disk, on PostgreSQL to that of its standby
too. Writes that arrive together share one transaction, and one that fails fails its own caller only. A read sees every
write that was acknowledged before it began, whichever process wrote it. (What a service holds of resources and keys
may be older: `changes_elsewhere` says by when it has to look again.)
"""

from collections.abc import Callable, Sequence
from typing import Protocol

from mintmark.model import (
    Identity,
    KeySlot,
    Resource,
    SealedSecret,
    StoredAccessKey,
    StoredSigningKey,
)


class Store(Protocol):
    """The operations of a store, each atomic and named for its purpose.

    Every one raises `StoreUnavailable` when the store cannot be reached or written; whether a write was kept is then
    not known to the caller. Times are milliseconds since 1970-01-01 00:00 UTC.
    """

    @property
    def changes_elsewhere(self) -> Callable[[], int] | None:
        """A number that moves on when another node may have changed resources or keys; None without other nodes."""

    async def migrate(self, now: int) -> None:
        """Makes or updates the tables; the store does nothing else before.

        Raises:
            StartRefused: a newer release of Mintmark made them.
        """

    async def check_durability(self) -> None:
        """Looks for settings by which what was acknowledged can be lost.

        Raises:
            StartRefused: there is one.
        """

    async def create_identity(self, identity: Identity) -> None:
        """Keeps a new identity without a custom id."""

    async def create_or_get_identity(self, identity: Identity) -> tuple[Identity, bool]:
        """Keeps a new identity with a custom id, unless its resource has one of that name: then answers that one.

        However many ask at once, all get the same. An existing one takes over `last_issued_at` if there is one. The
        second value says whether the identity is new.
        """

    async def identity(self, resource_id: str, suffix: bytes) -> Identity | None:
        """The identity with that suffix, a deleted one too for as long as its tokens could live; or None."""

    async def identities(
        self, resource_id: str, after: bytes, before: bytes, limit: int, custom_id: str | None = None
    ) -> list[Identity]:
        """The identities of a resource whose suffix lies between `after` and `before`, both excluded, in that order."""

    async def issue(self, resource_id: str, suffix: bytes, now: int) -> Identity | None:
        """Notes that a token is issued, and answers the identity with the generation that the token must have.

        None if the identity does not exist or was deleted. A revocation that is acknowledged later raises the
        generation and so ends the token.
        """

    async def revoke_tokens(self, resource_id: str, suffix: bytes, now: int) -> bool:
        """Ends every token issued so far, by raising the generation; False if there is no such identity."""

    async def delete_identity(self, resource_id: str, suffix: bytes, now: int) -> None:
        """Ends the identity and its tokens for good, and frees its custom id; does nothing if there is none."""

    async def forget_changes(self, before: int) -> int:
        """Forgets deletions and revocations of before that time, and identities of removed resources.

        Answers how many rows that were, at most a batch of each kind.
        """

    async def add_resource(self, resource: Resource, keys: tuple[StoredAccessKey, StoredAccessKey], now: int) -> None:
        """Keeps a resource, its host names and its two access keys together.

        Raises:
            ResourceExists: one has that id, name or host name already; nothing was kept.
        """

    async def remove_resource(self, resource_id: str, now: int) -> bool:
        """Removes a resource, and so the life of its keys, identities and tokens; False if there is none.

        Its identities go with `forget_changes`. A resource with the same id can be added again: its access keys then
        go on with the next generation.
        """

    async def resources(self) -> list[Resource]:
        """All resources, the oldest first."""

    async def access_keys(self) -> list[StoredAccessKey]:
        """The access keys of all resources."""

    async def replace_access_key(self, resource_id: str, slot: KeySlot, sealed: SealedSecret, now: int) -> int | None:
        """Puts a new secret in the place of an access key and answers its generation, raised by one; None if absent."""

    async def add_signing_key(self, key: StoredSigningKey, after: str | None) -> bool:
        """Keeps `key` if the newest key of its algorithm is still the one with the kid `after`; None stands for none.

        The newest is the one made last, whenever it signs. Compare-and-swap: of however many that race one wins.
        False for the others, whose key is not kept.
        """

    async def remove_signing_key(self, kid: str) -> bool:
        """Removes a signing key, and so the life of its tokens; False if there is none."""

    async def signing_keys(self) -> Sequence[StoredSigningKey]:
        """All signing keys, in the order in which they begin to sign."""

    async def reseal_access_key(self, key: StoredAccessKey, sealed: SealedSecret) -> None:
        """Puts `sealed`, the same secret sealed anew, in the place of what `key` has, unless that changed meanwhile."""

    async def reseal_signing_key(self, key: StoredSigningKey, sealed: SealedSecret) -> None:
        """Puts `sealed`, the same secret sealed anew, in the place of what `key` has, unless that changed meanwhile."""

    async def newest_record_at(self) -> int:
        """The latest time at which anything kept was made; 0 for an empty store."""

    async def is_ready(self) -> bool:
        """Whether the store answers just now."""

    async def close(self) -> None:
        """Finishes the writes under way and lets go of the store; a second call does nothing."""
