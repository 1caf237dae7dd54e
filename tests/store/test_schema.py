"""Making and updating the tables, and what a store refuses to open."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import mintmark.store.schema
from builders import NOON
from mintmark.errors import StartRefused
from mintmark.store.schema import MIGRATIONS, migrate
from mintmark.store.sqlite import SqliteStore, check_version, is_safe
from store.process import run_together

NEWER = len(MIGRATIONS) + 1
RACERS = 4
RACES = 5


@pytest.fixture
def db(tmp_path: Path) -> Iterator[apsw.Connection]:
    """Inside a transaction."""
    connection = apsw.Connection(str(tmp_path / "mintmark.db"))
    connection.execute("begin immediate")
    yield connection
    connection.close()


def rows(db: apsw.Connection, query: str) -> list[Any]:
    return list(db.execute(query))


def test_a_new_file_gets_all_migrations(db: apsw.Connection) -> None:
    migrate(db, NOON)

    assert rows(db, "select number, applied_at from migration") == [
        (number, NOON) for number in range(1, len(MIGRATIONS) + 1)
    ]


def test_to_migrate_again_changes_nothing(db: apsw.Connection) -> None:
    migrate(db, NOON)
    schema, applied = rows(db, "select * from sqlite_schema"), rows(db, "select * from migration")

    migrate(db, NOON + 1)

    assert rows(db, "select * from sqlite_schema") == schema
    assert rows(db, "select * from migration") == applied


def test_an_older_file_gets_the_migrations_that_it_lacks(db: apsw.Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(db, NOON)
    newer = (*MIGRATIONS, "create table added (number integer primary key) strict")
    monkeypatch.setattr(mintmark.store.schema, "MIGRATIONS", newer)

    migrate(db, NOON + 1)

    assert rows(db, "select number, applied_at from migration order by number desc limit 1") == [(len(newer), NOON + 1)]
    assert rows(db, "select * from added") == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            f"insert into migration values ({NEWER}, 'of a newer release', 0)",
            f"A newer release wrote the data: its schema is {NEWER}, this release knows {len(MIGRATIONS)}.",
            id="newer",
        ),
        pytest.param(
            "update migration set checksum = 'another' where number = 1",
            "Migration 1 of the data is not the one of this release.",
            id="changed",
        ),
    ],
)
@pytest.mark.anyio
async def test_a_file_of_another_release_is_refused_and_left_as_it_is(
    change: str, message: str, tmp_path: Path
) -> None:
    path = tmp_path / "mintmark.db"
    store = SqliteStore(path)
    await store.migrate(NOON)
    await store.close()
    db = apsw.Connection(str(path))
    db.execute(change)
    before = rows(db, "select * from migration")

    store = SqliteStore(path)
    with pytest.raises(StartRefused) as refused:
        await store.migrate(NOON + 1)
    await store.close()

    assert refused.value.message == message
    assert refused.value.advice
    assert rows(db, "select * from migration") == before
    db.close()


@pytest.mark.long
def test_processes_that_race_to_open_and_migrate_a_new_file_all_succeed(tmp_path: Path) -> None:
    for race in range(RACES):
        path = tmp_path / f"{race}.db"

        run_together(path, [("migrate",)] * RACERS)

        db = apsw.Connection(str(path))
        assert rows(db, "select count(*) from migration") == [(len(MIGRATIONS),)]
        db.close()


def no_database(path: Path) -> None:
    path.write_text("Not a database, but a text that is longer than the header of one.\n" * 100)


def short_text(path: Path) -> None:
    path.write_text("Not a database.\n")


def folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [no_database, short_text, folder])
@pytest.mark.anyio
async def test_what_is_no_database_is_refused_and_left_as_it_is(make: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "mintmark.db"
    make(path)
    before = None if path.is_dir() else path.read_bytes()

    with pytest.raises(StartRefused) as refused:
        SqliteStore(path)

    assert str(path) in refused.value.message
    assert re.search("is damaged: file is not a database|cannot be opened: ", refused.value.message)
    assert refused.value.advice
    assert (None if path.is_dir() else path.read_bytes()) == before


@pytest.mark.anyio
async def test_a_file_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartRefused, match="cannot be opened"):
        SqliteStore(tmp_path / "missing" / "mintmark.db")


@pytest.mark.anyio
async def test_a_file_that_cannot_have_a_wal_is_refused(tmp_path: Path) -> None:
    """SQLite does not say so: it goes on with a rollback journal, and that loses commits when the power is cut."""
    with pytest.raises(StartRefused) as refused:
        SqliteStore(tmp_path / "mintmark.db", vfs="unix-none")  # It has no shared memory, as some network folders.

    assert "WAL" in refused.value.message
    assert refused.value.advice


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        ("3.7.0", False),
        ("3.40.1", False),
        ("3.44.5", False),
        ("3.44.6", True),
        ("3.44.10", True),
        ("3.45.0", False),
        ("3.49.2", False),
        ("3.50.6", False),
        ("3.50.7", True),
        ("3.51.0", False),
        ("3.51.2", False),
        ("3.51.3", True),
        ("3.53.0", True),
        ("3.54.1", True),
        ("4.0.0", True),
    ],
)
def test_a_release_of_sqlite_is_safe_if_it_has_the_fix_of_the_wal_reset_bug(version: str, safe: bool) -> None:  # noqa: FBT001  a column
    assert is_safe(version) == safe


def test_the_sqlite_that_is_linked_here_is_safe() -> None:
    """What counts is the library that runs, not the one that a package asked for."""
    db = apsw.Connection(":memory:")

    assert is_safe(str(db.execute("select sqlite_version()").get))
    db.close()
    check_version()


def test_a_store_is_not_opened_by_an_unsafe_sqlite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")

    with pytest.raises(StartRefused, match=r"SQLite 3\.51\.2 can lose acknowledged writes"):
        SqliteStore(tmp_path / "mintmark.db")

    assert not list(tmp_path.iterdir())
