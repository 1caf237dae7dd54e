"""Group commit: what shares a batch, who hears what, and how it ends. Commits last until the test lets them end."""

import asyncio
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from mintmark.errors import StoreUnavailable
from mintmark.store.batch import Batcher, Take, ThreadBatcher

PATIENCE = 10  # seconds until a test that hangs fails

pytestmark = pytest.mark.anyio


class Commits:
    """A commit function: takes a batch, says so, waits until the test ends it, and answers `outcomes` of it."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.threads: set[int] = set()
        self._loop = asyncio.get_running_loop()
        self._begun: asyncio.Queue[list[str]] = asyncio.Queue()
        self._ends = threading.Semaphore(0)

    def __call__(self, take: Take[str]) -> list[Any]:
        self.threads.add(threading.get_ident())
        operations = take()
        self.batches.append(operations)
        self._loop.call_soon_threadsafe(self._begun.put_nowait, operations)
        assert self._ends.acquire(timeout=PATIENCE)
        return self.outcomes(operations)

    def outcomes(self, operations: Sequence[str]) -> list[Any]:
        return [f"{operation} done" for operation in operations]

    async def begun(self) -> list[str]:
        """The next batch that began to commit."""
        return await asyncio.wait_for(self._begun.get(), PATIENCE)

    def end(self, count: int = 1) -> None:
        """Lets so many commits end, the one under way first."""
        self._ends.release(count)


class CommitsInTurn(Commits):
    """Waits for its turn before it takes a batch; raises instead where the turn never comes."""

    def __init__(self, *, comes: bool = True) -> None:
        super().__init__()
        self.waits, self.comes, self.has_turn = asyncio.Event(), comes, threading.Event()

    def __call__(self, take: Take[str]) -> list[Any]:
        self._loop.call_soon_threadsafe(self.waits.set)
        assert self.has_turn.wait(PATIENCE)
        if not self.comes:
            self.comes = True
            raise StoreUnavailable
        return super().__call__(take)


class CommitsThatRaise(Commits):
    """Its first commit raises."""

    def outcomes(self, operations: Sequence[str]) -> list[Any]:
        if len(self.batches) == 1:
            raise StoreUnavailable
        return super().outcomes(operations)


class CommitsThatRefuse(Commits):
    """An operation named `bad` fails alone."""

    def outcomes(self, operations: Sequence[str]) -> list[Any]:
        return [ValueError(operation) if operation == "bad" else operation for operation in operations]


@pytest.fixture
def threads_that_switch_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def submit(batcher: ThreadBatcher[str], *operations: str) -> list[asyncio.Task[Any]]:
    return [asyncio.ensure_future(batcher.submit(operation)) for operation in operations]


async def submit_before_the_turn(commits: CommitsInTurn, batcher: ThreadBatcher[str]) -> list[asyncio.Task[Any]]:
    """`a`, and `b` when the commit has begun and waits for its turn, which then comes or never does."""
    tasks = submit(batcher, "a")
    await asyncio.wait_for(commits.waits.wait(), PATIENCE)
    tasks += submit(batcher, "b")
    await asyncio.sleep(0)
    commits.has_turn.set()
    return tasks


async def test_an_operation_alone_is_committed_at_once() -> None:
    commits = Commits()
    batcher = ThreadBatcher(commits)
    [a] = submit(batcher, "a")

    assert await commits.begun() == ["a"]
    assert not a.done()
    commits.end()
    assert await a == "a done"
    await batcher.close()


async def test_operations_of_one_turn_of_the_loop_share_a_batch() -> None:
    commits = Commits()
    batcher = ThreadBatcher(commits)
    tasks = submit(batcher, "a", "b", "c")

    assert await commits.begun() == ["a", "b", "c"]
    commits.end()
    assert await asyncio.gather(*tasks) == ["a done", "b done", "c done"]
    await batcher.close()


async def test_while_one_batch_commits_the_next_one_collects() -> None:
    commits = Commits()
    batcher = ThreadBatcher(commits)
    first = submit(batcher, "a")
    await commits.begun()
    second = submit(batcher, "b")
    await asyncio.sleep(0)  # Another turn of the loop: these two do not come together.
    second += submit(batcher, "c", "d")
    await asyncio.sleep(0)

    assert commits.batches == [["a"]]
    commits.end()
    assert await commits.begun() == ["b", "c", "d"]
    assert await asyncio.gather(*first) == ["a done"]
    assert not any(task.done() for task in second)
    commits.end()
    assert await asyncio.gather(*second) == ["b done", "c done", "d done"]
    assert commits.batches == [["a"], ["b", "c", "d"]]
    await batcher.close()


async def test_what_comes_before_a_batch_is_taken_joins_it() -> None:
    commits = CommitsInTurn()
    batcher = ThreadBatcher(commits)
    tasks = await submit_before_the_turn(commits, batcher)

    assert await commits.begun() == ["a", "b"]
    tasks += submit(batcher, "c")
    commits.end(2)
    assert await asyncio.gather(*tasks) == ["a done", "b done", "c done"]
    assert commits.batches == [["a", "b"], ["c"]]
    await batcher.close()


async def test_a_commit_that_raises_before_it_takes_a_batch_fails_all_that_wait_and_nobody_later() -> None:
    commits = CommitsInTurn(comes=False)
    batcher = ThreadBatcher(commits)
    failing = await submit_before_the_turn(commits, batcher)

    outcomes = await asyncio.gather(*failing, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable, StoreUnavailable]
    commits.end()
    assert await batcher.submit("c") == "c done"
    assert commits.batches == [["c"]]
    await batcher.close()


@pytest.mark.usefixtures("threads_that_switch_often")
async def test_nothing_is_lost_or_done_twice_while_one_thread_submits_and_the_other_takes() -> None:
    taken: list[int] = []

    def commit(take: Take[int]) -> list[Any]:
        operations = take()
        taken.extend(operations)
        return list(operations)

    batcher = ThreadBatcher(commit)
    futures = []
    for number in range(20_000):
        futures.append(batcher.submit(number))  # whether or not anything was answered
        if number % 10 == 0:
            await asyncio.sleep(0)

    assert await asyncio.wait_for(asyncio.gather(*futures), PATIENCE) == list(range(20_000))
    assert taken == list(range(20_000))
    await batcher.close()


async def test_a_commit_that_is_cancelled_fails_its_batch_and_nothing_later() -> None:
    begun = asyncio.Event()

    async def commit(take: Take[str]) -> list[Any]:
        operations = take()
        if operations == ["a"]:
            begun.set()
            await asyncio.Event().wait()
        return list(operations)

    commits: list[asyncio.Future[list[Any]]] = []

    def start(take: Take[str]) -> asyncio.Future[list[Any]]:
        commits.append(asyncio.ensure_future(commit(take)))
        return commits[-1]

    batcher = Batcher(start)
    first = batcher.submit("a")
    await begun.wait()
    second = batcher.submit("b")
    commits[0].cancel()

    with pytest.raises(StoreUnavailable):
        await first
    assert await asyncio.wait_for(second, PATIENCE) == "b"
    await asyncio.wait_for(batcher.close(), PATIENCE)


async def test_a_batcher_at_rest_starts_again() -> None:
    commits = Commits()
    batcher = ThreadBatcher(commits)
    commits.end(2)

    assert await batcher.submit("a") == "a done"
    assert await batcher.submit("b") == "b done"
    assert commits.batches == [["a"], ["b"]]
    await batcher.close()


async def test_all_batches_commit_in_one_thread_that_is_not_the_loop_s() -> None:
    commits = Commits()
    batcher = ThreadBatcher(commits)
    commits.end(3)
    for operation in "abc":
        await batcher.submit(operation)

    assert len(commits.threads) == 1
    assert threading.get_ident() not in commits.threads
    await batcher.close()


async def test_an_operation_that_fails_fails_its_own_caller() -> None:
    commits = CommitsThatRefuse()
    batcher = ThreadBatcher(commits)
    commits.end()

    outcomes = await asyncio.gather(*submit(batcher, "a", "bad", "c"), return_exceptions=True)

    assert [str(outcome) for outcome in outcomes] == ["a", "bad", "c"]
    assert [isinstance(outcome, ValueError) for outcome in outcomes] == [False, True, False]
    await batcher.close()


async def test_a_commit_that_raises_fails_all_of_its_batch_and_nothing_of_the_next() -> None:
    commits = CommitsThatRaise()
    batcher = ThreadBatcher(commits)
    failing = submit(batcher, "a", "b")
    await commits.begun()
    following = submit(batcher, "c")
    commits.end(2)

    outcomes = await asyncio.gather(*failing, return_exceptions=True)

    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable, StoreUnavailable]
    assert await asyncio.gather(*following) == ["c done"]
    await batcher.close()


async def test_a_caller_cancelled_while_its_batch_commits_disturbs_nobody() -> None:
    commits = Commits()
    batcher = ThreadBatcher(commits)
    a, b, c = submit(batcher, "a", "b", "c")
    await commits.begun()
    b.cancel()
    with pytest.raises(asyncio.CancelledError):
        await b

    commits.end()
    assert [await a, await c] == ["a done", "c done"]
    await batcher.close()


async def test_what_a_caller_cancelled_in_time_had_asked_for_is_written_all_the_same() -> None:
    commits = Commits()
    batcher = ThreadBatcher(commits)
    [a] = submit(batcher, "a")
    await commits.begun()
    b, c = submit(batcher, "b", "c")
    await asyncio.sleep(0)
    b.cancel()
    commits.end(2)

    assert [await a, await c] == ["a done", "c done"]
    assert commits.batches == [["a"], ["b", "c"]]
    await batcher.close()


async def test_something_else_runs_between_two_batches_in_the_same_thread() -> None:
    commits = Commits()
    batcher = ThreadBatcher(commits)
    [a] = submit(batcher, "a")
    await commits.begun()
    ran = asyncio.ensure_future(batcher.run(threading.get_ident))
    await asyncio.sleep(0)

    assert not ran.done()
    commits.end()
    assert {await ran} == commits.threads
    assert await a == "a done"
    await batcher.close()


async def test_closing_waits_for_all_that_was_submitted() -> None:
    commits = Commits()
    batcher = ThreadBatcher(commits)
    first = submit(batcher, "a")
    await commits.begun()
    second = submit(batcher, "b", "c")
    await asyncio.sleep(0)
    closing = asyncio.ensure_future(batcher.close())
    await asyncio.sleep(0)

    assert not closing.done()
    commits.end()
    assert await commits.begun() == ["b", "c"]
    assert not closing.done()
    commits.end()
    assert await asyncio.gather(*first, *second) == ["a done", "b done", "c done"]
    await asyncio.wait_for(closing, PATIENCE)


async def test_nothing_is_taken_once_it_closes() -> None:
    commits = Commits()
    batcher = ThreadBatcher(commits)
    [a] = submit(batcher, "a")
    await commits.begun()
    closing = asyncio.ensure_future(batcher.close())
    await asyncio.sleep(0)

    with pytest.raises(StoreUnavailable):
        await batcher.submit("late")
    with pytest.raises(StoreUnavailable):
        await batcher.run(threading.get_ident)
    commits.end()
    await asyncio.wait_for(closing, PATIENCE)
    with pytest.raises(StoreUnavailable):
        await batcher.submit("later")
    assert await a == "a done"
    assert commits.batches == [["a"]]
