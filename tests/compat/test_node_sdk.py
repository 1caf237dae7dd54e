"""The official JavaScript SDK, unmodified, in Node: one process asks everything, over HTTPS and plain HTTP."""

import base64
import json
from typing import Any

import pytest

from compat.conftest import FOREIGN, NODE_FOLDER, SCOPES, RunNode
from compat.outcomes import Outcomes
from compat.support_matrix import Recorder
from mintmark.development import DEVELOPMENT_KEYS, DEVELOPMENT_RESOURCE
from mintmark.web.wire import VERSIONS
from running import RunningServer

PACKAGES = json.loads((NODE_FOLDER / "package-lock.json").read_text())["packages"]
NAME = " and ".join(
    f"{package} {PACKAGES[f'node_modules/@azure/{package}']['version']}"
    for package in ("communication-identity", "communication-common")
)
SCOPE_LISTS = pytest.mark.parametrize("scopes", [*([scope] for scope in SCOPES), SCOPES], ids=",".join)
OBTAINED = pytest.mark.parametrize("method", ["createUserAndToken", "getToken"])


@pytest.fixture(scope="module")
def printed(run_node: RunNode) -> dict[str, Any]:
    answer: dict[str, Any] = run_node("sdk.mjs", base64.b64encode(DEVELOPMENT_KEYS[1]).decode(), FOREIGN, *VERSIONS)
    return answer


@pytest.fixture(params=["https", "http"])
def outcomes(request: pytest.FixtureRequest, printed: dict[str, Any], recorder: Recorder) -> Outcomes:
    return Outcomes(f"JavaScript with {NAME}", printed[request.param], recorder)


def test_it_creates_a_user(outcomes: Outcomes) -> None:
    assert outcomes["user"].startswith(f"8:acs:{DEVELOPMENT_RESOURCE.id}_")


@OBTAINED
@SCOPE_LISTS
def test_jose_verifies_the_token_and_it_says_who_may_do_what(
    outcomes: Outcomes, server: RunningServer, method: str, scopes: list[str]
) -> None:
    created = outcomes[f"{method} {','.join(scopes)}"]

    claims = created["claims"]
    assert "ES256" == created["header"]["alg"]
    assert created["user"] == claims["sub"]
    assert created["user"].removeprefix("8:") == claims["skypeid"]
    assert ",".join(scopes) == claims["acsScope"]
    assert 1792 == claims["scp"]
    assert DEVELOPMENT_RESOURCE.id == claims["aud"] == claims["resourceId"]
    assert server.https_endpoint == claims["iss"]
    assert "p0" == claims["akg"]
    assert 24 * 3600 == claims["exp"] - claims["iat"]


@OBTAINED
@pytest.mark.parametrize("minutes", [60, 61, 1440])
def test_the_token_lives_as_long_as_asked(outcomes: Outcomes, method: str, minutes: int) -> None:
    created = outcomes[f"{method} {minutes}"]

    assert minutes * 60 == created["claims"]["exp"] - created["claims"]["iat"]
    assert created["claims"]["exp"] == created["expiresOn"]


@OBTAINED
@pytest.mark.parametrize("minutes", [59, 1441])
def test_a_life_out_of_range_is_refused(outcomes: Outcomes, method: str, minutes: int) -> None:
    error = outcomes[f"{method} {minutes}"]

    assert "RestError" == error["name"]
    assert (400, "ValidationError", "ExpiresInMinutes") == said(error)
    expected = f"ExpiresInMinutes value {minutes} is invalid. Value must be within the [60, 1440] interval."
    assert expected == error["message"]


@pytest.mark.parametrize(
    ("method", "target"), [("createUserAndToken", "createTokenWithScopes"), ("getToken", "scopes")]
)
def test_an_unknown_scope_is_refused_with_those_that_exist(outcomes: Outcomes, method: str, target: str) -> None:
    error = outcomes[f"{method} fax"]

    assert (400, "ValidationError", target) == said(error)
    assert "'fax'" in error["message"]
    assert ", ".join(SCOPES) in error["message"]


def test_a_token_without_scopes_is_refused_in_the_recorded_words(outcomes: Outcomes) -> None:
    error = outcomes["noScopes"]

    assert (400, "ValidationError", "scopes") == said(error)
    assert "Invalid scopes - Scopes field is required." == error["message"]


@pytest.mark.parametrize("method", ["getToken", "revokeTokens", "deleteUser"])
def test_the_user_of_another_resource_is_not_owned(outcomes: Outcomes, method: str) -> None:
    error = outcomes[f"{method} of another"]

    assert (401, "IdentityNotOwned", None) == said(error)
    assert "Provided identity doesn't belong to the resource." == error["message"]


@pytest.mark.parametrize("method", ["getToken", "revokeTokens"])
def test_a_deleted_user_is_not_found(outcomes: Outcomes, method: str) -> None:
    error = outcomes[f"{method} of deleted"]

    assert (404, "IdentityNotFound", None) == said(error)
    assert "Provided identity doesn't exist." == error["message"]


@pytest.mark.parametrize("version", VERSIONS)
def test_it_does_all_of_it_in_every_api_version(outcomes: Outcomes, version: str) -> None:
    life = outcomes[f"life {version}"]

    assert life["different"]
    assert [True, True] == life["before"]
    assert [False, False, True] == life["revoked"]
    assert [False] == life["deleted"]


def test_a_wrong_key_is_denied_and_the_error_explains_it(outcomes: Outcomes) -> None:
    error = outcomes["wrongKey"]

    assert (401, "Denied", None) == said(error)
    assert error["message"].startswith("Denied by the resource provider.")
    explanation = {detail["code"]: detail["message"] for detail in error["details"]}
    assert explanation["Differs"].startswith("The access key is not one of this resource's")
    assert explanation["StringToSign"].startswith("POST\n/identities?api-version=")


def test_the_secondary_key_works_too(outcomes: Outcomes) -> None:
    assert "s0" == outcomes["secondKey"]["claims"]["akg"]


def said(error: dict[str, Any]) -> tuple[int, str, str | None]:
    """Status, code and target of a refusal, as the SDK hands them on."""
    return error["statusCode"], error["code"], error.get("target")
