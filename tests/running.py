"""A real `mintmark dev` in a process of its own, for tests that speak to it over sockets."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MINTMARK = (sys.executable, "-m", "mintmark")
FREE_PORTS = ("--https-port", "0", "--http-port", "0", "--admin-port", "0")
START_SECONDS = 20
STOP_SECONDS = 20


class RunningServer:
    """A started server and what it printed."""

    def __init__(self, process: "subprocess.Popen[bytes]", variables: dict[str, str]) -> None:
        self.process = process
        self.variables = variables
        self.connection_string = variables["COMMUNICATION_SERVICES_CONNECTION_STRING"]
        self.https_endpoint = self.connection_string.removeprefix("endpoint=").partition("/;")[0]
        self.access_key = self.connection_string.partition("accesskey=")[2]
        self.http_endpoint = variables["MINTMARK_HTTP_ENDPOINT"]
        self.admin_endpoint = variables["MINTMARK_ADMIN_ENDPOINT"]
        self.ca = variables["NODE_EXTRA_CA_CERTS"]
        self.environ = {**os.environ, **variables}

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ends the server by a signal and answers its exit status."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)


@contextmanager
def running_server(
    *flags: str, cwd: Path | None = None, stderr: Path | None = None, environ: dict[str, str] | None = None
) -> Iterator[RunningServer]:
    """Starts `mintmark dev` on free ports; give `--ephemeral` or `--data`. Ends it with SIGTERM if it still runs."""
    with Path(stderr or os.devnull).open("ab") as errors:
        process = subprocess.Popen(
            [*MINTMARK, "dev", *FREE_PORTS, *flags],
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=cwd,
            env={**os.environ, **(environ or {})},
        )
    try:
        yield RunningServer(process, _read_variables(process))
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(STOP_SECONDS)
        assert process.stdout is not None
        process.stdout.close()


def _read_variables(process: "subprocess.Popen[bytes]") -> dict[str, str]:
    """The `NAME=value` lines; the last is COMMUNICATION_EXPIRED_TEAMS_TOKEN."""
    assert process.stdout is not None
    printed = b""
    end = time.monotonic() + START_SECONDS
    while not re.search(rb"^COMMUNICATION_EXPIRED_TEAMS_TOKEN=.*\n", printed, re.MULTILINE):
        readable, _, _ = select.select([process.stdout], [], [], max(0, end - time.monotonic()))
        assert readable, f"mintmark dev printed nothing more in {START_SECONDS} s: {printed!r}"
        piece = os.read(process.stdout.fileno(), 65536)
        assert piece, f"mintmark dev ended with status {process.wait(STOP_SECONDS)} before it printed its variables"
        printed += piece
    return dict(line.split("=", 1) for line in printed.decode().splitlines())
