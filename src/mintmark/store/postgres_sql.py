"""Every query of the store on PostgreSQL, as text with its columns named.

A batch of one kind is one statement, which takes its columns as arrays: it is atomic by itself, and costs one way to
the server and back.
"""

from mintmark.store import sql

INSERT_IDENTITIES = """
    insert into identity (resource_id, suffix, created_at, last_issued_at, generation, custom_id)
    select * from unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[], $5::bigint[], $6::text[])
"""

# PostgreSQL waits for the standby only where a transaction has written something. What may find its work done already,
# by a transaction that did not reach the standby, has to write all the same before it is acknowledged.
_WRITE = """
    with beat as (
        insert into probe (number, filler) values (10 + pg_backend_pid() % 1000, '')
        on conflict (number) do update set filler = ''
    )
"""

# The second attempt, after one of which nobody knows whether it was kept: ids are never given twice.
INSERT_IDENTITIES_AGAIN = f"{_WRITE} {INSERT_IDENTITIES} on conflict (resource_id, suffix) do nothing"

# The row as it is now: the new one, or that which had the name already.
INSERT_OR_TOUCH_IDENTITY = """
    insert into identity (resource_id, suffix, created_at, last_issued_at, generation, custom_id)
    values ($1, $2, $3, $4, $5, $6)
    on conflict (resource_id, custom_id) where custom_id is not null and deleted_at is null
    do update set last_issued_at = coalesce(excluded.last_issued_at, identity.last_issued_at)
    returning suffix, created_at, last_issued_at, generation, custom_id
"""

ISSUE = """
    update identity set last_issued_at = asked.now
    from unnest($1::bytea[], $2::bytea[], $3::bigint[]) as asked (resource_id, suffix, now)
    where identity.resource_id = asked.resource_id and identity.suffix = asked.suffix and deleted_at is null
    returning identity.resource_id, identity.suffix, created_at, last_issued_at, generation, custom_id
"""

SELECT_IDENTITIES = """
    select resource_id, suffix, created_at, last_issued_at, generation, custom_id, deleted_at
    from unnest($1::bytea[], $2::bytea[]) as asked (resource_id, suffix) join identity using (resource_id, suffix)
"""

LIST_IDENTITIES = """
    select suffix, created_at, last_issued_at, generation, custom_id
    from identity
    where resource_id = $1 and suffix > $2 and suffix < $3 and deleted_at is null
    order by suffix limit $4
"""

FIND_IDENTITY_BY_CUSTOM_ID = """
    select suffix, created_at, last_issued_at, generation, custom_id
    from identity where resource_id = $1 and custom_id = $2 and deleted_at is null
"""

# Changes are numbered by their transaction: a counter of our own would have them wait for one another.
REVOKE_TOKENS = """
    update identity
    set generation = generation + asked.times * (select generation_step from revision),
        changed_at = asked.now, changed_revision = pg_current_xact_id()::text::bigint
    from unnest($1::bytea[], $2::bytea[], $3::bigint[], $4::bigint[]) as asked (resource_id, suffix, now, times)
    where identity.resource_id = asked.resource_id and identity.suffix = asked.suffix and deleted_at is null
    returning identity.resource_id, identity.suffix
"""

DELETE_IDENTITIES = f"""
    {_WRITE}
    update identity
    set deleted_at = asked.now, changed_at = asked.now, changed_revision = pg_current_xact_id()::text::bigint
    from unnest($1::bytea[], $2::bytea[], $3::bigint[]) as asked (resource_id, suffix, now)
    where identity.resource_id = asked.resource_id and identity.suffix = asked.suffix and deleted_at is null
"""  # noqa: S608  nothing but our own words are put in

FORGET_DELETED = """
    delete from identity where (resource_id, suffix) in (
        select resource_id, suffix from identity
        where changed_revision is not null and deleted_at is not null and changed_at < $1
        limit $2 for update skip locked
    )
"""

FORGET_REVOKED = """
    update identity set changed_at = null, changed_revision = null where (resource_id, suffix) in (
        select resource_id, suffix from identity
        where changed_revision is not null and deleted_at is null and changed_at < $1
        limit $2 for update skip locked
    )
"""

# Whoever changes resources or keys holds this row until the commit, so that each sees what the one before has done.
# The number tells other nodes that there is something new.
NEXT_REVISION = """
    update revision set number = number + 1
"""

# Of a server whose standby confirms that it is the primary: the message goes into its log, so there is something to
# confirm. On a full disk too, where a table could not be written to.
SELECT_REVISION_AS_PRIMARY = """
    select number, pg_logical_emit_message(true, 'mintmark', '') from revision
"""

INSERT_RESOURCE = """
    insert into resource (resource_id, name, region, created_at) values ($1, $2, $3, $4)
"""

INSERT_HOSTS = """
    insert into resource_host (host, resource_id) select unnest($1::text[]), $2
"""

# The key of a removed resource stays, so that one of the same id goes on with the next generation: no old token fits.
INSERT_ACCESS_KEY = """
    insert into access_key (resource_id, slot, generation, sealed_by, sealed) values ($1, $2, $3, $4, $5)
    on conflict (resource_id, slot) do update
    set generation = access_key.generation + (select generation_step from revision),
        sealed_by = excluded.sealed_by, sealed = excluded.sealed
"""

SELECT_RESOURCES, SELECT_HOSTS = sql.SELECT_RESOURCES, sql.SELECT_HOSTS

SELECT_ACCESS_KEYS = sql.SELECT_ACCESS_KEYS

REPLACE_ACCESS_KEY = """
    update access_key
    set generation = generation + (select generation_step from revision),
        sealed_by = $1, sealed = $2, changed_at = $3, changed_revision = pg_current_xact_id()::text::bigint
    where resource_id = $4 and slot = $5
    returning generation
"""

DELETE_RESOURCE = """
    delete from resource where resource_id = $1 returning resource_id
"""

MARK_KEYS_OF_RESOURCE = """
    update access_key set changed_at = $1, changed_revision = pg_current_xact_id()::text::bigint
    where resource_id = $2
"""

INSERT_REMOVED_RESOURCE = """
    insert into removed_resource (resource_id, removed_at) values ($1, $2)
    on conflict (resource_id) do update set removed_at = excluded.removed_at
"""

SELECT_REMOVED_RESOURCES = sql.SELECT_REMOVED_RESOURCES

FORGET_REMOVED_RESOURCE = """
    delete from removed_resource where removed_at < $1
"""

DELETE_IDENTITIES_OF_RESOURCE = """
    delete from identity where (resource_id, suffix) in (
        select resource_id, suffix from identity where resource_id = $1 limit $2
    ) and not exists (select from resource where resource_id = $1)
"""

# Only after the key that was made last still: of several that rotate at once, one does.
INSERT_SIGNING_KEY = """
    insert into signing_key (kid, algorithm, public_jwk, created_at, signs_at, sealed_by, sealed)
    select $1, $2, $3, $4, $5, $6, $7
    where (
        select kid from signing_key where algorithm = $2 order by created_at desc, kid desc limit 1
    ) is not distinct from $8
    returning kid
"""

DELETE_SIGNING_KEY = """
    delete from signing_key where kid = $1 returning kid
"""

SELECT_SIGNING_KEYS = sql.SELECT_SIGNING_KEYS

RESEAL_ACCESS_KEY = """
    update access_key set sealed_by = $1, sealed = $2 where resource_id = $3 and slot = $4 and sealed = $5
"""

RESEAL_SIGNING_KEY = """
    update signing_key set sealed_by = $1, sealed = $2 where kid = $3 and sealed = $4
"""

SELECT_MIGRATIONS = sql.SELECT_MIGRATIONS

NEWEST_RECORD_AT = sql.NEWEST_RECORD_AT

# A large batch of identities that are gone with the same transaction: whether those find room is what a probe wants to
# know. Other rows would tell of room in other tables.
INSERT_PROBES = """
    insert into identity (resource_id, suffix, created_at, generation)
    select ''::bytea, uuid_send(gen_random_uuid()), 0, 0 from generate_series(1, 256)
"""

DELETE_PROBES = """
    delete from identity where resource_id = ''::bytea
"""
