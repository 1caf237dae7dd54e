"""The disk of PostgreSQL fills: writes are refused, reads and the key set go on, and with room all is well again."""

import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from builders import signed_headers
from calls import Answer, ask
from disks import SmallDisk, small_disk
from mintmark.sources import system
from nodes.several import node
from postgres import Cluster, folder
from process.watching import eventually
from serving import OwnedResource, Serving

SOON = 5.0  # seconds
CREATE = "/identities?api-version=2025-03-02-preview"

pytestmark = pytest.mark.root


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with folder() as parent, small_disk(parent / "disk", "80m") as mounted:
        yield mounted


@pytest.fixture
def small(disk: SmallDisk) -> Iterator[Cluster]:
    """A cluster with its data on the disk, and its log elsewhere: without room for that PostgreSQL itself ends."""
    cluster = Cluster(disk.folder / "primary")
    cluster.initialise(disk.folder.parent / "wal")
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop()


def signed(at: Serving, resource: OwnedResource, method: str, target: str) -> Answer:
    body = b"{}" if method == "POST" else b""
    host = urlsplit(at.endpoint).netloc
    headers = signed_headers(method, target, body, now=system().now(), host=host, key=resource.keys[0])
    texts = {name.decode(): value.decode() for name, value in headers}
    return ask(at.endpoint, target, method=method, headers=texts, body=body or None)


def test_a_full_disk_of_the_database_is_said_and_recovered_from(
    disk: SmallDisk, small: Cluster, tmp_path: Path
) -> None:
    with node(tmp_path, small.address(), 0) as at:
        resource = at.add_resource("shop")
        kept = signed(at, resource, "POST", CREATE).json["identity"]["id"]
        disk.fill()

        acknowledged = []
        while (answer := signed(at, resource, "POST", CREATE)).status == 201:  # Until the last page is full.
            acknowledged.append(answer.json["identity"]["id"])
        assert (503, "1") == (answer.status, answer.headers["retry-after"])
        assert 200 == signed(at, resource, "GET", f"/identities/{kept}?api-version=2025-03-02-preview").status
        assert ask(at.endpoint, "/.well-known/jwks.json").json["keys"]
        assert {503} == {ask(at.admin_endpoint, "/_mintmark/ready").status for _ in range(5)}

        disk.free()
        began = time.monotonic()
        eventually("writes succeed", lambda: 201 == signed(at, resource, "POST", CREATE).status)
        eventually("the node is ready", lambda: 200 == ask(at.admin_endpoint, "/_mintmark/ready").status)
        assert time.monotonic() - began < SOON
        for identity in (kept, *acknowledged):
            assert 200 == signed(at, resource, "GET", f"/identities/{identity}?api-version=2025-03-02-preview").status
