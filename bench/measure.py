"""The rounds of a run, down to the measurement of one cell.

Rounds are interleaved over the subjects. In each round a subject is started anew on an empty folder: so none profits
from, or pays for, what an earlier round left, and only the one under load is running. It is warmed up before it is
measured.
"""

import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import jwt

from bench.load import Load, LoadError, press
from bench.report import Cell, Sample, describe
from bench.server import Answer, NotReadyError, Place, Server, StartError, exchange, free_port, running
from bench.subjects import AnswerError, Subject

STARTING = 20.0  # seconds a server has until it answers, and again until all its workers are at rest
WARM_UP = 1  # seconds of load that are not counted


@dataclass(frozen=True)
class Plan:
    """What to measure. `seconds` are of load for one measurement; `data` is the folder under which subjects store."""

    subjects: Sequence[Subject]
    workers: Sequence[int]
    connections: Sequence[int]
    rounds: int
    seconds: int
    data: Path


def measure_all(plan: Plan) -> Iterator[Sample]:
    """Every measurement, as it is made; says on standard error how far it is."""
    for number in range(1, plan.rounds + 1):
        for workers in plan.workers:
            for subject in plan.subjects:
                with tempfile.TemporaryDirectory(prefix="bench-", dir=plan.data) as folder:
                    place = Place(Path(folder).resolve(), free_port(), workers)
                    yield from measure_subject(subject, place, plan, number)


def measure_subject(subject: Subject, place: Place, plan: Plan, number: int) -> Iterator[Sample]:
    """One round of one subject, from its start to its stop."""
    with running(subject.start(place), place) as server:
        wait_until_ready(subject, server)
        warm_up(subject, server, max(plan.connections))
        for connections in plan.connections:
            cell = Cell(subject.name, place.workers, connections)
            sample = measure(subject, server, cell, plan.seconds, number)
            said = f"{sample.load.rate:,.0f} a second" if sample.load else "no numbers"
            print(f"round {number} of {plan.rounds}: {describe(cell)}: {sample.fault or said}", file=sys.stderr)
            yield sample


def wait_until_ready(subject: Subject, server: Server) -> None:
    """Returns once the server has answered and all its workers are at rest. Raises StartError."""
    deadline = time.monotonic() + STARTING
    while True:
        try:
            exchange(subject.request(server))
        except (NotReadyError, OSError, HTTPException):
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise StartError(f"{subject.name} did not start; it printed:\n{server.output()[-3000:]}") from None
            time.sleep(0.05)
        else:
            server.settle(STARTING)
            return


def warm_up(subject: Subject, server: Server, connections: int) -> None:
    """Faults are left to the measurements that follow."""
    with suppress(LoadError):
        press(subject.request(server), connections, WARM_UP, server.place.folder)


def measure(subject: Subject, server: Server, cell: Cell, seconds: int, number: int) -> Sample:
    """One load, with the answer checked before and after it."""
    try:
        size = len(examine(subject, server).body)
        before = server.usage()
        load = press(subject.request(server), cell.connections, seconds, server.place.folder)
        after = server.usage()
        examine(subject, server)
    except (AnswerError, LoadError) as error:
        return Sample(cell, number, fault=str(error))
    return Sample(cell, number, load, after.cpu - before.cpu, after.resident, fault_of(load, size))


def fault_of(load: Load, size: int) -> str:
    """Why a load does not count, or nothing; `size` is the body's of a checked answer, in bytes."""
    errors = ", ".join(f"{count} {kind}" for kind, count in load.errors.items() if count)
    if errors:
        return f"errors under load: {errors}"
    if not load.requests:
        return "no answer under load"
    if load.bytes / load.requests < size:
        return f"answers under load are shorter than the checked one of {size} bytes"
    return ""


def examine(subject: Subject, server: Server) -> Answer:
    """One answer that passes the subject's check. Raises AnswerError."""
    try:
        answer = exchange(subject.request(server))
        subject.check(server, answer)
    except (OSError, HTTPException, LookupError, ValueError, jwt.PyJWTError) as error:
        raise AnswerError(f"{type(error).__name__}: {error}") from error
    if not answer.keeps_open:
        raise AnswerError("the connection is not kept open")
    return answer
