"""The resources of a server and their access keys, as a worker holds them: a snapshot of the store, opened once."""

from collections.abc import Sequence

from msgspec import Struct

from mintmark.jose import NONCE_BYTES, Sealer
from mintmark.model import AccessKey, KeySlot, Resource, Secret, StoredAccessKey
from mintmark.sources import Sources
from mintmark.store import Store

ACCESS_KEY_BYTES = 64  # as ACS has it
SLOTS: tuple[KeySlot, KeySlot] = ("primary", "secondary")


class Directory(Struct, frozen=True):
    """All resources and keys at one moment.

    Attributes:
        revision: which moment: the number of changes that it knows of.
        resources: by id, the oldest first.
        keys: the access keys of each resource, by its id.
        by_host: resources that have host names of their own.
        every_key: the keys of all resources.
    """

    revision: int
    resources: dict[str, Resource]
    keys: dict[str, list[AccessKey]]
    by_host: dict[str, Resource]
    every_key: list[AccessKey]

    def candidates(self, host: bytes) -> Sequence[AccessKey]:
        """The keys that may sign for a request to a Host: of the resource with that name, else of every one."""
        resource = self.by_host.get(host.decode("latin-1").partition(":")[0].lower().removesuffix("."))
        return self.every_key if resource is None else self.keys[resource.id]

    def find(self, id_or_name: str) -> Resource | None:
        """The resource with that id or name."""
        by_id = self.resources.get(id_or_name)
        return by_id or next((each for each in self.resources.values() if each.name == id_or_name), None)

    def key(self, resource_id: str, slot: KeySlot) -> AccessKey | None:
        """The access key in a slot of a resource, or None where there is no such resource."""
        return next((key for key in self.keys.get(resource_id, ()) if key.slot == slot), None)

    def is_current(self, resource_id: str, label: str) -> bool:
        """Whether a token's `akg` names a key that has not been regenerated since."""
        return any(key.label == label for key in self.keys.get(resource_id, ()))


async def load_directory(store: Store, sealer: Sealer, revision: int) -> Directory:
    """The directory as the store has it now; `revision` was read before.

    Raises:
        StartRefused: a key cannot be unsealed.
    """
    resources = {resource.id: resource for resource in await store.resources()}
    keys: dict[str, list[AccessKey]] = {resource_id: [] for resource_id in resources}
    for stored in await store.access_keys():
        if stored.resource_id in keys:  # Else it was made since.
            keys[stored.resource_id].append(open_access_key(stored, sealer))
    return Directory(
        revision=revision,
        resources=resources,
        keys=keys,
        by_host={host: resource for resource in resources.values() for host in resource.hosts},
        every_key=[key for each in keys.values() for key in each],
    )


def new_access_keys(resource_id: str, sources: Sources) -> tuple[AccessKey, AccessKey]:
    """Two new access keys for a resource."""
    primary, secondary = (AccessKey(resource_id, slot, 0, Secret(sources.random(ACCESS_KEY_BYTES))) for slot in SLOTS)
    return primary, secondary


def seal_access_key(key: AccessKey, sealer: Sealer, sources: Sources) -> StoredAccessKey:
    """An access key as it is stored."""
    sealed = sealer.seal(key.secret, _place(key.resource_id, key.slot), sources.random(NONCE_BYTES))
    return StoredAccessKey(key.resource_id, key.slot, key.generation, sealed)


def open_access_key(stored: StoredAccessKey, sealer: Sealer) -> AccessKey:
    """An access key from its stored form.

    Raises:
        StartRefused: it cannot be unsealed.
    """
    secret = sealer.unseal(stored.sealed, _place(stored.resource_id, stored.slot))
    return AccessKey(stored.resource_id, stored.slot, stored.generation, secret)


def _place(resource_id: str, slot: KeySlot) -> str:
    return f"access-key/{resource_id}/{slot}"
