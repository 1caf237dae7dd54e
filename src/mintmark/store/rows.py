"""From rows to values and back, as both engines have them."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from mintmark.model import Identity, Resource, SealedSecret, StoredAccessKey, StoredSigningKey, guid

Rows = Iterable[Iterable[Any]]


@lru_cache(maxsize=1024)  # The same few resources again and again.
def blob(resource_id: str) -> bytes:
    """A resource's id as it is stored: the sixteen bytes of its GUID."""
    return bytes.fromhex(resource_id.replace("-", ""))


def identity_row(identity: Identity) -> tuple[Any, ...]:
    """The columns of a new identity."""
    return (
        blob(identity.resource_id),
        identity.suffix,
        identity.created_at,
        identity.last_issued_at,
        identity.generation,
        identity.custom_id,
    )


def signing_key_row(key: StoredSigningKey) -> tuple[Any, ...]:
    """The columns of a new signing key."""
    sealed = key.sealed
    return (
        key.kid,
        key.algorithm,
        key.public_jwk,
        key.created_at,
        key.signs_at,
        sealed.key_id,
        sealed.ciphertext,
    )


def resources(rows: Rows, host_rows: Rows) -> list[Resource]:
    """From the rows of `sql.SELECT_RESOURCES` and `sql.SELECT_HOSTS`."""
    hosts: dict[bytes, list[str]] = {}
    for resource_id, host in host_rows:
        hosts.setdefault(resource_id, []).append(host)
    return [
        Resource(guid(resource_id), name, region, tuple(hosts.get(resource_id, ())))
        for resource_id, name, region in rows
    ]


def access_keys(rows: Rows) -> list[StoredAccessKey]:
    """From the rows of `sql.SELECT_ACCESS_KEYS`."""
    return [
        StoredAccessKey(guid(resource_id), slot, generation, SealedSecret(*sealed))
        for resource_id, slot, generation, *sealed in rows
    ]


def signing_keys(rows: Rows) -> list[StoredSigningKey]:
    """From the rows of `sql.SELECT_SIGNING_KEYS`."""
    return [
        StoredSigningKey(kid, algorithm, public_jwk, created_at, signs_at, SealedSecret(*sealed))
        for kid, algorithm, public_jwk, created_at, signs_at, *sealed in rows
    ]
