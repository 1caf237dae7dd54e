"""What an access token says: its claims, in the order in which ACS shows them (contract section 4), then ours.

Clients read `exp` with plain base64 and a regular expression, so claims are compact ASCII JSON with integer times.
"""

from collections.abc import Sequence

import msgspec
from msgspec import UNSET, Struct, UnsetType

from mintmark.errors import InvalidToken
from mintmark.model import Identity, Resource

ACS_USER_SCP = 1792  # The same for every mix of scopes that was seen.

_encode = msgspec.json.Encoder().encode


class Claims(Struct, frozen=True):
    """The payload of an access token. Times are seconds since 1970-01-01 00:00 UTC.

    Attributes:
        skypeid: the identity's id without its leading `8:`.
        scp: the constant that ACS uses for its users.
        csi: when it was issued, as a string.
        exp: when it expires.
        rgn: the resource's region.
        acsScope: the scopes, joined by commas.
        resourceId: the resource.
        resourceLocation: the resource's region.
        iat: when it was issued.
        iss: who issued it (RFC 7519, section 4.1.1).
        sub: the identity's id.
        aud: the resource.
        jti: this token's own id.
        nbf: from when on it holds.
        gen: the generation of the identity; a revocation adds one.
        akg: slot and generation of the access key that asked for it; absent if none did.
    """

    skypeid: str
    scp: int
    csi: str
    exp: int
    rgn: str
    acsScope: str  # noqa: N815  the claim's name
    resourceId: str  # noqa: N815
    resourceLocation: str  # noqa: N815
    iat: int
    iss: str
    sub: str
    aud: str
    jti: str
    nbf: int
    gen: int
    akg: str | UnsetType = UNSET


def access_token_claims(
    resource: Resource,
    identity: Identity,
    scopes: Sequence[str],
    issuer: str,
    access_key: str | None,
    issued_at_seconds: int,
    expires_at_seconds: int,
    token_id: bytes,
) -> bytes:
    """The claims of a new token for `identity`, as JSON.

    Args:
        resource: the resource that the identity belongs to.
        identity: whose token it is.
        scopes: what it allows, in the order asked for.
        issuer: the `iss` claim.
        access_key: label of the access key that asked; None if no access key did.
        issued_at_seconds: now, in seconds.
        expires_at_seconds: its end, in seconds.
        token_id: the bytes of its `jti`.
    """
    identity_id = identity.id
    return _encode(
        Claims(
            skypeid=identity_id[2:],
            scp=ACS_USER_SCP,
            csi=str(issued_at_seconds),
            exp=expires_at_seconds,
            rgn=resource.region,
            acsScope=",".join(scopes),
            resourceId=resource.id,
            resourceLocation=resource.region,
            iat=issued_at_seconds,
            iss=issuer,
            sub=identity_id,
            aud=resource.id,
            jti=token_id.hex(),
            nbf=issued_at_seconds,
            gen=identity.generation,
            akg=UNSET if access_key is None else access_key,
        )
    )


def check_times(claims: dict[str, object], now: int) -> None:
    """Refuses a token outside its time.

    Args:
        claims: the token's claims, its signature checked already.
        now: milliseconds since 1970-01-01 00:00 UTC.

    Raises:
        InvalidToken: it has expired, does not hold yet, or does not say when it expires.
    """
    expires, not_before = claims.get("exp"), claims.get("nbf")
    if not isinstance(expires, int) or not isinstance(not_before, int):
        raise InvalidToken("The token has no integer exp and nbf.")
    if now >= expires * 1000:
        raise InvalidToken("The token has expired.")
    if now < not_before * 1000:
        raise InvalidToken("The token is not valid yet.")
