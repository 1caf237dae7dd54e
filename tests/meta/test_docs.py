"""The reference pages say what the code says, and no link leads nowhere."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import click
import msgspec
import pytest
from msgspec import NODEFAULT, Struct

from calls import ask, create
from docs.markdown import DOCS, PAGES, ROOT, anchor, headings, links, rows, section
from meta import settings_page
from mintmark.bearer import TrustedIssuer
from mintmark.cli import cli
from mintmark.jose import decode_unverified
from mintmark.service import Caller, Service, TokenRequest
from mintmark.settings import ABOUT, Settings
from mintmark.teams import TeamsIssuer
from mintmark.tokens import Claims
from mintmark.web.wire import VERSIONS
from running import running_server

pytestmark = pytest.mark.anyio

REFERENCE = DOCS / "reference"


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
    context = click.Context(command)
    for name in command.commands or command.list_commands(context):
        below = command.get_command(context, name)
        assert below is not None
        yield from commands(below, f"{path} {name}")


COMMANDS = dict(commands(cli, "mintmark"))
COMMAND_LINE = REFERENCE / "command-line.md"
SHARED_FLAGS = {"#finding-the-server": "Finding the server", "#flags-of-serve": "Flags of serve"}
ASK_NO_SERVER = ("dev", "exec", "serve", "config show", "config check", "backup", "restore", "migrate")


def flags_of(path: str) -> dict[str, str]:
    """The flags of a command as its help shows them, each with its default."""
    command = COMMANDS[path]
    context = click.Context(command, info_name=path)
    flags = {}
    for option in command.params:
        if isinstance(option, click.Option):
            flag, help_text = option.get_help_record(context) or ("", "")
            in_help = re.search(r"\[default: (.+)\]", help_text)
            flags[flag] = in_help[1] if in_help else option.default if isinstance(option.default, str) else ""
    return flags


def documented_flags(title: str) -> dict[str, str]:
    return {row[0]: row[1] for row in rows(section(COMMAND_LINE, title)) if row[0].startswith("--")}


@pytest.mark.parametrize("path", COMMANDS)
def test_a_command_has_its_usage_and_flags_in_the_reference(path: str) -> None:
    text, flags = section(COMMAND_LINE, path), flags_of(path)
    common = {
        name: default
        for anchor, title in SHARED_FLAGS.items()
        if f"({anchor})" in text
        for name, default in documented_flags(title).items()
    }

    usage = COMMANDS[path].get_usage(click.Context(COMMANDS[path], info_name=path)).removeprefix("Usage: ")

    assert flags == {**documented_flags(path), **common}
    assert f"`{usage}`" in text


@pytest.mark.parametrize("path", [path for path in COMMANDS if path.removeprefix("mintmark ") not in ASK_NO_SERVER])
def test_a_command_that_asks_a_server_has_the_flags_that_find_it(path: str) -> None:
    assert documented_flags("Finding the server").items() <= flags_of(path).items()


def test_the_reference_has_no_command_that_is_gone() -> None:
    titles = [title for title in headings(COMMAND_LINE) if title.startswith("mintmark ")]

    assert list(COMMANDS) == titles


def test_the_tables_of_settings_are_those_that_the_code_gives() -> None:
    """If not: `make settings-page`."""
    page = settings_page.PAGE.read_text()

    assert settings_page.with_tables(page) == page
    assert {field.name for field in msgspec.structs.fields(Settings)} == set(ABOUT)


@pytest.mark.parametrize(("title", "kind"), [("bearer", TrustedIssuer), ("teams", TeamsIssuer)])
def test_the_members_of_an_issuer_are_in_the_reference_with_their_defaults(title: str, kind: type[Struct]) -> None:
    documented = [row[:2] for row in rows(section(settings_page.PAGE, title))]

    expected = {field.name: field.default for field in msgspec.structs.fields(kind)}
    shown = [[name, "required" if default is NODEFAULT else ", ".join(default)] for name, default in expected.items()]
    assert shown == documented


def test_every_claim_is_in_the_reference_with_its_type() -> None:
    types = get_type_hints(Claims)

    expected = [
        [field.encode_name, "integer" if int in (types[field.name], *get_args(types[field.name])) else "string"]
        for field in msgspec.structs.fields(Claims)
    ]

    assert expected == [row[:2] for row in rows(section(REFERENCE / "access-token.md", "Claims"))]


async def test_every_name_in_a_tokens_header_is_in_the_reference(service: Service) -> None:
    _, token, _ = await service.create_identity(Caller(await service.resource()), TokenRequest(["chat"]))

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
        fault = b'{"operation":"delete","drop":true}'
        assert 200 == ask(server.admin_endpoint, "/_mintmark/faults", method="POST", body=fault).status
        made = {str(path.relative_to(data)) for path in data.rglob("*") if path.is_file()}

    first_cells = [row[0] for row in rows((REFERENCE / "data-folder.md").read_text())]
    assert made == {name for cell in first_cells for name in cell.split(", ")}
    assert 0o700 == data.stat().st_mode & 0o777
    assert ["ca-key.pem", "ca.pem", "lock"] == sorted(path.name for path in (user / "mintmark").iterdir())


@pytest.mark.parametrize("title", ["To run", "To run on PostgreSQL", "To build", "To test"])
def test_every_dependency_is_explained(title: str) -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    requirements = {
        "To run": project["project"]["dependencies"],
        "To run on PostgreSQL": project["project"]["optional-dependencies"]["postgres"],
        "To build": project["dependency-groups"]["build"],
        "To test": project["dependency-groups"]["dev"],
    }[title]
    explained = rows(section(DOCS / "dependencies.md", title))

    assert [name_of(one) for one in requirements if isinstance(one, str)] == [row[0] for row in explained]
    assert all(row[1] and row[3] for row in explained)


def name_of(requirement: str) -> str:
    return re.split(r"[\[<>=]", requirement)[0]


def test_the_layers_are_explained_from_top_to_bottom() -> None:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = [set(layer.split(" | ")) for layer in project["tool"]["importlinter"]["contracts"][0]["layers"]]
    explained = [row[0].split(", ") for row in rows(section(DOCS / "why" / "how-it-fits-together.md", "Layers"))]

    levels = [next(level for level, names in enumerate(layers) if name in names) for row in explained for name in row]

    assert set().union(*layers) == {name for row in explained for name in row}
    assert sorted(levels) == levels


def test_every_command_of_make_is_explained() -> None:
    commands = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    explained = {row[0].removeprefix("make ") for row in rows(section(ROOT / "CONTRIBUTING.md", "Commands"))}

    assert set(commands) - {"help"} == explained
