"""The contract as documents and as a page: both say what the code does.

That the routes are the operations of the documents is tested in `tests/meta/test_contract.py`.
"""

import html
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import as_header_list
from mintmark.errors import InvalidRequest
from mintmark.model import parse_identity_id
from mintmark.service import Service
from mintmark.shared import SharedWords
from mintmark.sources import Sources
from mintmark.web import Application
from mintmark.web.openapi import OPERATIONS, document
from mintmark.web.problems import PROBLEMS
from mintmark.web.wire import NEWEST, VERSIONS, ApiVersion, read_create, read_issue
from web.apps import an_admin_app
from web.asgi_client import Reply, call

pytestmark = pytest.mark.anyio

HERE = as_header_list([("host", "localhost:12090")])
JSON = b"application/json"
DOCUMENT = "/_mintmark/openapi.json"
EVERY_VERSION = pytest.mark.parametrize("version", VERSIONS.values(), ids=lambda version: version.name)


@pytest.fixture
async def app(service: Service, sources: Sources, words: SharedWords, tmp_path: Path) -> Application:
    return an_admin_app(service, sources, words, tmp_path)


@pytest.fixture
async def page(app: Application) -> Reply:
    reply = await call(app, "GET", "/_mintmark/openapi", HERE)
    assert (200, "text/html; charset=utf-8") == (reply.status, reply.headers["content-type"])
    return reply


class TestDocuments:
    @EVERY_VERSION
    async def test_each_version_has_one(self, app: Application, version: ApiVersion) -> None:
        reply = await call(app, "GET", f"{DOCUMENT}?api-version={version.name}", HERE)

        assert (200, "application/json") == (reply.status, reply.headers["content-type"])
        assert document(version, "https://localhost:12443") == reply.json

    async def test_the_newest_is_the_one_without_a_name(self, app: Application) -> None:
        assert document(NEWEST, "https://localhost:12443") == (await call(app, "GET", DOCUMENT, HERE)).json

    @pytest.mark.parametrize("name", ["2020-01-01", "2030-01-01", "latest", "%FF", "x" * 1000])
    async def test_a_version_that_is_not_served_is_refused_with_the_list(self, app: Application, name: str) -> None:
        reply = await call(app, "GET", f"{DOCUMENT}?api-version={name}", HERE)

        assert (400, "UnsupportedApiVersion") == (reply.status, reply.error["code"])
        assert f"Supported: {', '.join(VERSIONS)}." in reply.error["message"]
        assert len(reply.error["message"]) < 500

    async def test_pages_of_other_origins_do_not_get_them(self, app: Application) -> None:
        for path in (DOCUMENT, "/_mintmark/openapi"):
            foreign = [*HERE, (b"origin", b"https://evil.example")]
            assert 403 == (await call(app, "GET", path, foreign)).status

    @EVERY_VERSION
    def test_operations_have_ids_of_their_own_and_the_version_is_required(self, version: ApiVersion) -> None:
        described = [each for methods in document(version)["paths"].values() for each in methods.values()]

        assert len(version.operations) == len({each["operationId"] for each in described})
        for each in described:
            (parameter,) = (one for one in each["parameters"] if one["name"] == "api-version")
            assert parameter["required"]
            assert [version.name] == parameter["schema"]["enum"]

    @EVERY_VERSION
    def test_a_refusal_names_its_codes(self, version: ApiVersion) -> None:
        for methods in document(version)["paths"].values():
            for described in methods.values():
                for status, response in described["responses"].items():
                    codes = {code for number, code in PROBLEMS.values() if str(number) == status}
                    assert not codes or codes == set(re.findall(r"[A-Z]\w+", response["description"])) - {"Refused"}

    @EVERY_VERSION
    def test_what_bodies_may_hold_is_what_is_read(self, version: ApiVersion) -> None:
        """At the edges of each schema, and one step beyond."""
        schemas = document(version)["components"]["schemas"]
        create, issue = schemas["CreateRequest"]["properties"], schemas["IssueRequest"]["properties"]

        for scope in issue["scopes"]["items"]["enum"]:
            assert (scope,) == read_issue(f'{{"scopes":["{scope}"]}}'.encode(), JSON, version).scopes
        for members in (create, issue):
            if "expiresInMinutes" in members:
                minutes = members["expiresInMinutes"]
                assert_edges(version, "expiresInMinutes", minutes["minimum"], minutes["maximum"], str)
        if "customId" in create:
            name = create["customId"]
            assert_edges(version, "customId", name["minLength"], name["maxLength"], lambda length: f'"{"x" * length}"')
        assert schemas["IssueRequest"]["required"] == ["scopes"]
        assert refuses(version, b'{"scopes":[]}', read_issue)
        assert refuses(version, b"{}", read_issue)

    @settings(max_examples=200, deadline=None)
    @given(data=st.data())
    def test_what_it_calls_an_identity_s_id_is_one(self, data: st.DataObject) -> None:
        pattern = document(NEWEST)["components"]["schemas"]["IdentityAccessToken"]["properties"]["identity"][
            "properties"
        ]["id"]["pattern"]
        text = data.draw(st.from_regex(pattern, fullmatch=True)).removesuffix("\n")

        assert parse_identity_id(text) is not None


def refuses(version: ApiVersion, body: bytes, read: Any = read_create) -> bool:
    try:
        read(body, JSON, version)
    except InvalidRequest:
        return True
    return False


def assert_edges(version: ApiVersion, member: str, least: int, most: int, text: Any) -> None:
    for value, refused in ((least - 1, True), (least, False), (most, False), (most + 1, True)):
        assert refused == refuses(version, f'{{"{member}":{text(value)}}}'.encode()), value


class TestPage:
    async def test_it_has_every_operation(self, page: Reply) -> None:
        for operation in OPERATIONS.values():
            assert f"{operation.method.upper()} {operation.path}<" in page.body.decode()
            assert html.escape(operation.summary) in page.body.decode()

    async def test_it_has_every_version_with_its_document_and_scopes(self, app: Application, page: Reply) -> None:
        links = re.findall(r'href="([^"]+)"', page.body.decode())

        assert [f"{DOCUMENT}?api-version={name}" for name in reversed(VERSIONS)] == links
        for link in links:
            assert 200 == (await call(app, "GET", link, HERE)).status
        for version in VERSIONS.values():
            row = re.search(rf"<tr><td><code>{version.name}</code></td><td>([^<]+)</td>", page.body.decode())
            assert row
            assert ", ".join(version.scopes) == row[1]

    async def test_it_has_every_error_code_with_its_status(self, page: Reply) -> None:
        shown = re.findall(r"<tr><th>(\d{3})</th><td><code>(\w+)</code></td>", page.body.decode())

        assert sorted((str(status), code) for status, code in PROBLEMS.values()) == shown

    async def test_it_has_every_member_of_every_body(self, page: Reply) -> None:
        text = page.body.decode()
        schemas = [document(version)["components"]["schemas"] for version in VERSIONS.values()]

        for name in {name for each in schemas for name in each if not name.startswith("Error")}:
            members = {member for each in schemas if name in each for member in each[name]["properties"]}
            part = text.partition(f"<h2>{name}</h2>")[2].partition("<h2>")[0]
            assert sorted(members) == sorted(re.findall(r"<th><code>(\w+)</code></th>", part)), name

    async def test_it_loads_nothing_and_may_not(self, page: Reply) -> None:
        policy = page.headers["content-security-policy"]

        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert not any(
            word in page.body for word in (b"<script", b"<link", b"<img", b"src=", b"@import", b"url(", b"//")
        )

    async def test_the_start_page_leads_to_it(self, app: Application) -> None:
        assert b'href="/_mintmark/openapi"' in (await call(app, "GET", "/", HERE)).body
