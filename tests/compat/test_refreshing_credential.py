"""Credentials that refresh themselves, with the clock that tests can move: nobody waits a day for a token to age."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from azure.communication.identity import CommunicationIdentityClient, CommunicationUserIdentifier
from azure.communication.identity._shared.user_credential import CommunicationTokenCredential
from azure.core.credentials import AccessToken, AzureKeyCredential

from calls import holds
from compat.conftest import node_runner
from compat.resource import admin
from running import RunningServer, running_server

CHAT = ["chat"]
pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # the SDK's, from 3.12


@pytest.fixture(scope="module")
def own_server() -> Iterator[RunningServer]:
    """A server whose clock only these tests move."""
    with running_server("--ephemeral", "--workers", "2") as started:
        yield started


@pytest.fixture
def client(own_server: RunningServer) -> Iterator[CommunicationIdentityClient]:
    yield CommunicationIdentityClient(own_server.http_endpoint, AzureKeyCredential(own_server.access_key))
    move_clock(own_server, "resume")


def move_clock(server: RunningServer, action: str, by: timedelta = timedelta()) -> None:
    """Moves the server's clock, at once in every worker; the SDK's stays real."""
    move: dict[str, Any] = {"action": action}
    if action == "advance":
        move["milliseconds"] = by // timedelta(milliseconds=1)
    admin(server, "POST", "/clock", move)


def token_of_age(
    server: RunningServer, client: CommunicationIdentityClient, user: CommunicationUserIdentifier, age: timedelta
) -> str:
    """A token for 24 hours as it was issued some time ago: the server lives in the past meanwhile."""
    move_clock(server, "advance", -age)
    token = str(client.get_token(user, CHAT).token)
    move_clock(server, "resume")
    return token


class Refresher:
    """What a program gives to the credential: it asks for a new token, and counts."""

    def __init__(self, client: CommunicationIdentityClient, user: CommunicationUserIdentifier) -> None:
        self._client = client
        self._user = user
        self.called = 0

    def __call__(self) -> AccessToken:
        self.called += 1
        token = self._client.get_token(self._user, CHAT)
        # The one SDK hands on the time as text; the other wants seconds.
        return AccessToken(token.token, int(datetime.fromisoformat(str(token.expires_on)).timestamp()))


def test_a_token_with_five_minutes_left_is_refreshed_before_it_expires(
    own_server: RunningServer, client: CommunicationIdentityClient
) -> None:
    user = client.create_user()
    aging, refresher = token_of_age(own_server, client, user, timedelta(hours=23, minutes=55)), Refresher(client, user)
    assert holds(own_server, aging)

    with CommunicationTokenCredential(aging, token_refresher=refresher, proactive_refresh=True) as credential:
        fresh = credential.get_token().token

    assert (1, True) == (refresher.called, holds(own_server, fresh))
    move_clock(own_server, "advance", timedelta(minutes=6))
    assert [False, True] == [holds(own_server, aging), holds(own_server, fresh)]


def test_an_expired_token_is_refreshed_when_it_is_needed(
    own_server: RunningServer, client: CommunicationIdentityClient
) -> None:
    user = client.create_user()
    expired, refresher = token_of_age(own_server, client, user, timedelta(hours=24)), Refresher(client, user)
    assert not holds(own_server, expired)

    with CommunicationTokenCredential(expired, token_refresher=refresher) as credential:
        tokens = {credential.get_token().token for _ in range(2)}

    assert 1 == refresher.called == len(tokens)
    assert holds(own_server, tokens.pop())


def test_a_token_with_an_hour_left_is_used_as_it_is(
    own_server: RunningServer, client: CommunicationIdentityClient
) -> None:
    user = client.create_user()
    token, refresher = token_of_age(own_server, client, user, timedelta(hours=23)), Refresher(client, user)

    with CommunicationTokenCredential(token, token_refresher=refresher, proactive_refresh=True) as credential:
        assert token == credential.get_token().token

    assert 0 == refresher.called


def test_an_sdk_goes_on_by_real_time_while_the_server_lives_tomorrow(
    own_server: RunningServer, client: CommunicationIdentityClient
) -> None:
    user, today = client.create_user_and_token(CHAT)
    move_clock(own_server, "advance", timedelta(hours=24, minutes=1))
    tomorrow = client.get_token(user, CHAT)

    assert [False, True] == [holds(own_server, token.token) for token in (today, tomorrow)]
    assert timedelta(hours=24) < datetime.fromisoformat(str(tomorrow.expires_on)) - datetime.fromisoformat(
        str(today.expires_on)
    )


def test_a_day_passes_in_node_and_in_the_server_at_once(own_server: RunningServer) -> None:
    """Node can move its own clock too, so the SDK signs and refreshes as if it were tomorrow."""
    day = node_runner(own_server)("a-day.mjs")

    assert {"refreshed": 0, "lives": True, "firstLives": True} == day["at first"]
    assert {"refreshed": 0, "lives": True, "firstLives": True} == day["after 23 hours"]
    assert {"refreshed": 1, "lives": True, "firstLives": False} == day["after more than 24 hours"]
