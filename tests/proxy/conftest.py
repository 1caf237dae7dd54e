"""What the tests behind nginx share: one `mintmark serve`, and one nginx before it."""

from collections.abc import Iterator

import pytest

from proxy.nginx import Nginx, nginx_before
from serving import Serving, serving


@pytest.fixture(scope="module")
def mintmark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """One that trusts what nginx says of clients."""
    with serving(tmp_path_factory.mktemp("mintmark"), "--trusted-proxy", "127.0.0.1") as started:
        yield started


@pytest.fixture(scope="module")
def nginx(mintmark: Serving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """As packaged, before that."""
    folder = tmp_path_factory.mktemp("nginx") / "nginx"
    with nginx_before(mintmark.http_endpoint, mintmark.files, folder) as started:
        yield started
