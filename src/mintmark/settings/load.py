"""Settings from flags first, then the environment, then a TOML file, then the defaults; all bad values at once."""

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from mintmark.bearer import TrustedIssuer
from mintmark.errors import StartRefused
from mintmark.limits import parse_limits
from mintmark.model import Secret
from mintmark.settings import ABOUT, OFF, PREFIX, Door, Settings, names
from mintmark.sockets import is_loopback
from mintmark.store.postgres_address import parse_address
from mintmark.teams import TeamsIssuer

_FIELDS = {field.name: field for field in msgspec.structs.fields(Settings)}
DEFAULT = "default"


class Loaded(Struct, frozen=True):
    """Settings, and where each came from: a flag, a variable, a file, or `default`."""

    settings: Settings
    origins: Mapping[str, str]


def load(door: Door, flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None) -> Loaded:
    """The settings that flags, environment and file ask for.

    Args:
        door: for which they are.
        flags: values by setting; None where a flag was not given.
        environ: variables, of which those named `MINTMARK_` and a setting count.
        file: a TOML file; None for none.

    Raises:
        StartRefused: names every bad value at once.
    """
    loaded, complaints = examine(door, flags, environ, file)
    if complaints:
        raise StartRefused("\n".join(complaints))
    return loaded


def examine(
    door: Door, flags: Mapping[str, Any], environ: Mapping[str, str], file: Path | None = None
) -> tuple[Loaded, list[str]]:
    """The same, with a default in the place of each bad value; and all that is wrong with them."""
    complaints: list[str] = []
    written = {} if file is None else _read(file, door, complaints)
    values: dict[str, Any] = {}
    bad: set[str] = set()
    origins = dict.fromkeys(names(door), DEFAULT)
    for name in names(door):
        origin, value = _find(name, flags, environ, written, file)
        if value is None:
            if (serve_default := ABOUT[name].serve_default) is not None and door == "serve":
                values[name] = serve_default
            continue
        origins[name] = origin
        try:
            values[name] = _convert(name, value)
        except (ValueError, StartRefused) as error:  # msgspec's errors are ValueErrors
            complaints.append(_complaint(name, origin, value, error))
            origins[name] = f"bad: {origin}"
            bad.add(name)
    settings = _with_ports(door, values, origins)
    for needed, is_wrong, text in _rules(door, settings, origins):
        if is_wrong and not bad & needed:  # Of a value that is bad already there is nothing more to say.
            complaints.append(text)
    return Loaded(settings, origins), complaints


def _read(file: Path, door: Door, complaints: list[str]) -> dict[str, Any]:
    try:
        written = tomllib.loads(file.read_text())
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        complaints.append(f"The configuration file {file} cannot be read: {reason}.")
        return {}
    for name in written:
        if name not in names(door):
            close = get_close_matches(name, names(door), 1)
            complaints.append(f"There is no setting {name}, as in {file}." + (f" Is it {close[0]}?" if close else ""))
        elif ABOUT[name].is_secret:
            complaints.append(f"{name} is a secret: put it into a file of its own and name that by {name}_file.")
    return {name: value for name, value in written.items() if name in names(door) and not ABOUT[name].is_secret}


def _find(
    name: str, flags: Mapping[str, Any], environ: Mapping[str, str], written: Mapping[str, Any], file: Path | None
) -> tuple[str, Any]:
    if flags.get(name) is not None:
        return ABOUT[name].flag, flags[name]
    variable = PREFIX + name.upper()
    if environ.get(variable):
        text = environ[variable]
        is_list = isinstance(_FIELDS[name].default, tuple) and ABOUT[name].flag
        return variable, tuple(part.strip() for part in text.split(",")) if is_list else text
    return f"{name} in {file}", written.get(name)


def _convert(name: str, value: Any) -> Any:
    field = _FIELDS[name]
    if name in ("bearer", "teams"):
        kind = tuple[TrustedIssuer, ...] if name == "bearer" else tuple[TeamsIssuer, ...]
        return msgspec.json.decode(value, type=kind) if isinstance(value, str) else msgspec.convert(value, kind)
    if name in ("https_port", "http_port") and value == OFF:
        return None
    if ABOUT[name].is_secret:
        return Secret(value.encode())
    if name == "database" and value:
        parse_address(msgspec.convert(value, str))
    if name == "limits":
        parse_limits(value if isinstance(value, str) else str(value))
    return msgspec.convert(value, field.type, strict=False)


def _complaint(name: str, origin: str, value: object, error: Exception) -> str:
    if ABOUT[name].is_secret:
        return f"{origin} must be {ABOUT[name].allowed}."
    if name in ("bearer", "teams"):
        return f"{origin} must be {ABOUT[name].allowed}: {str(error).replace('`', '')}."
    if name == "database":
        advice = f" {error.advice}" if isinstance(error, StartRefused) else ""
        return f"{origin}: {error}{advice}"  # Without the value: it may have a password in it.
    if name == "limits" and str(error):
        return f"{origin} is '{value}': {error}"
    return f"{origin} is '{value}', but must be {ABOUT[name].allowed}."


def _with_ports(door: Door, values: dict[str, Any], origins: Mapping[str, str]) -> Settings:
    """In `serve` there is HTTPS where there is a certificate, and else plain HTTP, for a proxy beside it."""
    if door == "serve":
        has_tls = bool(values.get("tls_certificate"))
        if origins["https_port"] == DEFAULT and not has_tls:
            values = {**values, "https_port": None}
        if origins["http_port"] == DEFAULT and has_tls:
            values = {**values, "http_port": None}
    return Settings(**values)


Rule = tuple[set[str], bool, str]  # the settings that it is about, whether they break it, what to say then


def _rules(door: Door, settings: Settings, origins: Mapping[str, str]) -> list[Rule]:
    ports = [port for port in (settings.https_port, settings.http_port, settings.admin_port) if port]
    are_ports = {"https_port", "http_port", "admin_port"}
    has_off = settings.https_port is None or settings.http_port is None
    both_off = settings.https_port is None and settings.http_port is None
    is_shown = bool(settings.database) and origins["database"] != f"{PREFIX}DATABASE"
    common: list[Rule] = [
        (
            {"database"},
            is_shown and parse_address(settings.database).has_password,
            (
                f"{origins['database']} has a password in it, which others on this machine can read: put it into a "
                f"file and name that by PGPASSFILE, or give the address as {PREFIX}DATABASE."
            ),
        ),
        (
            are_ports,
            len(set(ports)) < len(ports),
            "--https-port, --http-port and --admin-port must differ from one another.",
        ),
    ]
    if door == "dev":
        text = "mintmark dev needs both --https-port and --http-port; 0 takes any free one."
        lasting = "--ephemeral is for data that are removed in the end, and --database for data that are not."
        has_both = settings.ephemeral and bool(settings.database)
        return [*common, (are_ports, has_off, text), ({"ephemeral", "database"}, has_both, lasting)]
    text = "--https-port and --http-port are both off: nobody could reach the server."
    return [*common, (are_ports, both_off, text), *_serve_rules(settings, origins)]


def _serve_rules(settings: Settings, origins: Mapping[str, str]) -> list[Rule]:
    is_open = settings.http_port is not None and not is_loopback(settings.host) and not settings.trusted_proxies
    return [
        (
            {"data"},
            origins["data"] == DEFAULT,
            "--data must be given: the folder for the database, such as /var/lib/mintmark.",
        ),
        (
            {"issuer"},
            not settings.issuer,
            "--issuer must be given: the public address of this service, such as https://identity.example.com.",
        ),
        (
            {"tls_certificate", "tls_key"},
            bool(settings.tls_certificate) != bool(settings.tls_key),
            "--tls-certificate and --tls-key must be given together.",
        ),
        (
            {"https_port", "tls_certificate"},
            settings.https_port is not None and not settings.tls_certificate,
            "--https-port needs a certificate: give --tls-certificate and --tls-key.",
        ),
        (
            {"http_port", "host", "trusted_proxies"},
            is_open,
            (
                f"Plain HTTP on {settings.host} would show tokens to the network: give a certificate, keep --host on "
                f"loopback, or name the proxy that ends TLS by --trusted-proxy."
            ),
        ),
        (
            {"key_encryption_key", "key_encryption_key_file"},
            bool(settings.key_encryption_key) == bool(settings.key_encryption_key_file),
            (
                f"A key-encryption key must be given, and in one way only: --key-encryption-key-file or "
                f"{PREFIX}KEY_ENCRYPTION_KEY. Make one with: openssl rand -base64 32"
            ),
        ),
        (
            {"admin_key", "admin_key_file"},
            bool(settings.admin_key) == bool(settings.admin_key_file),
            (
                f"An admin key must be given, and in one way only: --admin-key-file or {PREFIX}ADMIN_KEY. "
                f"Make one with: openssl rand -base64 32"
            ),
        ),
    ]
