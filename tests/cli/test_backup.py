"""`mintmark backup` and `mintmark restore`, beside servers that run and write."""

import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import apsw
import pytest

from calls import create, holds
from cli.conftest import Mintmark
from disks import small_disk
from mintmark.cli.backup import _size
from process.calling import signed
from process.watching import eventually, on_terminal
from running import MINTMARK, RunningServer, running_server

CLIENTS, FIRST = 4, 40
SECONDS = 20


def rows(out: str) -> dict[str, str]:
    """What was printed in rows, by name."""
    return dict(re.split(r"  +", line.strip(), maxsplit=1) for line in out.splitlines() if line.startswith("  "))


def made(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


class Load:
    """Clients that create identities with tokens until the end, and note each that was acknowledged."""

    def __init__(self, server: RunningServer) -> None:
        self.acknowledged: list[tuple[str, str]] = []  # identity and token
        self.failures: list[Any] = []
        self._server, self._ends = server, threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        clients = [threading.Thread(target=self._client) for _ in range(CLIENTS)]
        for client in clients:
            client.start()
        try:
            yield
        finally:
            self._ends.set()
            for client in clients:
                client.join(SECONDS)

    def _client(self) -> None:
        while not self._ends.is_set():
            answer = create(self._server)
            if answer.status == 201:
                self.acknowledged.append((answer.json["identity"]["id"], answer.json["accessToken"]["token"]))
            else:
                self.failures.append(answer)


class Taken(NamedTuple):
    """A backup that was taken under load.

    Attributes:
        file: the backup.
        data: the folder of the server, which runs.
        before: identities and tokens that were acknowledged before it began.
        meanwhile: how many were acknowledged while it was made.
        failures: requests that were not served.
        printed: what the command said.
    """

    file: Path
    data: Path
    before: list[tuple[str, str]]
    meanwhile: int
    failures: list[Any]
    printed: "subprocess.CompletedProcess[str]"


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Taken]:
    """A backup of a server with two workers that several clients keep busy."""
    folder = tmp_path_factory.mktemp("taken")
    data, file = folder / "data", folder / "backup"
    with running_server("--data", str(data), "--workers", "2", "--quiet") as server:
        load = Load(server)
        with load.running():
            eventually("some are acknowledged", lambda: len(load.acknowledged) >= FIRST or load.failures)
            before = list(load.acknowledged)
            printed = subprocess.run(
                [*MINTMARK, "backup", file, "--data", data], capture_output=True, text=True, check=False, timeout=60
            )
            meanwhile = len(load.acknowledged) - len(before)
        yield Taken(file, data, before, meanwhile, load.failures, printed)


@pytest.fixture
def restored(taken: Taken, mintmark: Mintmark, tmp_path: Path) -> Path:
    """Another data folder, restored from it, with the key-encryption key."""
    data = tmp_path / "restored"
    done = mintmark("restore", str(taken.file), "--data", str(data))
    assert (0, "") == (done.status, done.err)
    shutil.copy(taken.data / "key-encryption-key", data)
    return data


class TestUnderLoad:
    def test_it_says_what_it_made_and_stops_nobody(self, taken: Taken) -> None:
        printed = rows(taken.printed.stdout)

        assert (0, "") == (taken.printed.returncode, taken.printed.stderr)
        assert ["File", "Size", "Identities", "Resources", "Sealed by", "Checked", "Taken at"] == list(printed)
        assert (str(taken.file), "1", "yes") == (printed["File"], printed["Resources"], printed["Checked"])
        assert len(taken.before) <= int(printed["Identities"]) <= len(taken.before) + taken.meanwhile + CLIENTS
        assert "Keep the key-encryption key too" in taken.printed.stdout
        assert [] == taken.failures
        assert taken.meanwhile > 0
        assert {"data", "backup"} == made(taken.file.parent)
        assert 0o600 == taken.file.stat().st_mode & 0o777

    def test_every_identity_acknowledged_before_it_is_in_it(self, taken: Taken) -> None:
        with closing(apsw.Connection(os.fspath(taken.file), flags=apsw.SQLITE_OPEN_READONLY)) as connection:
            kept = {suffix.hex() for (suffix,) in connection.execute("select suffix from identity")}

        assert {identity.rpartition("_")[2].replace("-", "") for identity, _ in taken.before} <= kept

    def test_a_restored_server_serves_them_and_their_tokens(self, taken: Taken, restored: Path) -> None:
        assert 0o700 == restored.stat().st_mode & 0o777
        assert 0o600 == (restored / "mintmark.db").stat().st_mode & 0o777
        with running_server("--data", str(restored), "--quiet") as server:
            for identity, token in taken.before[:FIRST]:
                assert holds(server, token)
                path = f"/identities/{quote(identity, safe='')}/:issueAccessToken"
                issued = signed(server, "POST", path, {"scopes": ["chat"]})
                assert 200 == issued.status
                assert holds(server, issued.json["token"])
            assert 201 == create(server).status

    def test_a_restored_server_can_be_backed_up_when_it_is_stopped(
        self, restored: Path, mintmark: Mintmark, tmp_path: Path
    ) -> None:
        (tmp_path / "again").write_text("an older one")

        done = mintmark("backup", str(tmp_path / "again"), "--data", str(restored), "--force")

        assert (0, "") == (done.status, done.err)
        assert "mintmark.db" in made(restored)


class TestAnswers:
    def test_both_print_json(self, taken: Taken, mintmark: Mintmark, tmp_path: Path) -> None:
        backup = mintmark("backup", "file", "--data", str(taken.data), "--json").json
        restore = mintmark("restore", "file", "--data", "new", "--json").json

        alike = ("identities", "resources", "sealedBy", "checked")
        assert ["file", "size", *alike, "takenAt"] == list(backup)
        assert ["data", *alike, "newestRecordAt", "feedEpoch"] == list(restore)
        assert [backup[name] for name in alike] == [restore[name] for name in alike]
        assert (str(tmp_path / "new"), "new") == (restore["data"], restore["feedEpoch"])
        assert restore["newestRecordAt"] <= backup["takenAt"]
        assert (tmp_path / "file").stat().st_size == backup["size"]

    def test_restore_says_what_it_put_where_and_which_key_it_needs(
        self, taken: Taken, mintmark: Mintmark, tmp_path: Path
    ) -> None:
        done = mintmark("restore", str(taken.file), "--data", "new")

        printed = rows(done.out)
        assert (0, "") == (done.status, done.err)
        assert ["Data", "Identities", "Resources", "Sealed by", "Checked", "Newest record", "Feed epoch"] == list(
            printed
        )
        assert str(tmp_path / "new") == printed["Data"]
        assert f"give it the key-encryption key {printed['Sealed by']}." in done.out

    def test_a_terminal_shows_how_far_it_is(self, taken: Taken, tmp_path: Path) -> None:
        for command in (["backup", "file", "--data", str(taken.data)], ["restore", "file", "--data", "new"]):
            with on_terminal([*MINTMARK, *command], {}, tmp_path) as terminal:
                shown = terminal.read_to_end()

            assert re.search(r"Copying.*100%", shown)
            assert "Checked" in shown

    @pytest.mark.parametrize(
        ("count", "words"),
        [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (4_210_688, "4.2 MB"), (7 * 10**15, "7000.0 TB")],
    )
    def test_a_size_is_readable(self, count: int, words: str) -> None:
        assert words == _size(count)


class TestRefusals:
    def test_a_folder_that_a_server_holds_is_not_restored_into(self, taken: Taken, mintmark: Mintmark) -> None:
        done = mintmark("restore", str(taken.file), "--data", str(taken.data))

        assert 2 == done.status
        assert "Mintmark is already running on" in done.err

    def test_a_database_that_is_there_is_not_written_over(
        self, taken: Taken, restored: Path, mintmark: Mintmark
    ) -> None:
        before = (restored / "mintmark.db").read_bytes()

        done = mintmark("restore", str(taken.file), "--data", str(restored))

        assert 2 == done.status
        assert f"The folder {restored} has a database already: mintmark.db.\nChoose another folder" in done.err
        assert before == (restored / "mintmark.db").read_bytes()

    def test_a_wrong_file_makes_no_folder(self, mintmark: Mintmark, tmp_path: Path) -> None:
        (tmp_path / "diary").write_text("Dear diary")

        done = mintmark("restore", "diary", "--data", "new")

        assert (2, "") == (done.status, done.out)
        assert "Error: diary is no backup of Mintmark.\nName a file that mintmark backup made.\n" == done.err
        assert {"diary"} == made(tmp_path)

    def test_without_data_there_is_nothing_to_back_up(self, mintmark: Mintmark, tmp_path: Path) -> None:
        done = mintmark("backup", "file", "--json")

        message = f"There is no database {tmp_path / '.mintmark' / 'mintmark.db'}."
        assert (2, {"error": {"message": message}}) == (done.status, done.json)
        assert set() == made(tmp_path)

    def test_a_refused_restore_leaves_no_half_made_database(
        self, taken: Taken, mintmark: Mintmark, tmp_path: Path
    ) -> None:
        (tmp_path / "cut").write_bytes(taken.file.read_bytes()[:-1])

        done = mintmark("restore", "cut", "--data", "new")

        assert 2 == done.status
        assert "Error: cut is damaged: its checksum" in done.err
        assert {"lock", ".gitignore"} == made(tmp_path / "new")


@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 1), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
    ids=["SIGINT", "SIGTERM", "SIGHUP"],
)
def test_a_signal_ends_it_and_leaves_nothing_behind(tmp_path: Path, number: signal.Signals, status: int) -> None:
    (tmp_path / "data").mkdir()
    with closing(apsw.Connection(os.fspath(tmp_path / "data" / "mintmark.db"))) as held:
        held.execute("create table cake (candles); begin exclusive")
        with subprocess.Popen([*MINTMARK, "backup", "file", "--data", "data"], cwd=tmp_path) as process:
            eventually("it waits for the database", lambda: {"data"} < made(tmp_path))
            process.send_signal(number)
            held.execute("rollback")

            assert status == process.wait(SECONDS)

    assert {"data"} == made(tmp_path)


@pytest.mark.root
def test_a_full_disk_is_said_and_nothing_stays_on_it(taken: Taken, mintmark: Mintmark, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "32k") as mounted:
        disk = mounted.folder
        for command in (
            ["backup", f"{disk}/file", "--data", str(taken.data)],
            ["restore", str(taken.file), "--data", f"{disk}/data"],
        ):
            done = mintmark(*command)

            assert 2 == done.status
            assert re.search(r"cannot be copied to .*(full|No space left)", done.err)
            assert "room" in done.err
        assert {"data"} == made(disk)
        assert {"lock", ".gitignore"} == made(disk / "data")
