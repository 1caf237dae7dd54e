"""Where a request came from, as the log has it: nginx's word counts if it is trusted, a client's own never."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from process.watching import eventually
from proxy.nginx import ANOTHER_ADDRESS, Nginx, nginx_before
from serving import Serving, serving

pytestmark = pytest.mark.proxy

PATH = "/.well-known/jwks.json"
FORGED = {
    "nothing": {},
    "another address": {"X-Forwarded-For": "203.0.113.9"},
    "several addresses": {"X-Forwarded-For": "203.0.113.9, 127.0.0.1, ::1"},
    "the proxy's own address": {"X-Forwarded-For": "127.0.0.1"},
    "no address": {"X-Forwarded-For": '\', "client": "x'},
    "Forwarded": {"Forwarded": "for=203.0.113.9"},
    "X-Real-IP": {"X-Real-IP": "203.0.113.9"},
}


def logged_client(mintmark: Serving, nginx: Nginx, headers: dict[str, str]) -> str:
    """The address in the log for a request from ANOTHER_ADDRESS."""
    answer = nginx.ask(PATH, headers=headers, source=ANOTHER_ADDRESS)
    assert 200 == answer.status

    def lines() -> list[str]:
        return [line["client"] for line in mintmark.lines() if line.get("id") == answer.headers["ms-cv"]]

    eventually("the request is logged", lines)
    return lines()[0]


@pytest.fixture(scope="module")
def in_a_chain(mintmark: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """An nginx that hands on what clients say, and adds their address, as it must behind another proxy."""
    folder = tmp_path_factory.mktemp("chain") / "nginx"
    changes = {"X-Forwarded-For $remote_addr": "X-Forwarded-For $proxy_add_x_forwarded_for"}
    with nginx_before(mintmark.http_endpoint, mintmark.files, folder, changes) as started:
        yield started


@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED)
def test_the_log_has_the_address_that_nginx_saw_whatever_the_client_says(
    mintmark: Serving, nginx: Nginx, headers: dict[str, str]
) -> None:
    assert ANOTHER_ADDRESS == logged_client(mintmark, nginx, headers)


@pytest.mark.parametrize("headers", FORGED.values(), ids=FORGED)
def test_of_a_chain_of_addresses_only_what_proxies_added_counts(
    mintmark: Serving, in_a_chain: Nginx, headers: dict[str, str]
) -> None:
    assert ANOTHER_ADDRESS == logged_client(mintmark, in_a_chain, headers)


def test_a_proxy_that_is_not_trusted_stands_in_the_log_itself(tmp_path: Path) -> None:
    with (
        serving(tmp_path) as mintmark,
        nginx_before(mintmark.http_endpoint, mintmark.files, tmp_path / "nginx") as nginx,
    ):
        assert "127.0.0.1" == logged_client(mintmark, nginx, FORGED["another address"])


def test_the_admin_listener_is_not_behind_nginx(nginx: Nginx) -> None:
    for path in ("/_mintmark/resources", "/_mintmark/ready", "/_mintmark/metrics"):
        assert 404 == nginx.ask(path).status
