"""Drives wrk: one thread, kept-alive connections, the same request again and again."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.server import Request

PATIENCE = 10  # seconds until wrk counts a late answer as an error: slow is not wrong

DONE = """
done = function(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "microseconds": %d, "bytes": %d, "p50": %d, "p99": %d, "errors": ' ..
    '{"connect": %d, "read": %d, "write": %d, "timeout": %d, "status": %d}}\\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    errors.connect, errors.read, errors.write, errors.timeout, errors.status))
end
"""


class LoadError(Exception):
    """wrk gave up, or printed something else than its numbers."""


@dataclass(frozen=True)
class Load:
    """What came of one load. `errors` counts by kind: connect, read, write, timeout, and status for 400 and above."""

    requests: int
    seconds: float
    bytes: int
    p50_ms: float
    p99_ms: float
    errors: dict[str, int]

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.requests / self.seconds


def press(request: Request, connections: int, seconds: int, folder: Path) -> Load:
    """Sends the request over that many connections for whole `seconds`; the script for wrk is put into `folder`."""
    path = folder / "request.lua"
    path.write_text(script(request))
    options = [
        "--threads",
        "1",
        "--connections",
        str(connections),
        "--duration",
        f"{seconds}s",
        "--timeout",
        f"{PATIENCE}s",
    ]
    command = ["wrk", *options, "--script", str(path), f"http://127.0.0.1:{request.port}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadError(done.stderr.strip())
    return parse(done.stdout)


def script(request: Request) -> str:
    """The Lua for wrk. It has no `request` function, so wrk builds the request once; `done` prints JSON."""
    lines = [
        f"wrk.method = {_lua(request.method)}",
        f"wrk.path = {_lua(request.target)}",
        f"wrk.body = {_lua(request.body.decode())}" if request.body else "",
        *(f"wrk.headers[{_lua(name)}] = {_lua(value)}" for name, value in request.headers.items()),
    ]
    return "\n".join(lines) + DONE


def parse(output: str) -> Load:
    """Reads what the script made wrk print last."""
    last = output.strip().rpartition("\n")[2]
    try:
        found = json.loads(last)
        return Load(
            requests=found["requests"],
            seconds=found["microseconds"] / 1e6,
            bytes=found["bytes"],
            p50_ms=found["p50"] / 1000,
            p99_ms=found["p99"] / 1000,
            errors=found["errors"],
        )
    except (ValueError, LookupError, TypeError) as error:
        raise LoadError(f"wrk printed {last!r} last") from error


def _lua(text: str) -> str:
    """A Lua string literal: every byte that is not plain is written as \\ddd."""
    plain = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\{byte:03d}" for byte in text.encode())
    return f'"{"".join(plain)}"'
