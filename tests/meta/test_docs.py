"""The reference pages say what the code says, and no link leads nowhere."""

import re
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import click
import msgspec
import pytest
from starlette.routing import Route, Router

from builders import NOON, as_header_list, signed_headers
from calls import create
from docs.examples import matches
from docs.markdown import DOCS, PAGES, ROOT, anchor, headings, links, rows, section
from mintmark import settings
from mintmark.cli import cli
from mintmark.development import Endpoints
from mintmark.errors import Denied, InvalidRequest
from mintmark.jose import decode_unverified
from mintmark.request_signature import SignedRequest
from mintmark.service import Caller, Service
from mintmark.sources import Sources
from mintmark.tokens import Claims
from mintmark.web import build_admin_app, build_public_app
from mintmark.web.endpoint import Endpoint
from mintmark.web.problems import PROBLEMS, internal_error
from mintmark.web.start_page import StartPage
from mintmark.web.wire import VERSIONS, read_create, read_introspect
from running import running_server

pytestmark = pytest.mark.anyio

REFERENCE = DOCS / "reference"
NOT_IN_THE_TABLE = {("400", "BadRequest"), ("500", "InternalServerError")}  # Answered outside of any handler.
JSON = b"application/json"
TARGET = "/identities?api-version=2023-10-01"
HOUR = 3_600_000  # milliseconds


def relative(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=relative)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    within = [link for link in links(page) if not link.startswith("https://")]

    for link in within:
        path, _, fragment = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not fragment or fragment in {anchor(heading) for heading in headings(target)}, link


def test_the_index_leads_to_every_page() -> None:
    index = DOCS / "README.md"

    listed = {(DOCS / link).resolve() for link in links(index)}

    assert {page for page in PAGES if page.is_relative_to(DOCS)} - {index} <= listed


def commands(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield path, command
        return
    for name, below in command.commands.items():
        yield from commands(below, f"{path} {name}")


COMMANDS = dict(commands(cli, "mintmark"))


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_has_its_usage_and_flags_in_the_reference(path: str) -> None:
    command, text = COMMANDS[path], section(REFERENCE / "command-line.md", path)
    context = click.Context(command, info_name=path)

    flags = {}
    for option in command.params:
        if isinstance(option, click.Option):
            flag, help_text = option.get_help_record(context) or ("", "")
            in_help = re.search(r"\[default: (.+)\]", help_text)
            flags[flag] = in_help[1] if in_help else option.default if isinstance(option.default, str) else ""

    assert flags == {row[0]: row[1] for row in rows(text) if row[0].startswith("--")}
    assert f"`{command.get_usage(context).removeprefix('Usage: ')}`" in text


def test_the_reference_has_no_command_that_is_gone() -> None:
    titles = [title for title in headings(REFERENCE / "command-line.md") if title.startswith("mintmark ")]

    assert list(COMMANDS) == titles


def test_every_setting_is_in_the_reference_with_its_default() -> None:
    flags = {option.name: option.opts[0] for option in cli.commands["dev"].params}

    expected = [
        [flags[field.name], settings.PREFIX + field.name.upper(), as_text(field.default)]
        for field in msgspec.structs.fields(settings.Settings)
    ]

    assert expected == [row[:3] for row in rows((REFERENCE / "settings.md").read_text())]


def as_text(default: object) -> str:
    return "" if default == () else str(default).lower() if isinstance(default, bool) else str(default)


def test_what_a_setting_allows_is_in_the_reference_as_the_message_says_it() -> None:
    allowed = {row[1]: row[3] for row in rows((REFERENCE / "settings.md").read_text())}

    for name, text in settings._ALLOWED.items():
        assert text == allowed[settings.PREFIX + name.upper()]


def test_every_error_code_is_in_the_reference() -> None:
    documented = [(row[0], row[1]) for row in rows(section(REFERENCE / "errors.md", "Codes"))]

    assert {(str(status), code) for status, code in PROBLEMS.values()} | NOT_IN_THE_TABLE == set(documented)
    assert len(documented) == len(set(documented))
    assert ("500", msgspec.json.decode(internal_error().body)["error"]["code"]) in NOT_IN_THE_TABLE


REFUSED: list[Callable[[], object]] = [
    lambda: read_create(b'{"createTokenWithScopes":["shout"]}', JSON),
    lambda: read_create(b'{"createTokenWithScopes":"chat"}', JSON),
    lambda: read_create(b'{"expiresInMinutes":59}', JSON),
    lambda: read_create(b"{", JSON),
    lambda: read_create(b"[]", JSON),
    lambda: read_create(b"\xff", JSON),
    lambda: read_create(b'{"a":' + b"[" * 30_000, JSON),
    lambda: read_introspect(b"{}", JSON),
]


async def test_every_message_about_a_field_is_in_the_reference(service: Service) -> None:
    documented = [(row[0], row[1]) for row in rows(section(REFERENCE / "errors.md", "400 ValidationError"))]
    doubled = [*signed_headers("POST", TARGET), (b"host", b"elsewhere")]

    calls: list[Callable[[], object]] = [
        *REFUSED,
        lambda: service.authenticate(SignedRequest("POST", TARGET.encode(), doubled, b"")),
    ]
    said = []
    for refused in calls:
        with pytest.raises(InvalidRequest) as refusal:
            refused()
        said.append((refusal.value.target, refusal.value.message))

    assert len(said) == len(documented)
    for target, message in said:
        assert any(target == shown and matches(pattern, message) for shown, pattern in documented), message


def changed(name: str, value: str | None) -> list[tuple[bytes, bytes]]:
    """The headers of a signed request, one of them replaced, or left out for None."""
    kept = [header for header in signed_headers("POST", TARGET) if header[0] != name.encode()]
    return kept if value is None else [*kept, *as_header_list([(name, value)])]


DENIED = [
    changed("authorization", None),
    changed("authorization", "Bearer e30.e30.AAAA"),
    changed("authorization", "HMAC-SHA256 SignedHeaders=x-ms-date;host&Signature=AAAA"),
    changed("x-ms-date", None),
    [*signed_headers("POST", TARGET), (b"x-ms-date", b"Mon, 23 Nov 2026 12:00:00 GMT")],
    changed("x-ms-content-sha256", "AAAA"),
    changed("x-ms-date", "yesterday"),
    signed_headers("POST", TARGET, now=NOON - HOUR),
    signed_headers("POST", TARGET, now=NOON + HOUR),
    signed_headers("POST", TARGET, key=b"another"),
]


async def test_every_reason_of_a_401_is_in_the_reference(service: Service) -> None:
    documented = [row[0] for row in rows(section(REFERENCE / "errors.md", "401 Denied")) if row[0].endswith(".")]

    reasons = []
    names: set[str] = set()
    for headers in DENIED:
        with pytest.raises(Denied) as refusal:
            service.authenticate(SignedRequest("POST", TARGET.encode(), headers, b""))
        reasons.append(refusal.value.reason)
        names |= {name for name, _ in refusal.value.explanation}

    assert len(reasons) == len(documented)
    for reason in reasons:
        assert any(matches(pattern, reason) for pattern in documented), reason
    assert names <= {row[0] for row in rows(section(REFERENCE / "errors.md", "401 Denied"))}


@pytest.mark.parametrize("listener", ["Public listener", "Admin listener"])
async def test_every_route_is_in_the_reference(listener: str, service: Service, sources: Sources) -> None:
    page = StartPage(Endpoints("", "", ""), {}, settings.Settings(), Path())
    apps = {
        "Public listener": build_public_app(service, sources, cors=True, log=None),
        "Admin listener": build_admin_app(service, sources, page, frozenset(), None),
    }
    text = section(REFERENCE / "http-api.md", listener)

    assert routes(apps[listener]) == re.findall(r"^### ([A-Z]+ /.*)$", text, re.MULTILINE)


def routes(app: Router) -> list[str]:
    return [
        f"{method} {route.path}"
        for route in app.routes
        if isinstance(route, Route) and isinstance(route.app, Endpoint)
        for method in route.app._methods
        if method != "HEAD"
    ]


def test_every_api_version_is_in_the_reference() -> None:
    served = section(REFERENCE / "http-api.md", "POST /identities").partition("Body:")[0]

    assert sorted(VERSIONS) == sorted(set(re.findall(r"\d{4}-\d\d-\d\d", served)))


def test_every_claim_is_in_the_reference_with_its_type() -> None:
    types = get_type_hints(Claims)

    expected = [
        [field.encode_name, "integer" if types[field.name] is int else "string"]
        for field in msgspec.structs.fields(Claims)
    ]

    assert expected == [row[:2] for row in rows(section(REFERENCE / "access-token.md", "Claims"))]


async def test_every_name_in_a_tokens_header_is_in_the_reference(service: Service) -> None:
    _, token = await service.create_identity(Caller(service.default_resource), ["chat"])

    assert token is not None
    header, _ = decode_unverified(token.token)
    assert list(header) == [row[0] for row in rows(section(REFERENCE / "access-token.md", "Header"))]


def test_every_scope_is_in_the_reference_with_its_first_api_version() -> None:
    first: dict[str, str] = {}
    for name in sorted(VERSIONS):
        for scope in VERSIONS[name].scopes:
            first.setdefault(scope, name)

    assert first == {row[0]: row[1] for row in rows(section(REFERENCE / "access-token.md", "Scopes"))}


def test_every_file_of_the_data_folder_is_in_the_reference(tmp_path: Path) -> None:
    data, user = tmp_path / "data", tmp_path / "user"

    with running_server("--data", str(data), environ={"HOME": str(user), "XDG_CONFIG_HOME": str(user)}) as server:
        assert 201 == create(server).status
        made = {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()}

    first_cells = [row[0] for row in rows((REFERENCE / "data-folder.md").read_text())]
    assert made == {name for cell in first_cells for name in cell.split(", ")}
    assert 0o700 == data.stat().st_mode & 0o777
    assert ["ca-key.pem", "ca.pem", "lock"] == sorted(path.name for path in (user / "mintmark").iterdir())


@pytest.mark.parametrize(("title", "group"), [("To run", None), ("To build", "build"), ("To test", "dev")])
def test_every_dependency_is_explained(title: str, group: str | None) -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    requirements = project["dependency-groups"][group] if group else project["project"]["dependencies"]
    explained = rows(section(DOCS / "dependencies.md", title))

    assert [name_of(one) for one in requirements if isinstance(one, str)] == [row[0] for row in explained]
    assert all(row[1] and row[3] for row in explained)


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=]", requirement)[0]
