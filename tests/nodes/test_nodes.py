"""What one node does the others know: of identities at once, of resources and keys within a second."""

import base64
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from azure.communication.identity import CommunicationIdentityClient
from azure.core.credentials import AzureKeyCredential

from builders import signed_headers
from calls import Answer, ask
from mintmark.sources import system
from nodes.several import node, nodes
from postgres import Cluster
from process.watching import eventually
from serving import OwnedResource, Serving

SOON = 1.0  # seconds
NODES = 3

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def several(tmp_path_factory: pytest.TempPathFactory, cluster: Cluster) -> Iterator[list[Serving]]:
    with nodes(tmp_path_factory.mktemp("nodes"), cluster.address(), NODES) as started:
        yield started


@pytest.fixture(scope="module")
def resource(several: list[Serving]) -> OwnedResource:
    """The first one, so that requests to any host are for it; known to all nodes."""
    made = several[0].add_resource("shop")
    eventually("all know the resource", lambda: all(works(at, made) for at in several))
    return made


def client(at: Serving, resource: OwnedResource, slot: int = 0) -> CommunicationIdentityClient:
    """The official SDK, at one node; nothing is tried again."""
    key = base64.b64encode(resource.keys[slot]).decode()
    return CommunicationIdentityClient(at.endpoint, AzureKeyCredential(key), retry_total=0)


def is_alive(at: Serving, token: str) -> bool:
    answer = at.admin("POST", "introspect", {"token": token})
    assert 200 == answer.status
    alive: bool = answer.json["active"]
    return alive


def works(at: Serving, resource: OwnedResource, slot: int = 0) -> bool:
    answer = signed(at, resource, slot)
    assert answer.status in (201, 401), answer
    return 201 == answer.status


def signed(at: Serving, resource: OwnedResource, slot: int = 0) -> Answer:
    """A Create without a token."""
    host, target = urlsplit(at.endpoint).netloc, "/identities?api-version=2023-10-01"
    headers = signed_headers("POST", target, b"{}", now=system().now(), host=host, key=resource.keys[slot])
    texts = {name.decode(): value.decode() for name, value in headers}
    return ask(at.endpoint, target, method="POST", headers=texts, body=b"{}")


@pytest.mark.usefixtures("resource")
def test_a_new_resource_is_known_everywhere_within_a_second(several: list[Serving]) -> None:
    for number, at in enumerate(several):
        made = at.add_resource(f"new-{number}")
        began = time.monotonic()
        for other in several:
            eventually("the resource is known", lambda other=other, made=made: _knows(other, made))  # type: ignore[misc]
        assert time.monotonic() - began < SOON


def _knows(at: Serving, made: OwnedResource) -> bool:
    return 200 == at.admin("GET", f"resources/{made.id}").status


def test_an_identity_made_on_one_node_is_served_by_the_others_at_once(
    several: list[Serving], resource: OwnedResource
) -> None:
    for made_on in several:
        user, token = client(made_on, resource).create_user_and_token(["chat"])
        for other in several:
            assert client(other, resource).get_token(user, ["voip"]).token
            assert is_alive(other, token.token)


@pytest.mark.parametrize("ends", ["revoke", "delete"])
def test_what_one_node_ends_is_ended_everywhere_at_once(
    several: list[Serving], resource: OwnedResource, ends: str
) -> None:
    for by in several:
        user, token = client(by, resource).create_user_and_token(["chat"])
        assert all(is_alive(at, token.token) for at in several)
        if ends == "revoke":
            client(by, resource).revoke_tokens(user)
        else:
            client(by, resource).delete_user(user)
        assert not any(is_alive(at, token.token) for at in several)


def test_a_regenerated_access_key_ends_everywhere_within_a_second(
    several: list[Serving], resource: OwnedResource
) -> None:
    _, token = client(several[1], resource, slot=1).create_user_and_token(["chat"])
    assert all(works(at, resource, slot=1) for at in several)

    regenerated = several[0].admin("POST", f"resources/{resource.id}/access-keys/secondary/:regenerate")
    assert 200 == regenerated.status
    began = time.monotonic()
    eventually("no node takes it", lambda: not any(works(at, resource, slot=1) for at in several))
    eventually("its tokens have ended", lambda: not any(is_alive(at, token.token) for at in several))
    assert time.monotonic() - began < SOON
    assert all(works(at, resource) for at in several)


def test_a_rotated_signing_key_is_published_everywhere_within_a_second(several: list[Serving]) -> None:
    rotated = several[2].admin("POST", "signing-keys/:rotate", {})
    assert rotated.status in (200, 201), rotated
    began = time.monotonic()

    def published(at: Serving) -> set[str]:
        return {key["kid"] for key in ask(at.endpoint, "/.well-known/jwks.json").json["keys"]}

    eventually("all publish it", lambda: 2 == len(published(several[0])) and _agree(several, published))
    assert time.monotonic() - began < SOON


def _agree(several: list[Serving], published: object) -> bool:
    assert callable(published)
    return 1 == len({frozenset(published(at)) for at in several})


def test_nodes_that_start_at_once_make_one_signing_key(tmp_path: Path, database: str, cluster: Cluster) -> None:
    with nodes(tmp_path, database, NODES):
        assert "1" == cluster.sql("select count(*) from signing_key", "test")
        assert "2" == cluster.sql("select count(*) from migration", "test")


def test_a_node_that_is_cut_off_says_so_and_recovers(tmp_path: Path, database: str, cluster: Cluster) -> None:
    with node(tmp_path, database, 0) as at:
        resource = at.add_resource("shop")
        assert works(at, resource)
        keys = ask(at.endpoint, "/.well-known/jwks.json").json
        cluster.sql("alter database test allow_connections false")
        cluster.sql("select pg_terminate_backend(pid) from pg_stat_activity where datname = 'test'")
        eventually("the node is not ready", lambda: 503 == ask(at.admin_endpoint, "/_mintmark/ready").status)

        refused = signed(at, resource)
        assert (503, "1") == (refused.status, refused.headers["retry-after"])
        assert keys == ask(at.endpoint, "/.well-known/jwks.json").json
        assert 200 == ask(at.admin_endpoint, "/_mintmark/live").status

        cluster.sql("alter database test allow_connections true")
        eventually("the node is ready", lambda: 200 == ask(at.admin_endpoint, "/_mintmark/ready").status)
        assert works(at, resource)
