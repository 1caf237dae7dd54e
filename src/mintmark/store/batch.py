"""Group commit: while one batch commits, the next one collects. No timer, and no added wait when idle."""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from threading import Thread
from typing import Any, Generic, TypeVar

from mintmark.errors import StoreUnavailable

Operation = TypeVar("Operation")
Outcome = Any  # What an operation answered, or the exception that it raised.
Take = Callable[[], list[Operation]]  # Answers the operations that wait. Until it is called others can join them.


class Batcher(Generic[Operation]):
    """Hands operations to `commit` in batches, one batch at a time.

    Belongs to one event loop. `commit` takes its batch itself, once, in whatever thread: the nearer to its writing, the
    more share the batch. What it promises is one outcome for each operation, in order. If it fails, all of the
    batch fail with that exception; all that wait, where it has taken none yet.
    """

    def __init__(self, commit: "Callable[[Take[Operation]], asyncio.Future[list[Outcome]]]") -> None:
        self._commit = commit
        self._loop = asyncio.get_running_loop()
        # One end is the loop's, the other that of the thread which commits.
        self._waiting: deque[tuple[Operation, asyncio.Future[Outcome]]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()
        self._closed = False

    def submit(self, operation: Operation) -> "asyncio.Future[Any]":
        """What `operation` answers or raises, once the batch that it joined is durable.

        Raises:
            StoreUnavailable: the batcher was closed.
        """
        if self._closed:
            raise StoreUnavailable
        future = self._loop.create_future()
        self._waiting.append((operation, future))
        if self._idle.is_set():
            self._idle.clear()
            # Not at once: requests that arrived in the same turn of the loop shall share the batch.
            self._loop.call_soon(self._start)
        return future

    async def close(self) -> None:
        """Takes no more operations, and waits for those submitted so far."""
        self._closed = True
        await self._idle.wait()

    def _start(self) -> None:
        futures: list[asyncio.Future[Outcome]] = []

        def take() -> list[Operation]:
            operations = []
            while self._waiting:
                operation, future = self._waiting.popleft()
                operations.append(operation)
                futures.append(future)
            return operations

        def finish(done: asyncio.Future[list[Outcome]]) -> None:
            failure = StoreUnavailable() if done.cancelled() else done.exception()
            if failure is not None and not futures:
                take()
            self._finish(futures, [failure] * len(futures) if failure is not None else done.result())

        self._commit(take).add_done_callback(finish)

    def _finish(self, futures: list[asyncio.Future[Outcome]], outcomes: list[Outcome]) -> None:
        if self._waiting:
            self._start()  # First of all: the store should not idle while the answers go out.
        else:
            self._idle.set()
        for future, outcome in zip(futures, outcomes, strict=True):
            _settle(future, outcome)  # Where its request was cancelled, the write stands nevertheless.


class ThreadBatcher(Batcher[Operation]):
    """Commits in a thread of its own, for a `commit` that waits.

    Not an executor's: that makes some sixty Python calls for each job, half of them in the event loop's thread.
    """

    def __init__(self, commit: Callable[[Take[Operation]], list[Outcome]]) -> None:
        self._jobs: SimpleQueue[tuple[Callable[[], Any], asyncio.Future[Any]] | None] = SimpleQueue()
        self._thread = Thread(target=self._work, name="mintmark-store", daemon=True)  # Who forgets to close can end.
        super().__init__(lambda take: self._enqueue(partial(commit, take)))
        self._thread.start()

    async def run(self, function: Callable[[], Any]) -> Any:
        """Runs something else in the same thread, between two batches.

        Raises:
            StoreUnavailable: the batcher was closed.
        """
        if self._closed:
            raise StoreUnavailable
        return await self._enqueue(function)

    async def close(self) -> None:
        """Waits for the operations submitted so far and ends the thread."""
        await super().close()
        self._jobs.put(None)
        await asyncio.to_thread(self._thread.join)

    def _enqueue(self, function: Callable[[], Any]) -> "asyncio.Future[Any]":
        future = self._loop.create_future()
        self._jobs.put((function, future))
        return future

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, future = job
            outcome: Outcome
            try:
                outcome = function()
            except BaseException as error:  # noqa: BLE001  whoever waits gets it
                outcome = error
            try:
                self._loop.call_soon_threadsafe(_settle, future, outcome)
            except RuntimeError:
                return  # The loop was closed: nobody waits any more.


def _settle(future: "asyncio.Future[Any]", outcome: Outcome) -> None:
    """Tells who waits, unless it was cancelled meanwhile."""
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
