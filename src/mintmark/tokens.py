"""What an access token says: its claims, in the order in which ACS shows them (contract section 4), then ours.

Clients read `exp` with plain base64 and a regular expression, so claims are compact ASCII JSON with integer times.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from mintmark.errors import InvalidToken
from mintmark.model import Identity, Resource

ACS_USER_SCP = 1792  # The same for every mix of scopes that was seen.
TEAMS_USER_SCP = 1024
TEAMS_SCOPES = ("voip", "chat")
TEAMS_PREFIX = "8:orgid:"

_PLAIN = re.compile(r"[A-Za-z0-9._-]{1,200}")

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
        tid: of a Teams user, the tenant; as the next three, absent for others and where the Entra token has none.
        aad_iat: when the Entra token was issued, as a string.
        aad_uti: the Entra token's own id.
        aad_appid: the application that it was issued to.
        gen: the generation of the identity; a revocation adds one. Absent for a Teams user, who is no identity here.
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
    tid: str | UnsetType = UNSET
    aad_iat: str | UnsetType = UNSET
    aad_uti: str | UnsetType = UNSET
    aad_appid: str | UnsetType = UNSET
    gen: int | UnsetType = UNSET
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


def teams_token_claims(
    resource: Resource,
    entra_claims: Mapping[str, Any],
    issuer: str,
    access_key: str | None,
    issued_at_seconds: int,
    expires_at_seconds: int,
    token_id: bytes,
) -> bytes:
    """The claims of a token for a Teams user, as JSON.

    Args:
        resource: the resource that exchanges.
        entra_claims: of the user's Entra token, which was checked.
        issuer: the `iss` claim.
        access_key: label of the access key that asked; None if no access key did.
        issued_at_seconds: now, in seconds.
        expires_at_seconds: its end, in seconds.
        token_id: the bytes of its `jti`.
    """
    user_id = f"{TEAMS_PREFIX}{str(entra_claims['oid']).lower()}"
    entra_issued_at = int(entra_claims.get("iat", issued_at_seconds))  # A NumericDate may have a fraction.
    return _encode(
        Claims(
            skypeid=user_id[2:],
            scp=TEAMS_USER_SCP,
            csi=str(entra_issued_at),
            exp=expires_at_seconds,
            rgn=resource.region,
            acsScope=",".join(TEAMS_SCOPES),
            resourceId=resource.id,
            resourceLocation=resource.region,
            iat=issued_at_seconds,
            iss=issuer,
            sub=user_id,
            aud=resource.id,
            jti=token_id.hex(),
            nbf=issued_at_seconds,
            tid=_plain(entra_claims.get("tid")),
            aad_iat=str(entra_issued_at),
            aad_uti=_plain(entra_claims.get("uti")),
            aad_appid=_plain(entra_claims.get("appid", entra_claims.get("azp"))),
            akg=UNSET if access_key is None else access_key,
        )
    )


def _plain(value: object) -> str | UnsetType:
    """A claim of another issuer, unless clients could not read a token that has it."""
    return value if isinstance(value, str) and _PLAIN.fullmatch(value) else UNSET


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
