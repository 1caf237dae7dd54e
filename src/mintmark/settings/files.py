"""The files that settings name: secrets and the certificate, read at the start and again whenever that is asked for."""

import base64
import ipaddress
import ssl
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct

from mintmark.errors import StartRefused
from mintmark.model import KEY_ENCRYPTION_KEY_BYTES, Secret
from mintmark.settings import ABOUT, PREFIX, Settings
from mintmark.store import postgres_address

SHORTEST_ADMIN_KEY = 32  # characters


class Secrets(Struct, frozen=True):
    """What `mintmark serve` must not show: the keys that seal, and those that open the admin listener."""

    key_encryption_keys: tuple[Secret, ...]
    admin_keys: tuple[Secret, ...]


def read_secrets(settings: Settings, *, missing_is_bad: bool = True) -> Secrets:
    """The secrets that settings hold or name.

    Raises:
        StartRefused: names every one that is malformed, open to others, or (unless that is no matter) missing.
    """
    complaints: list[str] = []
    found = {
        name: _read(settings, name, check, complaints)
        for name, check in (("key_encryption_key", _key_encryption_key), ("admin_key", _admin_key))
        if missing_is_bad or getattr(settings, name) or getattr(settings, f"{name}_file")
    }
    if complaints:
        raise StartRefused("\n".join(complaints))
    return Secrets(found.get("key_encryption_key", ()), found.get("admin_key", ()))


def check_files(settings: Settings) -> list[str]:
    """What is wrong with the files that settings of `mintmark serve` name, and with the addresses in it."""
    complaints = []
    try:
        secrets = read_secrets(settings, missing_is_bad=False)
        sealing = [base64.b64encode(key) for key in secrets.key_encryption_keys]
        if any(key in sealing for key in secrets.admin_keys):
            complaints.append("An admin key is a key-encryption key too: the one is sent, the other must never be.")
    except StartRefused as refused:
        complaints += refused.message.splitlines()
    if settings.tls_certificate and settings.tls_key:
        try:
            certificate, private_key = Path(settings.tls_certificate), Path(settings.tls_key)
            load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), certificate, private_key)
            complaints += _open_to_all(private_key)
        except StartRefused as refused:
            complaints.append(refused.message)
    try:
        if settings.database:
            postgres_address.check_files(postgres_address.parse_address(settings.database))
    except StartRefused as refused:
        complaints.append(f"{refused.message} {refused.advice}")
    try:
        trusted_networks(settings.trusted_proxies)
    except StartRefused as refused:
        complaints.append(refused.message)
    return complaints


def load_certificate(context: ssl.SSLContext, certificate: Path, private_key: Path) -> None:
    """Has connections made from now on use the certificate that stands in these files, and nothing of any before.

    A context keeps one certificate for each type of key (SSL_CTX_use_certificate(3)), and would go on showing the old
    one to clients that prefer its type. So `context` holds none: it hands each connection to one made afresh here, when
    it has been told the name that the client asks for. OpenSSL tells that too when a client names none.

    Raises:
        StartRefused: a file cannot be read, or the two do not fit each other; the context is then as it was.
    """
    fresh = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # An encrypted key would ask for its password at the terminal.
    password = lambda: ""  # noqa: E731
    try:
        fresh.load_cert_chain(certificate, private_key, password)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
        raise StartRefused(
            f"The certificate {certificate} with the key {private_key} cannot be used: {reason}."
        ) from error

    def use_fresh(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = fresh

    context.sni_callback = use_fresh


def open_certificate(certificate: Path, private_key: Path) -> ssl.SSLContext:
    """What a server needs to speak TLS with that certificate.

    Raises:
        StartRefused: see `load_certificate`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    load_certificate(context, certificate, private_key)
    return context


Networks = Sequence[ipaddress.IPv4Network | ipaddress.IPv6Network]


def trusted_networks(texts: Sequence[str]) -> Networks:
    """Addresses and networks, read.

    Raises:
        StartRefused: one of them is neither.
    """
    networks = []
    for text in texts:
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError as error:
            raise StartRefused(f"--trusted-proxy is '{text}', but must be an address or a network: {error}.") from error
    return networks


def _read(
    settings: Settings, name: str, check: Callable[[str], Secret | None], complaints: list[str]
) -> tuple[Secret, ...]:
    """The secrets of one kind: one a line of a file, or with commas between in the variable."""
    given: Secret = getattr(settings, name)
    path: str = getattr(settings, f"{name}_file")
    origin = path or PREFIX + name.upper()
    try:
        texts = Path(path).read_text().splitlines() if path else bytes(given).decode().split(",")
        if path:
            complaints += _open_to_all(Path(path))
    except (OSError, UnicodeDecodeError) as error:
        complaints.append(f"{path} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}.")
        return ()
    lines = [text.strip() for text in texts]
    secrets = [check(line) for line in lines if line and not line.startswith("#")]
    kept = tuple(secret for secret in secrets if secret is not None)
    if not kept or len(kept) < len(secrets):
        complaints.append(f"{origin} must be {ABOUT[name].allowed}.")
    return kept


def _open_to_all(path: Path) -> list[str]:
    if path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH):
        return [f"{path} can be read or written by everybody: chmod o= {path}"]
    return []


def _key_encryption_key(text: str) -> Secret | None:
    try:
        key = Secret(base64.b64decode(text, validate=True))
    except ValueError:
        return None
    return key if len(key) == KEY_ENCRYPTION_KEY_BYTES else None


def _admin_key(text: str) -> Secret | None:
    is_plain = text.isascii() and text.isprintable() and " " not in text
    return Secret(text.encode()) if is_plain and len(text) >= SHORTEST_ADMIN_KEY else None
