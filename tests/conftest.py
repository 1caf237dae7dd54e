"""Fixtures that several folders of tests share."""

import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from builders import ISSUER, SEALER, FakeClock, counted_sources
from mintmark.compose import open_service
from mintmark.doors.dev import fill_store
from mintmark.service import Service
from mintmark.shared import SharedWords
from mintmark.sources import Sources
from mintmark.store.sqlite import SqliteStore
from postgres import QUICK, Cluster, running_cluster
from running import RunningServer, running_server

pytest_plugins = ("compat.support_matrix",)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int | None:
    """Half as many again as there are processors: a fifth of the time, tests wait for the programs that they start."""
    if "PYTEST_XDIST_AUTO_NUM_WORKERS" in os.environ:
        return None  # pytest-xdist looks for itself.
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return processors * 3 // 2


@pytest.fixture
def clock() -> FakeClock:
    """A clock that stands still until a test moves it."""
    return FakeClock()


@pytest.fixture
def sources(clock: FakeClock) -> Sources:
    """That clock, and bytes that count up instead of chance."""
    return counted_sources(clock)


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """One `mintmark dev` with two workers for all tests that only talk to it."""
    with running_server("--ephemeral", "--workers", "2") as started:
        yield started


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run on asyncio."""
    return "asyncio"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    """A store in a real SQLite file, empty."""
    opened = SqliteStore(tmp_path / "mintmark.db")
    yield opened
    await opened.close()


@pytest.fixture
async def service(store: SqliteStore, sources: Sources, words: SharedWords) -> Service:
    """The service of `mintmark dev`, on that store and the clock that stands still."""
    await fill_store(store, SEALER, "ES256", sources)
    return await open_service(store, SEALER, "ES256", ISSUER, sources, words, development=True)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A real PostgreSQL, for all tests of a process that are not about what survives."""
    with running_cluster(QUICK) as running:
        yield running


@pytest.fixture
def database(cluster: Cluster) -> str:
    """The address of an empty database on it."""
    if "test" not in cluster.sql("select datname from pg_database").split():
        cluster.sql("create database test")
    cluster.sql("drop schema public cascade; create schema public", "test")  # Quicker than a new database.
    return cluster.address("test")


@pytest.fixture
def words() -> SharedWords:
    """The numbers that the workers of one server share."""
    return SharedWords()
