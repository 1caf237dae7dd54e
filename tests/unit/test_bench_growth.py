import json
from contextlib import closing
from pathlib import Path

import apsw
import msgspec
import pytest

from bench.growth import BEGIN, END, checked, with_tables
from bench.growth_load import raw
from bench.growth_report import Figures, Sample
from bench.growth_store import Mended, Store, fill, mend
from bench.load import Load
from bench.server import Request
from mintmark.model import parse_identity_id
from mintmark.store.schema import migrate

RESOURCE = "6a1f4c0e-8d2b-4b57-9c36-0f5e7d1a2b94"
NO_ERRORS = {"connect": 0, "read": 0, "write": 0, "timeout": 0, "status": 0}


def a_sample(size: int, number: int, rate: int, fault: str = "") -> Sample:
    return Sample("get", size, number, Load(rate * 2, 2.0, rate * 900, 1.5, 3.0, NO_ERRORS), 50_000_000, fault)


def figures(*samples: Sample) -> Figures:
    return Figures("a machine\nan engine", 2, 16, 2, {100: 6_600, 1000: 65_000}, list(samples))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path, 1000)
    made.database.parent.mkdir()
    (tmp_path / "resource.json").write_text(json.dumps({"id": RESOURCE}))
    with closing(apsw.Connection(str(made.database))) as db:
        db.execute("pragma journal_mode = wal").fetchall()
        migrate(db, 0)
    fill(made)
    return made


def test_a_filled_store_has_the_identities_that_are_asked_for(store: Store) -> None:
    with closing(apsw.Connection(str(store.database))) as db:
        found = [suffix for (suffix,) in db.execute("select suffix from identity order by suffix").fetchall()]
        (mode,) = db.execute("pragma journal_mode").fetchall()

    assert [store.suffix(number) for number in range(1000)] == found
    assert parse_identity_id(store.identity(RESOURCE, 7)) == (RESOURCE, found[7])
    assert mode == ("wal",)


def test_what_a_round_changed_is_counted_and_taken_back(store: Store) -> None:
    with closing(apsw.Connection(str(store.database))) as db:
        before = db.execute("select * from identity order by suffix").fetchall()
        ended = [(store.suffix(number),) for number in (3, 500, 999)]
        db.executemany(
            "update identity set deleted_at = 1, changed_at = 1, changed_revision = 1 where suffix = ?", ended
        )
        new = (bytes.fromhex(RESOURCE.replace("-", "")), b"\x7f" * 16)
        db.execute("insert into identity (resource_id, suffix, created_at, generation) values (?, ?, 2, 0)", new)

    assert mend(store) == Mended(created=1, deleted=3)

    assert mend(store) == Mended(created=0, deleted=0)
    with closing(apsw.Connection(str(store.database))) as db:
        assert before == db.execute("select * from identity order by suffix").fetchall()


def test_a_request_is_written_as_it_goes_over_the_wire() -> None:
    request = Request(1, "POST", "/identities", {"Host": "127.0.0.1:1"}, b'{"a":"\xc3\xa9"}')

    expected = b'POST /identities HTTP/1.1\r\nHost: 127.0.0.1:1\r\nContent-Length: 10\r\n\r\n{"a":"\xc3\xa9"}'
    assert expected == raw(request)


def test_stores_are_compared_within_a_round() -> None:
    rounds = [a_sample(100, 1, 1000), a_sample(1000, 1, 900), a_sample(1000, 2, 1900), a_sample(100, 2, 2000)]

    rows = figures(*rounds).rows()

    assert rows[1] == ("get", "100", "1,500", "", "", "1.50", "3.00", "50")
    assert rows[2] == ("get", "1,000", "1,400", "0.93", "0.90-0.95", "1.50", "3.00", "50")


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


def test_the_tables_take_the_place_of_the_old_ones() -> None:
    found = figures(a_sample(100, 1, 1000), a_sample(1000, 1, 900))

    page = with_tables(f"# Growth\n\n{BEGIN}\n\nold\n\n{END}\n\nThe rest.\n", found)

    assert page.startswith(f"# Growth\n\n{BEGIN}\n\n| operation |")
    assert page.endswith(f"\n\n{END}\n\nThe rest.\n")
    assert "old" not in page
    assert "| 1,000 | 0 | 65.0 |" in page
    assert page == with_tables(page, found)
