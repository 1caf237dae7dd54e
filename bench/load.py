"""Drives wrk: kept-alive connections, and the same request again and again on each."""

import http.client
import json
import re
import ssl
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.scripts import record_answers, repeat, repeat_in_turn, repeat_pair
from bench.server import Answer, Request, exchange, exchange_over

PATIENCE = 10  # seconds until wrk counts a late answer as an error: slow is not wrong


class LoadError(Exception):
    """wrk gave up, or printed something else than its numbers."""


@dataclass(frozen=True)
class SecureRequest(Request):
    """One over HTTPS; nobody looks at the certificate."""


@dataclass(frozen=True)
class Pair(Request):
    """A request and `then` another on the same connection, counted as one.

    In the body of the second, `{name}` stands for the text that the first answer's JSON has under that name.
    """

    then: Request


@dataclass(frozen=True)
class Rotation(Request):
    """A request and `others`, sent in turn."""

    others: Sequence[Request]


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


def send(request: Request) -> Answer:
    """Sends the request once: of several in turn the first, of a pair both, and returns the answer to the second.

    Raises as `exchange` does, and LookupError or ValueError where a pair's first answer lacks what the second needs.
    """
    if isinstance(request, Pair):
        made = json.loads(exchange(request).body)
        body = re.sub(r"{(\w+)}", lambda found: str(made[found[1]]), request.then.body.decode())
        then = request.then
        return exchange(Request(then.port, then.method, then.target, then.headers, body.encode()))
    if not isinstance(request, SecureRequest):
        return exchange(request)
    context = ssl._create_unverified_context()  # noqa: SLF001  the standard library's name for it
    secure = http.client.HTTPSConnection("127.0.0.1", request.port, timeout=10, context=context)
    return exchange_over(secure, request)


def press(request: Request, connections: int, seconds: int, folder: Path) -> Load:
    """Sends the request over that many connections for whole `seconds`; the script for wrk is put into `folder`."""
    return _run(request, script(request), connections, seconds, folder)


def record(request: Request, connections: int, seconds: int, folder: Path) -> tuple[Load, list[Answer]]:
    """As `press`, and returns every answer too: wrk writes them to files in `folder`, which makes it slower."""
    for path in folder.glob("answers.*"):
        path.unlink()
    load = _run(request, script(request) + record_answers(folder / "answers"), connections, seconds, folder)
    return load, [answer for path in folder.glob("answers.*") for answer in read_answers(path.read_bytes())]


def read_answers(written: bytes) -> list[Answer]:
    """Each is its status, its length and a line's end, then the body."""
    answers, at = [], 0
    while at < len(written):
        end = written.index(b"\n", at)
        status, length = map(int, written[at:end].split())
        at = end + 1 + length
        answers.append(Answer(status, written[end + 1 : at], keeps_open=True))
    return answers


def script(request: Request) -> str:
    """The Lua for wrk."""
    if isinstance(request, Pair):
        return repeat_pair(request, request.then)
    if isinstance(request, Rotation):
        return repeat_in_turn([request, *request.others])
    return repeat(request)


def _run(request: Request, lua: str, connections: int, seconds: int, folder: Path) -> Load:
    # A thread has a Lua of its own: so a pair, which keeps the first answer there, has a thread for each connection.
    threads = connections if isinstance(request, Pair) else 1
    scheme = "https" if isinstance(request, SecureRequest) else "http"
    return drive(f"{scheme}://127.0.0.1:{request.port}", lua, connections, seconds, folder, threads)


def drive(address: str, lua: str, connections: int, seconds: int, folder: Path, threads: int = 1) -> Load:
    """Runs wrk with a script, which is put into `folder`. Raises LoadError."""
    path = folder / "request.lua"
    path.write_text(lua)
    options = ["--threads", str(threads), "--connections", str(connections), "--duration", f"{seconds}s"]
    options += ["--timeout", f"{PATIENCE}s", "--script", str(path)]
    command = ["wrk", *options, address]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LoadError(done.stderr.strip())
    return parse(done.stdout)


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
