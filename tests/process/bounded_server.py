"""A worker of ours around a tiny application, with bounds that a test can reach: a program, and what starts it."""

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

from mintmark.http.connections import Bounds
from mintmark.worker import Listener, Running, run_worker

LARGE = 64 * 1024 * 1024  # bytes, more than sockets hold
SECONDS = 20


class BoundedServer:
    """One that runs: its port, and what it wrote on standard error once it was stopped."""

    def __init__(self, process: "Popen[bytes]") -> None:
        assert process.stdout is not None
        self.process = process
        self.port = int(process.stdout.readline())
        self.said = ""

    def connect(self) -> socket.socket:
        """A new connection, whose reads do not last for ever."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=SECONDS)

    def stop(self) -> None:
        """Ends it."""
        self.process.terminate()
        self.said = self.process.communicate(timeout=SECONDS)[1].decode()


@contextmanager
def bounded_server(
    *, certificate: tuple[Path, Path] | None = None, open_files: int = 0, **bounds: float
) -> Iterator[BoundedServer]:
    """Starts one with these fields of `Bounds`; `open_files` limits them, hard."""
    how = {"bounds": bounds, "certificate": [str(path) for path in certificate or ()]}
    command = [sys.executable, __file__, json.dumps(how)]
    if open_files:
        command = ["sh", "-c", f'ulimit -n {open_files} && exec "$@"', "sh", *command]
    server = BoundedServer(Popen(command, stdout=PIPE, stderr=PIPE))
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.stop()


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answers the size of a request's body, or for /large a lot."""
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message["body"])
        more = message["more_body"]
    body = bytes(LARGE) if scope["path"] == "/large" else b"%d" % size
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def main(how: dict[str, Any]) -> None:
    """Serves until SIGTERM."""
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listening.setblocking(False)
    certificate = [Path(path) for path in how["certificate"]]

    async def close() -> None:
        pass

    async def build() -> Running:
        files = (certificate[0], certificate[1]) if certificate else None
        return Running([Listener([listening], application, files)], close)

    alive, _parent = os.pipe()
    _, say_ready = os.pipe()
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    run_worker(build, alive, say_ready, Bounds(**how["bounds"]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
