import asyncio
import json
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import apsw
import asyncpg
import msgspec
import pytest

from bench.growth import END, KINDS, PAGE, checked, with_tables
from bench.growth_load import raw
from bench.growth_postgres import USER, Postgres, cluster
from bench.growth_report import Figures, Sample
from bench.growth_sqlite import Sqlite, database
from bench.growth_store import Mended, Store, open_or_fill
from bench.load import Load
from bench.server import Request
from mintmark.model import parse_identity_id
from mintmark.store.schema import migrate
from postgres import folder

RESOURCE = "6a1f4c0e-8d2b-4b57-9c36-0f5e7d1a2b94"
NO_ERRORS = {"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0}


def a_sample(size: int, number: int, rate: int, fault: str = "") -> Sample:
    return Sample("get", size, number, Load(rate * 2, 2.0, rate * 900, 1.5, 3.0, NO_ERRORS), 50_000_000, fault)


def figures(*samples: Sample) -> Figures:
    return Figures("a machine\nan engine", 2, 16, 2, {100: 6_600, 1000: 65_000}, list(samples))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path, 1000)
    database(made).parent.mkdir()
    (tmp_path / "resource.json").write_text(json.dumps({"id": RESOURCE}))
    with closing(apsw.Connection(str(database(made)))) as db:
        db.execute("pragma journal_mode = wal").fetchall()
        migrate(db, 0)
    Sqlite().fill(made)
    return made


def test_a_filled_store_has_the_identities_that_are_asked_for(store: Store) -> None:
    with closing(apsw.Connection(str(database(store)))) as db:
        found = [suffix for (suffix,) in db.execute("select suffix from identity order by suffix").fetchall()]
        (mode,) = db.execute("pragma journal_mode").fetchall()

    assert [store.suffix(number) for number in range(1000)] == found
    assert parse_identity_id(store.identity(RESOURCE, 7)) == (RESOURCE, found[7])
    assert mode == ("wal",)


def test_what_a_round_changed_is_counted_and_taken_back(store: Store) -> None:
    with closing(apsw.Connection(str(database(store)))) as db:
        before = db.execute("select * from identity order by suffix").fetchall()
        ended = [(store.suffix(number),) for number in (3, 500, 999)]
        db.executemany(
            "update identity set deleted_at = 1, changed_at = 1, changed_revision = 1 where suffix = ?", ended
        )
        new = (bytes.fromhex(RESOURCE.replace("-", "")), b"\x7f" * 16)
        db.execute("insert into identity (resource_id, suffix, created_at, generation) values (?, ?, 2, 0)", new)

    assert Sqlite().mend(store) == Mended(created=1, deleted=3)

    assert Sqlite().mend(store) == Mended(created=0, deleted=0)
    with closing(apsw.Connection(str(database(store)))) as db:
        assert before == db.execute("select * from identity order by suffix").fetchall()


def test_a_request_is_written_as_it_goes_over_the_wire() -> None:
    request = Request(1, "POST", "/identities", {"Host": "127.0.0.1:1"}, b'{"a":"\xc3\xa9"}')

    expected = b'POST /identities HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Length: 10\r\n\r\n{"a":"\xc3\xa9"}'
    assert expected == raw(request)


def test_stores_are_compared_within_a_round() -> None:
    rounds = [a_sample(100, 1, 1000), a_sample(1000, 1, 900), a_sample(1000, 2, 1900), a_sample(100, 2, 2000)]

    rows = figures(*rounds).rows()

    assert rows[1] == ("get", "100", "1,500", "", "", "1.50", "3.00", "50")
    assert rows[2] == ("get", "1,000", "1,400", "0.93", "0.91-0.94", "1.50", "3.00", "50")


def test_one_invalid_round_makes_the_row_invalid_and_is_told() -> None:
    found = figures(
        a_sample(100, 1, 1000), a_sample(1000, 1, 900), a_sample(100, 2, 1000), a_sample(1000, 2, 9, "3 status")
    )

    assert found.rows()[2][:3] == ("get", "1,000", "invalid")
    assert found.rows()[1][2] == "1,000"
    assert found.ratios("get", 1000) == []
    assert found.faults == ["invalid: get, 1,000 identities, round 2: 3 status"]


@pytest.mark.parametrize(
    ("operation", "mended", "fault"),
    [
        ("create", Mended(created=2000, deleted=0), ""),
        ("create", Mended(created=1999, deleted=9000), "2000 were answered, but 1999 are in the store"),
        ("delete", Mended(created=9000, deleted=1999), "2000 were answered, but 1999 are in the store"),
        ("get", Mended(created=0, deleted=0), ""),
    ],
)
def test_a_load_counts_only_if_the_store_has_what_was_acknowledged(operation: str, mended: Mended, fault: str) -> None:
    load = a_sample(100, 1, 1000).load

    assert fault == checked(Sample(operation, 100, 1, load), mended).fault


def test_the_figures_are_read_as_they_were_written() -> None:
    found = figures(a_sample(100, 1, 1000), Sample("get", 1000, 1, fault="no answer"))

    assert found == msgspec.json.decode(msgspec.json.encode(found), type=Figures)


def test_older_figures_are_of_sqlite() -> None:
    found = msgspec.json.decode(msgspec.json.encode(figures(a_sample(100, 1, 1000))), type=dict[str, object])
    del found["engine"]

    assert figures(a_sample(100, 1, 1000)) == msgspec.json.decode(msgspec.json.encode(found), type=Figures)


@pytest.mark.parametrize("name", KINDS)
def test_the_tables_take_the_place_of_the_old_ones(name: str) -> None:
    found = replace(figures(a_sample(100, 1, 1000), a_sample(1000, 1, 900)), engine=name)
    before = f"# Growth\n\n{KINDS[name].begin}\n\n"

    page = with_tables(f"{before}old\n\n{END}\n\nThe rest.\n", found)

    assert page.startswith(f"{before}| operation |")
    assert page.endswith(f"\n\n{END}\n\nThe rest.\n")
    assert "old" not in page
    assert "| 1,000 | 0 | 65.0 |" in page
    assert page == with_tables(page, found)


def test_each_engine_writes_between_its_own_marks() -> None:
    page = "".join(f"{kind.begin}\n\n{name}\n\n{END}\n" for name, kind in KINDS.items())
    found = replace(figures(a_sample(100, 1, 1000)), engine="postgres")

    written = with_tables(page, found)

    sqlite, postgres, _ = written.split(END)
    assert sqlite == f"{KINDS['sqlite'].begin}\n\nsqlite\n\n"
    assert postgres.startswith(f"\n{KINDS['postgres'].begin}\n\n| operation |")


def test_the_page_has_the_marks_of_each_engine() -> None:
    for kind in KINDS.values():
        assert 1 == PAGE.read_text().count(f"{kind.begin}\n")


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the benchmark runs on Linux")
def test_postgresql_holds_what_is_asked_for_and_a_round_is_taken_back() -> None:
    engine = Postgres()
    with folder() as parent:
        store = open_or_fill(engine, parent / "1000", 1000)
        key = store.suffix(3)
        changes = (
            ("update identity set deleted_at = 1, changed_at = 1, changed_revision = 1 where suffix = $1", key),
            ("insert into identity select resource_id, $1, 2, null, 0 from identity limit 1", b"\x7f" * 16),
        )

        before = asyncio.run(rows_after(store))
        assert [store.suffix(number) for number in range(1000)] == [row["suffix"] for row in before]
        assert before != asyncio.run(rows_after(store, *changes))
        assert engine.mend(store) == Mended(created=1, deleted=1)
        assert before == asyncio.run(rows_after(store))
        assert store == open_or_fill(engine, parent / "1000", 1000)


async def rows_after(store: Store, *changes: tuple[str, bytes]) -> list[asyncpg.Record]:
    with cluster(store.folder) as sockets:
        connection = await asyncpg.connect(host=str(sockets), user=USER)
        for change, suffix in changes:
            await connection.execute(change, suffix)
        found = await connection.fetch("select * from identity order by suffix")
        await connection.close()
        return list(found)
