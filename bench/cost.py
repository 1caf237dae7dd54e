"""Counts the instructions that one request costs Mintmark, and holds them against those of bare's Create.

`python -m bench.cost` compares with `cost.json` beside this file and exits with 1 where an operation has become more
than a tenth dearer or cheaper; with `--write` it records anew. It needs valgrind and takes about a minute.

A server runs under callgrind, with one worker, and answers one request after the other over one connection. Each
operation has requests that do not count, so that start and first use drop out, and then some that do. How many
instructions they take does not depend on what else the machine does; dividing by bare's Create, counted in the same
run, evens out other releases of Python and OpenSSL.
"""

import argparse
import http.client
import json
import re
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from bench import served
from bench.environment import CHECKOUT
from bench.server import Command, Place, Request, Server, StartError, free_port, running
from bench.subject import Subject
from bench.subjects import CREATE, ISSUE, SUBJECTS

AGAIN = "`python -m bench.cost --write` records anew"
RECORD = CHECKOUT / "bench" / "cost.json"
VERSIONS = {"GET": "2025-03-02-preview", "POST": "2026-09-23"}  # Get is in previews only.
WARMING, COUNTED = 30, 120  # requests of each operation
ALLOWED = 0.1  # of the recorded figure, up and down
PATIENCE = 60  # seconds for a start or an answer: valgrind makes all of it fifty times as long
MARK = "ctermid"  # what bench/costed.py calls to mark


class CostError(Exception):
    """Nothing could be counted."""


@dataclass(frozen=True)
class Cost:
    """Instructions of one request, and the same as a multiple of those of bare's Create."""

    instructions: int
    of_bare: float


@dataclass(frozen=True)
class Counted:
    """A server under callgrind, a connection to it, and a socket through which it is told to mark."""

    server: Server
    connection: http.client.HTTPConnection
    marks: socket.socket

    def each(self, requests: Sequence[Request]) -> tuple[float, list[bytes]]:
        """The instructions of one request, the warming ones not counted; and the bodies of all answers."""
        bodies = [self._send(request) for request in requests[:WARMING]]
        self._mark()
        bodies += [self._send(request) for request in requests[WARMING:]]
        return self._mark() / (len(requests) - WARMING), bodies

    def _send(self, request: Request) -> bytes:
        self.connection.request(request.method, request.target, request.body or None, dict(request.headers))
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status >= 300:
            raise CostError(f"{request.method} {request.target}: {answer.status} {body.decode(errors='replace')}")
        return body

    def _mark(self) -> int:
        """The instructions since the mark before, of all threads."""
        self.marks.sendall(b".")
        if not self.marks.recv(1):
            raise CostError(f"The server has ended: {self.server.output()}")
        newest = max(self.server.place.folder.glob("counts.*.*"), key=lambda path: int(path.suffix[1:]))
        found = re.search(r"^totals: (\d+)$", newest.read_text(), re.MULTILINE)
        if found is None:
            raise CostError(f"callgrind wrote no total into {newest.name}.")
        return int(found[1])


def measure() -> dict[str, Cost]:
    """The cost by operation. Raises CostError, StartError, and OSError or HTTPException where no answer comes."""
    if shutil.which("valgrind") is None:
        raise CostError("valgrind counts the instructions, and it is missing: apt-get install valgrind")
    with _counted("bare") as bare:
        request = _subject("bare").request(bare.server)
        unit, _ = bare.each([request] * (WARMING + COUNTED))
    with _counted("mintmark") as mintmark:
        found = _operations(mintmark)
    return {name: Cost(round(count), round(count / unit, 3)) for name, count in found.items()}


def _operations(counted: Counted) -> dict[str, float]:
    """Instructions by operation. Issue and Get have an identity of its own for each request."""
    port, key = counted.server.place.port, served.resource(counted.server).key

    def signed(method: str, path: str, body: bytes = b"") -> Request:
        target = f"/identities{path}?api-version={VERSIONS[method]}"
        return served.signed(port, key, method, target, body)

    create, bodies = counted.each([signed("POST", "", CREATE)] * (WARMING + COUNTED))
    identities = [json.loads(body)["identity"]["id"] for body in bodies]
    issue, _ = counted.each([signed("POST", f"/{each}/:issueAccessToken", ISSUE) for each in identities])
    get, _ = counted.each([signed("GET", f"/{each}") for each in identities])
    return {"create": create, "issue": issue, "get": get}


@contextmanager
def _counted(name: str) -> Iterator[Counted]:
    """The subject under callgrind in a folder of its own, ready to answer."""
    with tempfile.TemporaryDirectory() as made, socket.socket(socket.AF_UNIX) as listener:
        place = Place(Path(made), free_port(), 1)
        listener.bind(f"{made}/marks")
        listener.listen()
        listener.settimeout(PATIENCE)
        with running(_under_callgrind(_subject(name).start(place), place), place) as server:
            try:
                marks, _ = listener.accept()
            except TimeoutError as error:
                raise StartError(f"{name} did not start: {server.output()}") from error
            marks.settimeout(PATIENCE)
            with marks, closing(http.client.HTTPConnection("127.0.0.1", place.port, timeout=PATIENCE)) as connection:
                _wait_for(connection, server)
                yield Counted(server, connection, marks)


def _under_callgrind(command: Command, place: Place) -> Command:
    """The same, marking as bench/costed.py does; names have the same hashes in each run."""
    python, _, *module = command.arguments  # `python -m module …`
    counting = ["valgrind", "--tool=callgrind", f"--dump-before={MARK}"]
    counting += [f"--callgrind-out-file={place.folder}/counts.%p", python, "-m", "bench.costed", *module]
    fixed = {"MARKS": f"{place.folder}/marks", "PYTHONHASHSEED": "0", "PYTHONPATH": str(CHECKOUT)}
    return Command(counting, {**command.environment, **fixed})


def _wait_for(connection: http.client.HTTPConnection, server: Server) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection.connect()
        except OSError as error:
            if time.monotonic() > deadline or server.process.poll() is not None:
                raise StartError(server.output()) from error
            time.sleep(0.1)
        else:
            return


def _subject(name: str) -> Subject:
    return next(each for each in SUBJECTS if each.name == name)


def recorded() -> dict[str, Cost]:
    """What `cost.json` has."""
    return {name: Cost(**cost) for name, cost in json.loads(RECORD.read_bytes()).items()}


def complaints(before: Mapping[str, Cost], now: Mapping[str, Cost]) -> list[str]:
    """One sentence or two for each operation that is more than a tenth off what was recorded."""
    if before.keys() != now.keys():
        return [f"Recorded: {', '.join(before)}; measured: {', '.join(now)}. {AGAIN}."]
    return [told for name, cost in now.items() if (told := _complaint(name, before[name].of_bare, cost.of_bare))]


def _complaint(name: str, before: float, now: float) -> str:
    change = now / before - 1
    told = f"{name} was recorded at {before:.2f} times the instructions of bare's Create and measured at {now:.2f}: "
    if change > ALLOWED:
        return f"{told}{change:.0%} more. Find out why; where the cost is meant, {AGAIN}."
    if change < -ALLOWED:
        return f"{told}{-change:.0%} less. Well done; {AGAIN}, so that the gain is kept."
    return ""


def main() -> int:
    """The exit status: 1 where an operation is off, 2 where nothing could be counted."""
    parser = argparse.ArgumentParser(prog="python -m bench.cost", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="record what is measured in bench/cost.json")
    arguments = parser.parse_args()
    try:
        found = measure()
    except (CostError, StartError, OSError, http.client.HTTPException) as error:
        print(error, file=sys.stderr)
        return 2
    if arguments.write:
        RECORD.write_text(json.dumps({name: asdict(cost) for name, cost in found.items()}, indent=2) + "\n")
    print(f"{'':8}{'instructions':>13}{'of bare':>9}")
    for name, cost in found.items():
        print(f"{name:8}{cost.instructions:13,}{cost.of_bare:9.2f}")
    told = complaints(recorded(), found)
    print(*told, sep="\n", end="\n" if told else "")
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
