"""A PostgreSQL that a server for production accepts."""

from collections.abc import Iterator

import pytest

from postgres import Cluster, running_cluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """It syncs to disk."""
    with running_cluster() as running:
        yield running
