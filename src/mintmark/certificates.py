"""The development certificate authority and the certificates it signs: for `mintmark dev` only.

The authority is constrained to names that cannot belong to anybody else (RFC 5280, section 4.2.1.10), so that trusting
it gives little away.
"""

import ipaddress
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from mintmark.errors import StartRefused
from mintmark.model import Secret

USUAL_NAMES = ("localhost", "host.docker.internal", "127.0.0.1", "::1")

# Reserved for local use (RFC 6761, RFC 6762, RFC 9476 and ICANN's .internal): nobody can own a name below them.
LOCAL_DOMAINS = ("localhost", "internal", "test", "local", "home.arpa")
LOCAL_NETWORKS = ("127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")

AUTHORITY_LIFE = timedelta(days=3650)
CERTIFICATE_LIFE = timedelta(days=397)  # Apple's platforms accept no longer one.
CLOCK_SLACK = timedelta(days=1)

Name = x509.DNSName | x509.IPAddress

_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")


class Issued(Struct, frozen=True):
    """A certificate and its private key, both PEM."""

    certificate: bytes
    private_key: Secret


def alternative_name(name: str) -> Name:
    """A host name or address as certificates write it.

    Raises:
        StartRefused: it is neither.
    """
    try:
        return x509.IPAddress(ipaddress.ip_address(name.strip("[]")))
    except ValueError:
        pass
    try:
        ascii_name = name.encode("idna").decode("ascii").lower()
    except UnicodeError:
        ascii_name = ""
    if not _HOST_NAME.fullmatch(ascii_name):
        raise StartRefused(f"'{name}' is not a host name.", "Correct --tls-name.")
    return x509.DNSName(ascii_name)


def is_local(name: Name) -> bool:
    """Whether the usual authority may sign for that name."""
    if isinstance(name, x509.IPAddress):
        address = name.value
        return any(address in ipaddress.ip_network(network) for network in LOCAL_NETWORKS)
    return name.value.rpartition(".")[2] in LOCAL_DOMAINS or name.value.endswith(".home.arpa")


def new_authority(now: int, names: Sequence[Name] = ()) -> Issued:
    """A new certificate authority.

    Args:
        now: milliseconds since 1970-01-01 00:00 UTC.
        names: what it may sign for besides what is local to every machine.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject("Mintmark development CA")
    permitted: list[x509.GeneralName] = [x509.DNSName(domain) for domain in LOCAL_DOMAINS]
    permitted += [x509.IPAddress(ipaddress.ip_network(network)) for network in LOCAL_NETWORKS]
    for name in names:
        permitted.append(x509.IPAddress(ipaddress.ip_network(name.value)) if isinstance(name, x509.IPAddress) else name)
    certificate = (
        _builder(subject, subject, key.public_key(), now, AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(authority=True), critical=True)
        .add_extension(x509.NameConstraints(permitted_subtrees=permitted, excluded_subtrees=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return _issued(certificate, key)


def new_certificate(authority: Issued, names: Sequence[Name], now: int) -> Issued:
    """A certificate for a server under `names`, signed by `authority`; `now` is in milliseconds."""
    issuer, issuer_key = x509.load_pem_x509_certificate(authority.certificate), _load_key(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        _builder(_subject("Mintmark development server"), issuer.subject, key.public_key(), now, CERTIFICATE_LIFE)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(authority=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
        .sign(issuer_key, hashes.SHA256())
    )
    return _issued(certificate, key)


def is_usable(authority: Issued, now: int) -> bool:
    """Whether `authority` can be read, is whole, and holds from `now` until a certificate made now ends."""
    try:
        certificate, key = x509.load_pem_x509_certificate(authority.certificate), _load_key(authority)
    except ValueError:
        return False
    moment = datetime.fromtimestamp(now / 1000, tz=UTC)
    holds = certificate.not_valid_before_utc <= moment < certificate.not_valid_after_utc - CERTIFICATE_LIFE
    return holds and certificate.public_key() == key.public_key()


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, now: int, life: timedelta
) -> x509.CertificateBuilder:
    start = datetime.fromtimestamp(now / 1000, tz=UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(start - CLOCK_SLACK)
        .not_valid_after(start + life - CLOCK_SLACK)
    )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _load_key(authority: Issued) -> ec.EllipticCurvePrivateKey:
    key = serialization.load_pem_private_key(authority.private_key, password=None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise ValueError("the authority's key is not an elliptic-curve key")  # noqa: TRY004  a damaged file, not a type error
    return key


def _issued(certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
    private_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Issued(certificate.public_bytes(serialization.Encoding.PEM), Secret(private_key))
