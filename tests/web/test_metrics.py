"""What is scraped, and that the page about it names nothing else."""

import re
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from builders import SEALER
from docs.markdown import DOCS, rows, section
from mintmark import __version__
from mintmark.gauges import gauges
from mintmark.metrics import Gauge, Metrics, new_snapshots
from mintmark.service import Service
from mintmark.signing_keys import KeyPolicy, SigningKeys
from mintmark.sources import Sources
from mintmark.store import Store
from mintmark.web.answer import Answer
from mintmark.web.call import Call
from mintmark.web.metrics import MetricsPage, RequestCounter

pytestmark = pytest.mark.anyio

WATCH_IT = DOCS / "how-to" / "watch-it.md"
DAY = 86_400_000  # milliseconds


def a_call(operation: str = "", api_version: str = "", resource_id: str = "") -> Call:
    async def receive() -> dict[str, Any]:
        return {}

    call = Call({"method": "GET", "path": "/", "query_string": b"", "raw_path": b"/", "headers": []}, receive)
    call.operation, call.api_version, call.resource_id = operation, api_version, resource_id
    return call


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(new_snapshots(2), 0)


@pytest.fixture
def page(metrics: Metrics, store: Store, service: Service, sources: Sources) -> MetricsPage:
    """As `mintmark.compose` joins it."""
    keys = SigningKeys(store, SEALER, KeyPolicy("ES256", 90 * DAY), lambda: None, sources)
    return MetricsPage(metrics, lambda: gauges(service, keys, 2, sources.now()))


def test_requests_are_counted_by_what_became_known_of_them(metrics: Metrics) -> None:
    counter = RequestCounter(metrics)

    counter(a_call("create", "2026-09-23", "r"), Answer(201), 4.0)
    counter(a_call("create"), Answer(400), 4.0)
    counter(a_call(), Answer(404), 2000.0)

    totals = metrics.totals()
    assert {
        ("create", "2026-09-23", 201, "r"): 1,
        ("create", "other", 400, ""): 1,
        ("other", "other", 404, ""): 1,
    } == totals.requests
    assert {"create": 0.008, "other": 2.0} == {name: each.sum for name, each in totals.durations.items()}


async def test_a_scrape_tells_counts_and_state_and_may_not_be_kept(
    metrics: Metrics, page: MetricsPage, service: Service
) -> None:
    metrics.request("create", "2026-09-23", 201, "r", 0.004)

    answer = await page.show(service, a_call())

    told = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.body.decode())
        for sample in family.samples
    }
    assert (200, b"text/plain; version=0.0.4; charset=utf-8") == (answer.status, answer.content_type)
    assert ((b"cache-control", b"no-store"),) == answer.headers
    assert (1, 1, 2) == (
        told["mintmark_info", __version__],
        told["mintmark_store_ready",],
        told["mintmark_workers",],
    )
    assert 1 == sum(value for (name, *_), value in told.items() if name == "mintmark_requests_total")


async def test_a_gauge_is_asked_at_each_scrape(metrics: Metrics, service: Service) -> None:
    left = iter((1.0, 2.0))

    async def asked() -> Sequence[Gauge]:
        return [Gauge("mintmark_asked", "How often.", next(left))]

    page = MetricsPage(metrics, asked)

    assert [b"mintmark_asked 1.0", b"mintmark_asked 2.0"] == [
        (await page.show(service, a_call())).body.splitlines()[-1] for _ in range(2)
    ]


def test_the_start_does_not_wait_for_the_library_that_writes_them() -> None:
    program = "import mintmark.compose, sys; sys.exit('prometheus_client' in sys.modules)"

    assert 0 == subprocess.run([sys.executable, "-c", program], check=False).returncode


async def test_the_page_has_every_metric_with_its_labels_and_no_other(
    metrics: Metrics, page: MetricsPage, service: Service
) -> None:
    metrics.request("create", "2026-09-23", 201, "r", 0.004)
    families = list(text_string_to_metric_families((await page.show(service, a_call())).body.decode()))
    told = {
        family.name + ("_total" if family.type == "counter" else ""): {
            label for sample in family.samples for label in sample.labels if label != "le"
        }
        for family in families
    }

    table = rows(section(WATCH_IT, "What it tells"))
    assert told == {name: set(labels.split(", ")) - {""} for name, labels, _ in table}
    named = {name.removesuffix("_bucket") for name in re.findall(r"mintmark_[a-z_]+", WATCH_IT.read_text())}
    assert set(told) == named - {"mintmark_"}
