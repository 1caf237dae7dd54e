"""What holds for the whole code: every refusal has an answer, every route a guard."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mintmark.development_issuer import DevelopmentIssuer
from mintmark.errors import MintmarkError, RequestRefused
from mintmark.faults import Faults
from mintmark.service import Service
from mintmark.shared import SharedWords
from mintmark.sources import Sources
from mintmark.web import Application, build_public_app
from mintmark.web.adfs import DevelopmentSignIn
from mintmark.web.auth import Local, Open, Signed
from mintmark.web.endpoint import Endpoint
from mintmark.web.faulty import Faulty
from mintmark.web.problems import PROBLEMS
from web.apps import an_admin_app

pytestmark = pytest.mark.anyio

SOURCE = Path(__file__).parent.parent.parent / "src" / "mintmark"


def subclasses(of: type[Any]) -> Iterator[type[Any]]:
    for each in of.__subclasses__():
        yield each
        yield from subclasses(each)


def test_every_refusal_has_its_row_in_the_table_of_problems() -> None:
    assert set(subclasses(RequestRefused)) == set(PROBLEMS)


@pytest.mark.parametrize("error", [MintmarkError, *subclasses(MintmarkError)], ids=lambda error: error.__name__)
def test_every_error_has_a_sentence_for_its_default_message(error: type[MintmarkError]) -> None:
    message = error.default_message()

    assert message.endswith(".")
    assert "\n" not in message
    assert 15 < len(message) < 160


async def test_every_route_is_inside_a_guard(
    service: Service, sources: Sources, words: SharedWords, tmp_path: Path
) -> None:
    sign_in = DevelopmentSignIn(DevelopmentIssuer("https://localhost:12443", "http://localhost:12080", sources))
    apps: list[Application] = [
        build_public_app(service, sources),
        build_public_app(service, sources, faults=Faults(tmp_path, words), sign_in=sign_in),
        an_admin_app(service, sources, words, tmp_path),
    ]
    guards = {f"{guard.__name__}.__call__.<locals>.guarded" for guard in (Signed, Faulty, Open, Local)}

    guarded = {
        (route.path, method): handler.__qualname__
        for app in apps
        for route in app.routes
        if isinstance(route.app, Endpoint)
        for method, handler in route.app._methods.items()
    }

    assert 25 <= len(guarded)
    assert {} == {route: name for route, name in guarded.items() if name not in guards}
    assert all(isinstance(route.app, Endpoint) for app in apps for route in app.routes)


def test_the_command_line_starts_without_the_server() -> None:
    """`mintmark token show` and its like answer at once because the server's libraries stay unread."""
    script = (
        "import sys, mintmark.cli; print([m for m in ('uvicorn', 'starlette', 'apsw', 'jinja2') if m in sys.modules])"
    )

    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert "[]" == printed.strip()


def test_nobody_but_sources_asks_for_the_time_or_for_chance() -> None:
    """Ruff checks the names; this checks that the exception is made for one file."""
    exceptions = [path.name for path in SOURCE.rglob("*.py") if "TID251" in path.read_text()]

    assert [] == exceptions
