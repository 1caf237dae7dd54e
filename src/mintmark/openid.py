"""The keys of other issuers, fetched by OpenID Connect Discovery 1.0 and kept; bearer tokens checked by them."""

import asyncio
from collections.abc import Callable, Sequence
from http.client import HTTPException
from typing import Any, Protocol

import msgspec

from mintmark.bearer import TrustedIssuer, check_bearer, is_safe_address
from mintmark.errors import Forbidden, InvalidToken, IssuerUnavailable
from mintmark.fetching import FETCH_SECONDS, Fetcher
from mintmark.jose import read_foreign, verify_foreign_signature
from mintmark.model import Resource

# All in seconds since a fetch.
FRESH = 600  # For so long its key set is served without a thought.
COOL_DOWN = 30  # For so long there is no other because of a key that the set lacks, or a set that is no longer fresh.
RETRY = 1  # For so long there is no other even where there are no keys at all.
# For so long a set that is no longer fresh is served while it is fetched anew. Later its keys may have been withdrawn,
# and the new set is awaited.
IDLE = 3600
MAX_AGE = 24 * 3600  # For so long keys are served at all, while the issuer cannot be reached.


class KeySource(Protocol):
    """Where the keys of an issuer come from."""

    async def keys(self, kid: str | None) -> Sequence[dict[str, Any]]:
        """The issuer's key set as JWKs (RFC 7517); `kid` is the key that is looked for, None if it is not named.

        Raises:
            IssuerUnavailable: there are none just now.
        """


class IssuerKeys:
    """The key set of one issuer, as it was fetched last; one fetch at a time, whoever waits for it."""

    def __init__(
        self,
        issuer: str,
        jwks_uri: str,
        monotonic: Callable[[], float],
        max_age: float = MAX_AGE,
        timeout: float = FETCH_SECONDS,
    ) -> None:
        """Nothing is fetched yet.

        Args:
            issuer: its address, exactly as in the claim `iss`.
            jwks_uri: the address of its key set; empty: found by discovery.
            monotonic: seconds of a clock that only goes forward.
            max_age: for how many seconds keys may be served after they were fetched.
            timeout: how many seconds a key set may take, discovery included.
        """
        self._issuer, self._jwks_uri = issuer, jwks_uri
        self._monotonic, self._max_age, self._timeout = monotonic, max_age, timeout
        self._fetcher = Fetcher()
        self._keys: list[dict[str, Any]] = []
        self._fetched_at = self._tried_at = float("-inf")
        self._refresh: asyncio.Task[None] | None = None
        self.failure = ""  # of the last fetch, in words

    async def keys(self, kid: str | None) -> Sequence[dict[str, Any]]:
        """The key set; fetched first if there is none, if it is too old, or for the sake of a key that it lacks.

        Raises:
            IssuerUnavailable: it cannot be fetched, and there is none that is young enough.
        """
        unusable = self._age() >= self._max_age
        lacking = kid is not None and all(jwk.get("kid") != kid for jwk in self._keys)
        if unusable or lacking or self._age() >= FRESH:
            pause = self._monotonic() - self._tried_at
            if self._refresh is None and pause >= (RETRY if unusable else COOL_DOWN):
                self._refresh = asyncio.create_task(self._load())
            if self._refresh is not None and (unusable or lacking or pause >= IDLE):
                await asyncio.shield(self._refresh)  # Whoever goes away leaves it to the others.
        if self._age() >= self._max_age:
            raise IssuerUnavailable(self.failure)
        return self._keys

    def _age(self) -> float:
        return self._monotonic() - self._fetched_at

    async def _load(self) -> None:
        started = self._monotonic()
        try:
            async with asyncio.timeout(self._timeout):
                self._keys = await self._key_set()
            self._fetched_at, self.failure = started, ""
        except (OSError, HTTPException, ValueError, RuntimeError) as error:
            self.failure = f"{self._issuer}: {str(error) or type(error).__name__}"
        finally:
            self._tried_at, self._refresh = self._monotonic(), None

    async def _key_set(self) -> list[dict[str, Any]]:
        keys = (await self._document(self._jwks_uri or await self._discovered())).get("keys")
        if not isinstance(keys, list):
            raise ValueError("the key set has no list of keys")  # noqa: TRY004  a bad document, not a type error
        found = [jwk for jwk in keys if isinstance(jwk, dict)]
        if not any(jwk.get("kty") in ("RSA", "EC") for jwk in found):
            # Rather a mistake of the issuer's than its end: good keys are not thrown away for that.
            raise ValueError("the key set has no key that could be used")
        return found

    async def _discovered(self) -> str:
        """The `jwks_uri` of the issuer's configuration (OpenID Connect Discovery 1.0, sections 4.1 and 4.3)."""
        found = await self._document(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        if found.get("issuer") != self._issuer:
            raise ValueError(f"its configuration is that of another issuer, '{found.get('issuer')}'")
        return str(found.get("jwks_uri"))

    async def _document(self, url: str) -> dict[str, Any]:
        if not is_safe_address(url):
            raise ValueError(f"'{url}' is not https")
        document = msgspec.json.decode(await self._fetcher.fetch(url))
        if not isinstance(document, dict):
            raise ValueError(f"'{url}' is not a JSON object")  # noqa: TRY004  a bad document, not a type error
        return document


class BearerVerifier:
    """Checks bearer tokens of the trusted issuers."""

    def __init__(self, trusted: Sequence[tuple[TrustedIssuer, KeySource]], nows: Callable[[], Sequence[int]]) -> None:
        """Takes the issuers with their keys, and the time: milliseconds, one or more; see `check_bearer`."""
        self._trusted = trusted
        self._nows = nows

    async def verify(self, token: str, resource: Resource) -> dict[str, Any]:
        """The claims of a token that may be used with `resource`: any trusted issuer that accepts it is enough.

        Raises:
            InvalidToken: it is not from an issuer that is trusted here, or not valid.
            Forbidden: it is valid, but has none of the roles and scopes.
            IssuerUnavailable: the keys that it may be signed with cannot be fetched.
        """
        header, claims = read_foreign(token)
        refusals: list[InvalidToken | Forbidden | IssuerUnavailable] = []
        for trusted, source in self._trusted:
            if trusted.issuer != claims.get("iss") or not trusted.counts_for(resource):
                continue
            try:
                _, claims = verify_foreign_signature(token, await source.keys(header.get("kid")))
                check_bearer(claims, trusted, self._nows())
            except (InvalidToken, Forbidden, IssuerUnavailable) as refusal:
                refusals.append(refusal)
            else:
                return claims
        if not refusals:
            raise InvalidToken("The token's issuer (its iss) is not trusted for this resource.")
        raise max(refusals, key=_how_near)


def trust(issuers: Sequence[TrustedIssuer], monotonic: Callable[[], float]) -> list[tuple[TrustedIssuer, KeySource]]:
    """Trusted issuers with their keys, for a `BearerVerifier`; entries for the same key set share it.

    Args:
        issuers: whom to trust.
        monotonic: seconds of a clock that only goes forward.
    """
    sources = {(each.issuer, each.jwks_uri): IssuerKeys(each.issuer, each.jwks_uri, monotonic) for each in issuers}
    return [(each, sources[each.issuer, each.jwks_uri]) for each in issuers]


def _how_near(refusal: Exception) -> int:
    """How near a token was to being accepted: another try may do, other rights would do, nothing would do."""
    return (InvalidToken, Forbidden, IssuerUnavailable).index(type(refusal))
