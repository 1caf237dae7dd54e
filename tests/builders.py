"""Values for tests, with defaults that a test may override; and the two fakes: a clock and chance."""

import base64
import hashlib
import hmac
import itertools
from collections.abc import Iterable, Sequence
from email.utils import formatdate

from mintmark.development import DEVELOPMENT_KEYS, DEVELOPMENT_RESOURCE
from mintmark.jose import Sealer
from mintmark.model import Identity, new_suffix
from mintmark.request_signature import SignedRequest
from mintmark.sources import Sources

ISSUER = "https://localhost:12443"
SEALER = Sealer(bytes(32))
NOON = 1_795_435_200_000  # 2026-11-23 12:00:00 UTC, in milliseconds


class FakeClock:
    """Milliseconds that only a test moves."""

    def __init__(self, now: int = NOON) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, *, seconds: float = 0, minutes: float = 0, hours: float = 0) -> None:
        """Moves the clock, backwards too."""
        self.now += round((seconds + 60 * minutes + 3600 * hours) * 1000)


def counted_sources(clock: FakeClock) -> Sources:
    """Sources whose random bytes count up: all different, and the same in every run."""
    counter = itertools.count(1)

    def random(size: int) -> bytes:
        count = next(counter)  # In each of the parts that somebody may cut it into.
        return (count.to_bytes(min(size, 8), "big") * size)[:size]

    return Sources(now=clock, random=random)


def an_identity(number: int = 1, *, now: int = NOON, resource_id: str = DEVELOPMENT_RESOURCE.id) -> Identity:
    """An identity of the development resource."""
    return Identity(resource_id, new_suffix(now, number.to_bytes(8, "big")), now)


def signed_headers(
    method: str,
    target: str,
    body: bytes = b"",
    *,
    now: int = NOON,
    host: str = "localhost:12080",
    key: bytes = DEVELOPMENT_KEYS[0],
    content_type: str | None = "application/json",
) -> list[tuple[bytes, bytes]]:
    """The headers of a request signed as current SDKs sign it (contract section 3.1)."""
    date = formatdate(now / 1000, usegmt=True)
    content_hash = base64.b64encode(hashlib.sha256(body).digest()).decode()
    text = f"{method}\n{target}\n{date};{host};{content_hash}"
    signature = base64.b64encode(hmac.digest(key, text.encode(), "sha256")).decode()
    headers = {
        "host": host,
        "x-ms-date": date,
        "x-ms-content-sha256": content_hash,
        "authorization": f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}",
        "content-length": str(len(body)),
    }
    if content_type is not None:
        headers["content-type"] = content_type
    return as_header_list(headers.items())


def signed_request(method: str, target: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> SignedRequest:
    """As a listener makes it of what arrives."""
    return SignedRequest(method, target, headers, dict(headers), body)


def as_header_list(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    """Header names and values as ASGI has them."""
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers]
