"""What the product does for its callers: authenticate, create, issue, revoke, delete, say whether a token lives.

Entered from the edge with plain values, it knows no HTTP. One `now` is taken for each thing asked.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from email.utils import formatdate
from typing import Any

import msgspec
from msgspec import Struct

from mintmark.directory import Directory, DirectoryLoader
from mintmark.errors import (
    Denied,
    Forbidden,
    IdentityNotFound,
    IdentityNotOwned,
    InvalidAccessToken,
    InvalidRequest,
    InvalidToken,
    ResourceNotFound,
    StartRefused,
    StoreUnavailable,
)
from mintmark.explain import explain
from mintmark.jose import decode_unverified, verify_signature
from mintmark.keyring import Keyring
from mintmark.model import (
    LONGEST_LIFE,
    SUFFIX_RANDOM_BYTES,
    AccessKey,
    AccessToken,
    Identity,
    Resource,
    new_suffix,
    parse_identity_id,
)
from mintmark.openid import BearerVerifier
from mintmark.request_signature import Proof, SignedRequest, bearer_token, check_date, find_key, read_proof
from mintmark.sources import Sources
from mintmark.store import Store
from mintmark.teams import TeamsExchange, check_exchange
from mintmark.tokens import TEAMS_PREFIX, access_token_claims, check_times, teams_token_claims

DEFAULT_MINUTES = 1440
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
    """The use cases, over a store, the directory of resources and keys, and the sources of time and chance."""

    def __init__(
        self,
        store: Store,
        loader: DirectoryLoader,
        directory: Directory,
        revision: Callable[[], int],
        issuer: str,
        sources: Sources,
        *,
        bearer: BearerVerifier | None = None,
        teams: BearerVerifier | None = None,
        development: bool = False,
        clients_now: Callable[[], int] | None = None,
    ) -> None:
        """Joins the parts.

        `revision` tells, at any time, which moment a fresh directory would have: when it moves on, the directory is
        loaded again. `issuer` becomes the claim `iss`. `bearer` checks bearer tokens, `teams` the tokens of Teams users
        that are to be exchanged; without them there are none.

        In `development` a request to a host that belongs to no resource is for the one whose key signed it, else for
        the oldest; a refusal shows what the server saw; and `clients_now` is the clock that clients go by when the
        server's was moved.
        """
        self.store = store
        self.issuer = issuer
        self._loader = loader
        self._directory = directory
        self._revision = revision
        self._now, self._random = sources.now, sources.random
        self._bearer, self._teams = bearer, teams
        self._development = development
        self._clients_now = clients_now
        self._loading = asyncio.Lock()

    async def directory(self) -> Directory:
        """The resources and keys as they are now.

        Raises:
            StoreUnavailable: they cannot be read or opened.
        """
        if self._directory.revision == self._revision():
            return self._directory
        async with self._loading:
            revision = self._revision()  # Before the store is read: what changes meanwhile is loaded next time.
            if self._directory.revision != revision:
                try:
                    self._directory = await self._loader.load(revision, self._directory)
                except StartRefused as error:  # Nothing is answered from what may have been revoked since.
                    raise StoreUnavailable(error.message) from error
        return self._directory

    async def keyring(self) -> Keyring:
        """The signing keys as they are now, or as they last were while the store does not answer.

        Verifiers that ask for the public halves then go on.
        """
        try:
            return (await self.directory()).keyring
        except StoreUnavailable:
            return self._directory.keyring

    async def resource(self, id_or_name: str | None = None) -> Resource:
        """The resource with that id or name; the oldest one for None.

        Raises:
            ResourceNotFound: there is none.
        """
        directory = await self.directory()
        found = directory.default if id_or_name is None else directory.find(id_or_name)
        if found is None:
            raise ResourceNotFound(None if id_or_name else "There is no resource.")
        return found

    async def authenticate(self, request: SignedRequest) -> Caller:
        """The caller whose access key signed `request`, or whom its bearer token allows to act for a resource.

        Raises:
            Denied: the signature or token is missing, unreadable, stale or wrong.
            Forbidden: the bearer token lacks a role or scope.
            InvalidRequest: the Host header is doubled.
            IssuerUnavailable: the keys of the bearer token's issuer cannot be fetched.
        """
        directory, now = await self.directory(), self._now()
        if (bearer := bearer_token(request)) is not None:
            return await self._authenticate_bearer(*bearer, directory)
        try:
            proof = read_proof(request)
            check_date(proof, now, None if self._clients_now is None else self._clients_now())
            key = self._key_that_signed(proof, directory)
        except Denied as denied:
            if self._development:
                clock = formatdate(now / 1000, usegmt=True)
                denied.explanation = explain(request, denied.reason, directory, clock)
            raise
        return Caller(directory.resources[key.resource_id], key.label)

    async def _authenticate_bearer(self, token: str, host: bytes, directory: Directory) -> Caller:
        resource = directory.resource_of(host)
        if self._bearer is None or resource is None:
            raise Denied("No issuer of bearer tokens is trusted here." if resource else "There is no resource yet.")
        try:
            await self._bearer.verify(token, resource)
        except InvalidToken as invalid:
            denied = Denied(invalid.message)
            if self._development:
                denied.explanation = [("Reason", invalid.message)]
            raise denied from invalid
        return Caller(resource)

    def _key_that_signed(self, proof: Proof, directory: Directory) -> AccessKey:
        candidates = directory.candidates(proof.host, any_resource=self._development)
        key = find_key(proof, candidates)
        if key is None:
            raise Denied("The signature is not that of any access key over the text that arrived.")
        return key

    async def create_identity(
        self, caller: Caller, asked: TokenRequest, custom_id: str | None = None
    ) -> tuple[Identity, AccessToken | None, bool]:
        """A new identity, and a token for it if scopes are asked for; whether it is new is the third value.

        With a custom id that the resource knows already, it is the identity of that name.

        Raises:
            StoreUnavailable: nothing is acknowledged.
        """
        now = self._now()
        chance = self._random(SUFFIX_RANDOM_BYTES + TOKEN_ID_BYTES)  # At once, and one system call.
        suffix, token_id = new_suffix(now, chance[:SUFFIX_RANDOM_BYTES]), chance[SUFFIX_RANDOM_BYTES:]
        identity = Identity(caller.resource.id, suffix, now, now if asked.scopes else None, custom_id=custom_id)
        if custom_id is not None:
            # Kept first: whose name it is must be known before a token can be signed.
            identity, is_new = await self.store.create_or_get_identity(identity)
            return identity, await self._sign(caller, identity, asked, now, token_id) if asked.scopes else None, is_new
        # Signed before anything is stored: a failure to sign leaves nothing behind.
        token = await self._sign(caller, identity, asked, now, token_id) if asked.scopes else None
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
        return await self._sign(caller, identity, asked, now, self._random(TOKEN_ID_BYTES))

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

    async def exchange_teams_token(self, caller: Caller, asked: TeamsExchange) -> AccessToken:
        """A token for a Teams user, which does not outlive the Entra token that it is given for.

        Raises:
            InvalidAccessToken: the Entra token is empty, malformed, expired, or of an issuer that is not trusted.
            InvalidRequest: application or user is missing, malformed, or not the token's.
            IssuerUnavailable: the keys of its issuer cannot be fetched.
        """
        if self._teams is None:
            raise InvalidAccessToken("No issuer of Teams tokens is trusted here.")
        try:
            claims = await self._teams.verify(asked.token, caller.resource)
        except InvalidToken as invalid:
            raise InvalidAccessToken(invalid.message) from invalid
        except Forbidden as forbidden:
            raise InvalidAccessToken(forbidden.reason) from forbidden
        check_exchange(asked, claims)
        now = self._now()
        issued_at = now // 1000
        expires_at = min(int(claims["exp"]), issued_at + LONGEST_LIFE // 1000)
        token_id = self._random(TOKEN_ID_BYTES)
        shown = teams_token_claims(
            caller.resource, claims, self.issuer, caller.access_key, issued_at, expires_at, token_id
        )
        return AccessToken((await self.directory()).keyring.signer(now).sign(shown), expires_at)

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

    async def discovery(self) -> bytes:
        """The issuer's metadata as JSON (OpenID Connect Discovery 1.0, section 3), as much as verifiers need."""
        return msgspec.json.encode(
            {
                "issuer": self.issuer,
                "jwks_uri": f"{self.issuer}/.well-known/jwks.json",
                "response_types_supported": [],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": (await self.keyring()).algorithms,
            }
        )

    async def _check_alive(self, token: str) -> None:
        """Signature, times, resource, access key, identity, generation: each can end a token."""
        directory = await self.directory()
        claims = verify_signature(token, directory.keyring.public_jwks)
        check_times(claims, self._now())
        is_teams_user = str(claims.get("sub")).startswith(TEAMS_PREFIX)
        resource_id, suffix = parse_identity_id(str(claims.get("sub"))) or (str(claims.get("aud")), b"")
        if resource_id not in directory.resources:
            raise InvalidToken("The token's resource does not exist.")
        access_key = claims.get("akg")
        if access_key is not None and not directory.is_current(resource_id, access_key):
            raise InvalidToken("The access key that obtained the token has been regenerated.")
        if is_teams_user:  # No identity of ours: there is nothing more to revoke.
            return
        identity = await self.store.identity(resource_id, suffix)
        if identity is None or identity.deleted_at is not None:
            raise InvalidToken("The token's identity does not exist or was deleted.")
        if claims.get("gen") != identity.generation:
            raise InvalidToken("The token was revoked.")

    async def _sign(
        self, caller: Caller, identity: Identity, asked: TokenRequest, now: int, token_id: bytes
    ) -> AccessToken:
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
            token_id,
        )
        return AccessToken((await self.directory()).keyring.signer(now).sign(claims), expires_at)


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
