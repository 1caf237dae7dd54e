"""The disk of PostgreSQL fills: writes are refused, reads and the key set go on, and with room all is well again."""

import contextlib
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from builders import signed_headers
from calls import Answer, ask
from mintmark.sources import system
from nodes.several import node
from postgres import Cluster, folder
from process.watching import eventually
from serving import OwnedResource, Serving

SOON = 5.0  # seconds
CREATE = "/identities?api-version=2025-03-02-preview"

pytestmark = pytest.mark.root


@pytest.fixture
def small() -> Iterator[Cluster]:
    """A cluster whose data are on a small disk, and whose log is not: without room for that PostgreSQL itself ends."""
    with folder() as parent:
        disk = parent / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=80m,mode=0711", "tmpfs", str(disk)], check=True)
        try:
            cluster = Cluster(disk / "primary")
            cluster.initialise(parent / "wal")
            cluster.start()
            try:
                yield cluster
            finally:
                cluster.stop()
        finally:
            subprocess.run(["umount", str(disk)], check=True)


def signed(at: Serving, resource: OwnedResource, method: str, target: str) -> Answer:
    body = b"{}" if method == "POST" else b""
    host = urlsplit(at.endpoint).netloc
    headers = signed_headers(method, target, body, now=system().now(), host=host, key=resource.keys[0])
    texts = {name.decode(): value.decode() for name, value in headers}
    return ask(at.endpoint, target, method=method, headers=texts, body=body or None)


def test_a_full_disk_of_the_database_is_said_and_recovered_from(small: Cluster, tmp_path: Path) -> None:
    filler = small.folder.parent / "filler"
    with node(tmp_path, small.address(), 0) as at:
        resource = at.add_resource("shop")
        kept = signed(at, resource, "POST", CREATE).json["identity"]["id"]
        with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(4096))

        acknowledged = []
        while (answer := signed(at, resource, "POST", CREATE)).status == 201:  # Until the last page is full.
            acknowledged.append(answer.json["identity"]["id"])
        assert (503, "1") == (answer.status, answer.headers["retry-after"])
        assert 200 == signed(at, resource, "GET", f"/identities/{kept}?api-version=2025-03-02-preview").status
        assert ask(at.endpoint, "/.well-known/jwks.json").json["keys"]
        assert {503} == {ask(at.admin_endpoint, "/_mintmark/ready").status for _ in range(5)}

        filler.unlink()
        began = time.monotonic()
        eventually("writes succeed", lambda: 201 == signed(at, resource, "POST", CREATE).status)
        eventually("the node is ready", lambda: 200 == ask(at.admin_endpoint, "/_mintmark/ready").status)
        assert time.monotonic() - began < SOON
        for identity in (kept, *acknowledged):
            assert 200 == signed(at, resource, "GET", f"/identities/{identity}?api-version=2025-03-02-preview").status
