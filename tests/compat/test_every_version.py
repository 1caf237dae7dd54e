"""Every operation in every api-version, as anybody can ask for it by HTTP."""

import time
from datetime import datetime
from urllib.parse import quote

import pytest

from calls import holds
from compat.conftest import FOREIGN, Verify
from compat.raw_http import RawHttp
from compat.support_matrix import OPERATIONS, Recorder
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.web.wire import VERSIONS
from running import RunningServer

PREVIEW = "2025-03-02-preview"
WITHOUT_GET = [version for version in VERSIONS if version != PREVIEW]
UNKNOWN = f"8:acs:{DEVELOPMENT_RESOURCE.id}_00000000-0000-0000-0000-000000000000"
ISSUE, REVOKE = "/:issueAccessToken", "/:revokeAccessTokens"
NAMING_AN_IDENTITY = pytest.mark.parametrize(
    ("method", "operation", "body"),
    [("POST", ISSUE, {"scopes": ["chat"]}), ("POST", REVOKE, None), ("DELETE", "", None)],
    ids=["issue", "revoke", "delete"],
)


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def ask(server: RunningServer, recorder: Recorder, version: str) -> RawHttp:
    return RawHttp(server, recorder, version)


@pytest.fixture
def preview(server: RunningServer, recorder: Recorder) -> RawHttp:
    return RawHttp(server, recorder, PREVIEW)


@pytest.mark.parametrize(
    "body",
    [None, {}, {"createTokenWithScopes": None, "expiresInMinutes": None}, {"createTokenWithScopes": []}],
    ids=["no body", "empty", "nulls", "no scopes"],
)
def test_create_without_a_token(ask: RawHttp, body: object) -> None:
    answer = ask("POST", "/identities", body)

    assert 201 == answer.status
    assert ["identity"] == list(answer.json)
    assert answer.json["identity"]["id"].startswith(f"8:acs:{DEVELOPMENT_RESOURCE.id}_")


def test_create_with_a_token(ask: RawHttp, verify: Verify) -> None:
    answer = ask("POST", "/identities", {"createTokenWithScopes": ["chat", "voip"]})

    claims = verify(answer.json["accessToken"]["token"])
    assert (201, answer.json["identity"]["id"]) == (answer.status, claims["sub"])
    assert claims["exp"] == datetime.fromisoformat(answer.json["accessToken"]["expiresOn"]).timestamp()


def test_issue_revoke_delete(ask: RawHttp, server: RunningServer) -> None:
    identity_id = ask.created()
    first = ask.issued(identity_id)
    assert holds(server, first)

    assert 204 == ask("POST", f"/identities/{identity_id}{REVOKE}").status
    second = ask.issued(identity_id)
    assert [False, True] == [holds(server, first), holds(server, second)]

    assert 204 == ask("DELETE", f"/identities/{identity_id}").status
    assert not holds(server, second)


def test_colons_may_be_encoded(ask: RawHttp) -> None:
    identity_id = quote(ask.created(), safe="")

    assert "%3A" in identity_id
    assert 200 == ask("POST", f"/identities/{identity_id}{ISSUE}", {"scopes": ["voip"]}).status
    assert 204 == ask("POST", f"/identities/{identity_id}{REVOKE}").status
    assert 204 == ask("DELETE", f"/identities/{identity_id}").status


def test_the_life_of_a_token_can_be_asked_for_where_the_version_has_it(
    ask: RawHttp, version: str, verify: Verify
) -> None:
    claims = verify(ask.issued(ask.created(), expiresInMinutes=60))

    assert (3600 if VERSIONS[version].has_expiry else 24 * 3600) == claims["exp"] - claims["iat"]


def test_every_scope_of_the_version_is_issued_and_no_other(ask: RawHttp, version: str, verify: Verify) -> None:
    identity_id, known = ask.created(), VERSIONS[version].scopes

    assert ",".join(known) == verify(ask.issued(identity_id, scopes=known))["acsScope"]
    for scope in set(VERSIONS[PREVIEW].scopes) - set(known):
        answer = ask("POST", f"/identities/{identity_id}{ISSUE}", {"scopes": [scope]})
        assert (400, "ValidationError") == (answer.status, answer.json["error"]["code"])


@NAMING_AN_IDENTITY
def test_an_identity_of_another_resource_is_not_owned(ask: RawHttp, method: str, operation: str, body: object) -> None:
    answer = ask(method, f"/identities/{FOREIGN}{operation}", body)

    assert (401, "IdentityNotOwned") == (answer.status, answer.json["error"]["code"])


@NAMING_AN_IDENTITY
def test_one_that_never_was_is_not_found_and_deleted_already(
    ask: RawHttp, method: str, operation: str, body: object
) -> None:
    answer = ask(method, f"/identities/{UNKNOWN}{operation}", body)

    assert (204 if method == "DELETE" else 404) == answer.status


@pytest.mark.parametrize("version", WITHOUT_GET, indirect=True)
def test_get_is_refused_where_the_version_has_none(ask: RawHttp) -> None:
    answer = ask("GET", f"/identities/{ask.created()}")

    assert (400, "UnsupportedApiVersion") == (answer.status, answer.json["error"]["code"])


def test_get_tells_what_is_known(preview: RawHttp) -> None:
    identity_id = preview.created({"customId": f"ann {time.monotonic_ns()}"})
    before = preview("GET", f"/identities/{identity_id}")
    preview.issued(identity_id)
    after = preview("GET", f"/identities/{identity_id}")

    assert (200, {"id", "customId"}) == (before.status, set(before.json))
    assert before.json | {"lastTokenIssuedAt": after.json["lastTokenIssuedAt"]} == after.json
    assert identity_id == after.json["id"]


@pytest.mark.parametrize("identity_id", [UNKNOWN, FOREIGN], ids=["unknown", "foreign"])
def test_get_is_refused_as_the_others_are(preview: RawHttp, identity_id: str) -> None:
    assert (404 if identity_id == UNKNOWN else 401) == preview("GET", f"/identities/{identity_id}").status


def test_a_custom_id_stands_for_one_identity(preview: RawHttp) -> None:
    name = f"ben {time.monotonic_ns()}"
    first = preview.created({"customId": name})

    assert first == preview.created({"customId": name})
    preview("DELETE", f"/identities/{first}")
    assert first != preview.created({"customId": name})


def test_the_matrix_knows_every_operation() -> None:
    assert set(OPERATIONS) == {name for each in VERSIONS.values() for name in each.operations}
