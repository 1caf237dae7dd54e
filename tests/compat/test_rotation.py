"""Access keys are rotated under load, as Microsoft's guide tells users to, with the real SDK: nobody notices."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest
from azure.communication.identity import CommunicationIdentityClient
from azure.core.credentials import AzureKeyCredential
from azure.core.exceptions import ClientAuthenticationError

from compat.resource import Resource
from running import RunningServer

CLIENTS = 4
ROTATIONS = 5
SOON = 30  # seconds


class Client(Thread):
    """Asks for users and tokens until it is told to stop, or fails."""

    def __init__(self, endpoint: str, credential: AzureKeyCredential, stop: Event) -> None:
        super().__init__()
        self._sdk = CommunicationIdentityClient(endpoint, credential, retry_total=0)
        self._stop_asked = stop
        self.done = 0
        self.token = ""
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                self.token = self._sdk.create_user_and_token(["chat"])[1].token
                self.done += 1
        except Exception as failure:  # noqa: BLE001  whatever it is, the test shall show it
            self.failure = failure


@contextmanager
def load(server: RunningServer, credential: AzureKeyCredential) -> Iterator[list[Client]]:
    """Several clients that share a credential, as the clients of a program do."""
    stop = Event()
    clients = [Client(server.http_endpoint, credential, stop) for _ in range(CLIENTS)]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        stop.set()
        for client in clients:
            client.join(SOON)


def until_all_have_switched(clients: list[Client]) -> None:
    """Waits until each has done two more requests: the second of them began after now."""
    before = [client.done for client in clients]
    end = time.monotonic() + SOON
    while any(client.done < done + 2 for client, done in zip(clients, before, strict=True)):
        assert [None] * len(clients) == [client.failure for client in clients]
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def resource(server: RunningServer) -> Resource:
    return Resource(server, f"rotation-{time.monotonic_ns()}")


def test_clients_that_switch_in_time_never_fail(server: RunningServer, resource: Resource) -> None:
    credential, secondary = AzureKeyCredential(resource.access_key), resource.secondary_key

    with load(server, credential) as clients:
        for _ in range(ROTATIONS):
            until_all_have_switched(clients)
            by_primary = [client.token for client in clients]
            credential.update(secondary)
            until_all_have_switched(clients)
            by_secondary = [client.token for client in clients]
            primary = resource.regenerate("primary")
            assert lives(resource, by_primary) == {False}
            assert lives(resource, by_secondary) == {True}

            credential.update(primary)
            until_all_have_switched(clients)
            by_primary = [client.token for client in clients]
            secondary = resource.regenerate("secondary")
            assert lives(resource, by_secondary) == {False}
            assert lives(resource, by_primary) == {True}

    assert [None] * CLIENTS == [client.failure for client in clients]
    assert sum(client.done for client in clients) >= CLIENTS * ROTATIONS * 6


def lives(resource: Resource, tokens: list[str]) -> set[bool]:
    return {resource.lives(token) for token in tokens}


@pytest.mark.parametrize("slot", ["primary", "secondary"])
def test_a_client_that_does_not_switch_is_denied_at_once(server: RunningServer, resource: Resource, slot: str) -> None:
    key = resource.access_key if slot == "primary" else resource.secondary_key
    clients: list[Callable[[], object]] = [
        # Each on a connection of its own, so that both workers are asked.
        CommunicationIdentityClient(server.http_endpoint, AzureKeyCredential(key)).create_user
        for _ in range(8)
    ]
    for create_user in clients:
        create_user()

    resource.regenerate(slot)

    for create_user in clients:
        with pytest.raises(ClientAuthenticationError):
            create_user()
