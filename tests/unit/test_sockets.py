import errno
import socket

import pytest

from mintmark.errors import StartRefused
from mintmark.sockets import listen, port_of, reachable_name


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError as error:
        if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            return False
        raise


def close(sockets: list[socket.socket]) -> None:
    for each in sockets:
        each.close()


def test_localhost_is_every_loopback_address_with_one_port() -> None:
    sockets = listen("localhost", 0, "--http-port")

    ports = {each.getsockname()[1] for each in sockets}
    addresses = {each.getsockname()[0] for each in sockets}
    close(sockets)
    assert 1 == len(ports)
    assert addresses == ({"127.0.0.1", "::1"} if has_ipv6() else {"127.0.0.1"})


def test_a_connection_made_before_anybody_accepts_waits() -> None:
    sockets = listen("127.0.0.1", 0, "--http-port")

    with socket.create_connection(("127.0.0.1", port_of(sockets)), timeout=1):
        close(sockets)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_taken_port_is_noticed_and_the_flag_named(host: str) -> None:
    sockets = listen("127.0.0.1", 0, "--http-port")

    with pytest.raises(StartRefused, match="Address already in use") as refused:
        listen(host, port_of(sockets), "--http-port")

    close(sockets)
    assert "--http-port" in refused.value.advice


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(StartRefused, match=f"Cannot listen on {host}"):
        listen(host, 0, "--http-port")


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("localhost", "localhost"),
        ("0.0.0.0", "localhost"),
        ("::", "localhost"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "[::1]"),
    ],
)
def test_programs_of_this_machine_are_told_a_name_they_can_reach(host: str, name: str) -> None:
    assert name == reachable_name(host)
