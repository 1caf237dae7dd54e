"""Three nodes behind a real nginx with `packaging/nginx-nodes.conf`, each to be replaced; and programs that use them."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from azure.communication.identity import CommunicationIdentityClient

from process.watching import eventually, free_port
from proxy.nginx import PACKAGING, Nginx, changed
from running import STOP_SECONDS
from serving import Files, OwnedResource, Serving, serving

COUNT = 3
PROGRAMS = 4  # that use them at once
NEWER = (sys.executable, str(Path(__file__).with_name("newer.py")))

_MAIN = """
daemon off;
user {user};
worker_processes 2;
pid {folder}/pid;
events {{ worker_connections 512; }}
http {{
    log_format tries escape=json '{{"method":"$request_method","status":$status,"tries":"$upstream_status",'
        '"nodes":"$upstream_addr","id":"$upstream_http_ms_cv"}}';
    access_log {folder}/access.log tries;
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/unused;
    uwsgi_temp_path {folder}/unused;
    scgi_temp_path {folder}/unused;
    include {folder}/site.conf;
}}
"""


class Fleet:
    """The nodes, by number, and the nginx before them."""

    def __init__(self, folder: Path, database: str, ports: list[int], nginx: Nginx) -> None:
        self._folder, self._database, self._ports = folder, database, ports
        self._stacks = [ExitStack() for _ in ports]
        self._keys = Files(folder)
        self.nginx = nginx
        self.nodes: list[Serving] = []

    def start(self, number: int, *, newer: bool = False) -> None:
        """Starts one, on the port that is its own, and waits until it is ready."""
        own = self._folder / f"node-{number}"
        own.mkdir(exist_ok=True)
        for key in (self._keys.key_encryption_key, self._keys.admin_key):
            shutil.copy(key, own / key.name)
        flags = ("--database", self._database, "--http-port", str(self._ports[number]))
        node = self._stacks[number].enter_context(serving(own, *flags, wrapped=NEWER if newer else ()))
        self.nodes[number : number + 1] = [node]

    def replace(self, number: int, *, newer: bool = False) -> None:
        """Ends one as systemd does, and starts another in its place."""
        assert 0 == self.nodes[number].stop()
        self._stacks[number].close()
        self.start(number, newer=newer)

    def close(self) -> None:
        """Ends all."""
        with ExitStack() as all_of_them:
            for stack in self._stacks:
                all_of_them.enter_context(stack)

    def client(self, resource: OwnedResource) -> CommunicationIdentityClient:
        """The official SDK, through nginx."""
        key = resource.connection_string.partition(";")[2]
        return CommunicationIdentityClient.from_connection_string(
            f"endpoint={self.nginx.endpoint}/;{key}", connection_verify=self.nginx.ca
        )


@contextmanager
def fleet(folder: Path, database: str, changes: Mapping[str, str] | None = None) -> Iterator[Fleet]:
    """Starts them all; `changes` are made to the server block, beside those of addresses and paths."""
    ports = [free_port() for _ in range(COUNT)]
    with _nginx_before(ports, folder / "nginx", changes or {}) as nginx:
        started = Fleet(folder, database, ports, nginx)
        try:
            for number in range(COUNT):
                started.start(number)
            yield started
        finally:
            started.close()


class Load:
    """Programs that make identities, issue, revoke and delete all the time, each over connections of its own."""

    def __init__(self, fleet: Fleet, resource: OwnedResource) -> None:
        self._fleet, self._resource = fleet, resource
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._use) for _ in range(PROGRAMS)]
        self.failures: list[Exception] = []
        self.made: list[str] = []
        self.rounds = 0

    def _use(self) -> None:
        client = self._fleet.client(self._resource)
        while not self._stop.is_set():
            try:
                user, _ = client.create_user_and_token(["chat"])
                self.made.append(user.raw_id)
                client.get_token(user, ["voip"])
                client.revoke_tokens(user)
                client.delete_user(user)
            except Exception as error:  # noqa: BLE001  every kind counts
                self.failures.append(error)
            self.rounds += 1
            self._stop.wait(0.01)

    def some_more(self) -> None:
        """Returns when each program has likely used every node again."""
        enough = self.rounds + 2 * COUNT * PROGRAMS
        eventually("the programs go on", lambda: self.rounds >= enough)

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """Meanwhile they work."""
        for thread in self._threads:
            thread.start()
        try:
            self.some_more()
            yield self
            self.some_more()
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


def tries(line: Mapping[str, Any]) -> list[str]:
    """The status of each node that nginx asked for one request."""
    return str(line["tries"]).split(", ")


@contextmanager
def _nginx_before(ports: list[int], folder: Path, changes: Mapping[str, str]) -> Iterator[Nginx]:
    files = Files(folder.parent)
    files.write_certificate()
    port = free_port()
    site = changed(
        (PACKAGING / "nginx-nodes.conf").read_text(),
        {
            **{f"10.0.0.{11 + number}:12080": f"127.0.0.1:{each}" for number, each in enumerate(ports)},
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
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user))
    command = ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]
    process = subprocess.Popen(command, env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"})
    started = Nginx(folder, port, files)
    try:
        eventually("nginx listens", lambda: _listens(process, started, folder))
        yield started
    finally:
        process.terminate()
        process.wait(STOP_SECONDS)


def _listens(process: "subprocess.Popen[bytes]", started: Nginx, folder: Path) -> bool:
    assert process.poll() is None, (folder / "error.log").read_text()
    try:
        started.connect().close()
    except ConnectionError:
        return False
    return True
