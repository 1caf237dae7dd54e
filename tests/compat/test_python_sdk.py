"""The official Python SDK, unmodified, blocking and asynchronous, over HTTPS and plain HTTP."""

import asyncio
import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, Protocol

import certifi
import pytest
from azure.communication.identity import CommunicationIdentityClient, CommunicationUserIdentifier
from azure.communication.identity.aio import CommunicationIdentityClient as AsyncCommunicationIdentityClient
from azure.core.credentials import AccessToken, AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ServiceRequestError

from compat.conftest import Verify
from mintmark.development import DEVELOPMENT_KEYS, DEVELOPMENT_RESOURCE
from running import RunningServer

SCOPES = ["chat", "voip", "chat.join", "chat.join.limited", "voip.join"]
CHILD_SECONDS = 30


class Client(Protocol):
    """What both clients do, asked without `await`."""

    def create_user(self) -> CommunicationUserIdentifier: ...

    def create_user_and_token(
        self, scopes: list[str], *, token_expires_in: timedelta | None = None
    ) -> tuple[CommunicationUserIdentifier, AccessToken]: ...


class Waiting:
    """The asynchronous client; each call waits for its answer."""

    def __init__(self, client: AsyncCommunicationIdentityClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*arguments: Any, **keywords: Any) -> Any:
            return await getattr(self._client, name)(*arguments, **keywords)

        return lambda *arguments, **keywords: self._runner.run(call(*arguments, **keywords))


@contextmanager
def connected(way: str, server: RunningServer, access_key: str) -> Iterator[Client]:
    """A client by one of WAYS."""
    kind, transport = way.split()
    make: Any = CommunicationIdentityClient if kind == "blocking" else AsyncCommunicationIdentityClient
    if transport == "https":
        connection_string = f"endpoint={server.https_endpoint}/;accesskey={access_key}"
        client = make.from_connection_string(connection_string, connection_verify=server.variables["SSL_CERT_FILE"])
    else:
        client = make(server.http_endpoint, AzureKeyCredential(access_key))
    if kind == "blocking":
        yield client  # It cannot be closed.
        return
    with asyncio.Runner() as runner:
        try:
            yield Waiting(client, runner)
        finally:
            runner.run(client.close())


WAYS = ("blocking https", "blocking http", "async https", "async http")


@pytest.fixture(scope="module", params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def client(way: str, server: RunningServer) -> Iterator[Client]:
    with connected(way, server, server.access_key) as connected_client:
        yield connected_client


def test_it_creates_users_each_with_an_id_of_its_own(client: Client) -> None:
    users = [client.create_user(), client.create_user()]

    assert all(user.raw_id.startswith(f"8:acs:{DEVELOPMENT_RESOURCE.id}_") for user in users)
    assert users[0].raw_id == users[0].properties["id"]
    assert users[0].raw_id != users[1].raw_id


@pytest.mark.parametrize("scopes", [*([scope] for scope in SCOPES), SCOPES], ids=",".join)
def test_the_token_says_who_may_do_what(client: Client, verify: Verify, scopes: list[str]) -> None:
    user, token = client.create_user_and_token(scopes)

    claims = verify(token.token)
    assert user.raw_id == claims["sub"]
    assert user.raw_id.removeprefix("8:") == claims["skypeid"]
    assert ",".join(scopes) == claims["acsScope"]
    assert 1792 == claims["scp"]
    assert DEVELOPMENT_RESOURCE.id == claims["resourceId"]
    assert "p0" == claims["akg"]
    assert str(claims["iat"]) == claims["csi"]
    assert 24 * 3600 == claims["exp"] - claims["iat"]


@pytest.mark.parametrize("hours", [1, 24])
def test_the_token_lives_as_long_as_asked(client: Client, verify: Verify, hours: int) -> None:
    _, token = client.create_user_and_token(["chat"], token_expires_in=timedelta(hours=hours))

    claims = verify(token.token)
    assert hours * 3600 == claims["exp"] - claims["iat"]
    # The SDK hands on the text that the service wrote.
    assert claims["exp"] == datetime.fromisoformat(str(token.expires_on)).timestamp()


@pytest.mark.parametrize("minutes", [59, 1441])
def test_a_life_out_of_range_is_refused(client: Client, minutes: int) -> None:
    with pytest.raises(HttpResponseError) as refused:
        client.create_user_and_token(["chat"], token_expires_in=timedelta(minutes=minutes))

    assert 400 == refused.value.status_code
    assert refused.value.error is not None
    assert "ValidationError" == refused.value.error.code
    assert "ExpiresInMinutes" == refused.value.error.target
    assert f"ExpiresInMinutes value {minutes} is invalid" in str(refused.value)
    assert "[60, 1440]" in str(refused.value)


def test_an_unknown_scope_is_refused_with_those_that_exist(client: Client) -> None:
    with pytest.raises(HttpResponseError) as refused:
        client.create_user_and_token(["fax"])

    assert 400 == refused.value.status_code
    assert refused.value.error is not None
    assert "ValidationError" == refused.value.error.code
    assert "createTokenWithScopes" == refused.value.error.target
    assert "'fax'" in str(refused.value)
    assert ", ".join(SCOPES) in str(refused.value)


def test_a_wrong_key_is_denied_and_the_error_explains_it(way: str, server: RunningServer) -> None:
    wrong = base64.b64encode(b"the key of somebody else").decode()
    with connected(way, server, wrong) as client, pytest.raises(ClientAuthenticationError) as denied:
        client.create_user()

    assert 401 == denied.value.status_code
    assert denied.value.error is not None
    assert "Denied" == denied.value.error.code
    text = str(denied.value)
    assert "Denied by the resource provider." in text
    assert "The access key is not one of this resource's" in text
    assert "/identities?api-version=" in text  # of the text that the server would have signed


def test_the_secondary_key_works_too(way: str, server: RunningServer, verify: Verify) -> None:
    secondary = base64.b64encode(DEVELOPMENT_KEYS[1]).decode()
    with connected(way, server, secondary) as client:
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
