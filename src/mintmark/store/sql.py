"""Every query, as text with its columns named."""

INSERT_IDENTITY = """
    insert into identity (resource_id, suffix, created_at, last_issued_at, generation) values (?, ?, ?, ?, ?)
"""

SELECT_IDENTITY = """
    select created_at, last_issued_at, generation from identity
    where resource_id = ? and suffix = ? and deleted_at is null
"""

INSERT_RESOURCE = """
    insert into resource (resource_id, name, region, created_at) values (?, ?, ?, ?) on conflict do nothing
"""

INSERT_ACCESS_KEY = """
    insert into access_key (resource_id, slot, generation, sealed_by, sealed) values (?, ?, ?, ?, ?)
    on conflict do nothing
"""

SELECT_RESOURCES = """
    select resource_id, name, region from resource order by resource_id
"""

SELECT_ACCESS_KEYS = """
    select resource_id, slot, generation, sealed_by, sealed from access_key order by resource_id, slot
"""

INSERT_FIRST_SIGNING_KEY = """
    insert into signing_key (kid, algorithm, public_jwk, created_at, sealed_by, sealed)
    select ?1, ?2, ?3, ?4, ?5, ?6 where not exists (select 1 from signing_key where algorithm = ?2)
"""

SELECT_SIGNING_KEYS = """
    select kid, algorithm, public_jwk, created_at, sealed_by, sealed from signing_key order by created_at, kid
"""

SELECT_MIGRATIONS = """
    select count(*) from migration
"""
