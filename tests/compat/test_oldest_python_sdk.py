"""The oldest Python release of the SDK, 1.0.1, in an environment of its own: all that it can do."""

from datetime import datetime
from typing import Any

import pytest

from compat import oldest_python
from compat.conftest import FOREIGN, Verify
from compat.outcomes import Outcomes
from compat.support_matrix import Recorder
from mintmark.development import DEVELOPMENT_RESOURCE
from running import RunningServer


@pytest.fixture(scope="module")
def printed(server: RunningServer) -> Any:
    return oldest_python.run(server.variables, FOREIGN)


@pytest.fixture(params=["https", "http"])
def outcomes(request: pytest.FixtureRequest, printed: Any, recorder: Recorder) -> Outcomes:
    return Outcomes("Python with azure-communication-identity 1.0.1", printed[request.param], recorder)


def test_it_creates_users_each_with_an_id_of_its_own(outcomes: Outcomes) -> None:
    users = outcomes["user"]

    assert 2 == len(set(users))
    assert all(user.startswith(f"8:acs:{DEVELOPMENT_RESOURCE.id}_") for user in users)


def test_the_tokens_verify_and_say_who_may_do_what(outcomes: Outcomes, verify: Verify) -> None:
    outcome = outcomes["token"]

    for token, scopes, expires_on in zip(outcome["tokens"], ["chat,voip", "voip"], outcome["expiresOn"], strict=True):
        claims = verify(token)
        assert (outcome["user"], scopes) == (claims["sub"], claims["acsScope"])
        assert 24 * 3600 == claims["exp"] - claims["iat"]
        assert claims["exp"] == datetime.fromisoformat(expires_on).timestamp()


def test_revoking_and_deleting_end_tokens(outcomes: Outcomes) -> None:
    life = outcomes["life"]

    assert {"before": [True, True], "revoked": [False, False, True], "deleted": [False]} == life


def test_a_deleted_user_is_not_found(outcomes: Outcomes) -> None:
    for refused in outcomes["deleted"]:
        assert ("ResourceNotFoundError", 404) == (refused["kind"], refused["status"])
        assert "Provided identity doesn't exist." in refused["message"]


def test_the_user_of_another_resource_is_not_owned(outcomes: Outcomes) -> None:
    for refused in outcomes["foreign"]:
        assert ("ClientAuthenticationError", 401) == (refused["kind"], refused["status"])
        assert "Provided identity doesn't belong to the resource." in refused["message"]


def test_a_token_without_scopes_is_refused_in_the_recorded_words(outcomes: Outcomes) -> None:
    refused = outcomes["noScopes"]

    assert 400 == refused["status"]
    assert "Invalid scopes - Scopes field is required." in refused["message"]


def test_a_scope_of_a_later_version_is_unknown_to_it(outcomes: Outcomes) -> None:
    refused = outcomes["laterScope"]

    assert 400 == refused["status"]
    assert "Allowed in api-version 2021-03-07: chat, voip." in refused["message"]
