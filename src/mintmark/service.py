"""What the product does for its callers: authenticate, create, issue, revoke, delete, say whether a token lives.

Entered from the edge with plain values, it knows no HTTP. One `now` is taken for each thing asked.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from typing import Any

import msgspec
from msgspec import Struct

from mintmark.directory import Directory, load_directory
from mintmark.errors import Denied, IdentityNotFound, IdentityNotOwned, InvalidRequest, InvalidToken, ResourceNotFound
from mintmark.explain import explain
from mintmark.jose import Sealer, decode_unverified, verify_signature
from mintmark.keyring import Keyring
from mintmark.model import (
    SUFFIX_RANDOM_BYTES,
    AccessKey,
    AccessToken,
    Identity,
    Resource,
    new_suffix,
    parse_identity_id,
)
from mintmark.request_signature import Proof, SignedRequest, check_date, find_key, read_proof
from mintmark.sources import Sources
from mintmark.store import Store
from mintmark.tokens import access_token_claims, check_times

DEFAULT_MINUTES = 1440
LONGEST_LIFE = 24 * 3600 * 1000  # milliseconds
TOKEN_ID_BYTES = 16


class Caller(Struct, frozen=True):
    """Who asks: a resource, and the label of the access key that proved it; None where no access key did."""

    resource: Resource
    access_key: str | None = None


class TokenRequest(Struct, frozen=True):
    """A token that is asked for: its scopes, and its life in minutes, None for 1440. Without scopes there is none."""

    scopes: Sequence[str] = ()
    minutes: int | None = None


class TokenStatus(Struct, frozen=True):
    """What can be said of a token.

    Attributes:
        active: whether it lives (RFC 7662).
        reason: why not; empty if it does.
        header: its header as it stands; empty if it cannot be read.
        claims: its claims as they stand; empty if they cannot be read.
    """

    active: bool
    reason: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any]


class Service:
    """The use cases, over a store, a keyring, the directory of resources, and the sources of time and chance."""

    def __init__(
        self,
        store: Store,
        keyring: Keyring,
        sealer: Sealer,
        directory: Directory,
        revision: Callable[[], int],
        issuer: str,
        sources: Sources,
        *,
        explains_denials: bool = False,
        clients_now: Callable[[], int] | None = None,
    ) -> None:
        """Joins the parts.

        `revision` tells, at any time, which moment a fresh directory would have: when it moves on, the directory is
        loaded again. `issuer` becomes the claim `iss`. For development: with `explains_denials` a refusal shows what
        the server saw, and `clients_now` is the clock that clients go by when the server's was moved.
        """
        self.store = store
        self.keyring = keyring
        self.issuer = issuer
        self._sealer = sealer
        self._directory = directory
        self._revision = revision
        self._now, self._random = sources.now, sources.random
        self._explains_denials = explains_denials
        self._clients_now = clients_now
        self._loading = asyncio.Lock()

    async def directory(self) -> Directory:
        """The resources and keys as they are now."""
        if self._directory.revision == self._revision():
            return self._directory
        async with self._loading:
            revision = self._revision()  # Before the store is read: what changes meanwhile is loaded next time.
            if self._directory.revision != revision:
                self._directory = await load_directory(self.store, self._sealer, revision)
        return self._directory

    async def resource(self, id_or_name: str | None = None) -> Resource:
        """The resource with that id or name; the oldest one for None.

        Raises:
            ResourceNotFound: there is none.
        """
        directory = await self.directory()
        found = next(iter(directory.resources.values()), None) if id_or_name is None else directory.find(id_or_name)
        if found is None:
            raise ResourceNotFound(None if id_or_name else "There is no resource.")
        return found

    async def authenticate(self, request: SignedRequest) -> Caller:
        """The caller whose access key signed `request`.

        Raises:
            Denied: the signature is missing, unreadable, stale or wrong.
            InvalidRequest: the Host header is doubled.
        """
        directory, now = await self.directory(), self._now()
        try:
            proof = read_proof(request)
            check_date(proof, now, None if self._clients_now is None else self._clients_now())
            key = _key_that_signed(proof, directory)
        except Denied as denied:
            if self._explains_denials:
                clock = formatdate(now / 1000, usegmt=True)
                denied.explanation = explain(request, denied.reason, directory, clock)
            raise
        return Caller(directory.resources[key.resource_id], key.label)

    async def create_identity(
        self, caller: Caller, asked: TokenRequest, custom_id: str | None = None
    ) -> tuple[Identity, AccessToken | None, bool]:
        """A new identity, and a token for it if scopes are asked for; whether it is new is the third value.

        With a custom id that the resource knows already, it is the identity of that name.

        Raises:
            StoreUnavailable: nothing is acknowledged.
        """
        now = self._now()
        suffix = new_suffix(now, self._random(SUFFIX_RANDOM_BYTES))
        identity = Identity(caller.resource.id, suffix, now, now if asked.scopes else None, custom_id=custom_id)
        if custom_id is not None:
            # Kept first: whose name it is must be known before a token can be signed.
            identity, is_new = await self.store.create_or_get_identity(identity)
            return identity, self._sign(caller, identity, asked, now) if asked.scopes else None, is_new
        # Signed before anything is stored: a failure to sign leaves nothing behind.
        token = self._sign(caller, identity, asked, now) if asked.scopes else None
        await self.store.create_identity(identity)
        return identity, token, True

    async def identity(self, caller: Caller, identity_id: str) -> Identity:
        """The identity with that id.

        Raises:
            InvalidRequest: the id is malformed.
            IdentityNotOwned: it belongs to another resource.
            IdentityNotFound: it does not exist or was deleted.
        """
        identity = await self.store.identity(caller.resource.id, _suffix(caller, identity_id))
        if identity is None or identity.deleted_at is not None:
            raise IdentityNotFound
        return identity

    async def issue_token(self, caller: Caller, identity_id: str, asked: TokenRequest) -> AccessToken:
        """A token for an identity.

        Raises:
            InvalidRequest: the id is malformed.
            IdentityNotOwned: it belongs to another resource.
            IdentityNotFound: it does not exist or was deleted.
        """
        now = self._now()
        # Noted first: the generation as of that commit is what makes the token live or dead (docs/decisions/0007).
        identity = await self.store.issue(caller.resource.id, _suffix(caller, identity_id), now)
        if identity is None:
            raise IdentityNotFound
        return self._sign(caller, identity, asked, now)

    async def revoke_tokens(self, caller: Caller, identity_id: str) -> None:
        """Ends every token of an identity that was issued so far.

        Raises:
            InvalidRequest: the id is malformed.
            IdentityNotOwned: it belongs to another resource.
            IdentityNotFound: it does not exist or was deleted.
        """
        if not await self.store.revoke_tokens(caller.resource.id, _suffix(caller, identity_id), self._now()):
            raise IdentityNotFound

    async def delete_identity(self, caller: Caller, identity_id: str) -> None:
        """Ends an identity and its tokens for good; one that does not exist is deleted already.

        Raises:
            InvalidRequest: the id is malformed.
            IdentityNotOwned: it belongs to another resource.
        """
        await self.store.delete_identity(caller.resource.id, _suffix(caller, identity_id), self._now())

    async def introspect(self, token: str) -> TokenStatus:
        """Whether `token` lives, and if not, why."""
        try:
            header, claims = decode_unverified(token)
        except InvalidToken as invalid:
            return TokenStatus(active=False, reason=invalid.message, header={}, claims={})
        try:
            await self._check_alive(token)
        except InvalidToken as invalid:
            return TokenStatus(active=False, reason=invalid.message, header=header, claims=claims)
        return TokenStatus(active=True, reason="", header=header, claims=claims)

    async def forget_changes(self) -> None:
        """Forgets deletions and revocations that can matter to no token any more."""
        while await self.store.forget_changes(self._now() - 2 * LONGEST_LIFE):
            pass

    def discovery(self) -> bytes:
        """The issuer's metadata as JSON (OpenID Connect Discovery 1.0, section 3), as much as verifiers need."""
        return msgspec.json.encode(
            {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/.well-known/jwks.json",
                "response_types_supported": [],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": self.keyring.algorithms,
            }
        )

    async def _check_alive(self, token: str) -> None:
        """Signature, times, resource, access key, identity, generation: each can end a token."""
        claims = verify_signature(token, self.keyring.public_jwks)
        check_times(claims, self._now())
        directory = await self.directory()
        resource_id, suffix = parse_identity_id(str(claims.get("sub"))) or ("", b"")
        if resource_id not in directory.resources:
            raise InvalidToken("The token's resource does not exist.")
        access_key = claims.get("akg")
        if access_key is not None and not directory.is_current(resource_id, access_key):
            raise InvalidToken("The access key that obtained the token has been regenerated.")
        identity = await self.store.identity(resource_id, suffix)
        if identity is None or identity.deleted_at is not None:
            raise InvalidToken("The token's identity does not exist or was deleted.")
        if claims.get("gen") != identity.generation:
            raise InvalidToken("The token was revoked.")

    def _sign(self, caller: Caller, identity: Identity, asked: TokenRequest, now: int) -> AccessToken:
        issued_at = now // 1000
        expires_at = issued_at + (asked.minutes or DEFAULT_MINUTES) * 60
        claims = access_token_claims(
            caller.resource,
            identity,
            asked.scopes,
            self.issuer,
            caller.access_key,
            issued_at,
            expires_at,
            self._random(TOKEN_ID_BYTES),
        )
        return AccessToken(self.keyring.signer.sign(claims), expires_at)


def _key_that_signed(proof: Proof, directory: Directory) -> AccessKey:
    key = find_key(proof, directory.candidates(proof.host))
    if key is None:
        raise Denied("The signature is not that of any access key over the text that arrived.")
    return key


def malformed_id(identity_id: str) -> InvalidRequest:
    """The refusal of what is no identity id."""
    return InvalidRequest(f"'{identity_id[:100]}' is not an identity id of the form '8:acs:{{guid}}_{{guid}}'.", "id")


def _suffix(caller: Caller, identity_id: str) -> bytes:
    parsed = parse_identity_id(identity_id)
    if parsed is None:
        raise malformed_id(identity_id)
    resource_id, suffix = parsed
    if resource_id != caller.resource.id:
        raise IdentityNotOwned
    return suffix
