"""The official JavaScript SDK, unmodified, in Node: one process asks everything, over HTTPS and plain HTTP."""

import base64
from typing import Any

import pytest

from compat.conftest import RunNode
from mintmark.development import DEVELOPMENT_KEYS, DEVELOPMENT_RESOURCE
from running import RunningServer

SCOPES = ["chat", "voip", "chat.join", "chat.join.limited", "voip.join"]


@pytest.fixture(scope="module")
def outcomes(run_node: RunNode) -> dict[str, Any]:
    answer: dict[str, Any] = run_node("sdk.mjs", base64.b64encode(DEVELOPMENT_KEYS[1]).decode())
    return answer


@pytest.fixture(params=["https", "http"])
def outcome(request: pytest.FixtureRequest, outcomes: dict[str, Any]) -> dict[str, Any]:
    chosen: dict[str, Any] = outcomes[request.param]
    return chosen


def test_it_creates_a_user(outcome: dict[str, Any]) -> None:
    assert outcome["user"].startswith(f"8:acs:{DEVELOPMENT_RESOURCE.id}_")


@pytest.mark.parametrize(
    ("asked", "scopes"), list(enumerate([*([scope] for scope in SCOPES), SCOPES])), ids=[*SCOPES, "all together"]
)
def test_jose_verifies_the_token_and_it_says_who_may_do_what(
    outcome: dict[str, Any], server: RunningServer, asked: int, scopes: list[str]
) -> None:
    created = outcome["tokens"][asked]

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


@pytest.mark.parametrize("minutes", [60, 1440])
def test_the_token_lives_as_long_as_asked(outcome: dict[str, Any], minutes: int) -> None:
    created = outcome["lives"][str(minutes)]

    assert minutes * 60 == created["claims"]["exp"] - created["claims"]["iat"]
    assert created["claims"]["exp"] == created["expiresOn"]


@pytest.mark.parametrize("minutes", [59, 1441])
def test_a_life_out_of_range_is_refused(outcome: dict[str, Any], minutes: int) -> None:
    error = outcome["outOfRange"][str(minutes)]

    assert "RestError" == error["name"]
    assert 400 == error["statusCode"]
    assert "ValidationError" == error["code"]
    assert "ExpiresInMinutes" == error["target"]
    expected = f"ExpiresInMinutes value {minutes} is invalid. Value must be within the [60, 1440] interval."
    assert expected == error["message"]


def test_an_unknown_scope_is_refused_with_those_that_exist(outcome: dict[str, Any]) -> None:
    error = outcome["unknownScope"]

    assert 400 == error["statusCode"]
    assert "ValidationError" == error["code"]
    assert "createTokenWithScopes" == error["target"]
    assert "'fax'" in error["message"]
    assert ", ".join(SCOPES) in error["message"]


def test_a_wrong_key_is_denied_and_the_error_explains_it(outcome: dict[str, Any]) -> None:
    error = outcome["wrongKey"]

    assert 401 == error["statusCode"]
    assert "Denied" == error["code"]
    assert error["message"].startswith("Denied by the resource provider.")
    explanation = {detail["code"]: detail["message"] for detail in error["details"]}
    assert explanation["Differs"].startswith("The access key is not one of this resource's")
    assert explanation["StringToSign"].startswith("POST\n/identities?api-version=")


def test_the_secondary_key_works_too(outcome: dict[str, Any]) -> None:
    assert "s0" == outcome["secondKey"]["claims"]["akg"]
