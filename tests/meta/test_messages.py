"""Whatever Mintmark refuses, the reference has its code and its message, and says what to do."""

import ast
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from builders import NOON, as_header_list, signed_headers, signed_request
from docs.examples import matches
from docs.markdown import DOCS, ROOT, rows, section
from mintmark.administration import Search
from mintmark.development_clock import DevelopmentClock
from mintmark.errors import Denied, InvalidRequest, ServerNotFound
from mintmark.faults import Faults
from mintmark.http import protocol
from mintmark.http.framing import Refusal
from mintmark.request_signature import read_proof
from mintmark.service import Caller, Service
from mintmark.shared import SharedWords
from mintmark.sources import Sources
from mintmark.teams import TeamsExchange, check_exchange
from mintmark.web import faulty
from mintmark.web.admin import AdminApi, NewResource
from mintmark.web.call import Call
from mintmark.web.dev import DevelopmentControls
from mintmark.web.problems import PROBLEMS, internal_error
from mintmark.web.wire import VERSIONS, read_create, read_introspect, read_issue, read_typed
from web.apps import an_administration, signing_keys

pytestmark = pytest.mark.anyio

SETTINGS = ROOT / "src" / "mintmark" / "settings"
ERRORS = DOCS / "reference" / "errors.md"
ACCESS_TOKEN = DOCS / "reference" / "access-token.md"
NEWEST, PREVIEW = VERSIONS["2026-09-23"], VERSIONS["2025-03-02-preview"]
JSON = b"application/json"
TARGET = "/identities?api-version=2023-10-01"
A_GUID, ANOTHER_GUID = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "12")
ENTRA = {"appid": A_GUID, "oid": A_GUID}
HOUR = 3_600_000  # milliseconds
UNFORESEEN, ANY_OTHER_FAULT = ("500", "InternalServerError"), ("400 to 599", "Fault")
OF_PROTOCOL = [each for each in vars(protocol).values() if isinstance(each, Refusal)]
OF_ANY_TOKEN = "jose.decode_unverified"
OF_FOREIGN_TOKENS = (
    "bearer.", "openid.", "jose.read_foreign", "jose.verify_foreign_signature", "jose._one_key",
)  # fmt: skip


class TestCodes:
    def test_the_table_of_problems_and_the_reference_are_the_same(self) -> None:
        documented = [(row[0], row[1]) for row in rows(section(ERRORS, "Codes"))]

        answered = {(str(status), code) for status, code in PROBLEMS.values()}
        on_demand = {(str(status), code) for status, code in faulty._CODES.items()}
        before = {(str(refusal.status), refusal.code) for refusal in OF_PROTOCOL}
        assert answered | on_demand | before | {UNFORESEEN, ANY_OTHER_FAULT} == set(documented)
        assert len(documented) == len(set(documented))
        assert UNFORESEEN[1] == msgspec.json.decode(internal_error().body)["error"]["code"]

    @pytest.mark.parametrize("error", [error for error in PROBLEMS if "__init__" not in vars(error)])
    def test_a_message_that_is_always_the_same_is_in_the_reference(self, error: type[Any]) -> None:
        said = {row[1]: row[2] for row in rows(section(ERRORS, "Codes"))}

        assert f'"{error.default_message()}"' in said[PROBLEMS[error][1]]


def messages_by_place(error: str) -> Iterator[tuple[str, str]]:
    """The messages with which an error is raised, with … for what is filled in, each after its `module.name`."""
    for path in (path for path in (ROOT / "src").rglob("*.py") if path.parent != SETTINGS):  # Those have their own.
        for top in ast.parse(path.read_text()).body:
            for node in ast.walk(top):
                if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(error) and node.args:
                    for text in templates(node.args[0]):
                        yield f"{path.stem}.{getattr(top, 'name', '')}", text


def messages_in_the_code(error: str) -> list[str]:
    return [text for _, text in messages_by_place(error) if text.strip("….")]


def templates(node: ast.expr) -> list[str]:
    return [as_template(each) for each in ((node.body, node.orelse) if isinstance(node, ast.IfExp) else (node,))]


def as_template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(as_template(part) for part in node.values)
    if isinstance(node, ast.BinOp):
        return as_template(node.left) + as_template(node.right)
    return "…"


@pytest.mark.parametrize(
    ("error", "least", "page", "title"),
    [
        ("InvalidRequest", 20, ERRORS, "400 ValidationError"),
        ("Denied", 8, ERRORS, "401 Denied"),
        ("bad_request", 10, ERRORS, "400 BadRequest"),
        ("Forbidden", 1, ERRORS, "403 Forbidden"),
        ("StartRefused", 15, ERRORS, "Messages of the command line"),
        ("ServerNotFound", 2, ERRORS, "Messages of the command line"),
        ("MintmarkError", 1, ERRORS, "Messages of the command line"),
        ("BadParameter", 2, ERRORS, "Messages of the command line"),
    ],
)
def test_every_message_in_the_code_is_in_the_reference(error: str, least: int, page: Path, title: str) -> None:
    """Those that are put together elsewhere are provoked below."""
    documented = [cell for row in rows(section(page, title)) for cell in row]
    in_the_code = messages_in_the_code(error)

    assert least <= len(in_the_code)
    for text in in_the_code:
        assert any(matches(text, cell) or matches(cell, text) for cell in documented if cell), text


def test_every_message_of_the_command_line_in_the_reference_is_in_the_code() -> None:
    raised = ("StartRefused", "ServerNotFound", "MintmarkError", "BadParameter")
    in_the_code = [text for error in raised for text in messages_in_the_code(error)]

    for message, _ in rows(section(ERRORS, "Messages of the command line")):
        known = [*in_the_code, ServerNotFound.default_message()]
        assert any(matches(message, text) or matches(text, message) for text in known), message


def test_every_answer_to_what_reaches_no_route_is_in_the_reference() -> None:
    said = {(row[0], row[1]): row[2] for row in rows(section(ERRORS, "Codes"))}
    details = messages_in_the_code("bad_request")
    messages = [*(refusal.message for refusal in OF_PROTOCOL), *details]

    for refusal in OF_PROTOCOL:
        assert refusal.message in details or f'"{refusal.message}"' in said[str(refusal.status), refusal.code]
    for row in rows(section(ERRORS, "400 BadRequest")):
        assert any(matches(row[0], text) or matches(text, row[0]) for text in messages), row[0]


def test_every_reason_against_a_token_is_in_the_reference_and_no_other() -> None:
    documented = [row[0] for row in rows(section(ACCESS_TOKEN, "When a token lives"))]

    assert set(documented) == {
        text for place, text in messages_by_place("InvalidToken") if not place.startswith(OF_FOREIGN_TOKENS)
    }


def test_every_reason_against_a_foreign_token_is_in_the_reference_and_no_other() -> None:
    documented = [row[0] for row in rows(section(ACCESS_TOKEN, "Tokens of other issuers"))]

    assert set(documented) == {
        text
        for place, text in messages_by_place("InvalidToken")
        if place.startswith((*OF_FOREIGN_TOKENS, OF_ANY_TOKEN))
    }


def complaints_about_settings() -> Iterator[str]:
    """Every sentence in the code that reads settings, but for docstrings."""
    for path in SETTINGS.glob("[a-z]*.py"):
        yield from sentences(ast.parse(path.read_text()))


def sentences(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):  # a docstring
        return
    if isinstance(node, ast.JoinedStr | ast.Constant):
        text = as_template(node)
        if len(text) > 10 and " " in text:  # Shorter ones are parts of others.
            yield text
        return
    for child in ast.iter_child_nodes(node):
        yield from sentences(child)


def test_every_complaint_about_settings_is_in_the_reference_and_no_other() -> None:
    documented = [row[0] for row in rows(section(ERRORS, "Settings that do not fit"))]
    in_the_code = list(complaints_about_settings())

    assert 20 <= len(in_the_code)
    for text in in_the_code:
        assert any(matches(pattern, text) for pattern in documented), text
    for pattern in documented:
        assert any(matches(pattern, text) for text in in_the_code), pattern


READ: list[Callable[[], object]] = [
    lambda: read_create(b'{"createTokenWithScopes":["shout"]}', JSON, NEWEST),
    lambda: read_create(b'{"createTokenWithScopes":"chat"}', JSON, NEWEST),
    lambda: read_issue(b"", JSON, NEWEST),
    lambda: read_issue(b'{"scopes":[]}', JSON, NEWEST),
    lambda: read_create(b'{"expiresInMinutes":59}', JSON, NEWEST),
    lambda: read_create(b'{"customId":""}', JSON, PREVIEW),
    lambda: read_create(b"{", JSON, NEWEST),
    lambda: read_create(b"[]", JSON, NEWEST),
    lambda: read_create(b"\xff", JSON, NEWEST),
    lambda: read_create(b'{"a":' + b"[" * 30_000, JSON, NEWEST),
    lambda: read_proof(signed_request("GET", b"/", as_header_list([("host", "a"), ("host", "b")]), b"")),
    lambda: read_typed(b"", JSON, NewResource),
    lambda: read_typed(b"{}", JSON, NewResource),
    lambda: read_introspect(b"{}", JSON),
    lambda: check_exchange(TeamsExchange("", "", A_GUID), ENTRA),
    lambda: check_exchange(TeamsExchange("", A_GUID, ""), ENTRA),
    lambda: check_exchange(TeamsExchange("", "x", A_GUID), ENTRA),
    lambda: check_exchange(TeamsExchange("", A_GUID, "x"), ENTRA),
    lambda: check_exchange(TeamsExchange("", ANOTHER_GUID, A_GUID), ENTRA),
    lambda: check_exchange(TeamsExchange("", A_GUID, ANOTHER_GUID), ENTRA),
]


async def test_every_message_about_a_field_is_in_the_reference(
    service: Service, sources: Sources, words: SharedWords, tmp_path: Path
) -> None:
    documented = [(row[0].split(", "), row[1]) for row in rows(section(ERRORS, "400 ValidationError"))]
    administration = an_administration(service, sources, words)
    api = AdminApi(administration, "", development=True)
    controls = DevelopmentControls(DevelopmentClock(words, sources.now), Faults(tmp_path, words))
    caller = Caller(await service.resource())
    keys = signing_keys(service, sources, words)

    async def remove_the_key_that_signs() -> None:
        await keys.remove((await keys.all())[0][0].kid)

    asked: list[Callable[[], Awaitable[object]]] = [
        lambda: service.identity(caller, "x"),
        lambda: api.list_identities(service, a_call(query=b"limit=many")),
        lambda: administration.identities(None, Search(limit=0)),
        lambda: administration.identities(None, Search(cursor="x")),
        lambda: administration.add_resource(""),
        lambda: administration.add_resource("a", region=""),
        lambda: administration.add_resource("a", hosts=["A"]),
        lambda: administration.add_resource("a", resource_id="x"),
        lambda: controls.move_clock(service, a_call(body=b'{"action":"set"}')),
        lambda: controls.move_clock(service, a_call(body=b'{"action":"set","now":-1}')),
        lambda: controls.add_fault(service, a_call(body=b"{}")),
        lambda: controls.add_fault(service, a_call(body=b'{"drop":true,"status":500}')),
        lambda: controls.add_fault(service, a_call(body=b'{"drop":true,"retryAfter":1}')),
        lambda: administration.add_resource("a", hosts=[f"host{number}" for number in range(33)]),
        lambda: api.add_resource(service, a_call(body=b'{"name":"development"}')),
        lambda: api.list_identities(service, a_call(query=b"colour=red")),
        lambda: api.list_identities(service, a_call(query=b"customId=")),
        remove_the_key_that_signs,
    ]

    said = []
    for read in READ:
        with pytest.raises(InvalidRequest) as refusal:
            read()
        said.append((refusal.value.target, refusal.value.message))
    for ask in asked:
        with pytest.raises(InvalidRequest) as refusal:
            await ask()
        said.append((refusal.value.target, refusal.value.message))

    for target, message in said:
        assert any(target in targets and matches(pattern, message) for targets, pattern in documented), message
    for targets, pattern in documented:
        assert any(target in targets and matches(pattern, message) for target, message in said), pattern


def changed(name: str, value: str | None) -> list[tuple[bytes, bytes]]:
    """The headers of a signed request, one of them replaced, or left out for None."""
    kept = [header for header in signed_headers("POST", TARGET) if header[0] != name.encode()]
    return kept if value is None else [*kept, *as_header_list([(name, value)])]


BEARER = changed("authorization", "Bearer e30.e30.AAAA")
DENIED = [
    changed("authorization", None),
    changed("authorization", "Basic e30="),
    BEARER,
    changed("authorization", "HMAC-SHA256 SignedHeaders=x-ms-date;host&Signature=AAAA"),
    changed("authorization", "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256;other&Signature=AAAA"),
    changed("x-ms-date", None),
    [*signed_headers("POST", TARGET), (b"x-ms-date", b"Mon, 23 Nov 2026 12:00:00 GMT")],
    changed("x-ms-content-sha256", "AAAA"),
    changed("x-ms-date", "yesterday"),
    signed_headers("POST", TARGET, now=NOON - HOUR),
    signed_headers("POST", TARGET, now=NOON + HOUR),
    signed_headers("POST", TARGET, key=b"another"),
]


async def test_every_reason_of_a_401_is_in_the_reference(
    service: Service, sources: Sources, words: SharedWords
) -> None:
    documented = [row[0] for row in rows(section(ERRORS, "401 Denied")) if row[0].endswith(".")]

    reasons = []
    names: set[str] = set()
    for headers in DENIED:
        with pytest.raises(Denied) as refusal:
            await service.authenticate(signed_request("POST", TARGET.encode(), headers, b""))
        reasons.append(refusal.value.reason)
        names |= {name for name, _ in refusal.value.explanation}
    await an_administration(service, sources, words).remove_resource((await service.resource()).id)
    with pytest.raises(Denied) as refusal:
        await service.authenticate(signed_request("POST", TARGET.encode(), BEARER, b""))
    reasons.append(refusal.value.reason)

    assert len(reasons) == len(documented)
    for reason in reasons:
        assert any(matches(pattern, reason) for pattern in documented), reason
    assert names <= {row[0] for row in rows(section(ERRORS, "401 Denied"))}


def a_call(query: bytes = b"", body: bytes = b"") -> Call:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    return Call({"method": "", "path": "", "raw_path": b"", "query_string": query, "headers": []}, receive)
