"""Where PostgreSQL is: an address as libpq has it (PostgreSQL's manual, "Connection URIs"), of one host or several."""

from ipaddress import ip_address
from urllib.parse import parse_qsl, urlencode, urlsplit

from msgspec import Struct

from mintmark.errors import StartRefused

SCHEMES = ("postgresql", "postgres")
EXAMPLE = "postgresql://mintmark@db1.example.com,db2.example.com/mintmark?sslmode=verify-full"


class Address(Struct, frozen=True):
    """A database on one server or on several, of which one takes writes.

    Attributes:
        hosts: an address for each server, complete but for the password.
        shown: for messages: without a password.
        has_password: whether it has one.
    """

    hosts: tuple[str, ...]
    shown: str
    has_password: bool


def parse_address(text: str) -> Address:
    """Reads an address such as `postgresql://user@host1,host2:5433/name?sslmode=verify-full`.

    Raises:
        StartRefused: it is not one, or asks for an unprotected connection over a network without saying so.
    """
    parts = urlsplit(text)
    if parts.scheme not in SCHEMES:
        raise StartRefused("The address of the database does not begin with postgresql://.", f"Such as {EXAMPLE}")
    user, at, hosts = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    parameters = parse_qsl(parts.query)
    named = dict(parameters)
    if len(named) != len(parameters):
        raise StartRefused("The address of the database names a parameter twice.", f"Such as {EXAMPLE}")
    names = _hosts(hosts, named)
    if "sslmode" not in named and not all(_is_near(host) for host in names):
        raise StartRefused(
            "The address of the database does not say whether its connections are encrypted.",
            "Add ?sslmode=verify-full (and sslrootcert=FILE), or ?sslmode=disable on a network that you trust.",
        )
    rest = {key: value for key, value in named.items() if key not in ("host", "port", "target_session_attrs")}
    return Address(
        hosts=tuple(_one(parts.scheme, user + at, host, parts.path, rest) for host in names),
        shown=_one(parts.scheme, name + at, hosts, parts.path, _public(named)),
        has_password=bool(colon) or "password" in named,
    )


def _hosts(hosts: str, named: dict[str, str]) -> list[str]:
    """As `host:port`; a folder with a socket as it is."""
    if hosts:
        return hosts.split(",")
    names = named.get("host", "").split(",")
    ports = named.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(names)
    if len(ports) != len(names):
        raise StartRefused("The address of the database has not as many ports as hosts.", f"Such as {EXAMPLE}")
    return [f"{name}:{port}" if port else name for name, port in zip(names, ports, strict=True)]


def _one(scheme: str, user: str, host: str, path: str, parameters: dict[str, str]) -> str:
    if host.startswith("/"):  # A socket's folder cannot stand where a host does.
        folder, _, port = host.partition(":")
        parameters, host = {**parameters, "host": folder, **({"port": port} if port else {})}, ""
    query = f"?{urlencode(parameters)}" if parameters else ""
    return f"{scheme}://{user}{host}{path}{query}"  # Without a host urlunsplit would leave out the slashes.


def _public(parameters: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if name != "password"}


def _is_near(host: str) -> bool:
    """Whether what goes there stays on this machine."""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if not name or name.startswith("/") or name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
