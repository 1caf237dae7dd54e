"""The OpenID issuer of `mintmark dev`: published applications and users, one key, tokens that look like Entra ID's.

It lets azure-identity and MSAL work offline. Pure but for the sources it is given; `web.adfs` puts it on HTTP.
"""

from collections.abc import Mapping, Sequence
from hmac import compare_digest
from typing import Any

import msgspec
from msgspec import Struct

from mintmark.bearer import COMMUNICATION_AUDIENCES
from mintmark.errors import MintmarkError
from mintmark.jose import b64url, generate_private_key, load_signer, public_jwk
from mintmark.model import SUFFIX_EPOCH, Secret, SigningAlgorithm
from mintmark.sources import Sources
from mintmark.teams import TEAMS_AUDIENCES, TEAMS_PERMISSIONS

# By this name clients take a host for what it says it is: MSAL for Python asks no cloud about it or its users
# (`is_adfs` in its authority.py), azure-identity spares MSAL for Node the question (`getKnownAuthorities`).
TENANT = "adfs"
IDENTITY_PATH = f"/{TENANT}/msi/token"
ALGORITHM: SigningAlgorithm = "ES256"  # RS256 costs a start a tenth of a second, and no client looks.
LIFETIME = 3600  # seconds
TOKEN_ID_BYTES = 16
DEFAULT = "/.default"  # All that was consented to: how clients of Entra ID ask for a whole resource.
OPENID_SCOPES = frozenset({"openid", "profile", "email", "offline_access"})

# SDKs ask for `https://communication.azure.com//.default`, whose audience ends in a slash (contract section 3.6).
AUDIENCE = "https://communication.azure.com/"
TEAMS_AUDIENCE = TEAMS_AUDIENCES[0]


class Application(Struct, frozen=True):
    """Who asks for tokens in its own name.

    Attributes:
        client_id: a GUID, the claim `appid`.
        object_id: a GUID, the claims `oid` and `sub`.
        secret: its `client_secret`.
        role: the claim `roles`: what it may do.
    """

    client_id: str
    object_id: str
    secret: Secret
    role: str


class TeamsUser(Struct, frozen=True):
    """Who signs in with a name and a password.

    Attributes:
        username: such as an address of mail, in lower case.
        password: what goes with it.
        object_id: a GUID, the claims `oid` and `sub`.
        name: for people.
    """

    username: str
    password: Secret
    object_id: str
    name: str


# Published on purpose, and recognisable at sight: `mintmark serve` has no such issuer.
TENANT_ID = "00000de7-0000-4000-8000-00000000adf5"
APPLICATION = Application(
    client_id="00000de7-0000-4000-8000-00000000c0de",
    object_id="00000de7-0000-4000-8000-00000000c0d1",
    secret=Secret(b"mintmark-development-client-secret-public-so-never-for-production"),
    role="Communication.Identity.Manage",
)
IDENTITY_HEADER = Secret(b"mintmark-development-identity-header-public-so-never-for-production")
TEAMS_APPLICATION_ID = "00000de7-0000-4000-8000-0000007ea35a"
TEAMS_USERS = (
    TeamsUser(
        "adele@teams.mintmark.test",
        Secret(b"published-password-of-adele"),
        "00000de7-0000-4000-8000-0000000ade1e",
        "Adele Example",
    ),
    TeamsUser(
        "alex@teams.mintmark.test",
        Secret(b"published-password-of-alex"),
        "00000de7-0000-4000-8000-00000000a1e8",
        "Alex Example",
    ),
)


class TokenRefused(MintmarkError):  # noqa: N818  the refusal is the point, as in RequestRefused
    """The development issuer gives no token for this request.

    `error` is one of the codes of RFC 6749, section 5.2.
    """

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


class TokenRequest(Struct, frozen=True):
    """What was sent to the token endpoint.

    Attributes:
        parameters: of the form, each once, those without a value left out.
        client_id: who asks; empty where nobody said.
        client_secret: what proves it; empty where nothing does.
    """

    parameters: Mapping[str, str]
    client_id: str
    client_secret: bytes = b""


class DevelopmentIssuer:
    """Issues access tokens to the published applications and users.

    Made once before the workers start, so that all of them have its key. The key ends with the server.

    Attributes:
        address: the claim `iss`.
        public_jwks: the public keys that its tokens verify with (RFC 7517).
    """

    def __init__(self, https: str, http: str, sources: Sources) -> None:
        """Takes the addresses of both listeners, such as `https://localhost:12443`."""
        private_key = generate_private_key(ALGORITHM)
        jwk = public_jwk(private_key, ALGORITHM)
        self.address = f"{https}/{TENANT}"
        self.public_jwks: Sequence[dict[str, Any]] = [jwk]
        self._https, self._http = https, http
        self._sources = sources
        self._signer = load_signer(jwk["kid"], private_key)

    async def keys(self, kid: str | None) -> Sequence[dict[str, Any]]:  # noqa: ARG002  the protocol's; one key is all
        """Its key set, for who trusts this issuer (`openid.KeySource`): always whole, and never out of reach."""
        return self.public_jwks

    def discovery(self) -> dict[str, Any]:
        """Its metadata (OpenID Connect Discovery 1.0, section 3)."""
        return {
            "issuer": self.address,
            # Nothing is there: no browser signs in here. But MSAL wants the field, and so does the specification.
            "authorization_endpoint": f"{self.address}/oauth2/authorize",
            "token_endpoint": f"{self.address}/oauth2/token",
            "jwks_uri": f"{self.address}/discovery/keys",
            "grant_types_supported": ["client_credentials", "password"],
            "token_endpoint_auth_methods_supported": ["client_secret_post", "client_secret_basic", "none"],
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "scopes_supported": sorted(OPENID_SCOPES),
            "id_token_signing_alg_values_supported": [ALGORITHM],
        }

    def grant(self, asked: TokenRequest) -> dict[str, Any]:
        """The fields of the answer to a token request (RFC 6749, section 5.1).

        Raises:
            TokenRefused: whoever asks is not known, or asks for what is not given.
        """
        grant_type = asked.parameters.get("grant_type")
        if grant_type == "client_credentials":
            return self._grant_to_application(asked)
        if grant_type == "password":
            return self._grant_to_user(asked)
        error = "unsupported_grant_type" if grant_type else "invalid_request"
        raise TokenRefused(error, "The grant_type is client_credentials for applications, password for Teams users.")

    def grant_to_managed_identity(self, identity_header: bytes, resource: str) -> dict[str, Any]:
        """The fields that App Service answers to a program that runs there; it gets the application's token.

        Args:
            identity_header: what the program sent as `X-IDENTITY-HEADER`.
            resource: whose audience the token shall have.

        Raises:
            TokenRefused: the header does not fit, or the resource is not known.
        """
        if not compare_digest(identity_header, IDENTITY_HEADER):
            raise TokenRefused("invalid_client", "The header X-IDENTITY-HEADER is not the variable IDENTITY_HEADER.")
        issued_at = self._now()
        token = self._application_token(_check_audience(resource, "resource", ""), issued_at)
        # App Service writes the time as a string.
        expires_on = str(issued_at + LIFETIME)
        return {"access_token": token, "expires_on": expires_on, "resource": resource, "token_type": "Bearer"}

    def variables(self) -> dict[str, str]:
        """What azure-identity, and the tests of the official SDKs, read from the environment."""
        user = TEAMS_USERS[0]
        # It expired at the earliest time that the development clock can be set to, so that it never lives.
        expired = self._user_token(user, TEAMS_PERMISSIONS, SUFFIX_EPOCH // 1000 - LIFETIME)
        return {
            "IDENTITY_ENDPOINT": f"{self._http}{IDENTITY_PATH}",
            "IDENTITY_HEADER": IDENTITY_HEADER.decode(),
            "COMMUNICATION_M365_APP_ID": TEAMS_APPLICATION_ID,
            "COMMUNICATION_M365_AAD_AUTHORITY": self._https,
            "COMMUNICATION_M365_AAD_TENANT": TENANT,
            "COMMUNICATION_MSAL_USERNAME": user.username,
            "COMMUNICATION_MSAL_PASSWORD": user.password.decode(),
            "COMMUNICATION_EXPIRED_TEAMS_TOKEN": expired,
        }

    def _grant_to_application(self, asked: TokenRequest) -> dict[str, Any]:
        if asked.client_id == TEAMS_APPLICATION_ID:
            raise TokenRefused("unauthorized_client", "The Teams application has no secret: it asks for its users.")
        known = asked.client_id == APPLICATION.client_id
        if not (known and compare_digest(asked.client_secret, APPLICATION.secret)):
            raise TokenRefused(
                "invalid_client",
                f"The client_id is {APPLICATION.client_id}, and the client_secret is the one published with Mintmark.",
            )
        parameters = asked.parameters
        if "resource" in parameters:
            audience = scope = _check_audience(parameters["resource"], "resource", "")
        else:
            scope = " ".join(each for each in parameters.get("scope", "").split() if each not in OPENID_SCOPES)
            audience = _check_audience(scope, "scope", DEFAULT)
        return _bearer(self._application_token(audience, self._now()), scope)

    def _grant_to_user(self, asked: TokenRequest) -> dict[str, Any]:
        if asked.client_id == APPLICATION.client_id:
            raise TokenRefused("unauthorized_client", "Users sign in by the Teams application only.")
        if asked.client_id != TEAMS_APPLICATION_ID or asked.client_secret:
            raise TokenRefused(
                "invalid_client", f"The client_id is {TEAMS_APPLICATION_ID}, a public client: no client_secret."
            )
        parameters = asked.parameters
        user = _sign_in(parameters.get("username", ""), parameters.get("password", ""))
        asked_for = parameters.get("scope", "").split()
        scopes = _teams_scopes([scope for scope in asked_for if scope not in OPENID_SCOPES])
        issued_at = self._now()
        granted = _bearer(
            self._user_token(user, scopes, issued_at), " ".join(f"{TEAMS_AUDIENCE}/{scope}" for scope in scopes)
        )
        # OpenID Connect Core 1.0, section 3.1.2.1: without this scope it is plain OAuth 2.0.
        return {**granted, "id_token": self._id_token(user, issued_at)} if "openid" in asked_for else granted

    def _application_token(self, audience: str, issued_at: int) -> str:
        claims = {"appid": APPLICATION.client_id, "appidacr": "1", "roles": [APPLICATION.role]}
        return self._token(audience, APPLICATION.object_id, issued_at, claims)

    def _user_token(self, user: TeamsUser, scopes: Sequence[str], issued_at: int) -> str:
        claims = {"appid": TEAMS_APPLICATION_ID, "appidacr": "0", "scp": " ".join(scopes)}
        return self._token(TEAMS_AUDIENCE, user.object_id, issued_at, {**claims, "upn": user.username})

    def _id_token(self, user: TeamsUser, issued_at: int) -> str:
        claims = {"upn": user.username, "name": user.name}
        return self._token(TEAMS_APPLICATION_ID, user.object_id, issued_at, claims)

    def _token(self, audience: str, subject: str, issued_at: int, claims: Mapping[str, object]) -> str:
        """A signed token with the claims that all of them have, named and valued as in version 1.0 of Entra ID's.

        Source: learn.microsoft.com/entra/identity-platform/access-token-claims-reference.
        """
        common = {"aud": audience, "iss": self.address, "iat": issued_at, "nbf": issued_at, "exp": issued_at + LIFETIME}
        who = {"oid": subject, "sub": subject, "tid": TENANT_ID}
        token_id = b64url(self._sources.random(TOKEN_ID_BYTES)).decode()
        return self._signer.sign(msgspec.json.encode({**common, **claims, **who, "uti": token_id, "ver": "1.0"}))

    def _now(self) -> int:
        return self._sources.now() // 1000


def _bearer(token: str, scope: str) -> dict[str, Any]:
    return {"token_type": "Bearer", "expires_in": LIFETIME, "scope": scope, "access_token": token}


def _check_audience(asked: str, parameter: str, suffix: str) -> str:
    """The audience of an application's token, from what was asked for."""
    audience = asked.removesuffix(suffix)
    if audience + suffix != asked or audience not in COMMUNICATION_AUDIENCES:
        raise TokenRefused(
            "invalid_scope", f"The {parameter} is {AUDIENCE}{suffix}: nothing else is given to applications."
        )
    return audience


def _sign_in(username: str, password: str) -> TeamsUser:
    sent = password.encode()
    for user in TEAMS_USERS:
        if user.username == username.lower() and compare_digest(sent, user.password):
            return user
    names = " and ".join(user.username for user in TEAMS_USERS)
    raise TokenRefused(
        "invalid_grant", f"The username or the password is wrong. Users are {names}; their passwords are published."
    )


def _teams_scopes(asked: Sequence[str]) -> Sequence[str]:
    """The short names of the scopes asked for, each once."""
    if list(asked) == [TEAMS_AUDIENCE + DEFAULT]:
        return TEAMS_PERMISSIONS
    full = [f"{TEAMS_AUDIENCE}/{scope}" for scope in TEAMS_PERMISSIONS]
    if not asked or not set(asked) <= set(full):
        raise TokenRefused("invalid_scope", f"The scope has one or both of: {', '.join(full)}.")
    return [scope.rpartition("/")[2] for scope in dict.fromkeys(asked)]
