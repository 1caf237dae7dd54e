"""Mintmark stops and starts behind nginx: what clients get meanwhile, and that the SDKs get over it."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from azure.communication.identity import CommunicationIdentityClient

from process.watching import eventually, free_port
from proxy.nginx import Nginx, nginx_before
from serving import Files, OwnedResource, Serving, serving

pytestmark = pytest.mark.proxy

PATH = "/.well-known/jwks.json"


class Behind:
    """An nginx whose Mintmark has a fixed port, and is down until a test starts it."""

    def __init__(self, nginx: Nginx, folder: Path, port: int) -> None:
        self.nginx = nginx
        self._folder = folder
        self._flags = ("--http-port", str(port))

    def mintmark(self) -> AbstractContextManager[Serving]:
        return serving(self._folder, *self._flags)

    def client(self, resource: OwnedResource) -> CommunicationIdentityClient:
        key = resource.connection_string.partition(";")[2]
        return CommunicationIdentityClient.from_connection_string(
            f"endpoint={self.nginx.endpoint}/;{key}", connection_verify=self.nginx.ca
        )

    def refused(self) -> int:
        """How many requests got 503 so far."""
        return sum(line["status"] == 503 for line in self.nginx.log())


@pytest.fixture
def behind(tmp_path: Path) -> Iterator[Behind]:
    port = free_port()
    with nginx_before(f"http://localhost:{port}", Files(tmp_path), tmp_path / "nginx") as nginx:
        yield Behind(nginx, tmp_path, port)


def test_while_it_is_down_clients_get_an_error_of_acs_and_are_asked_to_wait(behind: Behind) -> None:
    answer = behind.nginx.ask(PATH)

    assert 503 == answer.status
    assert "ServiceUnavailable" == answer.json["error"]["code"]
    assert "1" == answer.headers["retry-after"]
    assert "application/json" == answer.headers["content-type"]


def test_an_sdk_that_asks_while_it_restarts_gets_its_answer_late(behind: Behind) -> None:
    with behind.mintmark() as mintmark:
        client = behind.client(mintmark.add_resource("shop"))
        client.create_user()
        mintmark.stop()
    with ThreadPoolExecutor() as thread:
        user = thread.submit(client.create_user)
        eventually("a request is refused", behind.refused)
        with behind.mintmark() as mintmark:
            assert user.result().raw_id.startswith("8:acs:")
    assert behind.refused() > 0


def test_what_was_begun_before_a_stop_is_answered(behind: Behind) -> None:
    """The connection that nginx keeps is the one to be closed: no request gets lost on it."""
    with behind.mintmark() as mintmark:
        client = behind.client(mintmark.add_resource("shop"))
        for _ in range(5):
            client.create_user()
        with ThreadPoolExecutor() as thread:
            users = [thread.submit(client.create_user) for _ in range(20)]
            mintmark.stop()
            with behind.mintmark():
                made = {user.result().raw_id for user in users}
    assert 20 == len(made)
