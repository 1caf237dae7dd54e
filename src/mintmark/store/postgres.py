"""The store on PostgreSQL, for several machines: nodes that keep nothing themselves, over one primary.

Writes of one kind that wait at the same time are one statement, and so one transaction; so are look-ups of identities.
Each kind has a connection of its own, so that none waits for another.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter
from typing import Any, TypeVar

from asyncpg import exceptions
from msgspec import Struct

from mintmark.errors import ResourceExists, StartRefused, StoreUnavailable
from mintmark.model import Identity, KeySlot, Resource, SealedSecret, StoredAccessKey, StoredSigningKey
from mintmark.store import postgres_sql as sql
from mintmark.store import rows
from mintmark.store.batch import Batcher, Take
from mintmark.store.postgres_address import Address
from mintmark.store.postgres_link import BEAT_SECONDS, REFUSED, Connection, Link, Primary, refuse_to_wait_in_vain, said
from mintmark.store.postgres_schema import hold, migrate
from mintmark.store.postgres_text import from_text, to_text

SWEEP_BATCH = 1000  # rows that are forgotten in one transaction
MIGRATION_SECONDS = 45  # below the time that packaging/mintmark.service gives a start

_log = logging.getLogger(__name__)

Answer = TypeVar("Answer")
_Key = tuple[bytes, bytes]  # resource and suffix


class _Change(Struct, frozen=True):
    """An identity that is to be changed, and when."""

    key: _Key
    now: int


class PostgresStore:
    """A `Store` in a PostgreSQL database; see there for what it promises. Belongs to one event loop."""

    def __init__(self, address: Address, *, on_commit: Callable[[int, float], None] | None = None) -> None:
        """Begins to connect.

        `on_commit` is told of each batch: how many writes it had, and how long its commit took, in seconds.
        """
        self._primary = Primary(address)
        self._on_commit = on_commit
        self._links: list[Link] = []
        self._others, self._named, self._beats = self._link(), self._link(), self._link()
        self._creates, self._issues = self._batcher(self._create), self._batcher(self._issue)
        self._revocations, self._deletions = self._batcher(self._revoke), self._batcher(self._delete)
        self._look_ups = self._batcher(self._look_up, is_write=False)
        self._revision = self._changes = 0
        self._last_commit_failed = False
        self._closed = False
        self._beating = asyncio.ensure_future(self._keep_beating())

    def changes_elsewhere(self) -> int:
        """See `Store.changes_elsewhere`; as of half a second ago. It only grows.

        A process that stood still has heard nothing meanwhile: until the next beat it has to look each time.
        """
        if not self._primary.is_fresh:
            self._changes += 1
        return self._changes

    async def migrate(self, now: int) -> None:
        """Makes or updates the tables; `now` is in milliseconds.

        Raises:
            StartRefused: see `mintmark.store.postgres_schema.migrate`.
        """
        self._refuse_if_closed()
        await self._beats.beat(refuse_to_wait_in_vain)
        await self._beats.beat(lambda connection: migrate(connection, now), seconds=MIGRATION_SECONDS)
        await self._beat()

    async def check_durability(self) -> None:
        """See `Store.check_durability`."""
        for name in ("fsync", "full_page_writes"):
            if await self._ask_one(f"select current_setting('{name}')") == "off":
                raise StartRefused(
                    f"PostgreSQL runs with {name} = off: it can lose what was acknowledged.",
                    f"Set {name} = on in postgresql.conf.",
                )

    async def create_identity(self, identity: Identity) -> None:
        """See `Store.create_identity`."""
        await self._creates.submit(_row(identity))

    async def create_or_get_identity(self, identity: Identity) -> tuple[Identity, bool]:
        """See `Store.create_or_get_identity`."""
        self._refuse_if_closed()
        row = _row(identity)
        (found,) = await self._written(self._named.run(_fetching(sql.INSERT_OR_TOUCH_IDENTITY, *row)))
        return _identity(identity.resource_id, found), found["suffix"] == identity.suffix

    async def identity(self, resource_id: str, suffix: bytes) -> Identity | None:
        """See `Store.identity`."""
        row = await self._look_ups.submit((rows.blob(resource_id), suffix))
        return _identity(resource_id, row[1:]) if row else None

    async def identities(
        self, resource_id: str, after: bytes, before: bytes, limit: int, custom_id: str | None = None
    ) -> list[Identity]:
        """See `Store.identities`."""
        if custom_id is None:
            found = await self._ask(sql.LIST_IDENTITIES, rows.blob(resource_id), after, before, limit)
        else:
            found = await self._ask(sql.FIND_IDENTITY_BY_CUSTOM_ID, rows.blob(resource_id), to_text(custom_id))
        return [_identity(resource_id, row) for row in found if after < row["suffix"] < before]

    async def issue(self, resource_id: str, suffix: bytes, now: int) -> Identity | None:
        """See `Store.issue`."""
        row = await self._issues.submit(_Change((rows.blob(resource_id), suffix), now))
        return _identity(resource_id, row[1:]) if row else None

    async def revoke_tokens(self, resource_id: str, suffix: bytes, now: int) -> bool:
        """See `Store.revoke_tokens`."""
        found: bool = await self._revocations.submit(_Change((rows.blob(resource_id), suffix), now))
        return found

    async def delete_identity(self, resource_id: str, suffix: bytes, now: int) -> None:
        """See `Store.delete_identity`."""
        await self._deletions.submit(_Change((rows.blob(resource_id), suffix), now))

    async def forget_changes(self, before: int) -> int:
        """See `Store.forget_changes`."""

        async def forget(connection: Connection) -> int:
            forgotten = 0
            for query in (sql.FORGET_DELETED, sql.FORGET_REVOKED):
                forgotten += _count(await connection.execute(query, before, SWEEP_BATCH))
            for (resource_id,) in await connection.fetch(sql.SELECT_REMOVED_RESOURCES):
                query = sql.DELETE_IDENTITIES_OF_RESOURCE
                forgotten += _count(await connection.execute(query, resource_id, SWEEP_BATCH))
                if forgotten >= SWEEP_BATCH:
                    break
            if not forgotten:
                await connection.execute(sql.FORGET_REMOVED_RESOURCE, before)
            return forgotten

        return await self._write(forget)

    async def add_resource(self, resource: Resource, keys: tuple[StoredAccessKey, StoredAccessKey], now: int) -> None:
        """See `Store.add_resource`."""
        resource_id = rows.blob(resource.id)

        async def clean(connection: Connection) -> int:
            return _count(await connection.execute(sql.DELETE_IDENTITIES_OF_RESOURCE, resource_id, SWEEP_BATCH))

        async def add(connection: Connection) -> None:
            await connection.execute(sql.DELETE_IDENTITIES_OF_RESOURCE, resource_id, None)
            await connection.execute(sql.INSERT_RESOURCE, resource_id, resource.name, resource.region, now)
            await connection.execute(sql.INSERT_HOSTS, list(resource.hosts), resource_id)
            for key in keys:
                sealed = key.sealed
                row = (resource_id, key.slot, key.generation, sealed.key_id, sealed.ciphertext)
                await connection.execute(sql.INSERT_ACCESS_KEY, *row)

        # Left by a resource of that id that was removed, and by a Create that was under way then.
        while await self._change_directory(clean):
            pass
        try:
            await self._change_directory(add)
        except exceptions.IntegrityConstraintViolationError as error:
            raise ResourceExists from error

    async def remove_resource(self, resource_id: str, now: int) -> bool:
        """See `Store.remove_resource`."""
        row = rows.blob(resource_id)

        async def remove(connection: Connection) -> bool:
            if not await connection.fetch(sql.DELETE_RESOURCE, row):
                return False
            await connection.execute(sql.MARK_KEYS_OF_RESOURCE, now, row)
            await connection.execute(sql.INSERT_REMOVED_RESOURCE, row, now)
            return True

        return await self._change_directory(remove)

    async def resources(self) -> list[Resource]:
        """See `Store.resources`."""
        hosts = await self._ask(sql.SELECT_HOSTS)
        return rows.resources(await self._ask(sql.SELECT_RESOURCES), hosts)

    async def access_keys(self) -> list[StoredAccessKey]:
        """See `Store.access_keys`."""
        return rows.access_keys(await self._ask(sql.SELECT_ACCESS_KEYS))

    async def replace_access_key(self, resource_id: str, slot: KeySlot, sealed: SealedSecret, now: int) -> int | None:
        """See `Store.replace_access_key`."""
        row = (sealed.key_id, sealed.ciphertext, now, rows.blob(resource_id), slot)

        async def replace(connection: Connection) -> int | None:
            generation: int | None = await connection.fetchval(sql.REPLACE_ACCESS_KEY, *row)
            return generation

        return await self._change_directory(replace)

    async def add_signing_key(self, key: StoredSigningKey, after: str | None) -> bool:
        """See `Store.add_signing_key`."""
        row = (*rows.signing_key_row(key), after)

        async def add(connection: Connection) -> bool:
            return bool(await connection.fetch(sql.INSERT_SIGNING_KEY, *row))

        return await self._change_directory(add)

    async def remove_signing_key(self, kid: str) -> bool:
        """See `Store.remove_signing_key`."""

        async def remove(connection: Connection) -> bool:
            return bool(await connection.fetch(sql.DELETE_SIGNING_KEY, kid))

        return await self._change_directory(remove)

    async def signing_keys(self) -> list[StoredSigningKey]:
        """See `Store.signing_keys`."""
        return rows.signing_keys(await self._ask(sql.SELECT_SIGNING_KEYS))

    async def reseal_access_key(self, key: StoredAccessKey, sealed: SealedSecret) -> None:
        """See `Store.reseal_access_key`."""
        row = (sealed.key_id, sealed.ciphertext, rows.blob(key.resource_id), key.slot, key.sealed.ciphertext)
        await self._change_directory(lambda connection: connection.execute(sql.RESEAL_ACCESS_KEY, *row))

    async def reseal_signing_key(self, key: StoredSigningKey, sealed: SealedSecret) -> None:
        """See `Store.reseal_signing_key`."""
        row = (sealed.key_id, sealed.ciphertext, key.kid, key.sealed.ciphertext)
        await self._change_directory(lambda connection: connection.execute(sql.RESEAL_SIGNING_KEY, *row))

    async def newest_record_at(self) -> int:
        """See `Store.newest_record_at`."""
        return await self._ask_one(sql.NEWEST_RECORD_AT) or 0

    async def is_ready(self) -> bool:
        """See `Store.is_ready`."""
        try:
            if self._last_commit_failed:
                await self._write(_probe)  # A write tells of writes.
                self._last_commit_failed = False
            await self._ask(sql.SELECT_MIGRATIONS)
        except StoreUnavailable:
            return False
        return True

    async def close(self) -> None:
        """See `Store.close`."""
        if self._closed:
            return
        self._closed = True
        for batcher in (self._creates, self._issues, self._revocations, self._deletions, self._look_ups):
            await batcher.close()
        self._beating.cancel()
        await asyncio.wait([self._beating])
        for link in self._links:
            await link.close()
        self._primary.drop_all()

    # Batches.

    async def _create(self, link: Link, identities: Sequence[Sequence[Any]]) -> list[Any]:
        columns = [list(column) for column in zip(*identities, strict=True)]
        await link.run(
            lambda connection: connection.execute(sql.INSERT_IDENTITIES, *columns),
            lambda connection: connection.execute(sql.INSERT_IDENTITIES_AGAIN, *columns),
        )
        return [None] * len(identities)

    async def _issue(self, link: Link, changes: Sequence[_Change]) -> list[Any]:
        return _by_key(changes, await _changed(link, sql.ISSUE, changes))

    async def _revoke(self, link: Link, changes: Sequence[_Change]) -> list[Any]:
        found = await _changed(link, sql.REVOKE_TOKENS, changes, counted=True)
        return [row is not None for row in _by_key(changes, found)]

    async def _delete(self, link: Link, changes: Sequence[_Change]) -> list[Any]:
        await _changed(link, sql.DELETE_IDENTITIES, changes)
        return [None] * len(changes)

    async def _look_up(self, link: Link, keys: Sequence[_Key]) -> list[Any]:
        wanted = sorted(set(keys))
        columns = ([key[0] for key in wanted], [key[1] for key in wanted])
        read = _fetching(sql.SELECT_IDENTITIES, *columns)
        found = {(row[0], row[1]): row for row in await link.run(read, read)}
        return [found.get(key) for key in keys]

    def _batcher(
        self, commit: Callable[[Link, Sequence[Any]], Awaitable[list[Any]]], *, is_write: bool = True
    ) -> Batcher[Any]:
        """Batches over a connection of their own. Where one operation is refused, each is tried by itself."""
        link = self._link()

        async def run(take: Take[Any]) -> list[Any]:
            started, operations = perf_counter(), take()
            try:
                try:
                    outcomes = await commit(link, operations)
                except REFUSED:
                    outcomes = [await _attempt(commit, link, operation) for operation in operations]
            except StoreUnavailable:
                self._last_commit_failed = self._last_commit_failed or is_write
                raise
            if is_write and self._on_commit is not None:
                self._on_commit(len(operations), perf_counter() - started)
            return outcomes

        return Batcher(lambda take: asyncio.ensure_future(run(take)))

    # Everything else.

    def _link(self) -> Link:
        link = Link(self._primary, hold)
        self._links.append(link)
        return link

    async def _ask(self, query: str, *row: Any) -> list[Any]:
        self._refuse_if_closed()
        read = _fetching(query, *row)
        return await _to_the_end(self._others.run(read, read))

    async def _ask_one(self, query: str) -> Any:
        ((value,),) = await self._ask(query)
        return value

    async def _write(self, work: Callable[[Connection], Awaitable[Answer]]) -> Answer:
        """In one transaction."""
        self._refuse_if_closed()

        async def write(connection: Connection) -> Answer:
            async with connection.transaction():
                return await work(connection)

        return await self._written(self._others.run(write))

    async def _written(self, work: Awaitable[Answer]) -> Answer:
        try:
            return await _to_the_end(work)
        except StoreUnavailable:
            self._last_commit_failed = True
            raise

    async def _change_directory(self, work: Callable[[Connection], Awaitable[Answer]]) -> Answer:
        """The same, one after the other over all nodes; the others hear of it by the number."""

        async def change(connection: Connection) -> Answer:
            await connection.execute(sql.NEXT_REVISION)
            return await work(connection)

        return await self._write(change)

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")

    async def _keep_beating(self) -> None:
        while True:
            try:
                await self._beat()
            except StoreUnavailable:
                pass  # Whoever wants something is told.
            except Exception as error:  # noqa: BLE001  whatever it is, it must go on
                _log.exception("The database cannot be watched.")
                self._doubt(said(error))
            await asyncio.sleep(BEAT_SECONDS)

    async def _beat(self) -> None:
        """Confirms that the primary is the primary, and sees whether another node changed resources or keys."""
        began = asyncio.get_running_loop().time()
        try:
            revision = await self._beats.beat(_revision)
        except StoreUnavailable as error:
            if isinstance(error.__cause__, exceptions.UndefinedTableError):  # It answers, but has no tables yet.
                self._primary.confirm(began)
                return
            self._doubt(error.reason)
            raise
        self._primary.confirm(began)
        self._changes += revision != self._revision
        self._revision = revision

    def _doubt(self, reason: str) -> None:
        self._primary.doubt(reason)
        self._changes += 1  # Nobody shall rely on what he knows.


async def _revision(connection: Connection) -> int:
    number: int = await connection.fetchval(sql.SELECT_REVISION_AS_PRIMARY)
    return number


async def _probe(connection: Connection) -> None:
    await connection.execute(sql.INSERT_PROBES)
    await connection.execute(sql.DELETE_PROBES)


async def _to_the_end(work: Awaitable[Answer]) -> Answer:
    """Whoever gives up waiting for it: a statement that is cancelled would end a commit's wait for its standby."""
    future = asyncio.ensure_future(work)
    future.add_done_callback(lambda done: done.cancelled() or done.exception())
    return await asyncio.shield(future)


async def _changed(link: Link, query: str, changes: Sequence[_Change], *, counted: bool = False) -> list[Any]:
    """Each identity once, and in one order: batches of several nodes then seldom wait for each other in a circle.

    `counted` adds how often each was asked for.
    """
    latest = {change.key: change.now for change in sorted(changes, key=lambda change: (change.key, change.now))}
    columns: list[list[Any]] = [[key[0] for key in latest], [key[1] for key in latest], list(latest.values())]
    if counted:
        times = Counter(change.key for change in changes)
        columns.append([times[key] for key in latest])
    write = _fetching(query, *columns)
    return await link.run(write, write)


def _fetching(query: str, *row: Any) -> Callable[[Connection], Awaitable[list[Any]]]:
    return lambda connection: connection.fetch(query, *row)


def _by_key(changes: Sequence[_Change], answered: Sequence[Any]) -> list[Any]:
    found = {(row[0], row[1]): row for row in answered}
    return [found.get(change.key) for change in changes]


async def _attempt(commit: Callable[[Link, Sequence[Any]], Awaitable[list[Any]]], link: Link, operation: object) -> Any:
    try:
        return (await commit(link, [operation]))[0]
    except REFUSED as error:
        return error


def _row(identity: Identity) -> tuple[Any, ...]:
    *known, custom_id = rows.identity_row(identity)
    return (*known, None if custom_id is None else to_text(custom_id))


def _identity(resource_id: str, row: Sequence[Any]) -> Identity:
    """From a row whose columns stand in the order of the fields."""
    suffix, created_at, last_issued_at, generation, custom_id, *deleted_at = row
    name = None if custom_id is None else from_text(custom_id)
    return Identity(resource_id, suffix, created_at, last_issued_at, generation, name, *deleted_at)


def _count(status: str) -> int:
    """Of rows, from a command's status such as `DELETE 3`."""
    return int(status.rpartition(" ")[2])
