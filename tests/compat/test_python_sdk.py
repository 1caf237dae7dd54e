"""The official Python SDK, unmodified, blocking and asynchronous, over HTTPS and plain HTTP: all that it can do."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import certifi
import pytest
from azure.communication.identity import CommunicationIdentityClient, CommunicationUserIdentifier
from azure.core.credentials import AccessToken
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
    ServiceRequestError,
)

from calls import holds
from compat.conftest import FOREIGN, SCOPES, Verify
from compat.python_sdk import WAYS, Client, connected
from compat.support_matrix import Recorder
from mintmark.development import DEVELOPMENT_KEYS, DEVELOPMENT_RESOURCE
from mintmark.web.wire import VERSIONS
from running import RunningServer

CHILD_SECONDS = 30
SCOPE_LISTS = pytest.mark.parametrize("scopes", [*([scope] for scope in SCOPES), SCOPES], ids=",".join)

Obtain = Callable[..., tuple[CommunicationUserIdentifier, AccessToken]]
Ask = Callable[[CommunicationUserIdentifier], object]


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def client(way: str, server: RunningServer, recorder: Recorder) -> Iterator[Client]:
    with connected(way, server, recorder) as connected_client:
        yield connected_client


@pytest.fixture(params=["create_user_and_token", "get_token"])
def obtain(request: pytest.FixtureRequest, client: Client) -> Obtain:
    """A user with a token, by either of the two methods that give one."""

    def get_token(scopes: list[str], **options: Any) -> tuple[CommunicationUserIdentifier, AccessToken]:
        user = client.create_user()
        return user, client.get_token(user, scopes, **options)

    return client.create_user_and_token if request.param == "create_user_and_token" else get_token


@pytest.fixture(params=["get_token", "revoke_tokens", "delete_user"])
def ask(request: pytest.FixtureRequest, client: Client) -> Ask:
    """Each operation that names a user."""
    asks: dict[str, Ask] = {
        "get_token": lambda user: client.get_token(user, ["chat"]),
        "revoke_tokens": client.revoke_tokens,
        "delete_user": client.delete_user,
    }
    return asks[request.param]


def test_it_creates_users_each_with_an_id_of_its_own(client: Client) -> None:
    users = [client.create_user(), client.create_user()]

    assert all(user.raw_id.startswith(f"8:acs:{DEVELOPMENT_RESOURCE.id}_") for user in users)
    assert users[0].raw_id == users[0].properties["id"]
    assert users[0].raw_id != users[1].raw_id


@SCOPE_LISTS
def test_the_token_says_who_may_do_what(obtain: Obtain, verify: Verify, scopes: list[str]) -> None:
    user, token = obtain(scopes)

    claims = verify(token.token)
    assert user.raw_id == claims["sub"]
    assert user.raw_id.removeprefix("8:") == claims["skypeid"]
    assert ",".join(scopes) == claims["acsScope"]
    assert 1792 == claims["scp"]
    assert DEVELOPMENT_RESOURCE.id == claims["resourceId"]
    assert "p0" == claims["akg"]
    assert str(claims["iat"]) == claims["csi"]
    assert 24 * 3600 == claims["exp"] - claims["iat"]


@pytest.mark.parametrize("minutes", [60, 61, 1440])
def test_the_token_lives_as_long_as_asked(obtain: Obtain, verify: Verify, minutes: int) -> None:
    _, token = obtain(["chat"], token_expires_in=timedelta(minutes=minutes))

    claims = verify(token.token)
    assert minutes * 60 == claims["exp"] - claims["iat"]
    # The SDK hands on the text that the service wrote.
    assert claims["exp"] == datetime.fromisoformat(str(token.expires_on)).timestamp()


@pytest.mark.parametrize("minutes", [59, 1441])
def test_a_life_out_of_range_is_refused(obtain: Obtain, minutes: int) -> None:
    with pytest.raises(HttpResponseError) as refused:
        obtain(["chat"], token_expires_in=timedelta(minutes=minutes))

    assert (400, "ValidationError", "ExpiresInMinutes") == said(refused.value)
    assert f"ExpiresInMinutes value {minutes} is invalid" in str(refused.value)
    assert "[60, 1440]" in str(refused.value)


def test_an_unknown_scope_is_refused_with_those_that_exist(obtain: Obtain) -> None:
    with pytest.raises(HttpResponseError) as refused:
        obtain(["fax"])

    status, code, target = said(refused.value)
    assert (400, "ValidationError") == (status, code)
    assert target in ("createTokenWithScopes", "scopes")
    assert "'fax'" in str(refused.value)
    assert ", ".join(SCOPES) in str(refused.value)


def test_a_token_without_scopes_is_refused_in_the_recorded_words(client: Client) -> None:
    user = client.create_user()
    with pytest.raises(HttpResponseError) as refused:
        client.get_token(user, [])

    assert (400, "ValidationError", "scopes") == said(refused.value)
    assert refused.value.error is not None
    assert "Invalid scopes - Scopes field is required." == refused.value.error.message


def test_revoking_ends_the_tokens_so_far_and_none_later(client: Client, server: RunningServer) -> None:
    user, first = client.create_user_and_token(["chat"])
    second = client.get_token(user, ["voip"])
    _, of_another = client.create_user_and_token(["chat"])
    assert holds(server, first.token)
    assert holds(server, second.token)

    client.revoke_tokens(user)

    assert not holds(server, first.token)
    assert not holds(server, second.token)
    assert holds(server, client.get_token(user, ["chat"]).token)
    assert holds(server, of_another.token)


def test_deleting_ends_the_user_and_its_tokens_and_may_be_repeated(client: Client, server: RunningServer) -> None:
    user, token = client.create_user_and_token(["chat"])
    assert holds(server, token.token)

    client.delete_user(user)
    client.delete_user(user)

    assert not holds(server, token.token)


@pytest.mark.parametrize("ask", ["get_token", "revoke_tokens"], indirect=True)
def test_a_deleted_user_is_not_found(client: Client, ask: Ask) -> None:
    user = client.create_user()
    client.delete_user(user)

    with pytest.raises(ResourceNotFoundError) as refused:
        ask(user)

    assert (404, "IdentityNotFound", None) == said(refused.value)
    assert "Provided identity doesn't exist." in str(refused.value)


def test_the_user_of_another_resource_is_not_owned(ask: Ask) -> None:
    with pytest.raises(ClientAuthenticationError) as refused:
        ask(CommunicationUserIdentifier(FOREIGN))

    assert (401, "IdentityNotOwned", None) == said(refused.value)
    assert "Provided identity doesn't belong to the resource." in str(refused.value)


def test_what_is_no_id_is_refused(ask: Ask) -> None:
    with pytest.raises(HttpResponseError) as refused:
        ask(CommunicationUserIdentifier("somebody"))

    assert (400, "ValidationError", "id") == said(refused.value)


@pytest.mark.parametrize("version", VERSIONS)
def test_it_does_all_of_it_in_every_api_version(
    way: str, server: RunningServer, recorder: Recorder, version: str
) -> None:
    with connected(way, server, recorder, api_version=version) as client:
        user, first = client.create_user_and_token(["chat", "voip"])
        assert client.create_user().raw_id != user.raw_id
        second = client.get_token(user, ["voip"])
        assert holds(server, first.token)
        client.revoke_tokens(user)
        third = client.get_token(user, ["chat"])
        assert [False, False, True] == [holds(server, each.token) for each in (first, second, third)]
        client.delete_user(user)
        assert not holds(server, third.token)


def test_a_wrong_key_is_denied_and_the_error_explains_it(way: str, server: RunningServer, recorder: Recorder) -> None:
    wrong = b"the key of somebody else"
    with connected(way, server, recorder, wrong) as client, pytest.raises(ClientAuthenticationError) as denied:
        client.create_user()

    assert (401, "Denied", None) == said(denied.value)
    text = str(denied.value)
    assert "Denied by the resource provider." in text
    assert "The access key is not one of this resource's" in text
    assert "/identities?api-version=" in text  # of the text that the server would have signed


def test_the_secondary_key_works_too(way: str, server: RunningServer, recorder: Recorder, verify: Verify) -> None:
    with connected(way, server, recorder, DEVELOPMENT_KEYS[1]) as client:
        _, token = client.create_user_and_token(["voip"])

    assert "s0" == verify(token.token)["akg"]


A_PROGRAM = """
import asyncio, os
from azure.communication.identity import CommunicationIdentityClient
from azure.communication.identity.aio import CommunicationIdentityClient as AsyncCommunicationIdentityClient

connection_string = os.environ["COMMUNICATION_SERVICES_CONNECTION_STRING"]
print(CommunicationIdentityClient.from_connection_string(connection_string).create_user().raw_id)

async def main():
    async with AsyncCommunicationIdentityClient.from_connection_string(connection_string) as client:
        print((await client.create_user()).raw_id)

asyncio.run(main())
"""


def test_the_printed_variables_are_all_that_a_program_needs(server: RunningServer) -> None:
    bare = {"PATH": os.defpath}
    done = subprocess.run(
        [sys.executable, "-c", A_PROGRAM],
        env={**bare, **server.variables},
        capture_output=True,
        text=True,
        timeout=CHILD_SECONDS,
        check=False,
    )

    assert "" == done.stderr
    assert [f"8:acs:{DEVELOPMENT_RESOURCE.id}"] * 2 == [line.partition("_")[0] for line in done.stdout.splitlines()]


def test_without_them_the_certificate_is_not_trusted(server: RunningServer) -> None:
    """Or else the test above would show nothing."""
    stranger = CommunicationIdentityClient.from_connection_string(
        server.connection_string, connection_verify=certifi.where(), retry_total=0
    )
    with pytest.raises(ServiceRequestError, match="CERTIFICATE_VERIFY_FAILED"):
        stranger.create_user()


def said(refused: HttpResponseError) -> tuple[int | None, str | None, str | None]:
    """Status, code and target of a refusal, as the SDK hands them on."""
    assert refused.error is not None
    return refused.status_code, refused.error.code, refused.error.target
