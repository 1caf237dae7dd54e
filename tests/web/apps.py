"""The admin application as `mintmark.compose` joins it, for tests in this process."""

from collections.abc import Mapping
from pathlib import Path

from builders import SEALER
from mintmark.administration import Administration
from mintmark.development import Endpoints
from mintmark.development_clock import DevelopmentClock
from mintmark.faults import Faults
from mintmark.gauges import gauges
from mintmark.metrics import Metrics, new_snapshots
from mintmark.service import Service
from mintmark.settings import Settings
from mintmark.shared import REVISION, SharedWords
from mintmark.signing_keys import KeyPolicy, SigningKeys
from mintmark.sources import Sources
from mintmark.web import AdminPages, Application, build_admin_app
from mintmark.web.admin import AdminApi
from mintmark.web.auth import Local
from mintmark.web.dev import DevelopmentControls
from mintmark.web.metrics import MetricsPage
from mintmark.web.openapi import ContractPages
from mintmark.web.probes import Probes
from mintmark.web.signing_keys import SigningKeyApi
from mintmark.web.start_page import StartPage

DAY = 24 * 3600 * 1000  # milliseconds
POLICY = KeyPolicy("ES256", 90 * DAY)


def an_administration(service: Service, sources: Sources, words: SharedWords) -> Administration:
    """Announces changes as a server does: by one more in the shared number."""
    return Administration(service, SEALER, lambda: announce(words), sources)


def signing_keys(service: Service, sources: Sources, words: SharedWords) -> SigningKeys:
    """The use cases of signing keys, which announce in the same way."""
    return SigningKeys(service.store, SEALER, POLICY, lambda: announce(words), sources)


def announce(words: SharedWords) -> None:
    """Has every service over these words load its directory again."""
    words[REVISION] += 1


def an_admin_app(
    service: Service,
    sources: Sources,
    words: SharedWords,
    folder: Path,
    variables: Mapping[str, str] | None = None,
) -> Application:
    """An admin application with development controls, under the usual names of this machine."""
    endpoints = Endpoints("https://localhost:12443", "http://localhost:12080", "http://localhost:12090")
    keys = signing_keys(service, sources, words)
    pages = AdminPages(
        api=AdminApi(an_administration(service, sources, words), endpoints.https, development=True),
        signing_keys=SigningKeyApi(keys),
        contract=ContractPages(endpoints.https),
        metrics=MetricsPage(Metrics(new_snapshots(1), 0), lambda: gauges(service, keys, 1, sources.now())),
        probes=Probes(lambda: True),
        controls=DevelopmentControls(DevelopmentClock(words, sources.now), Faults(folder, words)),
        start=StartPage(endpoints, variables or {}, Settings(), folder),
    )
    return build_admin_app(service, sources, pages, Local(service, frozenset({"localhost", "127.0.0.1", "::1"})))
