"""Fixtures that several folders of tests share."""

from collections.abc import Iterator

import pytest

from builders import FakeClock, counted_sources
from mintmark.sources import Sources
from running import RunningServer, running_server


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
