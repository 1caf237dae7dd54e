"""The identities that are in a database, deleted ones too, read without the server."""

from pathlib import Path

import apsw

from mintmark.model import guid
from postgres import Cluster
from soak.tally import Stored

QUERY = "select lower({hex}(resource_id{as_hex})), lower({hex}(suffix{as_hex})), coalesce(custom_id, '') from identity"


def in_postgres(cluster: Cluster, database: str = "postgres") -> list[Stored]:
    """Those of a database on a cluster."""
    rows = cluster.sql(QUERY.format(hex="encode", as_hex=", 'hex'"), database)
    return [_stored(*line.split("|")) for line in rows.splitlines()]


def in_sqlite(path: Path) -> list[Stored]:
    """Those of a file, once it has been checked."""
    db = apsw.Connection(str(path))
    try:
        assert db.execute("pragma integrity_check").get == "ok"
        rows = db.execute(QUERY.format(hex="hex", as_hex="")).fetchall()
        return [_stored(*map(str, row)) for row in rows]
    finally:
        db.close()


def _stored(resource_id: str, suffix: str, name: str) -> Stored:
    return Stored(f"8:acs:{guid(bytes.fromhex(resource_id))}_{guid(bytes.fromhex(suffix))}", name)
