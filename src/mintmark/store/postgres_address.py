"""Where PostgreSQL is: an address as libpq has it (PostgreSQL's manual, "Connection URIs"), of one host or several."""

import ssl
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from msgspec import Struct

from mintmark.errors import StartRefused

SCHEMES = ("postgresql", "postgres")
MOST_PORTS = 65_535
EXAMPLE = "postgresql://mintmark@db1.example.com,db2.example.com/mintmark?sslmode=verify-full&sslrootcert=FILE"
SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_SECRETS = ("password", "sslpassword")
_KNOWN = ("host", "port", "user", "dbname", "passfile", "sslmode", "target_session_attrs", *_FILES, *_SECRETS)


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
        StartRefused: it is not one, or asks for an unprotected connection over a network without saying so. The address
            is not repeated: it may have a password.
    """
    try:
        return _parse(text)
    except ValueError as error:
        raise StartRefused("The address of the database is malformed.", f"Such as {EXAMPLE}") from error


def check_files(address: Address) -> None:
    """Refuses an address whose files cannot be used; the driver's own words do not name them.

    Raises:
        StartRefused: one is not there, or that of the authority is no certificate.
    """
    named = dict(parse_qsl(urlsplit(address.hosts[0]).query))
    for name in _FILES:
        if name in named and not Path(named[name]).is_file():
            raise StartRefused(
                f"The address of the database names a file that is not there: {name}={named[name]}.",
                "Correct its path.",
            )
    if "sslrootcert" in named:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(named["sslrootcert"])
        except (ssl.SSLError, OSError) as error:
            raise StartRefused(
                f"The address of the database names no certificate: sslrootcert={named['sslrootcert']}.",
                "Name a PEM file that the server's user can read.",
            ) from error


def driver_missing(error: ImportError) -> StartRefused:
    """The refusal where the extra for PostgreSQL is not installed."""
    return StartRefused(
        f"PostgreSQL needs a package that is not installed: {error.name}.", "pip install 'mintmark[postgres]'"
    )


def unusable(address: Address, reason: str) -> StartRefused:
    """The refusal of a database that does not answer."""
    return StartRefused(
        f"The database {address.shown} cannot be used: {reason}.",
        "Check the address, that PostgreSQL runs and takes writes, and its user's password (PGPASSFILE or PGPASSWORD) "
        "and rights.",
    )


def _parse(text: str) -> Address:
    if not text.startswith(tuple(f"{scheme}://" for scheme in SCHEMES)):
        raise StartRefused("The address of the database does not begin with postgresql://.", f"Such as {EXAMPLE}")
    parts = urlsplit(text)
    # A password with one of these in it, not percent-encoded, would be read as something else, and shown.
    if parts.fragment or "@" in parts.path + parts.query or parts.netloc.count("@") > 1:
        raise ValueError
    user, at, hosts = parts.netloc.rpartition("@")
    name, colon, _ = user.partition(":")
    given = parse_qsl(parts.query, keep_blank_values=True)
    named = dict(given)
    if len(named) != len(given) or (hosts and "host" in named):
        raise StartRefused("The address of the database names a parameter twice.", f"Such as {EXAMPLE}")
    _check(named)
    names = _hosts(hosts, named)
    if "sslmode" not in named and not all(_is_near(host) for host in names):
        raise StartRefused(
            "The address of the database does not say whether its connections are encrypted.",
            "Add ?sslmode=verify-full&sslrootcert=FILE, or ?sslmode=disable on a network that you trust.",
        )
    rest = {key: value for key, value in named.items() if key not in ("host", "port", "target_session_attrs")}
    return Address(
        hosts=tuple(_one(parts.scheme, user + at, host, parts.path, rest) for host in names),
        shown=_one(parts.scheme, name + at, hosts, parts.path, _public(named)),
        has_password=bool(colon) or len(_public(named)) < len(named),
    )


def _hosts(hosts: str, named: dict[str, str]) -> list[str]:
    """As `host:port`; a folder with a socket as it is."""
    if hosts:
        for host in hosts.split(","):
            port = host.rpartition("]")[2].partition(":")[2]
            if not host or (port and not 0 < int(port) <= MOST_PORTS):
                raise ValueError
        return hosts.split(",")
    names = named.get("host", "").split(",")
    if not all(names):  # Else the driver would look for one in the environment.
        raise StartRefused("The address of the database names no server.", f"Such as {EXAMPLE}")
    ports = named.get("port", "").split(",")
    if len(ports) == 1:
        ports *= len(names)
    if not all(port == "" or 0 < int(port) <= MOST_PORTS for port in ports):
        raise ValueError
    if len(ports) != len(names):
        raise StartRefused("The address of the database has not as many ports as hosts.", f"Such as {EXAMPLE}")
    return [f"{name}:{port}" if port else name for name, port in zip(names, ports, strict=True)]


def _one(scheme: str, user: str, host: str, path: str, parameters: dict[str, str]) -> str:
    if host.startswith("/"):  # A socket's folder cannot stand where a host does.
        folder, _, port = host.partition(":")
        parameters, host = {**parameters, "host": folder, **({"port": port} if port else {})}, ""
    query = f"?{urlencode(parameters, safe='/')}" if parameters else ""
    return f"{scheme}://{user}{host}{path}{query}"  # Without a host urlunsplit would leave out the slashes.


def _public(parameters: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in parameters.items() if name not in _SECRETS}


def _is_near(host: str) -> bool:
    """Whether what goes there stays on this machine."""
    name = host.rpartition("]")[0].lstrip("[") if host.startswith("[") else host.partition(":")[0]
    if not name or name.startswith("/") or name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _check(named: dict[str, str]) -> None:
    """Refuses parameters that would be found wrong only when a connection is made, or not at all."""
    if unknown := [name for name in named if name not in _KNOWN]:
        raise StartRefused(
            f"The address of the database has a parameter that is not known: {unknown[0]}.",
            f"Known are {', '.join(sorted(_KNOWN))}.",
        )
    mode = named.get("sslmode", "")
    if mode and mode not in SSL_MODES:
        raise StartRefused(
            f"The address of the database has an unknown sslmode: {mode}.", f"Allowed are {', '.join(SSL_MODES)}."
        )
    if mode.startswith("verify-") and "sslrootcert" not in named:
        raise StartRefused(
            f"The address of the database asks for sslmode={mode}, and names no authority to trust.",
            "Add &sslrootcert=FILE, the certificate of the authority that signed PostgreSQL's.",
        )
