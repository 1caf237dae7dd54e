"""The data folder of a server: who may read it, who holds it, and what stands where."""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path

import msgspec

from mintmark.errors import StartRefused
from mintmark.model import KEY_ENCRYPTION_KEY_BYTES, Secret

SERVER_FILE, LOCK_FILE = "server.json", "lock"


class DataFolder:
    """A folder that one server holds; nobody but its owner can look inside."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.database = path / "mintmark.db"
        self.certificates = path / "tls"
        self.server_file = path / SERVER_FILE

    def key_encryption_key(self, random: Callable[[int], bytes]) -> Secret:
        """The key that seals secrets in this folder; made by the first to ask."""
        path = self.path / "key-encryption-key"
        if not path.exists():
            if self.database.exists():
                raise StartRefused(
                    f"The data in {self.path} were not made by mintmark dev: their key-encryption key is not there.",
                    "Choose another folder with --data, or start `mintmark serve`.",
                )
            write_private(path, random(KEY_ENCRYPTION_KEY_BYTES))
        key = Secret(path.read_bytes())
        if len(key) != KEY_ENCRYPTION_KEY_BYTES:
            raise StartRefused(
                f"{path} is damaged: it has {len(key)} bytes, not {KEY_ENCRYPTION_KEY_BYTES}.",
                "Restore it, or remove the whole folder to start afresh.",
            )
        return key

    def announce(self, variables: Mapping[str, str]) -> None:
        """Writes where the server is, for the command line to find it."""
        record = {"pid": os.getpid(), **variables}
        write_private(self.server_file, msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")


@contextmanager
def hold(data: str, *, ephemeral: bool) -> Iterator[DataFolder]:
    """The data folder, made if it is missing and held until the end; an ephemeral one is removed then.

    Raises:
        StartRefused: another server holds it, or it cannot be made.
    """
    with _temporary() if ephemeral else nullcontext(Path(data).absolute()) as path:
        try:
            _make(path)
            lock = os.open(path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StartRefused(
                f"The data folder {path} cannot be used: {error.strerror}.",
                "Choose another with --data, or use --ephemeral.",
            ) from error
        folder = DataFolder(path)
        try:
            _lock(lock, folder)
            for part in path.glob("*.part"):  # left by a server that was killed as it wrote
                part.unlink(missing_ok=True)
            try:
                yield folder
            finally:
                folder.server_file.unlink(missing_ok=True)
        finally:
            os.close(lock)


def require_private(path: Path) -> None:
    """Refuses a folder that others than its owner can look into.

    Raises:
        StartRefused: they can.
    """
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise StartRefused(f"The data folder {path} is open to others.", f"Close it: chmod 700 {path}")


def _make(path: Path) -> None:
    """Makes the folder, private and unseen by git, unless it is ours already; never touches one that is not."""
    names = {entry.name for entry in path.iterdir()} if path.is_dir() else set()
    if names and LOCK_FILE not in names:
        raise StartRefused(
            f"The folder {path} is not empty and holds no data of Mintmark.",
            "Choose a folder of its own with --data, such as --data .mintmark.",
        )
    if names - {LOCK_FILE}:
        return
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.chmod(0o700)
    (path / LOCK_FILE).touch(mode=0o600)  # First, for it says whose folder this is to whoever starts after a kill.
    (path / ".gitignore").write_text("*\n")


@contextmanager
def _temporary() -> Iterator[Path]:
    path = Path(tempfile.gettempdir(), f"mintmark-{os.getpid()}-{time.monotonic_ns():x}")
    try:  # Made inside: a signal may come at any moment, and nothing shall stay.
        path.mkdir(mode=0o700)
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _lock(descriptor: int, folder: DataFolder) -> None:
    # Workers inherit the lock: it is held until the last of them has ended, however the parent ended.
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        try:
            server = msgspec.json.decode(folder.server_file.read_bytes(), type=dict[str, str | int])
            where = f" (process {server['pid']}, admin page {server['MINTMARK_ADMIN_ENDPOINT']})"
        except (OSError, msgspec.MsgspecError, KeyError):
            where = ""
        raise StartRefused(
            f"Mintmark is already running on {folder.path}{where}.",
            "Use that one, stop it, or start another with --ephemeral --https-port 0 --http-port 0 --admin-port 0.",
        ) from error


def write_private(path: Path, content: bytes) -> None:
    """Replaces a file that only its owner can read, whole or not at all."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
