"""What was counted, in the text format that Prometheus reads.

Imported at the first scrape: prometheus-client would cost every start some 50 ms.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from mintmark.metrics import BATCH_SIZES, COMMIT_SECONDS, REQUEST_SECONDS, Gauge, Histogram, Totals


def exposition(totals: Totals, gauges: Sequence[Gauge], version: str) -> bytes:
    """The text; `version` is of this server."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Shown(totals, gauges, version))
    return generate_latest(registry)


class _Shown(Collector):
    """One scrape."""

    def __init__(self, totals: Totals, gauges: Sequence[Gauge], version: str) -> None:
        self._totals = totals
        self._gauges = gauges
        self._version = version

    def collect(self) -> Iterable[Metric]:
        """The metrics, each with its help text."""
        yield InfoMetricFamily("mintmark", "Which release serves.", {"version": self._version})
        yield from self._requests()
        yield _histogram(
            "mintmark_commit_batch_size", "Writes that shared a commit.", BATCH_SIZES, self._totals.batch_sizes
        )
        yield _histogram(
            "mintmark_commit_duration_seconds", "How long commits took.", COMMIT_SECONDS, self._totals.commits
        )
        yield from _gauges(self._gauges)

    def _requests(self) -> Iterator[Metric]:
        labels = ("operation", "api_version", "status", "resource")
        requests = CounterMetricFamily("mintmark_requests", "Requests that were answered.", labels=labels)
        for (operation, api_version, status, resource), count in sorted(self._totals.requests.items()):
            requests.add_metric((operation, api_version, str(status), resource), count)
        yield requests
        durations = HistogramMetricFamily(
            "mintmark_request_duration_seconds", "How long answers took.", labels=("operation",)
        )
        for operation, histogram in sorted(self._totals.durations.items()):
            durations.add_metric((operation,), _buckets(REQUEST_SECONDS, histogram), histogram.sum)
        yield durations


def _histogram(name: str, text: str, bounds: Sequence[float], histogram: Histogram) -> Metric:
    return HistogramMetricFamily(name, text, _buckets(bounds, histogram), histogram.sum)


def _buckets(bounds: Sequence[float], histogram: Histogram) -> list[tuple[str, float]]:
    """Prometheus has each bucket hold what the lower ones hold too."""
    names = [*map(floatToGoString, bounds), "+Inf"]
    return list(zip(names, accumulate(histogram.counts), strict=True))


def _gauges(gauges: Sequence[Gauge]) -> Iterable[Metric]:
    families: dict[str, GaugeMetricFamily] = {}
    for gauge in gauges:
        if gauge.name not in families:
            families[gauge.name] = GaugeMetricFamily(gauge.name, gauge.help, labels=tuple(gauge.labels))
        families[gauge.name].add_metric(tuple(gauge.labels.values()), gauge.value)
    return families.values()
