"""Three nodes behind a real nginx with `packaging/nginx-nodes.conf`, and programs that use them."""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
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
PAUSE = 0.01  # seconds of a program between two rounds
NEWER = (sys.executable, str(Path(__file__).with_name("newer.py")))

_MAIN = """
daemon off;
user {user};
worker_processes 2;
pid {folder}/pid;
events {{ worker_connections 512; }}
http {{
    log_format tries escape=json '{{"status":$status,"seconds":$request_time,"tries":"$upstream_status",'
        '"nodes":"$upstream_addr"}}';
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
        with ExitStack() as together:
            for stack in self._stacks:
                together.push(stack)

    def add_resource(self) -> OwnedResource:
        """One that all nodes know."""
        made = self.nodes[0].add_resource("shop")
        known = f"resources/{made.id}"
        eventually("all know it", lambda: all(200 == node.admin("GET", known).status for node in self.nodes))
        return made

    def client(self, resource: OwnedResource) -> CommunicationIdentityClient:
        """The official SDK, through nginx."""
        key = resource.connection_string.partition(";")[2]
        return CommunicationIdentityClient.from_connection_string(
            f"endpoint={self.nginx.endpoint}/;{key}", connection_verify=self.nginx.ca
        )

    def answering(self, since: int) -> set[str]:
        """The nodes that have answered requests well, after so many of all requests."""
        return {line["nodes"].split(", ")[-1] for line in self.nginx.log()[since:] if line["status"] < 300}

    def refused(self) -> list[dict[str, Any]]:
        """The requests that got 503 so far."""
        return [line for line in self.nginx.log() if line["status"] == 503]


@contextmanager
def fleet(folder: Path, database: str) -> Iterator[Fleet]:
    """Starts them all."""
    ports = [free_port() for _ in range(COUNT)]
    with _nginx_before(ports, folder) as nginx:
        started = Fleet(folder, database, ports, nginx)
        try:
            for number in range(COUNT):
                started.start(number)
            yield started
        finally:
            started.close()


class Load:
    """Programs that create, issue, revoke and delete all the time, each over connections of its own."""

    def __init__(self, nodes: Fleet, resource: OwnedResource) -> None:
        self._nodes, self._resource = nodes, resource
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._use) for _ in range(PROGRAMS)]
        self.failures: list[Exception] = []
        self.made: list[str] = []

    @contextmanager
    def running(self) -> Iterator["Load"]:
        """Meanwhile they work."""
        for thread in self._threads:
            thread.start()
        try:
            self.reach_all()
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()

    def reach_all(self) -> None:
        """Returns when every node has answered them again."""
        before = len(self._nodes.nginx.log())
        eventually("every node answers", lambda: COUNT == len(self._nodes.answering(before)))

    def _use(self) -> None:
        client = self._nodes.client(self._resource)
        while not self._stop.wait(PAUSE):
            try:
                user, _ = client.create_user_and_token(["chat"])
                self.made.append(user.raw_id)
                client.get_token(user, ["voip"])
                client.revoke_tokens(user)
                client.delete_user(user)
            except Exception as error:  # noqa: BLE001  every kind counts
                self.failures.append(error)


def nginx_command(folder: Path, port: int, nodes: list[int], files: Files) -> list[str]:
    """Writes the packaged file with ports of loopback and a certificate, and what nginx needs besides, into a folder.

    Answers the command that starts nginx with it.
    """
    files.write_certificate()
    site = changed(
        (PACKAGING / "nginx-nodes.conf").read_text(),
        {
            **{f"10.0.0.{11 + number}:12080": f"127.0.0.1:{each}" for number, each in enumerate(nodes)},
            "listen 443 ssl;": f"listen 127.0.0.1:{port} ssl;",
            "listen [::]:443 ssl;": "",
            "server_name identity.example.com;": "server_name localhost;",
            "/etc/letsencrypt/live/identity.example.com/fullchain.pem": str(files.certificate),
            "/etc/letsencrypt/live/identity.example.com/privkey.pem": str(files.private_key),
        },
    )
    folder.mkdir()
    (folder / "site.conf").write_text(site)
    user = "root" if os.geteuid() == 0 else "nobody"  # Only root can choose.
    (folder / "nginx.conf").write_text(_MAIN.format(folder=folder, user=user))
    return ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log")]


def nginx_environ() -> dict[str, str]:
    """Where nginx is found, as Debian installs it."""
    return {**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"}


@contextmanager
def _nginx_before(ports: list[int], parent: Path) -> Iterator[Nginx]:
    folder, files, port = parent / "nginx", Files(parent), free_port()
    process = subprocess.Popen(nginx_command(folder, port, ports, files), env=nginx_environ())
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
