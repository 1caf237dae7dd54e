"""What is particular to `mintmark dev`: published resource and access keys, certificates, the variables it prints."""

import base64
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path

import certifi
from msgspec import Struct

from mintmark.certificates import (
    USUAL_NAMES,
    Issued,
    Name,
    alternative_name,
    is_local,
    is_usable,
    new_authority,
    new_certificate,
)
from mintmark.data_folder import write_private
from mintmark.model import AccessKey, Resource, Secret

# Published on purpose, and recognisable at sight: `mintmark serve` refuses them.
DEVELOPMENT_KEYS = (
    Secret(b"mintmark development access key: public, so never for production"),
    Secret(b"mintmark development secondary key: public, never for production"),
)
DEVELOPMENT_RESOURCE = Resource(id="00000de7-0000-4000-8000-00000000acc5", name="development", region="local")


def development_access_keys() -> tuple[AccessKey, AccessKey]:
    """The two access keys of the development resource."""
    primary, secondary = DEVELOPMENT_KEYS
    return (
        AccessKey(DEVELOPMENT_RESOURCE.id, "primary", 0, primary),
        AccessKey(DEVELOPMENT_RESOURCE.id, "secondary", 0, secondary),
    )


class TlsFiles(Struct, frozen=True):
    """Paths of PEM files.

    Attributes:
        certificate: the server's.
        private_key: the server's, readable by its owner only.
        authority: the certificate authority that signed it.
        bundle: the usual roots and that authority, for variables that replace a program's roots.
    """

    certificate: Path
    private_key: Path
    authority: Path
    bundle: Path


class OwnRoots(Struct, frozen=True):
    """Certificate files that programs of this user trust already, such as a company's own authority.

    Attributes:
        replaced: named by variables that replace a program's roots.
        added: named by variables that add to them.
    """

    replaced: Sequence[Path] = ()
    added: Sequence[Path] = ()


def make_tls_files(
    folder: Path, user_folder: Path | None, names: Sequence[str], now: int, own_roots: OwnRoots | None = None
) -> TlsFiles:
    """A new certificate in `folder`, signed by the user's own authority where that may sign for all of `names`.

    Args:
        folder: where the files go.
        user_folder: where the user's authority is kept; None for nowhere.
        names: host names and addresses besides the usual ones.
        now: milliseconds since 1970-01-01 00:00 UTC.
        own_roots: what programs here trust already.

    Raises:
        StartRefused: one of the names is no host name.
    """
    alternatives: list[Name] = [alternative_name(name) for name in dict.fromkeys((*USUAL_NAMES, *names))]
    authority = _authority(user_folder, [name for name in alternatives if not is_local(name)], now)
    server = new_certificate(authority, alternatives, now)
    folder.mkdir(mode=0o700, exist_ok=True)
    files = TlsFiles(*(folder / name for name in ("server.pem", "server-key.pem", "ca.pem", "ca-bundle.pem")))
    write_private(files.private_key, server.private_key)
    write_private(files.certificate, server.certificate)
    own = own_roots or OwnRoots()
    write_private(files.authority, _joined(authority, own.added))
    write_private(files.bundle, _joined(authority, [Path(certifi.where()), *own.replaced]))
    return files


def _joined(authority: Issued, roots: Sequence[Path]) -> bytes:
    # Ours first: some tools read the first certificate of a file only.
    return b"\n".join([authority.certificate, *(path.read_bytes() for path in roots)])


def _authority(user_folder: Path | None, foreign: Sequence[Name], now: int) -> Issued:
    """One authority for each user; names that it may not sign for get one of their own, kept nowhere."""
    if foreign or user_folder is None:
        return new_authority(now, foreign)
    try:
        return _user_authority(user_folder, now)
    except OSError:  # A home that cannot be written.
        return new_authority(now)


def _user_authority(folder: Path, now: int) -> Issued:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    certificate, private_key = folder / "ca.pem", folder / "ca-key.pem"
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # Two first starts at once shall not make two authorities.
        if certificate.exists() and private_key.exists():
            kept = Issued(certificate.read_bytes(), Secret(private_key.read_bytes()))
            if is_usable(kept, now):
                return kept
        made = new_authority(now)
        write_private(private_key, made.private_key)
        write_private(certificate, made.certificate)
        return made
    finally:
        os.close(lock)


class Endpoints(Struct, frozen=True):
    """The addresses of the three listeners, such as `https://localhost:12443`."""

    https: str
    http: str
    admin: str


def variables(endpoints: Endpoints, access_key: bytes, tls: TlsFiles) -> dict[str, str]:
    """What a program needs in its environment to reach the server: names that SDKs and their HTTP clients read."""
    connection_string = f"endpoint={endpoints.https}/;accesskey={base64.b64encode(access_key).decode()}"
    return {
        "COMMUNICATION_SERVICES_CONNECTION_STRING": connection_string,
        "REQUESTS_CA_BUNDLE": str(tls.bundle),
        "SSL_CERT_FILE": str(tls.bundle),
        "NODE_EXTRA_CA_CERTS": str(tls.authority),
        "MINTMARK_HTTP_ENDPOINT": endpoints.http,
        "MINTMARK_ADMIN_ENDPOINT": endpoints.admin,
    }
