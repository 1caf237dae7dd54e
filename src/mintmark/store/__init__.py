"""What is kept, and what the store promises about it. Two engines will keep these promises; one suite checks them.

Every write is durable when its call returns: on SQLite the transaction was synced to disk. Writes that arrive together
share one transaction, and one that fails fails its own caller only.
"""

from typing import Protocol

from mintmark.model import Identity, Resource, StoredAccessKey, StoredSigningKey


class Store(Protocol):
    """The operations of a store, each atomic and named for its purpose.

    Every one raises `StoreUnavailable` when the store cannot be reached or written; whether a write was kept is then
    not known to the caller.
    """

    async def create_identity(self, identity: Identity) -> None:
        """Keeps a new identity."""

    async def identity(self, resource_id: str, suffix: bytes) -> Identity | None:
        """The identity with that suffix, or None."""

    async def migrate(self, now: int) -> None:
        """Makes or updates the tables; the store does nothing else before. `now` is in milliseconds.

        Raises:
            StartRefused: a newer release of Mintmark made them.
        """

    async def add_resource(self, resource: Resource, keys: tuple[StoredAccessKey, StoredAccessKey], now: int) -> None:
        """Keeps a resource and its two access keys together; one that is there already stays as it is."""

    async def resources(self) -> list[Resource]:
        """All resources, by id."""

    async def access_keys(self) -> list[StoredAccessKey]:
        """The access keys of all resources."""

    async def add_first_signing_key(self, key: StoredSigningKey) -> None:
        """Keeps `key` unless there is a key of its algorithm already: whoever comes first wins, however many race."""

    async def signing_keys(self) -> list[StoredSigningKey]:
        """All signing keys, oldest first."""

    async def is_ready(self) -> bool:
        """Whether the store answers just now."""

    async def close(self) -> None:
        """Finishes the writes under way and lets go of the store; a second call does nothing."""
