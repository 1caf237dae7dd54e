"""A real nginx with the server block of `packaging/nginx.conf`, on loopback, in front of a `mintmark serve`."""

import json
import os
import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from calls import SECONDS, Answer
from docs.markdown import ROOT
from process.watching import eventually, free_port
from running import STOP_SECONDS
from serving import Files

PACKAGING = ROOT / "packaging"
ANOTHER_ADDRESS = "127.0.0.2"  # of loopback, as that of a client on another machine

_MAIN = """
daemon off;
user {user};
worker_processes {processes};
pid {folder}/pid;
events {{ worker_connections 512; }}
http {{
    log_format forwarded escape=json '{{"status":$status,"id":"$upstream_http_ms_cv","upstream":"$upstream_status",'
        '"nodes":"$upstream_addr","seconds":$request_time}}';
    access_log {folder}/access.log forwarded;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/unused;
    uwsgi_temp_path {folder}/unused;
    scgi_temp_path {folder}/unused;
    include {folder}/site.conf;
}}
"""


class Nginx:
    """A started nginx."""

    def __init__(self, folder: Path, port: int, files: Files) -> None:
        self._log = folder / "access.log"
        self.port = port
        self.endpoint = f"https://localhost:{port}"
        self.ca = str(files.authority)

    def log(self) -> list[dict[str, Any]]:
        """A line for each request so far.

        `upstream` and `id` say what Mintmark answered, if it was asked, `nodes` who did, `seconds` how long it took.
        """
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def connect(self, source: str = "127.0.0.1") -> ssl.SSLSocket:
        """A new connection, for bytes as they are."""
        connection = self._connection(source)
        connection.connect()
        assert isinstance(connection.sock, ssl.SSLSocket)
        return connection.sock

    def ask(
        self,
        target: str,
        *,
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        source: str = "127.0.0.1",
    ) -> Answer:
        """One request on a connection of its own, from an address of loopback; logged, if Mintmark has answered it."""
        connection = self._connection(source)
        try:
            connection.request(method, target, body, dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            answer = Answer(response.status, names, response.read())
        finally:
            connection.close()
        # nginx answers first: a late line would count with the next request.
        if id_ := names.get("ms-cv"):
            eventually("nginx logs the request", lambda: any(line["id"] == id_ for line in self.log()))
        return answer

    def _connection(self, source: str) -> HTTPSConnection:
        context = ssl.create_default_context(cafile=self.ca)
        return HTTPSConnection("127.0.0.1", self.port, timeout=SECONDS, context=context, source_address=(source, 0))


@contextmanager
def nginx_before(address: str, files: Files, folder: Path, changes: Mapping[str, str] | None = None) -> Iterator[Nginx]:
    """Starts it before the server at `address`, with its certificate in `files`; ends it with SIGTERM.

    `changes` are made to the server block, beside those of addresses and paths.
    """
    upstream = {"server 127.0.0.1:12080;": f"server 127.0.0.1:{urlsplit(address).port};"}
    port = free_port()
    command = nginx_command("nginx.conf", {**upstream, **(changes or {})}, files, folder, port)
    with running_nginx(command, files, folder, port) as started:
        yield started


def nginx_command(
    name: str, changes: Mapping[str, str], files: Files, folder: Path, port: int, *, processes: int = 1
) -> list[str]:
    """The command that starts nginx with a packaged file, which is written into a folder with what else it needs.

    The file gets that port of loopback, the certificate in `files`, and `changes`.
    """
    if not files.certificate.exists():
        files.write_certificate()
    site = changed(
        (PACKAGING / name).read_text(),
        {
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            "listen [::]:443 ssl;": "",
            "server_name identity.example.com;": "server_name localhost;",
            "/etc/letsencrypt/live/identity.example.com/fullchain.pem": str(files.certificate),
            "/etc/letsencrypt/live/identity.example.com/privkey.pem": str(files.private_key),
            **changes,
        },
    )
    folder.mkdir()
    (folder / "site.conf").write_text(site)
    user = "root" if os.geteuid() == 0 else "nobody"  # Only root can choose.
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user, processes=processes))
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


def nginx_environ() -> dict[str, str]:
    """Where nginx is found, as Debian installs it."""
    return {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}


@contextmanager
def running_nginx(command: list[str], files: Files, folder: Path, port: int) -> Iterator[Nginx]:
    """Starts it with that command of `nginx_command`, and ends it with SIGTERM."""
    process = subprocess.Popen(command, env=nginx_environ())
    started = Nginx(folder, port, files)
    try:
        eventually("nginx listens", lambda: _listens(process, started, folder))
        yield started
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def changed(text: str, changes: Mapping[str, str]) -> str:
    """A text with each key replaced by its value; each must stand there once."""
    for old, new in changes.items():
        assert text.count(old) == 1, f"'{old}' stands {text.count(old)} times"
        text = text.replace(old, new)
    return text


def _listens(process: "subprocess.Popen[bytes]", started: Nginx, folder: Path) -> bool:
    assert process.poll() is None, (folder / "error.log").read_text()
    try:
        started.connect().close()
    except ConnectionError:
        return False
    return True
