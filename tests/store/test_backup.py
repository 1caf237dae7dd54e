"""A backup is one moment of the store, whole or not there; what is not a whole backup is not restored."""

import asyncio
import base64
import hashlib
import itertools
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import pytest

from builders import NOON, SEALER, an_identity
from mintmark.development import DEVELOPMENT_KEYS, DEVELOPMENT_RESOURCE
from mintmark.doors.dev import fill_store
from mintmark.errors import StartRefused
from mintmark.model import SealedSecret
from mintmark.sources import Sources, system
from mintmark.store import backup
from mintmark.store.backup import Contents, back_up, restore
from mintmark.store.schema import MIGRATIONS
from mintmark.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio

IDENTITIES, BACKUPS = 20, 10
PROGRAM = Path(__file__).with_name("backup_process.py")


def quietly(_done: int, _of: int) -> None:
    """Tells nobody of the progress."""


def value(database: Path, query: str) -> Any:
    with closing(apsw.Connection(os.fspath(database), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return connection.execute(query).get


def change(database: Path, statements: str) -> None:
    with closing(apsw.Connection(os.fspath(database))) as connection:
        connection.execute(statements).fetchall()


def made(file: Path) -> set[str]:
    """The names in a file's folder."""
    return {path.name for path in file.parent.iterdir()}


@pytest.fixture
def database(sources: Sources, tmp_path: Path) -> Path:
    """The database of a store with a resource, its keys and some identities; the newest are in its log only."""
    path = tmp_path / "data" / "mintmark.db"
    path.parent.mkdir()

    async def fill() -> None:
        store = SqliteStore(path)
        await fill_store(store, SEALER, "ES256", sources)
        for number in range(IDENTITIES):
            await store.create_identity(an_identity(number))
        with closing(apsw.Connection(os.fspath(path), flags=apsw.SQLITE_OPEN_READONLY)) as reader:
            reader.execute("select * from probe").fetchall()
            await store.close()

    asyncio.run(fill())
    assert path.with_name("mintmark.db-wal").stat().st_size
    return path


@pytest.fixture
def large(database: Path) -> Path:
    """The same with some megabytes, for which a copy takes several steps."""
    change(database, "insert into probe (number, filler) values (7, zeroblob(4000000))")
    return database


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a backup goes: into a folder of its own, that is empty."""
    (tmp_path / "backups").mkdir()
    return tmp_path / "backups" / "mintmark.backup"


@pytest.fixture
def copy(database: Path, file: Path) -> Path:
    """A backup."""
    back_up(database, file, system(), quietly)
    return file


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Where a database is restored: in another folder."""
    (tmp_path / "restored").mkdir()
    return tmp_path / "restored" / "mintmark.db"


async def revoke_again_and_again(store: SqliteStore) -> None:
    for number in itertools.count():
        identity = an_identity(number % IDENTITIES)
        assert await store.revoke_tokens(identity.resource_id, identity.suffix, NOON)


class TestBackUp:
    def test_it_is_one_private_file_and_says_what_is_in_it(self, database: Path, file: Path) -> None:
        contents = back_up(database, file, system(), quietly)

        expected = Contents(file.stat().st_size, IDENTITIES, 1, NOON, [SEALER.key_id])
        assert expected == contents
        assert {file.name} == made(file)
        assert 0o600 == file.stat().st_mode & 0o777
        assert "delete" == value(file, "pragma journal_mode")
        assert "ok" == value(file, "pragma integrity_check")

    def test_it_is_one_moment_however_much_is_written_meanwhile(self, large: Path, file: Path) -> None:
        pages, revision = value(large, "pragma page_count"), value(large, "select number from revision")
        done: list[int] = []

        with closing(apsw.Connection(os.fspath(large))) as other:

            def write(pages_done: int, of: int) -> None:
                assert pages == of
                done.append(pages_done)
                number = other.execute("update revision set number = number + 1 returning number").get
                other.execute("update identity set generation = generation + 1, changed_revision = ?", (number,))
                other.execute("insert into probe (filler) values (zeroblob(1000000))")
                other.execute("pragma wal_checkpoint(passive)").fetchall()

            back_up(large, file, system(), write)

        assert len(done) > 3
        assert sorted(set(done)) == done, "it began anew"
        assert pages == done[-1] == value(file, "pragma page_count")
        assert revision == value(file, "select number from revision")
        assert 0 == value(file, "select sum(generation) + count(changed_revision) from identity")
        assert len(done) == value(large, "select min(generation) from identity")

    async def test_a_revocation_and_its_revision_are_both_in_it_or_neither(self, large: Path, file: Path) -> None:
        store = SqliteStore(large)
        revoking = asyncio.ensure_future(revoke_again_and_again(store))
        try:
            for number in range(BACKUPS):
                await asyncio.to_thread(back_up, large, file.with_name(str(number)), system(), quietly)
        finally:
            revoking.cancel()
            await asyncio.gather(revoking, return_exceptions=True)
            await store.close()

        revisions = [value(file.with_name(str(number)), "select number from revision") for number in range(BACKUPS)]
        assert sorted(revisions) == revisions
        assert revisions[-1] > revisions[0], "nothing was revoked meanwhile"
        for number, revision in enumerate(revisions):
            assert revision == value(file.with_name(str(number)), "select sum(generation) from identity")
            assert revision == value(
                file.with_name(str(number)), "select coalesce(max(changed_revision), 0) from identity"
            )

    def test_no_secret_is_in_clear_in_it(self, copy: Path) -> None:
        content = copy.read_bytes()

        for key in DEVELOPMENT_KEYS:
            assert bytes(key) not in content
            assert base64.b64encode(key) not in content
        assert b"PRIVATE KEY" not in content
        assert DEVELOPMENT_RESOURCE.name.encode() in content

    def test_an_existing_file_is_refused_and_stays(self, database: Path, file: Path) -> None:
        file.write_text("mine")

        with pytest.raises(StartRefused, match="exists already"):
            back_up(database, file, system(), quietly)

        assert "mine" == file.read_text()
        assert {file.name} == made(file)

    def test_a_file_that_comes_meanwhile_is_refused_and_stays(self, database: Path, file: Path) -> None:
        def interfere(_done: int, _of: int) -> None:
            file.write_text("mine")

        with pytest.raises(StartRefused, match="exists already"):
            back_up(database, file, system(), interfere)

        assert "mine" == file.read_text()
        assert {file.name} == made(file)

    def test_no_file_is_replaced_however_late_it_comes(self, file: Path) -> None:
        file.write_text("mine")
        part = file.with_name("part")
        part.write_text("a copy")

        with pytest.raises(StartRefused, match="exists already"):
            backup._put_in_place(part, file)

        assert ("mine", "a copy") == (file.read_text(), part.read_text())

    @pytest.mark.parametrize("take", [backup._take_name, backup._take_name_unlinked], ids=["links", "no links"])
    def test_on_any_file_system_it_has_its_name_alone(self, file: Path, take: Callable[[Path, Path], None]) -> None:
        part = file.with_name("part")
        part.write_text("a copy")

        take(part, file)

        assert ("a copy", 1) == (file.read_text(), file.stat().st_nlink)
        assert {file.name} == made(file)

    def test_without_links_an_existing_file_stays_too(self, file: Path) -> None:
        file.write_text("mine")

        with pytest.raises(FileExistsError):
            backup._take_name_unlinked(file.with_name("part"), file)

        assert "mine" == file.read_text()

    def test_an_existing_file_is_replaced_by_force(self, database: Path, file: Path) -> None:
        file.write_text("mine")
        file.chmod(0o644)

        back_up(database, file, system(), quietly, force=True)

        assert IDENTITIES == value(file, "select count(*) from identity")
        assert 0o600 == file.stat().st_mode & 0o777

    @pytest.mark.parametrize("force", [False, True])
    def test_a_link_or_a_folder_is_refused(self, database: Path, file: Path, *, force: bool) -> None:
        victim = file.with_name("victim")
        file.symlink_to(victim)
        (file.with_name("folder")).mkdir()

        for each in (file, file.with_name("folder")):
            with pytest.raises(StartRefused, match="not a plain file"):
                back_up(database, each, system(), quietly, force=force)

        assert not victim.exists()

    def test_a_file_in_the_data_folder_is_refused(self, database: Path) -> None:
        with pytest.raises(StartRefused, match="is in the data folder"):
            back_up(database, database, system(), quietly, force=True)

        assert IDENTITIES == value(database, "select count(*) from identity")

    def test_a_database_that_is_not_there_is_refused(self, file: Path, tmp_path: Path) -> None:
        with pytest.raises(StartRefused, match="There is no database"):
            back_up(tmp_path / "none" / "mintmark.db", file, system(), quietly)

    def test_a_folder_that_is_not_there_is_refused(self, database: Path, tmp_path: Path) -> None:
        with pytest.raises(StartRefused, match=r"cannot be copied to .* No such file"):
            back_up(database, tmp_path / "none" / "file", system(), quietly)

    def test_a_damaged_database_is_refused(self, database: Path, file: Path) -> None:
        change(database, "pragma wal_checkpoint(truncate)")
        root = value(database, "select rootpage from sqlite_schema where name = 'identity'")
        with database.open("r+b") as opened:
            opened.seek((root - 1) * 4096)
            opened.write(b"\xff" * 2000)

        with pytest.raises(StartRefused, match="is damaged"):
            back_up(database, file, system(), quietly)

        assert set() == made(file)

    def test_a_file_that_is_no_database_is_refused(self, file: Path, tmp_path: Path) -> None:
        stranger = tmp_path / "stranger.db"
        stranger.write_bytes(system().random(8192))

        with pytest.raises(StartRefused, match="file is not a database"):
            back_up(stranger, file, system(), quietly)

    def test_a_database_of_something_else_is_refused(self, file: Path, tmp_path: Path) -> None:
        change(tmp_path / "other.db", "create table cake (candles)")

        with pytest.raises(StartRefused, match="no database of this release"):
            back_up(tmp_path / "other.db", file, system(), quietly)

    def test_a_database_of_a_newer_release_is_refused(self, database: Path, file: Path) -> None:
        change(database, "insert into migration (checksum, applied_at) values ('x', 0)")

        with pytest.raises(StartRefused, match=rf"A newer release wrote .* its schema is {len(MIGRATIONS) + 1},"):
            back_up(database, file, system(), quietly)

    def test_what_ends_it_leaves_nothing_behind(self, database: Path, file: Path) -> None:
        def interrupt(_done: int, _of: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            back_up(database, file, system(), interrupt)

        assert set() == made(file)

    def test_a_file_that_cannot_grow_is_refused_and_leaves_nothing_behind(self, large: Path, file: Path) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
            with pytest.raises(StartRefused, match=r"cannot be copied to .*\."):
                back_up(large, file, system(), quietly)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            signal.signal(signal.SIGXFSZ, before)

        assert set() == made(file)


class TestRestore:
    def test_it_has_all_that_was_backed_up(self, database: Path, copy: Path, place: Path) -> None:
        contents = restore(copy, place, system(), quietly)

        assert (IDENTITIES, 1, NOON) == (contents.identities, contents.resources, contents.newest_at)
        assert {place.name} == made(place)
        assert 0o600 == place.stat().st_mode & 0o777
        for table in ("identity", "resource", "access_key", "signing_key", "resource_host", "migration"):
            assert rows(database, table) == rows(place, table)

    async def test_a_store_opens_it_and_goes_on(self, copy: Path, place: Path) -> None:
        restore(copy, place, system(), quietly)
        store = SqliteStore(place)
        try:
            await store.migrate(NOON)
            await store.create_identity(an_identity(IDENTITIES))

            found = await store.identities(DEVELOPMENT_RESOURCE.id, bytes(16), b"\xff" * 16, 100)
            assert [an_identity(number).suffix for number in range(IDENTITIES + 1)] == [each.suffix for each in found]
        finally:
            await store.close()

    def test_each_restored_store_has_an_epoch_of_its_own(self, database: Path, copy: Path, place: Path) -> None:
        places = [place, place.with_name("again.db")]
        for each in places:
            restore(copy, each, system(), quietly)

        epochs = [value(each, "select epoch from revision") for each in (database, *places)]
        assert [32] * 3 == [len(epoch) for epoch in epochs]
        assert 3 == len(set(epochs))
        assert value(database, "select epoch from revision") == value(copy, "select epoch from revision")

    async def test_no_generation_comes_again_that_was_given_away_after_the_backup(
        self, copy: Path, database: Path, place: Path
    ) -> None:
        restored = [place, place.with_name("again.db")]
        for each in restored:
            restore(copy, each, system(), quietly)

        generations = []
        for each in (database, *restored):
            store, identity = SqliteStore(each), an_identity(1)
            try:
                await store.migrate(NOON)
                await store.revoke_tokens(identity.resource_id, identity.suffix, NOON)
                await store.replace_access_key(DEVELOPMENT_RESOURCE.id, "primary", SealedSecret("key", b""), NOON)
                revoked = await store.identity(identity.resource_id, identity.suffix)
                assert revoked is not None
                generations += [revoked.generation, (await store.access_keys())[0].generation]
            finally:
                await store.close()

        assert [1, 1] == generations[:2]
        assert 1 not in generations[2:]
        assert generations[2:4] != generations[4:]

    def test_a_restored_store_can_be_backed_up_again(self, copy: Path, place: Path) -> None:
        restore(copy, place, system(), quietly)
        assert (0, 0) == (value(place, "pragma application_id"), value(place, "pragma user_version"))

        assert IDENTITIES == back_up(place, copy.with_name("second"), system(), quietly).identities

    def test_a_backup_of_an_older_release_is_brought_up_to_date(self, tmp_path: Path, file: Path, place: Path) -> None:
        old = tmp_path / "old.db"
        digest = hashlib.sha256(MIGRATIONS[0].encode()).hexdigest()
        change(old, "create table migration (number integer primary key, checksum text, applied_at integer)")
        change(old, MIGRATIONS[0] + f"; insert into migration values (1, '{digest}', 0)")
        back_up(old, file, system(), quietly)

        restore(file, place, system(), quietly)

        assert 1 == value(file, "select count(*) from migration")
        assert len(MIGRATIONS) == value(place, "select count(*) from migration")
        assert 32 == len(value(place, "select epoch from revision"))

    @pytest.mark.parametrize("step", [16, 60, 68, 1009])
    def test_a_file_with_any_byte_changed_is_refused(self, copy: Path, place: Path, step: int) -> None:
        whole = copy.read_bytes()
        for at in (step,) if step < 100 else range(0, len(whole), step):
            copy.write_bytes(whole[:at] + bytes([whole[at] ^ 0x10]) + whole[at + 1 :])

            with pytest.raises(StartRefused, match=r"is damaged: its checksum|is no backup of Mintmark"):
                restore(copy, place, system(), quietly)

        assert set() == made(place)

    @pytest.mark.parametrize("size", [0, 1, 99, 100, 4096, -4096, -1])
    def test_a_file_that_was_cut_off_is_refused(self, copy: Path, place: Path, size: int) -> None:
        copy.write_bytes(copy.read_bytes()[:size])

        with pytest.raises(StartRefused, match=r"is damaged|is no backup"):
            restore(copy, place, system(), quietly)

        assert set() == made(place)

    @pytest.mark.parametrize("content", [b"", b"SQLite format 3\0", bytes(8192), b"Dear diary\n" * 1000])
    def test_a_file_that_is_no_backup_is_refused(self, file: Path, place: Path, content: bytes) -> None:
        file.write_bytes(content)

        with pytest.raises(StartRefused, match="is no backup of Mintmark"):
            restore(file, place, system(), quietly)

    def test_a_database_without_its_log_is_no_backup(self, database: Path, file: Path, place: Path) -> None:
        file.write_bytes(database.read_bytes())

        with pytest.raises(StartRefused, match="is no backup of Mintmark"):
            restore(file, place, system(), quietly)

    def test_a_file_that_is_not_there_is_refused(self, file: Path, place: Path) -> None:
        with pytest.raises(StartRefused, match="cannot be read: No such file"):
            restore(file, place, system(), quietly)

    def test_a_backup_of_a_newer_release_is_refused(self, copy: Path, place: Path) -> None:
        change(copy, "insert into migration (checksum, applied_at) values ('x', 0)")
        with copy.open("r+b") as opened:
            opened.seek(60)
            opened.write(bytes(4))
        backup._write_checksum(copy)

        with pytest.raises(StartRefused, match=rf"A newer release wrote .* its schema is {len(MIGRATIONS) + 1},"):
            restore(copy, place, system(), quietly)

        assert set() == made(place)

    @pytest.mark.parametrize("name", ["mintmark.db", "mintmark.db-wal", "mintmark.db-shm", "mintmark.db-journal"])
    def test_a_database_or_what_is_left_of_one_is_not_written_over(self, copy: Path, place: Path, name: str) -> None:
        place.with_name(name).write_text("mine")

        with pytest.raises(StartRefused, match=f"has a database already: {name}"):
            restore(copy, place, system(), quietly)

        assert "mine" == place.with_name(name).read_text()
        assert {name} == made(place)


def rows(database: Path, table: str) -> list[Any]:
    with closing(apsw.Connection(os.fspath(database), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
        return connection.execute(f"select * from {table} order by 1, 2").fetchall()


@pytest.mark.long
class TestKilled:
    """With SIGKILL, before each line of the code in turn."""

    def killed(self, command: str, source: Path, folder: Path) -> Iterator[Path]:
        """Where each killed one would have left its file."""
        folder.mkdir()
        ended = subprocess.run(
            [sys.executable, PROGRAM, command, source, folder], capture_output=True, text=True, check=False, timeout=60
        )
        assert 0 == ended.returncode, ended.stderr
        kills = int(ended.stdout)
        assert kills > 50
        for number in range(1, kills + 1):
            yield folder / str(number) / "mintmark.db"

    def test_a_backup_is_whole_or_not_there(self, database: Path, tmp_path: Path) -> None:
        there = []
        for number, file in enumerate(self.killed("back-up", database, tmp_path / "rounds")):
            if file.exists():
                there.append(number)
                restore(file, tmp_path / f"{number}.db", system(), quietly)
                assert IDENTITIES == value(tmp_path / f"{number}.db", "select count(*) from identity")
            else:
                assert all(name.endswith((".part", ".part-wal", ".part-shm", ".part-journal")) for name in made(file))

        assert there

    def test_a_restored_database_is_whole_or_not_there(self, database: Path, copy: Path, tmp_path: Path) -> None:
        there = []
        for number, place in enumerate(self.killed("restore", copy, tmp_path / "rounds")):
            if place.exists():
                there.append(number)
                assert IDENTITIES == value(place, "select count(*) from identity")
                assert value(database, "select epoch from revision") != value(place, "select epoch from revision")

        assert there
