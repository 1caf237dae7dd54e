"""A parent and the workers that it forks, in a process without threads of its own. It runs this file as a program:

    python forked.py COMMAND NUMBER ...

It prints what it found out, as JSON.
"""

# ruff: noqa: T201  what it prints is its answer

import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec

from mintmark.limits import Limiter, shared_cells
from mintmark.metrics import Metrics, new_snapshots
from mintmark.snapshots import Snapshots

NOW = 1_795_435_200_000
PATIENCE = 20  # seconds until processes that hang fail the test
KILLED = -signal.SIGKILL


def run_forked(command: str, *numbers: int) -> Any:
    """What the program printed.

    Raises:
        AssertionError: it failed.
    """
    arguments = [sys.executable, __file__, command, *map(str, numbers)]
    done = subprocess.run(arguments, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return msgspec.json.decode(done.stdout)


def fork(work: Callable[[int], object], number: int = 0) -> int:
    """A child that does some work by its number and ends; its process id."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work(number)
            status = 0
        finally:
            os._exit(status)
    return pid


def ended(*pids: int) -> list[int]:
    """Waits for children and answers their exit codes."""
    return [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]


def count(metrics: Metrics, requests: int, status: int = 201) -> None:
    for _ in range(requests):
        metrics.request("create", "2026-09-23", status, "r", 0.25)
        metrics.batch(4, 0.5)


def sums(workers: int, requests: int) -> Any:
    """Each worker counts so many requests of a status of its own and of a common one; worker 0 is asked."""
    snapshots = new_snapshots(workers)

    def work(number: int) -> None:
        metrics = Metrics(snapshots, number)
        count(metrics, requests)
        count(metrics, requests, 400 + number)
        metrics.publish()

    assert {0} == set(ended(*(fork(work, number) for number in range(1, workers))))
    asked = Metrics(snapshots, 0)
    count(asked, requests)
    totals = asked.totals()
    by_status = {status: number for (_, _, status, _), number in totals.requests.items()}
    return by_status, totals.durations["create"], totals.batch_sizes, totals.commits


def replaced(requests: int) -> Any:
    """What is told of worker 1 while it counts, is killed, and another goes on; then of worker 0 in the same way."""
    snapshots, told = new_snapshots(2), []

    def work(number: int) -> None:
        metrics = Metrics(snapshots, number)
        count(metrics, requests)
        if number == 0:
            metrics.totals()  # Tells, and publishes for that.
        else:
            metrics.publish()
        count(metrics, requests)  # Nobody was told of these.
        os.kill(os.getpid(), signal.SIGKILL)

    for number in (1, 1, 0, 0):
        assert [KILLED] == ended(fork(work, number))
        told.append(sum(Metrics(snapshots, 0).totals().requests.values()))
    return told


def racing(rounds: int, steps: int) -> Any:
    """In each round so many snapshots are read from a writer that never rests, which is killed then."""
    snapshots, seen, end = Snapshots(1, 300_000), 0, time.monotonic() + PATIENCE / 2

    def work(_: int) -> None:
        start = int(snapshots.read(0)[:9] or b"0") + 1
        for number in itertools.count(start):
            snapshots.write(0, b"%09d" % number * (number * 997 % 30_000 + 1))

    for _ in range(rounds):
        pid = fork(work)
        try:
            for _ in range(steps):
                before = seen
                while seen == before:
                    payload = snapshots.read(0)
                    number = payload[:9]
                    assert payload == number * (len(payload) // 9), "a mixture"
                    seen = int(number or b"0")
                    assert before <= seen, "an old one after a new one"
                    assert time.monotonic() < end, "no new one"
        finally:
            os.kill(pid, signal.SIGKILL)
            assert [KILLED] == ended(pid)
    return seen


def limited(workers: int, limit: int) -> Any:
    """How many requests passed in all, of workers that all ask until they are refused."""
    cells, passed = shared_cells(workers), shared_cells(1)
    heard, say = os.pipe()

    def work(number: int) -> None:
        os.close(say)
        os.read(heard, 1)  # Until the parent closes its end: all go at once.
        limiter = Limiter({"create": limit}, cells, number)
        while limiter.take("r", "create", NOW) is None:
            passed[number] += 1

    pids = [fork(work, number) for number in range(workers)]
    os.close(say)
    assert {0} == set(ended(*pids))
    return [passed[number] for number in range(workers)]


COMMANDS: dict[str, Callable[..., Any]] = {"sums": sums, "replaced": replaced, "racing": racing, "limited": limited}

if __name__ == "__main__":
    print(msgspec.json.encode(COMMANDS[sys.argv[1]](*map(int, sys.argv[2:]))).decode())
