"""Bearer tokens of other issuers: whom they are trusted from, and what their claims must say.

Pure: no clock, no network; `openid` fetches the keys, `jose` checks signatures.
"""

import math
from collections.abc import Iterable, Sequence
from ipaddress import ip_address
from typing import Any
from urllib.parse import SplitResult, urlsplit

from msgspec import Struct

from mintmark.errors import Forbidden, InvalidToken
from mintmark.model import Resource

LEEWAY_MS = 60_000  # that another machine's clock may be ahead (RFC 7519, section 4.1.5)

# What Azure SDKs ask their tokens for (contract section 3.6); issuers write it with the slash and without.
COMMUNICATION_AUDIENCES = ("https://communication.azure.com", "https://communication.azure.com/")

_MISSING = object()


class TrustedIssuer(Struct, frozen=True, forbid_unknown_fields=True):
    """An issuer whose bearer tokens are accepted, and which of them.

    Attributes:
        issuer: exactly the claim `iss`; https, or http to this machine.
        audiences: one of them must be in the claim `aud`.
        roles: one of them must be in the claim `roles`.
        scopes: one of them must be in the claim `scp`; where roles are named too, one of either is enough.
        resources: names or ids of the resources that it counts for; empty for all.
        jwks_uri: where its keys are; empty: found by OpenID Connect Discovery.
    """

    issuer: str
    audiences: tuple[str, ...] = COMMUNICATION_AUDIENCES
    roles: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    jwks_uri: str = ""

    def __post_init__(self) -> None:
        """Refuses what could never be used safely.

        Raises:
            ValueError: an address is neither https nor http to this machine, or no audience is named.
        """
        if not is_safe_address(self.issuer) or not {"?", "#"}.isdisjoint(self.issuer):
            raise ValueError("issuer must begin with https:// (http:// for this machine only), without '?' and '#'")
        if self.jwks_uri and not is_safe_address(self.jwks_uri):
            raise ValueError("jwks_uri must begin with https:// (http:// for this machine only)")
        if not self.audiences:
            raise ValueError("audiences must name at least one")

    def counts_for(self, resource: Resource) -> bool:
        """Whether its tokens may be used with that resource."""
        return not self.resources or resource.id in self.resources or resource.name in self.resources


def is_safe_address(address: str) -> bool:
    """Whether keys may be fetched from there: by https, or by http without leaving this machine."""
    try:
        parts = urlsplit(address)
        valid = parts.port != 0 and bool(parts.hostname) and parts.username is None
    except ValueError:
        return False
    plain = address.isascii() and address.isprintable() and " " not in address
    return valid and plain and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts)))


def is_loopback(address: SplitResult) -> bool:
    """Whether an address is on this machine by its name."""
    host = address.hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def check_bearer(claims: dict[str, Any], trusted: TrustedIssuer, nows: Sequence[int]) -> None:
    """Refuses a token that `trusted` did not make for us, now, and with the rights that are asked for.

    Sources: RFC 7519, section 4.1; RFC 8725, sections 3.8 and 3.9.

    Args:
        claims: the token's claims, its signature checked already.
        trusted: the issuer whose key signed.
        nows: milliseconds since 1970-01-01 00:00 UTC, one or more; the token has to hold at one of them.

    Raises:
        InvalidToken: it is of another issuer or for another audience, or does not hold at any of `nows`.
        Forbidden: all this is right, but it has none of the roles and scopes.
    """
    if claims.get("iss") != trusted.issuer:
        raise InvalidToken("The token is of another issuer (its iss).")
    if not _shares(claims.get("aud"), trusted.audiences):
        raise InvalidToken("The token is for another audience (its aud).")
    _check_times(claims, nows)
    scopes = claims.get("scp")
    granted = scopes.split() if isinstance(scopes, str) else ()
    if not (trusted.roles or trusted.scopes):
        return
    if not (_shares(claims.get("roles"), trusted.roles) or _shares(granted, trusted.scopes)):
        raise Forbidden(f"It needs one of {', '.join((*trusted.roles, *trusted.scopes))} in its roles or scp.")


def _shares(claimed: object, wanted: Iterable[str]) -> bool:
    """Whether a claim, one text or a list of them, has one that is wanted."""
    values: Sequence[object] = claimed if isinstance(claimed, list | tuple) else (claimed,)
    return any(each in values for each in wanted)


def _check_times(claims: dict[str, Any], nows: Sequence[int]) -> None:
    refusals = []
    for now in nows:
        try:
            return _check_times_at(claims, now)
        except InvalidToken as refusal:
            refusals.append(refusal)
    raise refusals[0]


def _check_times_at(claims: dict[str, Any], now: int) -> None:
    expires, starts, issued = (_numeric_date(claims, name) for name in ("exp", "nbf", "iat"))
    if expires is None:
        raise InvalidToken("The token does not say when it expires (its exp).")
    if now >= expires * 1000:  # Without leeway: clients get a new token minutes before the end.
        raise InvalidToken("The token has expired.")
    if starts is not None and now + LEEWAY_MS < starts * 1000:
        raise InvalidToken("The token is not valid yet.")
    if issued is not None and now + LEEWAY_MS < issued * 1000:
        raise InvalidToken("The token was issued in the future (its iat).")


def _numeric_date(claims: dict[str, Any], name: str) -> float | None:
    """A claim that is a NumericDate, in seconds (RFC 7519, section 2); None where it is missing."""
    value = claims.get(name, _MISSING)
    if value is _MISSING:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
        raise InvalidToken("The token's times (exp, nbf and iat) are not all numbers.")
    return value
