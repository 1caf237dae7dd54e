"""`mintmark health`."""

from cli.conftest import Mintmark
from running import RunningServer


def test_a_server_that_answers_is_ready(connected: Mintmark, server: RunningServer) -> None:
    assert (0, f"ready  {server.admin_endpoint}\n", "") == connected("health")


def test_it_says_so_as_json(connected: Mintmark, server: RunningServer) -> None:
    done = connected("health", "--json")

    assert (0, "") == (done.status, done.err)
    assert {"ready": True, "adminEndpoint": server.admin_endpoint} == done.json


def test_a_server_that_is_no_admin_listener_is_not_ready(mintmark: Mintmark, server: RunningServer) -> None:
    """As with the address of the HTTP listener by mistake."""
    done = mintmark("health", "--admin-endpoint", server.http_endpoint)

    assert done.status in (1, 2)
    assert "ready  " not in done.out
    assert "{" not in done.out + done.err, "a person reads this"
