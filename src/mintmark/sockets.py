"""Listening sockets, bound once by the parent: without SO_REUSEPORT, so that a taken port is noticed."""

import errno
import ipaddress
import socket

from mintmark.errors import StartRefused

BACKLOG = 2048
_LOOPBACK = ("127.0.0.1", "::1")
_PORT_TRIES = 20


def listen(host: str, port: int, flag: str) -> list[socket.socket]:
    """Sockets that listen on `host` and `port`; all with the same port.

    Args:
        host: a name or address; localhost stands for 127.0.0.1 and, where the machine has IPv6, ::1.
        port: 0 for any free one.
        flag: the flag that chooses the port, for the message.

    Raises:
        StartRefused: the port is taken or may not be used, or the address is not of this machine.
    """
    try:
        if host != "localhost":
            return [_listen(host, port)]
        return _listen_on_loopback(port)
    except OSError as error:
        raise StartRefused(
            f"Cannot listen on {host}, port {port}: {error.strerror or error}.", _advice(error, flag)
        ) from error


def port_of(sockets: list[socket.socket]) -> int:
    """The port that `listen` chose."""
    port: int = sockets[0].getsockname()[1]
    return port


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine reach a listener on `host`."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reachable_name(host: str) -> str:
    """The name, as addresses write it, under which programs of this machine reach a listener on `host`."""
    if host in ("localhost", "0.0.0.0", "::"):  # noqa: S104  compared, not bound
        return "localhost"
    return f"[{host}]" if ":" in host else host


def _listen_on_loopback(port: int) -> list[socket.socket]:
    for _ in range(_PORT_TRIES):
        first = _listen(_LOOPBACK[0], port)
        try:
            return [first, _listen(_LOOPBACK[1], port_of([first]))]
        except OSError as error:
            if error.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                return [first]  # No IPv6 here.
            first.close()
            if port or error.errno != errno.EADDRINUSE:
                raise
    raise OSError(errno.EADDRINUSE, "no port is free on both 127.0.0.1 and ::1")


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    server = socket.socket(family, socket.SOCK_STREAM)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # :: alone stands for every address of the machine; ::1 must not take the port of 127.0.0.1 too.
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if host == "::" else 1)
        server.bind(address)
        server.listen(BACKLOG)
        server.setblocking(False)
    except BaseException:
        server.close()
        raise
    return server


def _advice(error: OSError, flag: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Another program listens there. Choose another port with {flag} (0 takes any free one), or stop it."
    if error.errno == errno.EACCES:
        return f"Ports below 1024 are not for everybody. Choose another with {flag}."
    return "Choose an address of this machine with --host or --admin-host."
