"""What the product does: authenticate a caller, create an identity, issue a token, say whether a token holds.

Entered from the edge with plain values, it knows no HTTP. One `now` is taken for each thing asked.
"""

from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import Any

import msgspec
from msgspec import Struct

from mintmark.errors import Denied, InvalidToken
from mintmark.explain import explain
from mintmark.jose import decode_unverified, verify_signature
from mintmark.keyring import Keyring
from mintmark.model import SUFFIX_RANDOM_BYTES, AccessKey, AccessToken, Identity, Resource, new_suffix
from mintmark.request_signature import SignedRequest, check_date, find_key, read_proof
from mintmark.sources import Sources
from mintmark.store import Store
from mintmark.tokens import access_token_claims, check_times

DEFAULT_MINUTES = 1440
TOKEN_ID_BYTES = 16


class Caller(Struct, frozen=True):
    """Who asks: a resource, and the label of the access key that proved it; None where no access key did."""

    resource: Resource
    access_key: str | None = None


class TokenStatus(Struct, frozen=True):
    """What can be said of a token.

    Attributes:
        active: whether it holds now (RFC 7662).
        reason: why not; empty if it does.
        header: its header as it stands; empty if it cannot be read.
        claims: its claims as they stand; empty if they cannot be read.
    """

    active: bool
    reason: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]


class Service:
    """The use cases, over a store, a keyring, the resources with their keys, and the sources of time and chance."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        resources: Sequence[Resource],
        access_keys: Sequence[AccessKey],
        issuer: str,
        sources: Sources,
        *,
        explains_denials: bool = False,
    ) -> None:
        """Joins the parts.

        `issuer` becomes the claim `iss`. With `explains_denials` a refusal shows what the server saw: for development.
        """
        self.store = store
        self.keyring = keyring
        self.issuer = issuer
        self._resources = {resource.id: resource for resource in resources}
        self._access_keys = access_keys
        self._now, self._random = sources.now, sources.random
        self._explains_denials = explains_denials

    @property
    def default_resource(self) -> Resource:
        """The resource of callers who name none."""
        return next(iter(self._resources.values()))

    def authenticate(self, request: SignedRequest) -> Caller:
        """The caller whose access key signed `request`.

        Raises:
            Denied: the signature is missing, unreadable, stale or wrong.
            InvalidRequest: the Host header is doubled.
        """
        now = self._now()
        try:
            key = self._key_that_signed(request, now)
        except Denied as denied:
            if self._explains_denials:
                clock = formatdate(now / 1000, usegmt=True)
                denied.explanation = explain(request, denied.reason, self._access_keys, clock)
            raise
        return Caller(self._resources[key.resource_id], key.label)

    async def create_identity(
        self, caller: Caller, scopes: Sequence[str] = (), minutes: int | None = None
    ) -> tuple[Identity, AccessToken | None]:
        """A new identity, and a token for it if scopes are asked for.

        Args:
            caller: who asks.
            scopes: what the token shall allow; none for no token.
            minutes: how long it shall hold, checked by the caller; None for 1440.

        Raises:
            StoreUnavailable: nothing is acknowledged.
        """
        now = self._now()
        suffix = new_suffix(now, self._random(SUFFIX_RANDOM_BYTES))
        identity = Identity(caller.resource.id, suffix, now, now if scopes else None)
        # Signed before anything is stored: a failure to sign leaves nothing behind.
        token = self._sign(caller, identity, scopes, minutes, now) if scopes else None
        await self.store.create_identity(identity)
        return identity, token

    def introspect(self, token: str) -> TokenStatus:
        """Whether `token` holds now, and if not, why."""
        try:
            header, claims = decode_unverified(token)
        except InvalidToken as invalid:
            return TokenStatus(active=False, reason=invalid.message, header={}, claims={})
        try:
            check_times(verify_signature(token, self.keyring.public_jwks), self._now())
        except InvalidToken as invalid:
            return TokenStatus(active=False, reason=invalid.message, header=header, claims=claims)
        return TokenStatus(active=True, reason="", header=header, claims=claims)

    def discovery(self) -> bytes:
        """The issuer's metadata as JSON (OpenID Connect Discovery 1.0, section 3), as much as verifiers need."""
        return msgspec.json.encode(
            {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/.well-known/jwks.json",
                "response_types_supported": [],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": [self.keyring.algorithm],
            }
        )

    def _key_that_signed(self, request: SignedRequest, now: int) -> AccessKey:
        proof = read_proof(request)
        check_date(proof, now)
        key = find_key(proof, self._access_keys)
        if key is None:
            raise Denied("The signature is not that of any access key over the text that arrived.")
        return key

    def _sign(
        self, caller: Caller, identity: Identity, scopes: Sequence[str], minutes: int | None, now: int
    ) -> AccessToken:
        issued_at = now // 1000
        expires_at = issued_at + (minutes or DEFAULT_MINUTES) * 60
        claims = access_token_claims(
            caller.resource,
            identity,
            scopes,
            self.issuer,
            caller.access_key,
            issued_at,
            expires_at,
            self._random(TOKEN_ID_BYTES),
        )
        return AccessToken(self.keyring.signer.sign(claims), expires_at)
