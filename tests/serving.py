"""A real `mintmark serve` in a process of its own, with keys of its own, for tests that speak to it over sockets."""

import base64
import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from calls import Answer, ask
from mintmark.certificates import USUAL_NAMES, alternative_name, new_authority, new_certificate
from mintmark.data_folder import LOCK_FILE, write_private
from mintmark.sources import system
from process.watching import eventually
from running import MINTMARK, STOP_SECONDS

ISSUER = "https://identity.example.com"
LOG, OUT = "log", "out"
_READY = " is ready: "


class Files:
    """What an operator prepares for a server: keys, and a certificate; and where its data go."""

    def __init__(self, folder: Path) -> None:
        """Makes what is missing in `folder`; so a server can be started there again."""
        self.folder, self.data = folder, folder / "data"
        self.database = self.data / "mintmark.db"
        self.key_encryption_key, self.admin_key = folder / "key-encryption-key", folder / "admin-key"
        self.certificate, self.private_key, self.authority = (
            folder / name for name in ("tls.pem", "tls-key.pem", "ca.pem")
        )
        for path in (self.key_encryption_key, self.admin_key):
            if not path.exists():
                write_private(path, new_key().encode())

    def write_certificate(self) -> bytes:
        """Writes a new certificate for localhost, by a new authority; answers the certificate, PEM."""
        now = system().now()
        authority = new_authority(now)
        made = new_certificate(authority, [alternative_name(name) for name in USUAL_NAMES], now)
        write_private(self.private_key, made.private_key)
        write_private(self.certificate, made.certificate)
        write_private(self.authority, authority.certificate)
        return made.certificate

    def flags(self, *, tls: bool = False) -> list[str]:
        """Those that a server needs, on free ports."""
        given = {
            "--data": self.data,
            "--issuer": ISSUER,
            "--admin-port": 0,
            "--key-encryption-key-file": self.key_encryption_key,
            "--admin-key-file": self.admin_key,
        }
        if tls:
            given |= {"--https-port": 0, "--tls-certificate": self.certificate, "--tls-key": self.private_key}
        else:
            given |= {"--http-port": 0}
        return [str(part) for pair in given.items() for part in pair]


class OwnedResource(NamedTuple):
    """A resource and what its owner holds."""

    id: str
    keys: tuple[bytes, bytes]
    connection_string: str


class Serving:
    """A started server, its log and its files."""

    def __init__(self, process: "subprocess.Popen[bytes]", files: Files) -> None:
        self.process = process
        self.files = files
        self.log = files.folder / LOG
        eventually("the server is ready", self._is_ready)
        listeners = self._ready_line().partition(_READY)[2].partition('"')[0].split(", ")
        addresses = {each.partition("://")[0]: each for each in listeners}
        self.http_endpoint = addresses.get("http", "")
        self.https_endpoint = addresses.get("https", "")
        self.admin_endpoint = addresses["admin http"].removeprefix("admin ")
        self.endpoint = self.https_endpoint or self.http_endpoint
        self.ca = str(files.authority)

    @property
    def admin_key(self) -> str:
        """The first one of its file."""
        return self.files.admin_key.read_text().splitlines()[0]

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged so far, but for a line that it is just writing; each must be JSON."""
        return [json.loads(line) for line in self.log.read_text().split("\n")[:-1]]

    def admin(self, method: str, path: str, body: object = None, key: str | None = None) -> Answer:
        """A request to the admin listener; `key` instead of the first admin key, empty for none."""
        key = self.admin_key if key is None else key
        headers = {"authorization": f"Bearer {key}"} if key else {}
        content = None if body is None else json.dumps(body).encode()
        return ask(self.admin_endpoint, f"/_mintmark/{path}", method=method, headers=headers, body=content)

    def add_resource(self, name: str, *hosts: str) -> OwnedResource:
        """A new resource; its connection string names the listener instead of the public address."""
        answer = self.admin("POST", "resources", {"name": name, "hosts": hosts})
        assert 201 == answer.status, answer
        primary, secondary = (each["key"] for each in answer.json["accessKeys"])
        return OwnedResource(
            answer.json["id"],
            (base64.b64decode(primary), base64.b64decode(secondary)),
            f"endpoint={self.endpoint}/;accesskey={primary}",
        )

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends the server by a signal and answers its exit status."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, f"status {self.process.returncode}: {self.log.read_text()}"
        return bool(self._ready_line())

    def _ready_line(self) -> str:
        return next((line for line in self.log.read_text().splitlines() if _READY in line), "")


def new_key() -> str:
    """As `openssl rand -base64 32` makes it: fit for an admin key and for a key-encryption key."""
    return base64.b64encode(system().random(32)).decode()


@contextmanager
def serving(
    folder: Path,
    *flags: str,
    environ: Mapping[str, str] | None = None,
    tls: bool = False,
    wrapped: Sequence[str] = (),
    hang_up: bool = False,
) -> Iterator[Serving]:
    """Starts `mintmark serve` with files in `folder`, which it makes where they are missing, on free ports.

    Its log goes to `folder/log`, and what it prints to `folder/out`. Ends it with SIGTERM if it still runs.
    `flags` count more than those of `Files`; `wrapped` is a command to run it by;
    with `hang_up` it gets SIGHUP as soon as it holds its data folder.
    """
    files = Files(folder)
    if tls and not files.certificate.exists():
        files.write_certificate()
    with (folder / LOG).open("wb") as errors, (folder / OUT).open("wb") as printed:
        process = subprocess.Popen(
            [*wrapped, *MINTMARK, "serve", *files.flags(tls=tls), *flags],
            stdout=printed,
            stderr=errors,
            env={**os.environ, **(environ or {})},
        )
    try:
        if hang_up:
            eventually("it starts", lambda: process.poll() is not None or (files.data / LOCK_FILE).exists())
            process.send_signal(signal.SIGHUP)
        yield Serving(process, files)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(STOP_SECONDS)
