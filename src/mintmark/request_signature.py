r"""HMAC-SHA256 request authentication as the Azure SDKs do it (contract section 3). Pure: no clock, no store.

What is signed: `METHOD \n target \n` and the values of the signed headers joined by `;`, over the target and the Host
header exactly as received. Three habits of real SDKs need another reading of the same request; `readings` has them.
"""

import hashlib
import hmac
import re
from binascii import b2a_base64
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from msgspec import Struct

from mintmark.errors import Denied, InvalidRequest
from mintmark.model import AccessKey

MAX_CLOCK_SKEW = 15 * 60 * 1000  # milliseconds; the sibling scheme of App Configuration documents 15 minutes

USUAL_LIST = 256  # bytes of a SignedHeaders list; a longer one is not kept, for strangers can send any
RFC_1123_LENGTH = 29  # characters

CONTENT_HASH = b"x-ms-content-sha256"
HASH_DIFFERS = "Request 'x-ms-content-sha256' differs from generated content hash."
_DATE_HEADERS = (b"x-ms-date", b"date")
_ONCE_ONLY = frozenset((b"authorization", b"host", CONTENT_HASH, *_DATE_HEADERS))

_AUTHORIZATION = re.compile(rb"(?i:HMAC-SHA256 +SignedHeaders=)([!-%'-~]+)(?i:&Signature=)([A-Za-z0-9+/]+=*)")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_RFC_1123 = re.compile(
    rf"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (\d\d) ({'|'.join(_MONTHS)}) (\d{{4}}) (\d\d):(\d\d):(\d\d) GMT", re.ASCII
)


class SignedRequest(Struct, frozen=True):
    """What a request's signature covers, exactly as received.

    Attributes:
        method: in capitals.
        target: path and query.
        headers: names in lower case.
        fields: the same by name, of each the last.
        body: the raw bytes.
    """

    method: str
    target: bytes
    headers: Sequence[tuple[bytes, bytes]]
    fields: Mapping[bytes, bytes]
    body: bytes


class _SignedHeaders(Struct, frozen=True):
    """What a SignedHeaders list asks for: its names, where in them the host stands, and the date that counts."""

    names: tuple[bytes, ...]
    host_at: int
    date: bytes


class Proof(Struct, frozen=True):
    """A signature and all that it claims to cover, taken from a request but not yet checked against a key.

    Attributes:
        request: where it came from.
        host: the Host header as received.
        values: values of the signed headers, in the order of the list.
        host_at: where in `values` the host stands.
        date: the date header that counts, as text.
        signature: base64, as received.
    """

    request: SignedRequest
    host: bytes
    values: tuple[bytes, ...]
    host_at: int
    date: str
    signature: bytes


def bearer_token(request: SignedRequest) -> tuple[str, bytes] | None:
    """The bearer token of a request (RFC 6750, section 2.1) and its Host header; None where it brings none.

    Raises:
        Denied: it has more than one Authorization header.
        InvalidRequest: more than one Host header.
    """
    authorization = request.fields.get(b"authorization", b"")
    if authorization[:7].lower() != b"bearer ":
        return None
    _refuse_doubled(request.headers)
    return authorization[7:].strip().decode("latin-1"), request.fields.get(b"host", b"")


def read_proof(request: SignedRequest) -> Proof:
    """Takes the signature and what it covers out of a request.

    Raises:
        Denied: a needed header is missing, doubled or unreadable, or the body does not have the hash that was signed.
        InvalidRequest: more than one Host header.
    """
    fields = request.fields
    if len(fields) != len(request.headers):
        _refuse_doubled(request.headers)
    authorization = fields.get(b"authorization")
    if authorization is None:
        raise Denied("There is no Authorization header.")
    match = _AUTHORIZATION.fullmatch(authorization)
    if match is None:
        raise Denied(
            "The Authorization header is not of the form "
            "'HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=…'."
        )
    listed = _read_list(match[1]) if len(match[1]) <= USUAL_LIST else _read_any_list(match[1])
    if listed is None:
        raise Denied("SignedHeaders must list x-ms-date (or date), host and x-ms-content-sha256, each once.")
    try:
        values = tuple(map(fields.__getitem__, listed.names))
    except KeyError:
        missing = [name for name in listed.names if name not in fields]
        known = next((name.decode() for name in missing if name in _ONCE_ONLY), None)  # Others are the caller's words.
        raise Denied(
            f"The signed header {known} is missing from the request."
            if known
            else "A header that SignedHeaders lists is missing from the request."
        ) from None
    if not hmac.compare_digest(content_hash(request.body), fields[CONTENT_HASH]):
        raise Denied("x-ms-content-sha256 is not the hash of the body that arrived.", HASH_DIFFERS)
    date = fields[listed.date].decode("latin-1")
    return Proof(request, fields[b"host"], values, listed.host_at, date, match[2])


def _read_any_list(listed: bytes) -> _SignedHeaders | None:
    """A SignedHeaders list; None where it lacks one that must be in it, or has one twice."""
    names = tuple(listed.lower().split(b";"))
    date = next((name for name in _DATE_HEADERS if name in names), None)
    if date is None or b"host" not in names or CONTENT_HASH not in names or len(set(names)) != len(names):
        return None
    return _SignedHeaders(names, names.index(b"host"), date)


_read_list = lru_cache(maxsize=256)(_read_any_list)  # Each SDK has the same list for ever.


def _refuse_doubled(headers: Sequence[tuple[bytes, bytes]]) -> None:
    """What is read once and signed once must not be sent twice: another reader might take the other one."""
    seen: set[bytes] = set()
    for name, _ in headers:
        if name in seen and name == b"host":
            raise InvalidRequest("The Host header was sent more than once.", "Host")
        if name in seen and name in _ONCE_ONLY:
            raise Denied(f"The header {name.decode()} was sent more than once.")
        seen.add(name)


def check_date(proof: Proof, now: int, other_now: int | None = None) -> None:
    """Refuses a request signed too long ago or ahead.

    Args:
        proof: as `read_proof` took it.
        now: milliseconds since 1970-01-01 00:00 UTC.
        other_now: another time that the client may go by: real time, where the server's clock was moved.

    Raises:
        Denied: the date is unreadable or more than 15 minutes off.
    """
    signed_at = parse_date(proof.date) if len(proof.date) == RFC_1123_LENGTH else None
    if signed_at is None:
        raise Denied("The signed date is not of the form 'Mon, 23 Nov 2026 12:07:27 GMT' (RFC 1123).")
    skew = signed_at - now
    if abs(skew) > MAX_CLOCK_SKEW and (other_now is None or abs(signed_at - other_now) > MAX_CLOCK_SKEW):
        direction = "ahead of" if skew > 0 else "behind"
        reason = f"The signed date is {abs(skew) // 1000} seconds {direction} the server's clock; 900 are allowed."
        raise Denied(reason, f"{Denied.default_message()} {reason}")


def find_key(proof: Proof, keys: Sequence[AccessKey]) -> AccessKey | None:
    """The access key that made the signature, or None. Every comparison takes constant time, on base64 text."""
    for text in readings(proof):
        for key in keys:
            if hmac.compare_digest(sign(text, key.secret), proof.signature):
                return key
    return None


def readings(proof: Proof) -> Iterator[bytes]:
    """The texts that a real SDK may have signed for this request, the usual one first.

    Python up to 1.3.1 over plain HTTP leaves out the target's leading slash; Python's constructor given an endpoint
    with a trailing slash signs `host/`; Java signs the host without its port (contract section 3.3).
    """
    method, target, host = proof.request.method, proof.request.target, proof.host
    yield string_to_sign(method, target, proof.values)
    without_port = host.partition(b"]")[0] + b"]" if host.startswith(b"[") else host.partition(b":")[0]
    for other_target in (target, target[1:]):
        for other_host in (host, without_port, host + b"/"):
            if (other_target, other_host) == (target, host):
                continue
            values = (*proof.values[: proof.host_at], other_host, *proof.values[proof.host_at + 1 :])
            yield string_to_sign(method, other_target, values)


def string_to_sign(method: str, target: bytes, values: Sequence[bytes]) -> bytes:
    """The text that a signature covers."""
    return method.encode() + b"\n" + target + b"\n" + b";".join(values)


def sign(text: bytes, key: bytes) -> bytes:
    """The signature of `text`, in base64."""
    return b2a_base64(hmac.digest(key, text, "sha256"), newline=False)


def content_hash(body: bytes) -> bytes:
    """The SHA-256 of a body, in base64."""
    return b2a_base64(hashlib.sha256(body).digest(), newline=False)


@lru_cache(maxsize=256)  # Requests that arrive together carry the same few dates.
def parse_date(text: str) -> int | None:
    """An RFC 1123 date in milliseconds since 1970-01-01 00:00 UTC; None where it is not one."""
    match = _RFC_1123.fullmatch(text)
    if match is None:
        return None
    day, month, year, hour, minute, second = match.groups()
    try:
        moment = datetime(
            int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), int(second), tzinfo=UTC
        )
    except ValueError:
        return None
    return int(moment.timestamp()) * 1000
