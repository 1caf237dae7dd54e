"""The admin application as `mintmark.compose` joins it, for tests in this process."""

from collections.abc import Mapping
from pathlib import Path

from starlette.routing import Router

from builders import SEALER
from mintmark.administration import Administration
from mintmark.development import Endpoints
from mintmark.development_clock import DevelopmentClock
from mintmark.faults import Faults
from mintmark.service import Service
from mintmark.settings import Settings
from mintmark.shared import REVISION, SharedWords
from mintmark.sources import Sources
from mintmark.web import build_admin_app
from mintmark.web.admin import AdminApi
from mintmark.web.dev import DevelopmentControls
from mintmark.web.openapi import ContractPages
from mintmark.web.start_page import StartPage


def an_administration(service: Service, sources: Sources, words: SharedWords) -> Administration:
    """Announces changes as a server does: by one more in the shared number."""

    def announce() -> None:
        words[REVISION] += 1

    return Administration(service, SEALER, announce, sources)


def an_admin_app(
    service: Service,
    sources: Sources,
    words: SharedWords,
    folder: Path,
    variables: Mapping[str, str] | None = None,
) -> Router:
    """An admin application with development controls, under the usual names of this machine."""
    endpoints = Endpoints("https://localhost:12443", "http://localhost:12080", "http://localhost:12090")
    return build_admin_app(
        service,
        sources,
        AdminApi(an_administration(service, sources, words), endpoints.https),
        DevelopmentControls(DevelopmentClock(words, sources.now), Faults(folder, words)),
        ContractPages(endpoints.https),
        StartPage(endpoints, variables or {}, Settings(), folder),
        frozenset({"localhost", "127.0.0.1", "::1"}),
    )
