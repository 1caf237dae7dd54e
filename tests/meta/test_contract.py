"""The route table, the api-versions, the OpenAPI documents and the reference page say the same."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_args

import msgspec
import pytest
from msgspec import Struct
from starlette.routing import Route

from docs.markdown import DOCS, rows, section
from mintmark.administration import Search
from mintmark.development_issuer import DevelopmentIssuer
from mintmark.faults import OPERATIONS as FAULTY_OPERATIONS
from mintmark.faults import Fault, Operation
from mintmark.service import Service
from mintmark.shared import SharedWords
from mintmark.sources import Sources
from mintmark.web import Application, build_public_app
from mintmark.web.adfs import DevelopmentSignIn
from mintmark.web.admin import NewResource
from mintmark.web.auth import Signed
from mintmark.web.dev import ClockMove
from mintmark.web.endpoint import Endpoint
from mintmark.web.openapi import OPERATIONS, _answers, document
from mintmark.web.problems import PROBLEMS
from mintmark.web.signing_keys import Rotation
from mintmark.web.wire import VERSIONS
from web.apps import an_admin_app

pytestmark = pytest.mark.anyio

PAGE = DOCS / "reference" / "http-api.md"
EVERY_OPERATION = pytest.mark.parametrize("name", list(OPERATIONS))
STATUSES = {status for status, _ in PROBLEMS.values()}


class Served(NamedTuple):
    """A route with one of its methods, and what stands behind it."""

    method: str
    path: str
    guarded: Any

    @property
    def title(self) -> str:
        return f"{self.method} {self.path}"


def served(app: Application) -> Iterator[Served]:
    for route in app.routes:
        assert isinstance(route, Route)
        assert isinstance(route.app, Endpoint)
        for method, guarded in route.app._methods.items():
            if method != "HEAD":
                yield Served(method, route.path, guarded)


@pytest.fixture
async def public(service: Service, sources: Sources) -> Application:
    sign_in = DevelopmentSignIn(DevelopmentIssuer("https://localhost:12443", "http://localhost:12080", sources))
    return build_public_app(service, sources, sign_in=sign_in)


@pytest.fixture
async def admin(service: Service, sources: Sources, words: SharedWords, tmp_path: Path) -> Application:
    return an_admin_app(service, sources, words, tmp_path)


def titles(listener: str) -> list[str]:
    """The routes that the page has for a listener, in order."""
    return re.findall(r"^### ([A-Z]+ /.*)$", section(PAGE, listener), re.MULTILINE)


async def test_every_public_route_is_in_the_reference(public: Application) -> None:
    assert [each.title for each in served(public)] == titles("Public listener")


async def test_every_route_of_the_admin_listener_is_in_the_reference(admin: Application) -> None:
    assert [each.title for each in served(admin)] == titles("Admin listener")


async def test_the_signed_routes_are_the_operations_of_openapi(public: Application) -> None:
    """Each behind the handler of its own name, and under that name for its guard."""
    routed = {}
    for each in served(public):
        if each.guarded.__qualname__.startswith(Signed.__name__):
            behind = inspect.getclosurevars(each.guarded).nonlocals
            routed[behind["operation"]] = (each.method, each.path, behind["handler"].__name__)

    assert {name: (of.method.upper(), of.path, name) for name, of in OPERATIONS.items()} == routed


def test_operations_are_called_the_same_everywhere() -> None:
    in_versions = frozenset[str]().union(*(version.operations for version in VERSIONS.values()))

    assert set(OPERATIONS) == in_versions == set(FAULTY_OPERATIONS)
    assert ("*", *FAULTY_OPERATIONS) == get_args(Operation)


def test_every_api_version_is_in_the_reference_with_what_it_has() -> None:
    expected = [
        [
            version.name,
            ", ".join(sorted(version.operations)),
            ", ".join(version.scopes),
            "yes" if version.has_expiry else "",
            "yes" if version.has_custom_id else "",
        ]
        for version in VERSIONS.values()
    ]

    assert expected == rows(section(PAGE, "Api-versions"))


@EVERY_OPERATION
def test_an_operation_has_its_answers_and_refusals_in_the_reference(name: str) -> None:
    operation, text = OPERATIONS[name], section(PAGE, title_of(name))
    answers = {status for version in VERSIONS.values() for status in _answers(operation, version)}

    (answer,) = re.findall(r"^Answer: (.+)", text, re.MULTILINE)
    (refused,) = re.findall(r"^Refused: (.+)\.$", text, re.MULTILINE)

    assert answers == {int(status) for status in re.findall(r"\b\d{3}\b", answer)}
    assert sorted(operation.refusals) == [int(status) for status in refused.split(", ")]
    assert set(operation.refusals) <= STATUSES


@EVERY_OPERATION
def test_an_operation_has_its_members_in_the_reference_and_in_openapi(name: str) -> None:
    operation = OPERATIONS[name]
    all_members: set[str] = set()
    for version in VERSIONS.values():
        if operation.body and name in version.operations:
            all_members |= set(document(version)["components"]["schemas"][operation.body]["properties"])

    assert all_members == {row[0] for row in rows(section(PAGE, title_of(name)))}


@pytest.mark.parametrize("version", VERSIONS.values(), ids=lambda version: version.name)
def test_the_openapi_document_of_a_version_has_what_the_version_has(version: Any) -> None:
    described = document(version)
    schemas = described["components"]["schemas"]

    paths = {(method, path) for path, methods in described["paths"].items() for method in methods}
    create, issue = schemas["CreateRequest"]["properties"], schemas["IssueRequest"]["properties"]
    assert {(OPERATIONS[name].method, OPERATIONS[name].path) for name in version.operations} == paths
    assert list(version.scopes) == issue["scopes"]["items"]["enum"] == create["createTokenWithScopes"]["items"]["enum"]
    assert version.has_expiry == ("expiresInMinutes" in create) == ("expiresInMinutes" in issue)
    assert version.has_custom_id == ("customId" in create)


@pytest.mark.parametrize(
    ("title", "body"),
    [
        ("POST /_mintmark/resources", NewResource),
        ("POST /_mintmark/signing-keys/:rotate", Rotation),
        ("POST /_mintmark/clock", ClockMove),
        ("POST /_mintmark/faults", Fault),
    ],
)
def test_a_body_of_the_admin_api_is_in_the_reference_with_its_defaults(title: str, body: type[Struct]) -> None:
    documented = [[row[0], row[2]] for row in rows(section(PAGE, title))]

    expected = [[field.encode_name, as_text(field)] for field in msgspec.structs.fields(body)]
    assert expected == [[name, default] for name, default in documented]


def as_text(field: msgspec.structs.FieldInfo) -> str:
    """A default as the page has it."""
    if field.name == "id":
        return "a new one"
    if field.default is msgspec.NODEFAULT:
        return "required"
    if field.default is None or field.default == ():
        return "none"
    return str(field.default).lower() if isinstance(field.default, bool) else str(field.default)


def test_the_queries_of_a_search_are_in_the_reference_with_their_defaults() -> None:
    documented = {row[0]: row[1] for row in rows(section(PAGE, "GET /_mintmark/identities"))}

    expected = {as_query(field.name): str(field.default or "") for field in msgspec.structs.fields(Search)}
    assert {"resource": "the oldest resource", **expected} == documented


def as_query(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def title_of(name: str) -> str:
    return f"{OPERATIONS[name].method.upper()} {OPERATIONS[name].path}"
