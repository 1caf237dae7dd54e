"""What the product does for those who run it: resources, access keys, and looking through identities."""

import base64
import re
from collections.abc import Callable, Sequence

from msgspec import Struct

from mintmark.directory import new_access_keys, open_access_key, seal_access_key
from mintmark.errors import InvalidRequest, ResourceNotFound
from mintmark.jose import Sealer
from mintmark.model import (
    GUID,
    SUFFIX_EPOCH,
    AccessKey,
    Identity,
    KeySlot,
    Resource,
    StoredAccessKey,
    guid,
)
from mintmark.service import Service
from mintmark.sources import Sources

FIRST_SUFFIX, LAST_SUFFIX = b"", b"\xff" * 17
RESOURCE_ID_BYTES = SUFFIX_BYTES = 16
MAX_PAGE = 1000
MAX_HOSTS = 32
LONGEST_HOST = 253  # characters
SHARED_HOSTS = ("localhost", "127.0.0.1", "host.docker.internal")  # every resource is reached under these

_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_HOST = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_REGION = re.compile(r"[A-Za-z0-9-]{1,40}")


class Page(Struct, frozen=True):
    """Some identities, and the cursor to ask for those after them; None where there are no more."""

    identities: Sequence[Identity]
    cursor: str | None


class Search(Struct, frozen=True):
    """Which identities to list.

    Attributes:
        limit: how many at most, 1 to 1000.
        cursor: from the page before.
        custom_id: only the one of that name.
        created_after: only those of that millisecond or later.
        created_before: only those of before that millisecond.
    """

    limit: int = 100
    cursor: str | None = None
    custom_id: str | None = None
    created_after: int | None = None
    created_before: int | None = None


class Administration:
    """The use cases of the admin listener, beside those of `Service`.

    `announce` makes every worker take up a change of resources or keys: it is called when the change is durable and
    before it is acknowledged, and also when nobody knows whether it is: one time too many costs a look at the store.
    """

    def __init__(self, service: Service, sealer: Sealer, announce: Callable[[], None], sources: Sources) -> None:
        self._service = service
        self._store = service.store
        self._sealer = sealer
        self._announce = announce
        self._sources = sources

    async def add_resource(
        self, name: str, region: str = "local", hosts: Sequence[str] = (), resource_id: str | None = None
    ) -> tuple[Resource, tuple[AccessKey, AccessKey]]:
        """A new resource with two new access keys.

        Raises:
            InvalidRequest: a value is malformed.
            ResourceExists: its id, name or one of its host names is taken.
        """
        is_name = _NAME.fullmatch(name) and not GUID.fullmatch(name.lower())
        _check(is_name, "name", "1 to 63 letters, digits and inner hyphens, and not a GUID")
        _check(_REGION.fullmatch(region), "region", "1 to 40 letters, digits and hyphens")
        for host in hosts:
            is_host = _HOST.fullmatch(host) and len(host) <= LONGEST_HOST and host not in SHARED_HOSTS
            _check(is_host, "hosts", "host names in lower case, without port, other than those of the server itself")
        _check(len(hosts) <= MAX_HOSTS, "hosts", f"at most {MAX_HOSTS} names")
        if resource_id is None:
            resource_id = guid(self._sources.random(RESOURCE_ID_BYTES))
        _check(GUID.fullmatch(resource_id), "id", "a GUID in lower case")
        resource = Resource(resource_id, name, region, tuple(sorted(set(hosts))))
        keys = new_access_keys(resource_id, self._sources)
        primary, secondary = (seal_access_key(key, self._sealer, self._sources) for key in keys)
        try:
            await self._store.add_resource(resource, (primary, secondary), self._sources.now())
        finally:
            self._announce()
        first, second = (await self._service.directory()).keys[resource_id]
        return resource, (first, second)

    async def resources(self) -> Sequence[Resource]:
        """All resources, the oldest first."""
        return list((await self._service.directory()).resources.values())

    async def remove_resource(self, id_or_name: str) -> None:
        """Removes a resource, its identities, and so the life of every token of theirs.

        Raises:
            ResourceNotFound: there is none.
        """
        resource = await self._service.resource(id_or_name)
        try:
            await self._store.remove_resource(resource.id, self._sources.now())
        finally:
            self._announce()
        await self._service.forget_changes()

    async def access_keys(self, id_or_name: str) -> Sequence[AccessKey]:
        """The two access keys of a resource.

        Raises:
            ResourceNotFound: there is none.
        """
        resource = await self._service.resource(id_or_name)
        return (await self._service.directory()).keys[resource.id]

    async def regenerate_access_key(self, id_or_name: str, slot: KeySlot) -> AccessKey:
        """Replaces an access key; what was obtained with the old one ends, and the old one opens nothing more.

        Raises:
            ResourceNotFound: there is no such resource.
        """
        resource = await self._service.resource(id_or_name)
        fresh = new_access_keys(resource.id, self._sources)[0]
        stored = seal_access_key(AccessKey(resource.id, slot, 0, fresh.secret), self._sealer, self._sources)
        try:
            generation = await self._store.replace_access_key(resource.id, slot, stored.sealed, self._sources.now())
        finally:
            self._announce()
        if generation is None:
            raise ResourceNotFound
        return open_access_key(StoredAccessKey(resource.id, slot, generation, stored.sealed), self._sealer)

    async def identities(self, id_or_name: str | None, search: Search) -> Page:
        """A page of the identities of a resource, in the order in which they were made.

        Raises:
            ResourceNotFound: there is no such resource.
            InvalidRequest: the cursor or the limit is not one.
        """
        resource = await self._service.resource(id_or_name)
        _check(1 <= search.limit <= MAX_PAGE, "limit", f"a number from 1 to {MAX_PAGE}")
        after = max(_first_suffix(search.created_after, FIRST_SUFFIX), _read_cursor(search.cursor))
        before = _first_suffix(search.created_before, LAST_SUFFIX)
        found = await self._store.identities(resource.id, after, before, search.limit + 1, search.custom_id)
        more = len(found) > search.limit
        shown = found[: search.limit]
        return Page(shown, base64.urlsafe_b64encode(shown[-1].suffix).decode() if more else None)


def _first_suffix(milliseconds: int | None, otherwise: bytes) -> bytes:
    """Where the suffixes of that millisecond begin: they start with the time."""
    if milliseconds is None:
        return otherwise
    return min(max(milliseconds - SUFFIX_EPOCH, 0), 2**63 - 1).to_bytes(8, "big")


def _read_cursor(cursor: str | None) -> bytes:
    if cursor is None:
        return FIRST_SUFFIX
    try:
        suffix = base64.b64decode(cursor, altchars=b"-_", validate=True)
    except ValueError:
        suffix = b""
    _check(len(suffix) == SUFFIX_BYTES, "cursor", "the cursor of the page before")
    return suffix


def _check(holds: object, target: str, allowed: str) -> None:
    if not holds:
        raise InvalidRequest(f"{target} must be {allowed}.", target)
