import msgspec
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from mintmark.metrics import (
    BATCH_SIZES,
    COMMIT_SECONDS,
    MAX_OPERATIONS,
    MAX_SERIES,
    MAX_SERIES_WITHOUT_RESOURCE,
    OTHER,
    REQUEST_SECONDS,
    Gauge,
    Metrics,
    Totals,
    new_snapshots,
)
from mintmark.web.exposition import exposition
from unit.forked import run_forked

RESOURCE = "6a1f4c0e-8d2b-4b57-9c36-0f5e7d1a2b94"
VERSION = "2025-03-02-preview"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(new_snapshots(1), 0)


def families(totals: Totals, *gauges: Gauge) -> dict[str, Metric]:
    """What is written, as Prometheus' own parser reads it."""
    text = exposition(totals, gauges, "1.2.3").decode()
    return {family.name: family for family in text_string_to_metric_families(text)}


def values(family: Metric, *labels: str) -> dict[tuple[str, ...], float]:
    """The samples of a family, by the end of their name and these labels."""
    return {
        (
            sample.name.removeprefix(family.name),
            *(sample.labels[label] for label in labels if label in sample.labels),
        ): (sample.value)
        for sample in family.samples
    }


def test_requests_are_counted_by_all_of_their_labels(metrics: Metrics) -> None:
    metrics.request("create", VERSION, 201, RESOURCE, 0.001)
    metrics.request("create", VERSION, 201, RESOURCE, 0.001)
    metrics.request("create", VERSION, 401, "", 0.001)
    metrics.request("get", VERSION, 201, RESOURCE, 0.001)

    assert {
        ("create", VERSION, 201, RESOURCE): 2,
        ("create", VERSION, 401, ""): 1,
        ("get", VERSION, 201, RESOURCE): 1,
    } == metrics.totals().requests


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0, 0), (0.0005, 0), (0.00051, 1), (0.001, 1), (1.0, 10), (5, 11), (5.1, 12), (3600, 12)],
)
def test_a_duration_falls_into_the_bucket_that_it_does_not_exceed(
    metrics: Metrics, seconds: float, bucket: int
) -> None:
    metrics.request("create", VERSION, 201, RESOURCE, seconds)

    histogram = metrics.totals().durations["create"]
    assert ([bucket], seconds) == ([place for place, count in enumerate(histogram.counts) if count], histogram.sum)


def test_batches_are_counted_by_size_and_time(metrics: Metrics) -> None:
    for size, seconds in [(1, 0.002), (3, 0.004), (1025, 6)]:
        metrics.batch(size, seconds)

    totals = metrics.totals()
    assert ([1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1], 1029) == (totals.batch_sizes.counts, totals.batch_sizes.sum)
    assert ([0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1], 6.006) == (totals.commits.counts, totals.commits.sum)


def test_workers_that_were_forked_are_summed() -> None:
    workers, requests = 3, 500

    by_status, durations, sizes, commits = run_forked("sums", workers, requests)

    total = requests * (2 * workers - 1)
    assert {"201": workers * requests, "401": requests, "402": requests} == by_status
    assert ([total], 0.25 * total) == ([count for count in durations[0] if count], durations[1])
    assert ([total], 4 * total) == ([count for count in sizes[0] if count], sizes[1])
    assert ([total], 0.5 * total) == ([count for count in commits[0] if count], commits[1])


def test_whoever_replaces_a_worker_goes_on_from_what_was_told_of_it() -> None:
    assert [100, 200, 300, 400] == run_forked("replaced", 100)


def test_what_was_told_once_is_never_told_smaller() -> None:
    snapshots = new_snapshots(1)
    before = Metrics(snapshots, 0)
    before.request("create", VERSION, 201, RESOURCE, 0.001)
    told = before.totals()

    assert told == Metrics(snapshots, 0).totals()


def test_others_see_what_was_published_and_no_more() -> None:
    snapshots = new_snapshots(2)
    asked, other = Metrics(snapshots, 0), Metrics(snapshots, 1)
    other.request("create", VERSION, 201, RESOURCE, 0.001)
    assert {} == asked.totals().requests

    other.publish()
    assert {("create", VERSION, 201, RESOURCE): 1} == asked.totals().requests


def test_what_has_not_changed_is_not_written_again(metrics: Metrics) -> None:
    metrics.batch(1, 0.001)
    metrics.publish()
    before = metrics._snapshots._latest(0)
    metrics.publish()
    assert before == metrics._snapshots._latest(0)

    metrics.batch(1, 0.001)
    metrics.publish()
    assert before != metrics._snapshots._latest(0)


def fill(metrics: Metrics, *, resources: int) -> None:
    for number in range(resources):
        metrics.request("create", VERSION, 201, f"6a1f4c0e-8d2b-4b57-9c36-{number:012d}", 1.0)


def test_beyond_the_cap_resources_are_no_longer_told_apart(metrics: Metrics) -> None:
    fill(metrics, resources=MAX_SERIES + 5)
    metrics.request("issue", VERSION, 200, RESOURCE, 1.0)
    fill(metrics, resources=1)

    totals = metrics.totals()
    assert 5 == totals.requests["create", VERSION, 201, ""]
    assert 1 == totals.requests["issue", VERSION, 200, ""]
    assert 2 == totals.requests["create", VERSION, 201, "6a1f4c0e-8d2b-4b57-9c36-000000000000"]
    assert (MAX_SERIES + 6, MAX_SERIES + 2) == (totals.durations["create"].counts[10], len(totals.requests))


def test_however_odd_the_labels_memory_is_bounded_and_every_request_counts_once(metrics: Metrics) -> None:
    fill(metrics, resources=MAX_SERIES)
    for number in range(3000):
        metrics.request("create", f"version {number}", 201, RESOURCE, 1.0)
        metrics.request(f"operation {number % 100}", VERSION, 201, RESOURCE, 1.0)
    for _ in range(2):
        metrics.request(OTHER, OTHER, 0, "", 1.0)

    totals = metrics.totals()
    assert MAX_SERIES + 6002 == sum(totals.requests.values())
    assert MAX_SERIES + 6002 == sum(sum(histogram.counts) for histogram in totals.durations.values())
    assert len(totals.requests) <= MAX_SERIES_WITHOUT_RESOURCE + 1
    assert {OTHER} == set(totals.durations) - {"create"} - {f"operation {number}" for number in range(100)}
    assert MAX_OPERATIONS + 1 == len(totals.durations)


def test_as_many_series_as_there_may_be_fit_into_a_snapshot(metrics: Metrics) -> None:
    longest = ("exchange", VERSION, 599, RESOURCE)
    metrics._requests.update(
        {(*longest[:3], RESOURCE[:-5] + f"{number:05d}"): 2**60 for number in range(MAX_SERIES_WITHOUT_RESOURCE + 1)}
    )
    metrics.publish()

    assert msgspec.msgpack.encode(metrics._own) == metrics._snapshots.read(0)


def test_the_counts_are_written_as_prometheus_reads_them(metrics: Metrics) -> None:
    metrics.request("create", VERSION, 201, RESOURCE, 0.002)
    metrics.request("create", VERSION, 201, RESOURCE, 0.02)
    metrics.request("issue", VERSION, 401, "", 7)
    metrics.batch(3, 0.004)

    written = families(metrics.totals())

    requests = values(written["mintmark_requests"], "operation", "api_version", "status", "resource")
    assert {
        ("_total", "create", VERSION, "201", RESOURCE): 2,
        ("_total", "issue", VERSION, "401", ""): 1,
    } == requests
    durations = values(written["mintmark_request_duration_seconds"], "operation", "le")
    assert [0, 0, 1, 1, 1, 2] == [
        durations["_bucket", "create", le] for le in ("0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025")
    ]
    assert [0, 1] == [durations["_bucket", "issue", le] for le in ("5.0", "+Inf")]
    assert (2, 0.022) == (durations["_count", "create"], durations["_sum", "create"])
    sizes = values(written["mintmark_commit_batch_size"], "le")
    assert [0, 1, 1, 3] == [*(sizes["_bucket", le] for le in ("2.0", "4.0", "+Inf")), sizes["_sum",]]
    commits = values(written["mintmark_commit_duration_seconds"], "le")
    assert [0, 1, 0.004] == [*(commits["_bucket", le] for le in ("0.0025", "0.005")), commits["_sum",]]


def test_a_server_that_did_nothing_yet_shows_empty_histograms(metrics: Metrics) -> None:
    written = families(metrics.totals())

    assert [] == written["mintmark_requests"].samples == written["mintmark_request_duration_seconds"].samples
    for name, bounds in (("batch_size", BATCH_SIZES), ("duration_seconds", COMMIT_SECONDS)):
        family = values(written[f"mintmark_commit_{name}"], "le")
        assert {0} == set(family.values())
        assert len(bounds) + 3 == len(family)


def test_gauges_and_the_release_are_shown(metrics: Metrics) -> None:
    written = families(
        metrics.totals(),
        Gauge("mintmark_store_ready", "Whether it is.", 1),
        Gauge("mintmark_signing_key_age_seconds", "How old.", 60.5, {"kid": "a", "algorithm": "ES256"}),
        Gauge("mintmark_signing_key_age_seconds", "How old.", 7, {"kid": 'b"\\\n', "algorithm": "RS256"}),
    )

    assert {("", "1.2.3"): 1} == values(written["mintmark_info"], "version")
    assert {("",): 1} == values(written["mintmark_store_ready"])
    assert {("", "a", "ES256"): 60.5, ("", 'b"\\\n', "RS256"): 7} == values(
        written["mintmark_signing_key_age_seconds"], "kid", "algorithm"
    )
    assert "How old." == written["mintmark_signing_key_age_seconds"].documentation


def test_every_name_and_bucket_is_shown_once(metrics: Metrics) -> None:
    metrics.request("create", VERSION, 201, RESOURCE, 0.002)

    lines = exposition(metrics.totals(), [Gauge("a", "A.", 1), Gauge("a", "A.", 2, {})], "1").decode().splitlines()

    types = [line for line in lines if line.startswith("# TYPE")]
    assert len(types) == len(set(types)) == 6
    assert len(REQUEST_SECONDS) + 1 == sum("request_duration_seconds_bucket" in line for line in lines)
