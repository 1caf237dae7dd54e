"""The tables, as numbered migrations that are never changed once released; and the runner that applies them."""

import hashlib
from collections.abc import Mapping

import apsw

from mintmark.errors import StartRefused

# Columns of several tables: resource_id, sixteen bytes of the resource's GUID; *_at, milliseconds since 1970-01-01 0:00
# UTC; sealed_by and sealed, a secret's key-encryption key and ciphertext; changed_revision, the revision of the last
# change that verifiers must hear of (a revocation, a deletion, a regenerated key), null for none.
MIGRATIONS: tuple[str, ...] = (
    """
    create table resource (
        number integer primary key,
        resource_id blob not null unique,
        name text not null unique,
        region text not null,
        created_at integer not null
    ) strict;

    create table resource_host (
        host text primary key,
        resource_id blob not null references resource (resource_id) on delete cascade
    ) strict, without rowid;

    create table removed_resource (
        resource_id blob primary key,
        removed_at integer not null
    ) strict, without rowid;

    create table access_key (
        resource_id blob not null,
        slot text not null check (slot in ('primary', 'secondary')),
        generation integer not null,
        sealed_by text not null,
        sealed blob not null,
        changed_at integer,
        changed_revision integer,
        primary key (resource_id, slot)
    ) strict;

    create table signing_key (
        kid text primary key,
        algorithm text not null,
        public_jwk text not null,
        created_at integer not null,
        sealed_by text not null,
        sealed blob not null
    ) strict;

    create table identity (
        resource_id blob not null,
        suffix blob not null,
        created_at integer not null,
        last_issued_at integer,
        generation integer not null,
        custom_id text,
        deleted_at integer,
        changed_at integer,
        changed_revision integer,
        primary key (resource_id, suffix)
    ) strict, without rowid;

    create unique index identity_custom_id on identity (resource_id, custom_id)
        where custom_id is not null and deleted_at is null;

    create index identity_changed on identity (changed_revision) where changed_revision is not null;

    create table probe (number integer primary key, filler blob not null) strict;

    create table revision (number integer not null) strict;
    insert into revision (number) values (0);
    """,
    # A signing key is published before it signs. A feed's epoch tells its readers when to forget what they know.
    # A restored backup counts generations in other steps: what was revoked after the backup never fits again.
    """
    alter table signing_key add column signs_at integer not null default 0;
    update signing_key set signs_at = created_at;

    alter table revision add column epoch text not null default '';
    alter table revision add column generation_step integer not null default 1;
    update revision set epoch = lower(hex(randomblob(16)));
    """,
)

# How the epoch begins of data that are not all there yet, and of data that are elsewhere now (`moving`).
UNFINISHED, MOVED = "unfinished move from ", "moved, was "

_BOOKKEEPING = """
    create table if not exists migration (
        number integer primary key,
        checksum text not null,
        applied_at integer not null
    ) strict
"""


def migrate(connection: apsw.Connection, now: int) -> None:
    """Brings the tables up to date, within the caller's transaction.

    Args:
        connection: inside a transaction that holds the write lock, so that only one process migrates.
        now: milliseconds since 1970-01-01 00:00 UTC.

    Raises:
        StartRefused: a newer release of Mintmark made the tables, or a migration is not the one that was applied.
    """
    connection.execute(_BOOKKEEPING)
    rows = connection.execute("select number, checksum from migration").fetchall()
    applied = {int(str(number)): str(checksum) for number, checksum in rows}
    for number, text, checksum in pending(applied, "data folder"):
        connection.execute(text)
        connection.execute(
            "insert into migration (number, checksum, applied_at) values (?, ?, ?)", (number, checksum, now)
        )
    ((epoch,),) = connection.execute("select epoch from revision").fetchall()
    check_epoch(str(epoch))


def pending(applied: Mapping[int, str], place: str, *, ahead: int = 0) -> list[tuple[int, str, str]]:
    """The migrations that are still to be applied: of each its number, text and checksum.

    Args:
        applied: the checksums of those that were, by number.
        place: what holds the data, for the advice.
        ahead: how many more than this release knows may have been applied.

    Raises:
        StartRefused: more than that were, or one that is not this release's.
    """
    if len(applied) > len(MIGRATIONS) + ahead:
        raise StartRefused(
            f"A newer release wrote the data: its schema is {len(applied)}, this release knows {len(MIGRATIONS)}.",
            f"Start the newer release, or choose another {place}.",
        )
    found = []
    for number, text in enumerate(MIGRATIONS, start=1):
        checksum = hashlib.sha256(text.encode()).hexdigest()
        if applied.get(number, checksum) != checksum:
            raise StartRefused(
                f"Migration {number} of the data is not the one of this release.",
                f"Start the release that made the data, or choose another {place}.",
            )
        if number not in applied:
            found.append((number, text, checksum))
    return found


def check_epoch(epoch: str) -> None:
    """Refuses data of which a part is missing, and data that are used elsewhere.

    Raises:
        StartRefused: a move into them was begun and not finished; or they were moved away.
    """
    if epoch.startswith(MOVED):
        raise StartRefused(
            "These data were moved elsewhere by mintmark migrate, and may be out of date.",
            "Start the server on the new place; or move the data back, into a new one.",
        )
    if epoch.startswith(UNFINISHED):
        raise StartRefused(
            "The data are not complete: a move into this place was interrupted.",
            "Give the same `mintmark migrate` again.",
        )
