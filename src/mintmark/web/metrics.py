"""What Prometheus scrapes: counts, durations and the state of one server, over all of its workers."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from mintmark import __version__
from mintmark.metrics import OTHER, Gauge, Metrics, Totals
from mintmark.service import Service
from mintmark.web.answer import NOT_KEPT, Answer
from mintmark.web.call import Call

# Prometheus: exposition formats, text format 0.0.4; every release of it reads that one.
TEXT_FORMAT = b"text/plain; version=0.0.4; charset=utf-8"


class RequestCounter:
    """Counts each request and its answer, as the request log notes them."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def __call__(self, call: Call, answer: Answer, milliseconds: float) -> None:
        """One request; what is not known of it counts as `other`."""
        self._metrics.request(
            call.operation or OTHER, call.api_version or OTHER, answer.status, call.resource_id, milliseconds / 1000
        )


class MetricsPage:
    """`GET /_mintmark/metrics`, for one server."""

    def __init__(self, metrics: Metrics, gauges: Callable[[], Awaitable[Sequence[Gauge]]]) -> None:
        """`gauges` is asked at each scrape for what is not counted; it must not raise."""
        self._metrics = metrics
        self._gauges = gauges

    async def show(self, _service: Service, _call: Call) -> Answer:
        """All metrics."""
        gauges, totals = await self._gauges(), self._metrics.totals()
        # In a thread: the first time it imports a library, and thousands of series take a while to write.
        return Answer(200, await asyncio.to_thread(_write, totals, gauges), TEXT_FORMAT, NOT_KEPT)


def _write(totals: Totals, gauges: Sequence[Gauge]) -> bytes:
    from mintmark.web.exposition import exposition

    return exposition(totals, gauges, __version__)
