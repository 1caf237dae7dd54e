"""What changes seldom, as a worker holds it: resources, access keys, signing keys; a snapshot, opened once."""

from collections.abc import Sequence

from msgspec import Struct

from mintmark.jose import NONCE_BYTES, Sealer
from mintmark.keyring import Keyring
from mintmark.model import AccessKey, KeySlot, Resource, Secret, SigningAlgorithm, StoredAccessKey
from mintmark.sources import Sources
from mintmark.store import Store

ACCESS_KEY_BYTES = 64  # as ACS has it
SLOTS: tuple[KeySlot, KeySlot] = ("primary", "secondary")


class Directory(Struct, frozen=True):
    """All resources and keys at one moment.

    Attributes:
        revision: which moment: the number of changes that it knows of.
        resources: by id, the oldest first.
        default: the oldest; None where there is none.
        keys: the access keys of each resource, by its id.
        by_host: resources that have host names of their own.
        every_key: the access keys of all resources.
        keyring: the signing keys.
    """

    revision: int
    resources: dict[str, Resource]
    default: Resource | None
    keys: dict[str, list[AccessKey]]
    by_host: dict[str, Resource]
    every_key: list[AccessKey]
    keyring: Keyring

    def candidates(self, host: bytes, *, any_resource: bool) -> Sequence[AccessKey]:
        """The keys that may sign for a request to a Host: of the resource with that name.

        Where no resource has it they are those of `any_resource`, or else of the default one.
        """
        resource = self._named(host)
        if resource is None and any_resource:
            return self.every_key
        resource = resource or self.default
        return [] if resource is None else self.keys[resource.id]

    def resource_of(self, host: bytes) -> Resource | None:
        """The resource that a request to a Host is for where no access key tells: of that name, else the default."""
        return self._named(host) or self.default

    def _named(self, host: bytes) -> Resource | None:
        if not self.by_host:
            return None
        return self.by_host.get(host.decode("latin-1").partition(":")[0].lower().removesuffix("."))

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


class DirectoryLoader:
    """Loads the directory, and keeps what need not be opened again."""

    def __init__(self, store: Store, sealer: Sealer, algorithm: SigningAlgorithm) -> None:
        """Takes the algorithm that new tokens are to be signed with."""
        self._store = store
        self._sealer = sealer
        self._algorithm = algorithm
        self._opened: dict[StoredAccessKey, AccessKey] = {}  # as of the last load

    async def load(self, revision: int, previous: Directory | None = None) -> Directory:
        """The directory as the store has it now; `revision` was read before.

        Raises:
            StartRefused: a key cannot be unsealed, or none signs.
        """
        resources = {resource.id: resource for resource in await self._store.resources()}
        keys: dict[str, list[AccessKey]] = {resource_id: [] for resource_id in resources}
        opened: dict[StoredAccessKey, AccessKey] = {}
        for stored in await self._store.access_keys():
            if stored.resource_id in keys:  # Else it was made since.
                opened[stored] = self._opened.get(stored) or open_access_key(stored, self._sealer)
                keys[stored.resource_id].append(opened[stored])
        self._opened = opened
        signing_keys = await self._store.signing_keys()
        keyring = Keyring(signing_keys, self._algorithm, self._sealer, None if previous is None else previous.keyring)
        return Directory(
            revision=revision,
            resources=resources,
            default=next(iter(resources.values()), None),
            keys=keys,
            by_host={host: resource for resource in resources.values() for host in resource.hosts},
            every_key=[key for each in keys.values() for key in each],
            keyring=keyring,
        )


def new_access_keys(resource_id: str, sources: Sources) -> tuple[AccessKey, AccessKey]:
    """Two new access keys for a resource."""
    primary, secondary = (AccessKey(resource_id, slot, 0, Secret(sources.random(ACCESS_KEY_BYTES))) for slot in SLOTS)
    return primary, secondary


def seal_access_key(key: AccessKey, sealer: Sealer, sources: Sources) -> StoredAccessKey:
    """An access key as it is stored."""
    sealed = sealer.seal(key.secret, seal_place(key.resource_id, key.slot), sources.random(NONCE_BYTES))
    return StoredAccessKey(key.resource_id, key.slot, key.generation, sealed)


def open_access_key(stored: StoredAccessKey, sealer: Sealer) -> AccessKey:
    """An access key from its stored form.

    Raises:
        StartRefused: it cannot be unsealed.
    """
    secret = sealer.unseal(stored.sealed, seal_place(stored.resource_id, stored.slot))
    return AccessKey(stored.resource_id, stored.slot, stored.generation, secret)


def seal_place(resource_id: str, slot: KeySlot) -> str:
    """The place that an access key is sealed for."""
    return f"access-key/{resource_id}/{slot}"
