"""The official SDKs through nginx, on a port of its own: every operation, signed for the address that they see."""

import json
import os
import shutil
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msal  # type: ignore[import-untyped]  # It brings no types.
import pytest
from azure.communication.identity import CommunicationIdentityClient, CommunicationUserIdentifier
from azure.communication.identity.aio import CommunicationIdentityClient as AsyncCommunicationIdentityClient

from compat.conftest import NODE_FOLDER, NODE_SECONDS, find_node
from mintmark.development_issuer import TEAMS_AUDIENCE
from mintmark.teams import TEAMS_PERMISSIONS
from process.watching import eventually
from proxy.nginx import Nginx, nginx_before
from running import RunningServer
from serving import Serving, serving

pytestmark = pytest.mark.proxy

OPERATIONS = {"create": 201, "issue": 200, "revoke": 204, "delete": 204, "exchange": 200}
REQUESTS = 7  # two to create, two to issue, one of each of the others


class Teams(NamedTuple):
    """A Teams user's token, and whom it was issued to, in the order in which Python's method takes it."""

    token: str
    app_id: str
    user_id: str


@pytest.fixture(scope="module")
def teams(server: RunningServer) -> Teams:
    """A user of the development issuer, signed in there."""
    named = server.variables
    authority = f"{named['COMMUNICATION_M365_AAD_AUTHORITY']}/{named['COMMUNICATION_M365_AAD_TENANT']}"
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Microsoft would rather have no passwords at all.
        patch.setenv("REQUESTS_CA_BUNDLE", named["REQUESTS_CA_BUNDLE"])
        application = msal.PublicClientApplication(named["COMMUNICATION_M365_APP_ID"], authority=authority)
        acquired: dict[str, Any] = application.acquire_token_by_username_password(
            named["COMMUNICATION_MSAL_USERNAME"],
            named["COMMUNICATION_MSAL_PASSWORD"],
            [f"{TEAMS_AUDIENCE}/{scope}" for scope in TEAMS_PERMISSIONS],
        )
    assert "error" not in acquired, acquired
    return Teams(acquired["access_token"], named["COMMUNICATION_M365_APP_ID"], acquired["id_token_claims"]["oid"])


@pytest.fixture
def mintmark(server: RunningServer, tmp_path: Path) -> Iterator[Serving]:
    """One that exchanges the tokens of the development issuer."""
    environ = {
        "MINTMARK_TEAMS": json.dumps([{"issuer": f"{server.https_endpoint}/adfs", "scopes": TEAMS_PERMISSIONS}]),
        "SSL_CERT_FILE": server.variables["SSL_CERT_FILE"],
    }
    with serving(tmp_path, "--workers", "2", environ=environ) as started:
        yield started


@pytest.fixture
def nginx(mintmark: Serving, tmp_path: Path) -> Iterator[Nginx]:
    with nginx_before(mintmark.http_endpoint, mintmark.files, tmp_path / "nginx") as started:
        yield started


@pytest.fixture
def connection_string(mintmark: Serving, nginx: Nginx) -> str:
    key = mintmark.add_resource("shop").connection_string.partition(";")[2]
    return f"endpoint={nginx.endpoint}/;{key}"


def test_python_does_all_of_it(mintmark: Serving, nginx: Nginx, connection_string: str, teams: Teams) -> None:
    client = CommunicationIdentityClient.from_connection_string(connection_string, connection_verify=nginx.ca)

    user, first = client.create_user_and_token(["chat"])
    other = client.create_user()
    second = client.get_token(other, ["voip"])
    client.revoke_tokens(user)
    third = client.get_token(user, ["chat"])
    client.delete_user(other)
    exchanged = client.get_token_for_teams_user(*teams)

    check(mintmark, first.token, second.token, third.token, exchanged.token)


@pytest.mark.anyio
async def test_python_does_all_of_it_asynchronously(
    mintmark: Serving, nginx: Nginx, connection_string: str, teams: Teams
) -> None:
    async with AsyncCommunicationIdentityClient.from_connection_string(
        connection_string, connection_verify=nginx.ca
    ) as client:
        user, first = await client.create_user_and_token(["chat"])
        other: CommunicationUserIdentifier = await client.create_user()
        second = await client.get_token(other, ["voip"])
        await client.revoke_tokens(user)
        third = await client.get_token(user, ["chat"])
        await client.delete_user(other)
        exchanged = await client.get_token_for_teams_user(*teams)

    check(mintmark, first.token, second.token, third.token, exchanged.token)


def test_javascript_does_all_of_it(
    mintmark: Serving, nginx: Nginx, connection_string: str, teams: Teams, tmp_path: Path
) -> None:
    # Node looks for packages beside a module.
    script = Path(shutil.copy(Path(__file__).with_name("every_operation.mjs"), tmp_path))
    (tmp_path / "node_modules").symlink_to(NODE_FOLDER / "node_modules")
    names = ("teamsUserAadToken", "clientId", "userObjectId")
    given = {"connectionString": connection_string, "teams": dict(zip(names, teams, strict=True))}

    done = subprocess.run(
        [find_node(), script, json.dumps(given)],
        env={**os.environ, "NODE_EXTRA_CA_CERTS": nginx.ca},
        capture_output=True,
        text=True,
        timeout=NODE_SECONDS,
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    printed = json.loads(done.stdout)
    check(mintmark, *(printed[name] for name in ("first", "second", "third", "exchanged")))


def check(mintmark: Serving, first: str, second: str, third: str, exchanged: str) -> None:
    """Tokens hold as long as they should, and nothing had to be asked twice."""
    holds = [
        mintmark.admin("POST", "introspect", {"token": token}).json["active"]
        for token in (first, second, third, exchanged)
    ]
    assert [False, False, True, True] == holds

    def asked() -> list[tuple[str, int]]:
        return [(line["operation"], line["status"]) for line in mintmark.lines() if line.get("operation")]

    eventually("every request is logged", lambda: len(asked()) >= REQUESTS)
    assert set(OPERATIONS.items()) == set(asked())
    assert REQUESTS == len(asked())
