"""Three nodes behind a real nginx with `packaging/nginx-nodes.conf`, and programs that use them."""

import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from azure.communication.identity import CommunicationIdentityClient

from process.watching import eventually, free_port
from proxy.nginx import Nginx, nginx_command, running_nginx
from serving import Files, OwnedResource, Serving, serving

COUNT = 3
PROGRAMS = 4  # that use them at once
PAUSE = 0.01  # seconds of a program between two rounds
NEWER = (sys.executable, str(Path(__file__).with_name("newer.py")))


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
    files, port = Files(folder), free_port()
    command = fleet_command(folder / "nginx", port, ports, files)
    with running_nginx(command, files, folder / "nginx", port) as nginx:
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


def fleet_command(folder: Path, port: int, nodes: list[int], files: Files) -> list[str]:
    """That of an nginx before nodes at these ports, on loopback."""
    addresses = {f"10.0.0.{11 + number}:12080": f"127.0.0.1:{each}" for number, each in enumerate(nodes)}
    return nginx_command("nginx-nodes.conf", addresses, files, folder, port, processes=2)
