"""What `mintmark serve` refuses to start with: each time it says what to change, and leaves nothing behind."""

import asyncio
import fcntl
import io
import os
import socket
import subprocess
from collections.abc import Awaitable, Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest

from builders import an_identity
from mintmark.cli import main
from mintmark.data_folder import write_private
from mintmark.development import DEVELOPMENT_KEYS
from mintmark.directory import seal_access_key
from mintmark.doors.dev import fill_store
from mintmark.jose import Sealer
from mintmark.model import AccessKey, Resource, Secret
from mintmark.settings.files import read_secrets
from mintmark.settings.load import load
from mintmark.sources import system
from mintmark.store.sqlite import SqliteStore
from running import FREE_PORTS, MINTMARK
from serving import Files, new_key

SECONDS = 20
OTHER_ID = "11111111-2222-4333-8444-555555555555"
MINUTE = 60_000  # milliseconds


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


def run(*arguments: str, environ: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*MINTMARK, *arguments],
        env={"PATH": "", **(environ or {})},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


class Said(NamedTuple):
    """What a command said, and its exit status."""

    status: int
    out: str
    err: str


def config(*words: str, environ: dict[str, str] | None = None) -> Said:
    """`mintmark config`, in this process: it leaves nothing behind."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in (environ or {}).items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as ended:
            main(["config", *words])
    assert isinstance(ended.value.code, int)
    for stream in (out, err):
        stream.seek(0)
    return Said(ended.value.code, out.read(), err.read())


def refused(files: Files, *flags: str, environ: dict[str, str] | None = None, tls: bool = False) -> str:
    """What a start says that is refused."""
    done = run("serve", *files.flags(tls=tls), *flags, environ=environ)
    assert (2, "") == (done.returncode, done.stdout)
    assert "Traceback" not in done.stderr
    assert not (files.data / "server.json").exists()
    return done.stderr


def refused_and_checked(files: Files, *flags: str, tls: bool = False, environ: dict[str, str] | None = None) -> str:
    """The same of settings, where `mintmark config check` has to say the same."""
    said = refused(files, *flags, tls=tls, environ=environ)
    assert Said(2, "", said) == config("check", *files.flags(tls=tls), *flags, environ=environ)
    return said


def fill(files: Files, change: Callable[[SqliteStore, Sealer], Awaitable[Any]] | None = None) -> None:
    """Makes data by hand, sealed by the key-encryption key of these files."""
    files.data.mkdir(mode=0o700)
    (files.data / "lock").touch()
    sealer = Sealer(*read_secrets(settings_of(files)).key_encryption_keys)

    async def make() -> None:
        store = SqliteStore(files.database)
        await store.migrate(system().now())
        if change is not None:
            await change(store, sealer)
        await store.close()

    asyncio.run(make())


def settings_of(files: Files) -> Any:
    flags = files.flags()
    given = {
        name.removeprefix("--").replace("-", "_"): value for name, value in zip(flags[::2], flags[1::2], strict=True)
    }
    return load("serve", given, {}).settings


def test_without_settings_all_that_are_missing_are_named_at_once() -> None:
    done, needed = run("serve"), ["--data must", "--issuer must", "key-encryption key must", "admin key must"]

    assert (2, "") == (done.returncode, done.stdout)
    assert needed == [each for each in needed if each in done.stderr]
    assert "openssl rand -base64 32" in done.stderr
    assert Said(2, "", done.stderr) == config("check")


class TestKeys:
    @pytest.mark.parametrize("content", ["no base64!", "# only a comment\n"])
    def test_a_key_encryption_key_that_is_none(self, files: Files, content: str) -> None:
        write_private(files.key_encryption_key, content.encode())

        assert "must be 32 bytes in base64" in refused_and_checked(files)

    def test_every_fault_of_files_is_named_at_once_with_its_remedy(self, files: Files) -> None:
        files.write_certificate()
        write_private(files.private_key, Files(files.folder).private_key.read_bytes()[:-40])
        files.key_encryption_key.chmod(0o644)
        write_private(files.admin_key, b"short")

        said = refused_and_checked(files, tls=True)

        assert (
            f"{files.key_encryption_key} can be read or written by everybody: chmod o= {files.key_encryption_key}"
            in said
        )
        assert f"{files.admin_key} must be at least 32 characters" in said
        assert f"The certificate {files.certificate} with the key {files.private_key} cannot be used" in said

    def test_a_certificate_that_does_not_fit_its_key(self, files: Files) -> None:
        first = files.write_certificate()
        files.write_certificate()
        write_private(files.certificate, first)

        assert "KEY_VALUES_MISMATCH" in refused(files, tls=True)

    def test_another_key_encryption_key_than_that_of_the_data(self, files: Files) -> None:
        fill(files, lambda store, sealer: add(store, sealer, new_key().encode()))
        write_private(files.key_encryption_key, new_key().encode())

        said = refused(files)

        assert "was sealed by the key-encryption key" in said
        assert "Give the key-encryption key that this data was made with." in said


async def add(store: SqliteStore, sealer: Sealer, secret: bytes) -> None:
    """A resource with that access key, under an id of its own."""
    primary = seal_access_key(AccessKey(OTHER_ID, "primary", 0, Secret(secret)), sealer, system())
    secondary = seal_access_key(AccessKey(OTHER_ID, "secondary", 0, Secret(secret)), sealer, system())
    await store.add_resource(Resource(OTHER_ID, "other", "local"), (primary, secondary), system().now())


class TestData:
    def test_that_of_mintmark_dev(self, files: Files) -> None:
        fill(files, lambda store, sealer: fill_store(store, sealer, "ES256", system()))
        before = rows(files, "select kid from signing_key")

        for key in (files.key_encryption_key.read_bytes(), new_key().encode()):
            write_private(files.key_encryption_key, key)
            said = refused(files)

            assert "The data was made by mintmark dev: its access key is published." in said
            assert "Choose another folder with --data" in said
        assert before == rows(files, "select kid from signing_key")

    @pytest.mark.parametrize("key", DEVELOPMENT_KEYS, ids=["primary", "secondary"])
    def test_a_published_access_key_under_whatever_id(self, files: Files, key: bytes) -> None:
        fill(files, lambda store, sealer: add(store, sealer, key))

        assert "its access key is published" in refused(files)

    def test_mintmark_dev_leaves_that_of_serve_as_it_is(self, files: Files) -> None:
        fill(files, lambda store, sealer: add(store, sealer, new_key().encode()))
        before = sorted(path.name for path in files.data.iterdir())

        done = run("dev", *FREE_PORTS, "--data", str(files.data))

        assert (2, True) == (done.returncode, "were not made by mintmark dev" in done.stderr)
        assert before == sorted(path.name for path in files.data.iterdir())
        assert [("other",)] == rows(files, "select name from resource")

    def test_a_folder_that_is_open_to_others(self, files: Files) -> None:
        fill(files)
        files.data.chmod(0o755)

        assert f"chmod 700 {files.data}" in refused(files)

    def test_that_of_a_newer_release(self, files: Files) -> None:
        fill(files)
        rows(files, "insert into migration (number, checksum, applied_at) values (99, '', 0), (100, '', 0)")
        rows(files, "insert into migration (number, checksum, applied_at) values (101, '', 0)")

        assert "A newer release wrote the data" in refused(files)

    def test_that_is_ten_minutes_ahead_of_the_clock(self, files: Files) -> None:
        async def ahead(store: SqliteStore, sealer: Sealer) -> None:
            await add(store, sealer, new_key().encode())
            await store.create_identity(an_identity(now=system().now() + 10 * MINUTE, resource_id=OTHER_ID))

        fill(files, ahead)

        said = refused(files)

        assert "The clock is " in said
        assert "minutes behind the newest record of the data" in said
        assert "Set the clock right" in said

    def test_of_a_server_that_runs(self, files: Files) -> None:
        fill(files)
        with (files.data / "lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_EX)
            assert f"Mintmark is already running on {files.data}" in refused(files)


def rows(files: Files, query: str) -> list[Any]:
    database = apsw.Connection(os.fspath(files.database))
    try:
        return database.execute(query).fetchall()
    finally:
        database.close()


class TestListeners:
    def test_a_port_that_is_taken_and_the_others_are_left(self, files: Files) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            said = refused(files, "--admin-port", str(port))

        assert f"Cannot listen on localhost, port {port}" in said
        assert "--admin-port" in said

    def test_plain_http_for_the_network(self, files: Files) -> None:
        said = refused_and_checked(files, "--host", "0.0.0.0")

        assert "Plain HTTP on 0.0.0.0 would show tokens to the network" in said
        assert "--trusted-proxy" in said


class TestTheConfigurationFile:
    def test_a_secret_in_it_and_an_unknown_setting_are_refused_and_the_secret_is_not_shown(self, files: Files) -> None:
        secret, file = new_key(), files.folder / "mintmark.toml"
        file.write_text(f'admin_key = "{secret}"\nwokers = 2\n')

        said = refused_and_checked(files, "--config", str(file))

        assert "admin_key is a secret: put it into a file of its own and name that by admin_key_file." in said
        assert "There is no setting wokers" in said
        assert "Is it workers?" in said
        assert secret not in said

    def test_it_is_shown_where_each_setting_comes_from_and_secrets_as_dots(self, files: Files) -> None:
        file, secrets = files.folder / "mintmark.toml", (new_key(), new_key())
        file.write_text(f'workers = 3\nissuer = "https://a.example"\ndata = "{files.data}"\n')
        environ = {
            "MINTMARK_ADMIN_KEY": secrets[0],
            "MINTMARK_KEY_ENCRYPTION_KEY": secrets[1],
            "MINTMARK_CONFIG": str(file),
        }

        shown = {
            line.split()[0]: line.split(maxsplit=1)[1]
            for line in config("show", "--issuer", "https://b.example", environ=environ).out.splitlines()
        }

        assert ["3", f"workers in {file}"] == shown["workers"].split(maxsplit=1)
        assert ["https://b.example", "--issuer"] == shown["issuer"].split()
        assert ["••••••", "MINTMARK_ADMIN_KEY"] == shown["admin_key"].split()
        assert ["••••••", "MINTMARK_KEY_ENCRYPTION_KEY"] == shown["key_encryption_key"].split()
        assert ["json", "default"] == shown["log_format"].split()
        for words in (["show"], ["check"], ["show", "--json"]):
            said = config(*words, environ=environ)
            assert 0 == said.status
            assert not any(secret in said.out + said.err for secret in secrets)


class TestDatabase:
    def test_one_that_does_not_answer_is_named_without_its_password(self, files: Files) -> None:
        address = "postgresql://mintmark:hidden@127.0.0.1:1/none"
        said = refused(files, environ={"MINTMARK_DATABASE": address})

        assert "The database postgresql://mintmark@127.0.0.1:1/none cannot be used" in said
        assert "hidden" not in said

    def test_one_that_can_lose_what_it_acknowledged(self, files: Files, database: str) -> None:
        assert "PostgreSQL runs with fsync = off" in refused(files, "--database", database)

    def test_data_that_would_be_left_behind_are_named(self, files: Files, database: str) -> None:
        fill(files)

        said = refused(files, "--database", database)
        assert "has data of its own, which are not in PostgreSQL" in said
        assert "mintmark migrate --from" in said

    def test_its_password_is_not_shown(self, files: Files) -> None:
        address = "postgresql://mintmark:hidden@db.example.com/mintmark?sslmode=require"
        said = config("show", *files.flags(), environ={"MINTMARK_DATABASE": address})

        assert "postgresql://mintmark@db.example.com/mintmark?sslmode=require" in said.out
        assert "hidden" not in said.out + said.err
