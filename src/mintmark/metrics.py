"""What a server counts of itself: requests, how long they took, and the store's commits.

A worker counts in plain numbers of its own, so that a request pays next to nothing. Now and then it leaves a snapshot
of them for the process that is asked (`snapshots`); a worker that replaces another goes on from that one's last.
"""

import asyncio
from bisect import bisect_left
from collections.abc import Sequence
from itertools import starmap
from operator import add

import msgspec
from msgspec import Struct

from mintmark.snapshots import Snapshots

# The highest value that each bucket of a histogram takes; one more bucket takes what is above.
REQUEST_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
COMMIT_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

# A worker tells no more combinations of labels apart: first it forgets the resource, then all of it.
MAX_SERIES, MAX_SERIES_WITHOUT_RESOURCE = 10_000, 12_000
MAX_OPERATIONS = 32
OTHER = "other"
PUBLISH_SECONDS = 1

_LARGEST = 2 * 1024 * 1024  # bytes of a snapshot; MAX_SERIES_WITHOUT_RESOURCE of the longest labels take half of it

# Operation, api-version, status, resource id.
Series = tuple[str, str, int, str]


class Histogram(Struct, array_like=True):
    """How often values fell into each bucket, and their sum."""

    counts: list[int]
    sum: float = 0.0


class Totals(Struct, array_like=True):
    """All that was counted.

    Attributes:
        requests: how many were answered.
        durations: of requests, in seconds, by operation; buckets `REQUEST_SECONDS`.
        batch_sizes: how many writes shared a commit; buckets `BATCH_SIZES`.
        commits: how long these commits took, in seconds; buckets `COMMIT_SECONDS`.
    """

    requests: dict[Series, int]
    durations: dict[str, Histogram]
    batch_sizes: Histogram
    commits: Histogram


class Gauge(Struct, frozen=True):
    """A value as it is now, which nobody has to count.

    Attributes:
        name: of the metric; several may share it, with other values of the same labels.
        help: what it means, with its unit.
        value: the value.
        labels: what tells it from others of its name.
    """

    name: str
    help: str
    value: float
    labels: dict[str, str] = msgspec.field(default_factory=dict)


def new_snapshots(workers: int) -> Snapshots:
    """Where so many workers publish; the parent makes it before it forks."""
    return Snapshots(workers, _LARGEST)


class Metrics:
    """The counting of one worker, and the sums over all.

    Labels must come from small sets: known operations and api-versions, else `OTHER`; ids of resources that exist,
    else nothing.
    """

    def __init__(self, snapshots: Snapshots, number: int) -> None:
        """Goes on from what a worker of the same number published."""
        self._snapshots = snapshots
        self._number = number
        self._published = snapshots.read(number)
        self._own = _decode(self._published)
        self._requests = self._own.requests
        self._durations = self._own.durations

    def request(self, operation: str, version: str, status: int, resource: str, seconds: float) -> None:
        """Counts a request that was answered."""
        try:
            self._requests[operation, version, status, resource] += 1
            histogram = self._durations[operation]
        except KeyError:
            histogram = self._first(operation, version, status, resource)
        histogram.counts[bisect_left(REQUEST_SECONDS, seconds)] += 1
        histogram.sum += seconds

    def batch(self, size: int, seconds: float) -> None:
        """Counts a commit of the store, by the thread that commits or by one that waits for it: one at a time."""
        sizes, commits = self._own.batch_sizes, self._own.commits
        sizes.counts[bisect_left(BATCH_SIZES, size)] += 1
        sizes.sum += size
        commits.counts[bisect_left(COMMIT_SECONDS, seconds)] += 1
        commits.sum += seconds

    def publish(self) -> None:
        """Leaves the numbers as they are now to the other workers; costs little where nothing has changed."""
        payload = msgspec.msgpack.encode(self._own)
        if payload != self._published:
            self._snapshots.write(self._number, payload)
            self._published = payload

    async def keep_publishing(self) -> None:
        """Publishes once a second, until cancelled."""
        while True:
            await asyncio.sleep(PUBLISH_SECONDS)
            self.publish()

    def totals(self) -> Totals:
        """The sums over all workers, of which the others are a second old at most."""
        # Whoever replaces this worker must not tell less than it does here.
        self.publish()
        total = _decode(b"")
        for number in range(self._snapshots.count):
            _add(total, _decode(self._snapshots.read(number)))
        return total

    def _first(self, operation: str, version: str, status: int, resource: str) -> Histogram:
        """Counts a request whose labels were not seen together before, or which are too many to be told apart."""
        seen, is_new = len(self._requests), operation not in self._durations
        if seen >= MAX_SERIES_WITHOUT_RESOURCE or (is_new and len(self._durations) >= MAX_OPERATIONS):
            operation, version, status, resource = OTHER, OTHER, 0, ""
        elif seen >= MAX_SERIES:
            resource = ""
        series: Series = (operation, version, status, resource)
        self._requests[series] = self._requests.get(series, 0) + 1
        return self._durations.setdefault(operation, _empty(REQUEST_SECONDS))


def _empty(bounds: Sequence[float]) -> Histogram:
    return Histogram([0] * (len(bounds) + 1))


_decoder = msgspec.msgpack.Decoder(Totals)


def _decode(payload: bytes) -> Totals:
    """What a worker published; nothing counted where it did not yet."""
    return _decoder.decode(payload) if payload else Totals({}, {}, _empty(BATCH_SIZES), _empty(COMMIT_SECONDS))


def _add(total: Totals, more: Totals) -> None:
    for series, count in more.requests.items():
        total.requests[series] = total.requests.get(series, 0) + count
    for operation, histogram in more.durations.items():
        _add_histogram(total.durations.setdefault(operation, _empty(REQUEST_SECONDS)), histogram)
    _add_histogram(total.batch_sizes, more.batch_sizes)
    _add_histogram(total.commits, more.commits)


def _add_histogram(total: Histogram, more: Histogram) -> None:
    total.counts = list(starmap(add, zip(total.counts, more.counts, strict=True)))
    total.sum += more.sum
