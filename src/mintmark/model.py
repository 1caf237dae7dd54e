"""The values that the product is about. All frozen, none of them does I/O.

Times are milliseconds since 1970-01-01 00:00 UTC unless the name says otherwise.
"""

import re
from typing import Literal

from msgspec import Struct

SigningAlgorithm = Literal["ES256", "RS256"]
KeySlot = Literal["primary", "secondary"]

# ACS suffixes begin with the milliseconds since then (contract section 2); it keeps inserts local in the index.
SUFFIX_EPOCH = 1_577_865_600_000  # 2020-01-01 08:00 UTC
SUFFIX_RANDOM_BYTES = 8

KEY_ENCRYPTION_KEY_BYTES = 32
LONGEST_LIFE = 24 * 3600 * 1000  # of a token, in milliseconds

_GUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_IDENTITY_ID = re.compile(f"8:acs:({_GUID})_({_GUID})")
GUID = re.compile(_GUID)


class Secret(bytes):
    """Bytes that must not be shown: they print as dots."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "••••••"

    __str__ = __repr__


class Resource(Struct, frozen=True):
    """What ACS calls a Communication Services resource: it owns identities and has two access keys.

    Attributes:
        id: a GUID in lower case, part of every identity id.
        name: for people; no two resources have the same.
        region: the `rgn` and `resourceLocation` of its tokens.
        hosts: host names, without port, under which requests are for it alone.
    """

    id: str
    name: str
    region: str
    hosts: tuple[str, ...] = ()


class AccessKey(Struct, frozen=True):
    """One of the two keys that sign requests to a resource.

    Attributes:
        resource_id: whose key it is.
        slot: primary or secondary.
        generation: how often this slot was regenerated.
        secret: the key itself, decoded from base64.
    """

    resource_id: str
    slot: KeySlot
    generation: int
    secret: Secret

    @property
    def label(self) -> str:
        """The claim `akg` of tokens that this key asked for, as `p3` or `s1`."""
        return f"{self.slot[0]}{self.generation}"


class SealedSecret(Struct, frozen=True):
    """A secret as it is stored: which key-encryption key sealed it, and the ciphertext."""

    key_id: str
    ciphertext: bytes


class StoredAccessKey(Struct, frozen=True):
    """An access key as it is stored; see `AccessKey`."""

    resource_id: str
    slot: KeySlot
    generation: int
    sealed: SealedSecret


class StoredSigningKey(Struct, frozen=True):
    """A signing key as it is stored.

    Attributes:
        kid: its RFC 7638 thumbprint.
        algorithm: what it signs with.
        public_jwk: its public half as JSON (RFC 7517), ready to be published.
        created_at: when it was made, and so published.
        signs_at: from when on it signs, unless a newer one does.
        sealed: its private half, PKCS #8 in DER.
    """

    kid: str
    algorithm: SigningAlgorithm
    public_jwk: str
    created_at: int
    signs_at: int
    sealed: SealedSecret


class Identity(Struct, frozen=True):
    """An identity as it is stored.

    Attributes:
        resource_id: the resource it belongs to.
        suffix: the 16 bytes after the underscore of its id.
        created_at: when it was made.
        last_issued_at: when a token was last issued for it; None for never.
        generation: how often its tokens were revoked.
        custom_id: the name that its owner gave it; None for none.
        deleted_at: when it was deleted; None while it exists.
    """

    resource_id: str
    suffix: bytes
    created_at: int
    last_issued_at: int | None = None
    generation: int = 0
    custom_id: str | None = None
    deleted_at: int | None = None

    @property
    def id(self) -> str:
        """The identity's id as SDKs see it: `8:acs:{resource id}_{GUID}`."""
        return f"8:acs:{self.resource_id}_{guid(self.suffix)}"


class AccessToken(Struct, frozen=True):
    """A token just issued, and when it expires in seconds since 1970-01-01 00:00 UTC."""

    token: str
    expires_at_seconds: int


def parse_identity_id(text: str) -> tuple[str, bytes] | None:
    """The resource id and the suffix of an identity's id; None where it is not of the form `8:acs:{guid}_{guid}`."""
    match = _IDENTITY_ID.fullmatch(text)
    return (match[1], bytes.fromhex(match[2].replace("-", ""))) if match else None


def guid(data: bytes) -> str:
    """Sixteen bytes written as a GUID."""
    digits = data.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def new_suffix(now: int, random: bytes) -> bytes:
    """The suffix of an identity made at `now`: eight bytes of time, eight of chance."""
    return max(now - SUFFIX_EPOCH, 0).to_bytes(8, "big") + random
