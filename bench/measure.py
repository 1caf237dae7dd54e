"""The rounds of a run, down to the measurement of one cell.

Rounds are interleaved over the subjects. In each round all are started anew, each on an empty folder: so none profits
from, or pays for, what an earlier round left. Then they are put under load in turn, one at a time, while the others
rest: so neighbours are measured seconds apart. Every second round takes the turns the other way round.
Before each measurement comes a load that is not counted: it warms the server up, and every answer of it is verified.
"""

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

import jwt

from bench.load import Load, LoadError, press, record, send
from bench.report import describe
from bench.results import Cell, Sample
from bench.server import Answer, Place, Server, StartError, free_port, running
from bench.subject import AnswerError, Operation, Subject

STARTING = 60.0  # seconds a server has until it answers, and again until all its workers are at rest
RESTING = 5.0  # seconds it has to come to rest after its loads, before the next subject's
WARM_UP = 1  # seconds of load that are not counted


@dataclass(frozen=True)
class Plan:
    """What to measure. `seconds` are of load for one measurement; `data` is the folder under which subjects store."""

    subjects: Sequence[Subject]
    operations: Sequence[str]
    workers: Sequence[int]
    connections: Sequence[int]
    rounds: int
    seconds: int
    data: Path

    def starts(self) -> Iterator[list[tuple[Subject, int]]]:
        """Which subjects run beside one another in a round, each with how many workers: once for each number."""
        for number, workers in enumerate(self.workers):
            yield [
                (subject, workers if subject.scales else 1)
                for subject in self.subjects
                if (subject.scales or not number) and set(self.operations) & set(subject.operations)
            ]

    def cells(self, subject: Subject, workers: int, connections: int) -> list[Cell]:
        """What is measured of a started subject, one right after the other."""
        return [
            Cell(subject.name, workers, connections, operation)
            for operation in self.operations
            if operation in subject.operations
        ]

    def estimate(self) -> float:
        """About how many seconds it takes."""
        starts = [start for together in self.starts() for start in together]
        loads = sum(len(self.cells(*start, connections)) for start in starts for connections in self.connections)
        turns = len(starts) * len(self.connections)
        return self.rounds * (STARTS * len(starts) + RESTS * turns + (self.seconds + WARM_UP + VERIFIES) * loads)


STARTS, VERIFIES, RESTS = 4.0, 1.0, 0.6  # seconds that it takes, for the estimate


def measure_all(plan: Plan) -> Iterator[Sample]:
    """Every measurement, as it is made; says on standard error how far it is."""
    for number in range(1, plan.rounds + 1):
        for together in plan.starts():
            for sample in measure_together(together if number % 2 else together[::-1], plan, number):
                said = (
                    f"{sample.load.rate:,.0f} a second, {sample.verified:,} verified" if sample.load else "no numbers"
                )
                done = f"round {number} of {plan.rounds}: {describe(sample.cell)}"
                print(f"{done}: {sample.fault or said}", file=sys.stderr, flush=True)
                yield sample


def measure_together(starts: Sequence[tuple[Subject, int]], plan: Plan, number: int) -> Iterator[Sample]:
    """One round of some subjects, from their start to their stop; one that does not start is invalid all through."""
    with ExitStack() as stack:
        ready = []
        for subject, workers in starts:
            with ExitStack() as own:
                folder = own.enter_context(tempfile.TemporaryDirectory(prefix="bench-", dir=plan.data))
                place = Place(Path(folder).resolve(), free_port(), workers)
                server = own.enter_context(running(subject.start(place), place))
                try:
                    wait_until_ready(subject, server)
                except StartError as error:
                    cells = (cell for count in plan.connections for cell in plan.cells(subject, workers, count))
                    yield from (Sample(cell, number, fault=str(error)) for cell in cells)
                else:
                    ready.append((subject, server))
                    stack.push(own.pop_all())
        for connections in plan.connections:
            for subject, server in ready:
                for cell in plan.cells(subject, server.place.workers, connections):
                    yield measure(subject.operations[cell.operation], server, cell, plan.seconds, number)
                server.settle(RESTING)


def wait_until_ready(subject: Subject, server: Server) -> None:
    """Returns once the server has answered and all its workers are at rest. Raises StartError."""
    deadline = time.monotonic() + STARTING
    while True:
        try:
            send(subject.request(server))
        except (OSError, HTTPException):
            if server.process.poll() is not None or time.monotonic() > deadline:
                raise StartError(f"{subject.name} did not start; it printed:\n{server.output()[-3000:]}") from None
            time.sleep(0.05)
        else:
            server.settle(STARTING)
            return


def warm_up(subject: Subject, server: Server, connections: int) -> None:
    """By Create. Faults are left to the measurements that follow."""
    with suppress(LoadError):
        press(subject.request(server), connections, WARM_UP, server.place.folder)


def measure(operation: Operation, server: Server, cell: Cell, seconds: int, number: int) -> Sample:
    """One load, with every answer of a load before it verified, and one just before it and one after it."""
    verified = 0
    try:
        verified = verify_all(operation, server, cell.connections)
        size = len(examine(operation, server).body)
        request, before = operation.request(server), server.cpu()
        load = press(request, cell.connections, seconds, server.place.folder)
        after = server.usage()
        examine(operation, server)
    except (AnswerError, LoadError) as error:
        return Sample(cell, number, verified=verified, fault=str(error))
    except (OSError, HTTPException, LookupError, ValueError) as error:  # What is to be asked could not be prepared.
        return Sample(cell, number, verified=verified, fault=f"{type(error).__name__}: {error}")
    return Sample(cell, number, load, after.cpu - before, after.memory, verified, fault_of(load, size))


def verify_all(operation: Operation, server: Server, connections: int) -> int:
    """How many answers a load has, every one of which passes. Raises AnswerError, LoadError."""
    load, answers = record(operation.request(server), connections, WARM_UP, server.place.folder)
    verify = checking(operation, server)
    told = {verify(answer) for answer in answers}
    if len(answers) != load.requests:
        raise AnswerError(f"{load.requests} answers were counted, {len(answers)} were written down")
    if operation.distinct and len(told) < len(answers):
        raise AnswerError(f"{len(answers)} answers are for {len(told)} identities")
    return len(answers)


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


def examine(operation: Operation, server: Server) -> Answer:
    """One answer that passes. Raises AnswerError."""
    try:
        answer = send(operation.request(server))
    except (OSError, HTTPException, LookupError, ValueError) as error:
        raise AnswerError(f"{type(error).__name__}: {error}") from error
    checking(operation, server)(answer)
    if not answer.keeps_open:
        raise AnswerError("the connection is not kept open")
    return answer


def checking(operation: Operation, server: Server) -> Callable[[Answer], str]:
    """The operation's verifier, which raises nothing but AnswerError. Making it may raise AnswerError too."""
    try:
        verify = operation.verifier(server)
    except (OSError, HTTPException, LookupError, ValueError, jwt.PyJWTError) as error:
        raise AnswerError(f"{type(error).__name__}: {error}") from error

    def check(answer: Answer) -> str:
        try:
            return verify(answer)
        except (LookupError, ValueError, jwt.PyJWTError) as error:
            raise AnswerError(f"{type(error).__name__}: {error}") from error

    return check
