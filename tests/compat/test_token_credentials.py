"""azure-identity and MSAL, unmodified and offline: they sign in at the development issuer, the SDKs do the rest."""

import asyncio
import json
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import msal  # type: ignore[import-untyped]  # It brings no types.
import pytest
from azure.communication.identity import CommunicationIdentityClient
from azure.communication.identity.aio import CommunicationIdentityClient as AsyncCommunicationIdentityClient
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError
from azure.identity import (
    ClientSecretCredential,
    CredentialUnavailableError,
    DefaultAzureCredential,
    ManagedIdentityCredential,
)
from azure.identity.aio import ClientSecretCredential as AsyncClientSecretCredential
from azure.identity.aio import DefaultAzureCredential as AsyncDefaultAzureCredential
from azure.identity.aio import ManagedIdentityCredential as AsyncManagedIdentityCredential

from calls import holds
from compat.conftest import RunNode, Verify
from compat.outcomes import Outcomes
from compat.python_sdk import NAMES, _Record, _Waiting
from compat.support_matrix import Recorder
from compat.test_node_sdk import NAME as NODE_NAME
from mintmark.development_issuer import APPLICATION, TEAMS_AUDIENCE, TEAMS_USERS
from mintmark.teams import TEAMS_PERMISSIONS
from running import RunningServer

SCOPES = [f"{TEAMS_AUDIENCE}/{scope}" for scope in TEAMS_PERMISSIONS]
SECRET = APPLICATION.secret.decode()
KINDS: dict[str, dict[str, Any]] = {
    "blocking": {
        "client secret": ClientSecretCredential,
        "managed identity": ManagedIdentityCredential,
        "default": DefaultAzureCredential,
    },
    "async": {
        "client secret": AsyncClientSecretCredential,
        "managed identity": AsyncManagedIdentityCredential,
        "default": AsyncDefaultAzureCredential,
    },
}


class Exchange(NamedTuple):
    """What goes into a Teams exchange, in the order in which Python's method takes it."""

    token: str
    app_id: str
    user_id: str


class Refused(NamedTuple):
    """A Teams exchange that is refused: what is wrong in it, and the answer as ACS was recorded (contract 5.2)."""

    wrong: dict[str, str]
    status: int
    code: str
    target: str | None
    message: str


NOT_VALID = (401, "InvalidAccessToken", None, "Provided access token is not valid.")
ANOTHER = "00000000-0000-0000-0000-000000000000"
REFUSED = {
    "expired token": Refused({"token": "expired"}, *NOT_VALID),
    "empty token": Refused({"token": ""}, *NOT_VALID),
    "malformed token": Refused({"token": "invalid"}, *NOT_VALID),
    "empty token and user": Refused({"token": "", "user_id": ""}, *NOT_VALID),
    "empty app": Refused({"app_id": ""}, 400, "ValidationError", "AppId", "AppId: The AppId field is required."),
    "empty user": Refused({"user_id": ""}, 400, "ValidationError", "UserId", "UserId: The UserId field is required."),
    "malformed app": Refused(
        {"app_id": "invalid"}, 400, "ValidationError", "appId", "Provided AppId has invalid format."
    ),
    "malformed user": Refused(
        {"user_id": "invalid"}, 400, "ValidationError", "userId", "Provided UserId has invalid format."
    ),
    "another app": Refused(
        {"app_id": ANOTHER}, 400, "ValidationError", "appId", "AAD application is not the expected one."
    ),
    "another user": Refused(
        {"user_id": ANOTHER}, 400, "ValidationError", "userId", "Provided AAD token issued for unexpected user."
    ),
}
EVERY_REFUSAL = pytest.mark.parametrize("name", REFUSED)


@pytest.fixture(scope="module", autouse=True)
def _environ(server: RunningServer) -> Iterator[None]:
    """What `mintmark exec` sets: azure-identity's managed identities are configured by nothing else."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in server.variables.items():
            patch.setenv(name, value)
        yield


def credential_of(kind: str, name: str, server: RunningServer, secret: str = SECRET) -> Any:
    make = KINDS[kind][name]
    # aiohttp reads SSL_CERT_FILE when it is imported, which another test may have done before the variable was set.
    trust: dict[str, Any] = {"connection_verify": server.ca} if kind == "async" else {}
    if name != "client secret":
        return make(**trust)
    return make(
        tenant_id=server.variables["COMMUNICATION_M365_AAD_TENANT"],
        authority=server.variables["COMMUNICATION_M365_AAD_AUTHORITY"],
        client_id=APPLICATION.client_id,
        client_secret=secret,
        disable_instance_discovery=True,
        **trust,
    )


@contextmanager
def connected(
    kind: str, name: str, server: RunningServer, recorder: Recorder, *, endpoint: str = "", secret: str = SECRET
) -> Iterator[Any]:
    """A client with a credential, both closed in the end."""
    options: Any = {"per_call_policies": [_Record(recorder, NAMES[kind])]}
    credential = credential_of(kind, name, server, secret)
    endpoint = endpoint or server.https_endpoint
    with ExitStack() as stack:
        if kind == "blocking":
            yield CommunicationIdentityClient(endpoint, stack.enter_context(credential), **options)
            return
        runner = stack.enter_context(asyncio.Runner())
        stack.callback(lambda: runner.run(credential.close()))
        client = AsyncCommunicationIdentityClient(endpoint, credential, connection_verify=server.ca, **options)
        stack.callback(lambda: runner.run(client.close()))
        yield _Waiting(client, runner)


@pytest.fixture(scope="module", params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def client(kind: str, server: RunningServer, recorder: Recorder) -> Iterator[Any]:
    with connected(kind, "managed identity", server, recorder) as connected_client:
        yield connected_client


@pytest.fixture(scope="module")
def sign_in(server: RunningServer) -> Callable[..., dict[str, Any]]:
    """Signs a Teams user in with name and password through MSAL, as the tests of the official SDKs do."""
    named = server.variables
    authority = f"{named['COMMUNICATION_M365_AAD_AUTHORITY']}/{named['COMMUNICATION_M365_AAD_TENANT']}"

    def acquire(username: str, password: str) -> dict[str, Any]:
        application = msal.PublicClientApplication(named["COMMUNICATION_M365_APP_ID"], authority=authority)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # Microsoft would rather have no passwords at all.
            acquired: dict[str, Any] = application.acquire_token_by_username_password(username, password, SCOPES)
        return acquired

    return acquire


@pytest.fixture(scope="module")
def exchange(server: RunningServer, sign_in: Callable[..., dict[str, Any]]) -> Exchange:
    named = server.variables
    acquired = sign_in(named["COMMUNICATION_MSAL_USERNAME"], named["COMMUNICATION_MSAL_PASSWORD"])
    assert "error" not in acquired, acquired
    return Exchange(acquired["access_token"], named["COMMUNICATION_M365_APP_ID"], acquired["id_token_claims"]["oid"])


@pytest.mark.parametrize("name", KINDS["blocking"])
def test_python_does_all_of_it_with_a_credential(
    kind: str, name: str, server: RunningServer, recorder: Recorder, verify: Verify
) -> None:
    with connected(kind, name, server, recorder) as client:
        user, first = client.create_user_and_token(["chat"])
        second = client.get_token(client.create_user(), ["voip"])
        assert "akg" not in verify(second.token)  # No access key asked for it.
        client.revoke_tokens(user)
        third = client.get_token(user, ["chat"])
        assert [False, True, True] == [holds(server, each.token) for each in (first, second, third)]
        client.delete_user(user)
        assert not holds(server, third.token)


def test_python_is_told_that_the_secret_is_wrong(kind: str, server: RunningServer, recorder: Recorder) -> None:
    with (
        connected(kind, "client secret", server, recorder, secret="wrong") as client,
        pytest.raises(ClientAuthenticationError, match=f"The client_id is {APPLICATION.client_id}"),
    ):
        client.create_user()


def test_python_is_told_that_a_managed_identity_gets_no_token_for_other_services(server: RunningServer) -> None:
    with (
        credential_of("blocking", "managed identity", server) as credential,
        pytest.raises(CredentialUnavailableError, match=r"The resource is https://communication\.azure\.com/"),
    ):
        credential.get_token("https://vault.azure.net/.default")


def test_python_sends_no_token_over_plain_http(kind: str, server: RunningServer, recorder: Recorder) -> None:
    with (
        connected(kind, "managed identity", server, recorder, endpoint=server.http_endpoint) as client,
        pytest.raises(ServiceRequestError, match="not permitted for non-TLS"),
    ):
        client.create_user()


def test_msal_is_told_that_the_password_is_wrong(sign_in: Callable[..., dict[str, Any]]) -> None:
    refused = sign_in(TEAMS_USERS[0].username, "wrong")

    assert "invalid_grant" == refused["error"]
    assert all(user.username in refused["error_description"] for user in TEAMS_USERS)


def test_python_exchanges_the_token_of_a_teams_user(client: Any, exchange: Exchange, verify: Verify) -> None:
    token = client.get_token_for_teams_user(*exchange)

    assert datetime.fromisoformat(str(token.expires_on)).timestamp() == verify(token.token)["exp"]


@EVERY_REFUSAL
def test_python_is_told_why_an_exchange_is_refused(
    client: Any, exchange: Exchange, server: RunningServer, name: str
) -> None:
    expected = REFUSED[name]
    with pytest.raises(HttpResponseError) as refused:
        client.get_token_for_teams_user(*exchange._replace(**wrong_in(expected, server.variables)))

    error = refused.value.error
    assert error is not None
    assert expected[1:] == (refused.value.status_code, error.code, error.target, error.message)
    assert (401 == expected.status) is isinstance(refused.value, ClientAuthenticationError)


def wrong_in(refused: Refused, variables: Mapping[str, str]) -> dict[str, str]:
    if refused.wrong.get("token") == "expired":
        return {**refused.wrong, "token": variables["COMMUNICATION_EXPIRED_TEAMS_TOKEN"]}
    return refused.wrong


@pytest.fixture(scope="module")
def in_node(run_node: RunNode, server: RunningServer, recorder: Recorder) -> Outcomes:
    names = {"token": "teamsUserAadToken", "app_id": "clientId", "user_id": "userObjectId"}
    rows = {
        name: {names[field]: value for field, value in wrong_in(refused, server.variables).items()}
        for name, refused in REFUSED.items()
    }
    printed = run_node("token-credentials.mjs", APPLICATION.client_id, SECRET, json.dumps(rows))
    return Outcomes(f"JavaScript with {NODE_NAME}", printed, recorder)


@pytest.mark.parametrize("name", KINDS["blocking"])
def test_javascript_does_all_of_it_with_a_credential(
    in_node: Outcomes, server: RunningServer, verify: Verify, name: str
) -> None:
    tokens = in_node[f"life by {name}"]

    assert [False, True, False] == [holds(server, tokens[each]) for each in ("first", "second", "third")]
    assert "akg" not in verify(tokens["second"])


def test_javascript_is_told_that_the_secret_is_wrong(in_node: Outcomes) -> None:
    error = in_node["wrong secret"]

    assert "AuthenticationRequiredError" == error["name"]
    assert "invalid_client: Error(s): Not Available" in error["message"]
    assert f"The client_id is {APPLICATION.client_id}" in error["message"]


def test_javascript_sends_no_token_over_plain_http(in_node: Outcomes) -> None:
    assert "not permitted for non-TLS" in in_node["plain http"]["message"]


def test_msal_for_node_is_told_that_the_password_is_wrong(in_node: Outcomes) -> None:
    error = in_node["wrong password"]

    assert error["message"].startswith("invalid_grant")
    assert all(user.username in error["message"] for user in TEAMS_USERS)


def test_javascript_exchanges_the_token_of_a_teams_user(in_node: Outcomes, verify: Verify) -> None:
    exchanged = in_node["exchange"]

    assert exchanged["expiresOn"] == verify(exchanged["token"])["exp"]


@EVERY_REFUSAL
def test_javascript_is_told_why_an_exchange_is_refused(in_node: Outcomes, name: str) -> None:
    expected = REFUSED[name]

    error = in_node["refused exchanges"][name]
    assert (*expected[1:4],) == (error["statusCode"], error["code"], error.get("target"))
    assert expected.message == error["message"]
