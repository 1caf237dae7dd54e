"""Every query, as text with its columns named."""

from functools import cache

INSERT_IDENTITY = """
    insert into identity (resource_id, suffix, created_at, last_issued_at, generation, custom_id)
    values (?, ?, ?, ?, ?, ?)
"""

INSERT_IDENTITY_UNLESS_KNOWN = """
    insert into identity (resource_id, suffix, created_at, last_issued_at, generation, custom_id)
    values (?, ?, ?, ?, ?, ?)
    on conflict (resource_id, custom_id) where custom_id is not null and deleted_at is null do nothing
    returning suffix
"""

# An identity that was known already: its row as it is now, with the time of a token if one is to be issued.
TOUCH_IDENTITY_BY_CUSTOM_ID = """
    update identity set last_issued_at = coalesce(?, last_issued_at)
    where resource_id = ? and custom_id = ? and deleted_at is null
    returning suffix, created_at, last_issued_at, generation, custom_id
"""

ISSUE = """
    update identity set last_issued_at = ?
    where resource_id = ? and suffix = ? and deleted_at is null
    returning suffix, created_at, last_issued_at, generation, custom_id
"""

SELECT_IDENTITY = """
    select suffix, created_at, last_issued_at, generation, custom_id, deleted_at
    from identity where resource_id = ? and suffix = ?
"""

# The suffix begins with the time of creation, so that the primary key serves both bounds and the order.
LIST_IDENTITIES = """
    select suffix, created_at, last_issued_at, generation, custom_id
    from identity
    where resource_id = ? and suffix > ? and suffix < ? and deleted_at is null
    order by suffix limit ?
"""

FIND_IDENTITY_BY_CUSTOM_ID = """
    select suffix, created_at, last_issued_at, generation, custom_id
    from identity where resource_id = ? and custom_id = ? and deleted_at is null
"""

NEXT_REVISION = """
    update revision set number = number + 1 returning number
"""

REVOKE_TOKENS = """
    update identity
    set generation = generation + (select generation_step from revision), changed_at = ?, changed_revision = ?
    where resource_id = ? and suffix = ? and deleted_at is null
    returning suffix
"""

DELETE_IDENTITY = """
    update identity set deleted_at = ?1, changed_at = ?1, changed_revision = ?2
    where resource_id = ?3 and suffix = ?4 and deleted_at is null
"""

# A change matters until the last token issued before it has expired.
FORGET_DELETED = """
    delete from identity where (resource_id, suffix) in (
        select resource_id, suffix from identity
        where changed_revision is not null and deleted_at is not null and changed_at < ? limit ?
    )
"""

FORGET_REVOKED = """
    update identity set changed_at = null, changed_revision = null where (resource_id, suffix) in (
        select resource_id, suffix from identity
        where changed_revision is not null and deleted_at is null and changed_at < ? limit ?
    )
"""

INSERT_RESOURCE = """
    insert into resource (resource_id, name, region, created_at) values (?, ?, ?, ?)
"""

INSERT_HOST = """
    insert into resource_host (host, resource_id) values (?, ?)
"""

# The key of a removed resource stays, so that one of the same id goes on with the next generation: no old token fits.
INSERT_ACCESS_KEY = """
    insert into access_key (resource_id, slot, generation, sealed_by, sealed) values (?, ?, ?, ?, ?)
    on conflict (resource_id, slot) do update
    set generation = access_key.generation + (select generation_step from revision),
        sealed_by = excluded.sealed_by, sealed = excluded.sealed
"""

SELECT_RESOURCES = """
    select resource_id, name, region from resource order by number
"""

SELECT_HOSTS = """
    select resource_id, host from resource_host order by host
"""

SELECT_ACCESS_KEYS = """
    select resource_id, slot, generation, sealed_by, sealed from access_key
    where resource_id in (select resource_id from resource) order by resource_id, slot
"""

REPLACE_ACCESS_KEY = """
    update access_key
    set generation = generation + (select generation_step from revision),
        sealed_by = ?, sealed = ?, changed_at = ?, changed_revision = ?
    where resource_id = ? and slot = ?
    returning generation
"""

DELETE_RESOURCE = """
    delete from resource where resource_id = ? returning resource_id
"""

MARK_KEYS_OF_RESOURCE = """
    update access_key set changed_at = ?, changed_revision = ? where resource_id = ?
"""

INSERT_REMOVED_RESOURCE = """
    insert or replace into removed_resource (resource_id, removed_at) values (?, ?)
"""

SELECT_REMOVED_RESOURCES = """
    select resource_id from removed_resource where resource_id not in (select resource_id from resource)
"""

FORGET_REMOVED_RESOURCE = """
    delete from removed_resource where removed_at < ?
"""

DELETE_IDENTITIES_OF_RESOURCE = """
    delete from identity where (resource_id, suffix) in (
        select resource_id, suffix from identity where resource_id = ? limit ?
    )
"""

# Only after the key that was made last still: of several that rotate at once, one does.
INSERT_SIGNING_KEY = """
    insert into signing_key (kid, algorithm, public_jwk, created_at, signs_at, sealed_by, sealed)
    select ?1, ?2, ?3, ?4, ?5, ?6, ?7
    where (select kid from signing_key where algorithm = ?2 order by created_at desc, kid desc limit 1) is ?8
    returning kid
"""

DELETE_SIGNING_KEY = """
    delete from signing_key where kid = ? returning kid
"""

SELECT_SIGNING_KEYS = """
    select kid, algorithm, public_jwk, created_at, signs_at, sealed_by, sealed from signing_key
    order by signs_at, created_at, kid
"""

RESEAL_ACCESS_KEY = """
    update access_key set sealed_by = ?, sealed = ? where resource_id = ? and slot = ? and sealed = ?
"""

RESEAL_SIGNING_KEY = """
    update signing_key set sealed_by = ?, sealed = ? where kid = ? and sealed = ?
"""

# Identities by their primary key, which begins with the time of creation.
NEWEST_RECORD_AT = """
    select max(at) from (
        select max(created_at) as at from resource
        union all select max(created_at) from signing_key
        union all select max(changed_at) from access_key
        union all select max(applied_at) from migration
        union all select (
            select created_at from identity where identity.resource_id = resource.resource_id
            order by suffix desc limit 1
        ) from resource
    ) as newest
"""

SELECT_MIGRATIONS = """
    select count(*) from migration
"""

# Writes as much as a large batch of identities does: whether that succeeds is what a probe wants to know.
PROBE = """
    insert or replace into probe (number, filler) values (1, zeroblob(65536))
"""


@cache
def insert_identities(count: int) -> str:
    """`INSERT_IDENTITY` for so many rows at once; those of nulls are left out."""
    return f"""
        insert into identity (resource_id, suffix, created_at, last_issued_at, generation, custom_id)
        select * from ({_rows(count, 6)}) where column1 is not null
    """  # noqa: S608  nothing but placeholders is put in


@cache
def issue(count: int) -> str:
    """What `ISSUE` writes, for so many identities at once: of each a number of its own, time, resource and suffix.

    Nulls are no identity.
    """
    return f"""
        with asked (number, now, resource_id, suffix) as ({_rows(count, 4)})
        update identity set last_issued_at = asked.now from asked
        where identity.resource_id = asked.resource_id and identity.suffix = asked.suffix and deleted_at is null
    """  # noqa: S608  nothing but placeholders is put in


@cache
def issued(count: int) -> str:
    """What `ISSUE` will answer, of the same rows: one text, a JSON array for each that exists; its number is first."""
    return f"""
        with asked (number, now, resource_id, suffix) as ({_rows(count, 4)})
        select json_group_array(json_array(
            asked.number, created_at, asked.now, generation, custom_id
        ))
        from asked cross join identity
        where identity.resource_id = asked.resource_id and identity.suffix = asked.suffix and deleted_at is null
    """  # noqa: S608


def _rows(count: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"values {', '.join([row] * count)}"
