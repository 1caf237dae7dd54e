"""The development issuer as seen from outside: tokens for applications and Teams users, and why others get none."""

import base64
from typing import Any
from urllib.parse import urlencode

import jwt
import pytest

from builders import ISSUER, NOON, FakeClock
from mintmark.development_issuer import (
    APPLICATION,
    IDENTITY_HEADER,
    TEAMS_APPLICATION_ID,
    TEAMS_USERS,
    TENANT_ID,
    DevelopmentIssuer,
)
from mintmark.jose import decode_unverified, verify_signature
from mintmark.model import SUFFIX_EPOCH
from mintmark.service import Service
from mintmark.sources import Sources
from mintmark.teams import TEAMS_PERMISSIONS
from mintmark.web import Application, build_public_app
from mintmark.web.adfs import DevelopmentSignIn
from mintmark.web.call import MAX_BODY
from web.asgi_client import Reply, call

pytestmark = pytest.mark.anyio

HTTP = "http://localhost:12080"
NOW = NOON // 1000
HOUR = 3600
ADELE, ALEX = TEAMS_USERS
SECRET = APPLICATION.secret.decode()
ACS = "https://communication.azure.com"
TEAMS = "https://auth.msft.communication.azure.com"
BOTH_SCOPES = " ".join(f"{TEAMS}/{scope}" for scope in TEAMS_PERMISSIONS)

FOR_APPLICATION = {
    "grant_type": "client_credentials",
    "client_id": APPLICATION.client_id,
    "client_secret": SECRET,
    "scope": f"{ACS}//.default",
}
FOR_USER = {
    "grant_type": "password",
    "client_id": TEAMS_APPLICATION_ID,
    "username": ADELE.username,
    "password": ADELE.password.decode(),
    "scope": f"{BOTH_SCOPES} openid profile offline_access",
}
FORM = (b"content-type", b"application/x-www-form-urlencoded")


@pytest.fixture
def issuer(sources: Sources) -> DevelopmentIssuer:
    return DevelopmentIssuer(ISSUER, HTTP, sources)


@pytest.fixture
async def app(service: Service, sources: Sources, issuer: DevelopmentIssuer) -> Application:
    return build_public_app(service, sources, sign_in=DevelopmentSignIn(issuer))


async def ask(
    app: Application, form: dict[str, str] | bytes, *headers: tuple[bytes, bytes], version: str = ""
) -> Reply:
    body = form if isinstance(form, bytes) else urlencode(form).encode()
    return await call(app, "POST", f"/adfs/oauth2{version}/token", headers or (FORM,), body)


async def identity(app: Application, query: str, header: bytes = IDENTITY_HEADER) -> Reply:
    return await call(app, "GET", f"/adfs/msi/token?{query}", [(b"x-identity-header", header)])


def basic(client_id: str, secret: str) -> tuple[bytes, bytes]:
    return b"authorization", b"Basic " + base64.b64encode(f"{client_id}:{secret}".encode())


def without(form: dict[str, str], *names: str) -> dict[str, str]:
    return {name: value for name, value in form.items() if name not in names}


def claims(reply: Reply, field: str = "access_token") -> dict[str, Any]:
    assert 200 == reply.status, reply.body
    return decode_unverified(reply.json[field])[1]


class TestMetadata:
    async def test_a_client_finds_the_key_of_a_token_from_the_issuers_address(self, app: Application) -> None:
        discovery = (await call(app, "GET", "/adfs/.well-known/openid-configuration")).json
        key_set = (await call(app, "GET", discovery["jwks_uri"].removeprefix(ISSUER))).json
        token = (await ask(app, FOR_APPLICATION)).json["access_token"]

        key = next(jwk for jwk in key_set["keys"] if jwk["kid"] == decode_unverified(token)[0]["kid"])
        options: Any = {"verify_exp": False, "verify_nbf": False, "verify_iat": False}
        read = jwt.decode(token, jwt.PyJWK(key), ["ES256"], options, audience=f"{ACS}/", issuer=f"{ISSUER}/adfs")
        assert discovery["issuer"] == read["iss"]
        assert f"{ISSUER}/adfs/oauth2/token" == discovery["token_endpoint"]
        assert discovery["authorization_endpoint"]  # Without it MSAL does not begin.
        assert "d" not in key

    async def test_who_trusts_it_needs_no_http(self, app: Application, issuer: DevelopmentIssuer) -> None:
        token = (await ask(app, FOR_APPLICATION)).json["access_token"]

        assert APPLICATION.object_id == verify_signature(token, await issuer.keys(None))["oid"]

    async def test_its_key_is_not_one_of_the_services(self, app: Application, issuer: DevelopmentIssuer) -> None:
        of_service = (await call(app, "GET", "/.well-known/jwks.json")).json["keys"]

        assert not {jwk["kid"] for jwk in of_service} & {jwk["kid"] for jwk in issuer.public_jwks}

    async def test_without_it_there_is_nothing_below_adfs(self, service: Service, sources: Sources) -> None:
        app = build_public_app(service, sources)

        assert 404 == (await ask(app, FOR_APPLICATION)).status


class TestApplications:
    async def test_the_token_says_what_entra_ids_say(self, app: Application) -> None:
        reply = await ask(app, FOR_APPLICATION)

        read = claims(reply)
        token_id = read.pop("uti")
        assert 22 == len(token_id)
        assert {
            "aud": f"{ACS}/",
            "iss": f"{ISSUER}/adfs",
            "iat": NOW,
            "nbf": NOW,
            "exp": NOW + HOUR,
            "appid": APPLICATION.client_id,
            "appidacr": "1",
            "roles": [APPLICATION.role],
            "oid": APPLICATION.object_id,
            "sub": APPLICATION.object_id,
            "tid": TENANT_ID,
            "ver": "1.0",
        } == read
        assert {"token_type": "Bearer", "expires_in": HOUR, "scope": f"{ACS}//.default"} == without(
            reply.json, "access_token"
        )
        assert "no-store" == reply.headers["cache-control"]

    @pytest.mark.parametrize(
        ("asked", "audience"),
        [
            ({"scope": f"{ACS}//.default"}, f"{ACS}/"),
            ({"scope": f"{ACS}/.default"}, ACS),
            ({"scope": f"openid {ACS}//.default profile"}, f"{ACS}/"),
            ({"resource": f"{ACS}/"}, f"{ACS}/"),
            ({"resource": ACS}, ACS),
        ],
        ids=lambda value: " ".join(value.values()) if isinstance(value, dict) else "",
    )
    async def test_scope_and_resource_both_name_the_audience(
        self, app: Application, asked: dict[str, str], audience: str
    ) -> None:
        reply = await ask(app, {**without(FOR_APPLICATION, "scope"), **asked})

        assert audience == claims(reply)["aud"]

    @pytest.mark.parametrize("secret", [SECRET, SECRET.replace("-", "%2D")], ids=["plain", "percent-encoded"])
    async def test_the_client_may_be_named_in_the_header(self, app: Application, secret: str) -> None:
        reply = await ask(
            app, without(FOR_APPLICATION, "client_id", "client_secret"), FORM, basic(APPLICATION.client_id, secret)
        )

        assert APPLICATION.client_id == claims(reply)["appid"]

    async def test_the_path_of_version_2_works_too(self, app: Application) -> None:
        """azure-identity's asynchronous credentials make the address up, whatever discovery says."""
        reply = await ask(app, FOR_APPLICATION, version="/v2.0")

        assert APPLICATION.client_id == claims(reply)["appid"]

    async def test_time_is_the_servers(self, app: Application, clock: FakeClock) -> None:
        clock.advance(hours=5)

        assert NOW + 6 * HOUR == claims(await ask(app, FOR_APPLICATION))["exp"]

    async def test_no_two_tokens_are_the_same(self, app: Application) -> None:
        tokens = {(await ask(app, FOR_APPLICATION)).json["access_token"] for _ in range(3)}

        assert 3 == len(tokens)


class TestUsers:
    @pytest.mark.parametrize("user", TEAMS_USERS, ids=lambda user: user.username)
    async def test_the_token_is_for_teams_and_names_the_user(self, app: Application, user: Any) -> None:
        form = {**FOR_USER, "username": user.username.title(), "password": user.password.decode()}
        reply = await ask(app, form)

        read = claims(reply)
        assert (TEAMS, "Teams.ManageCalls Teams.ManageChats") == (read["aud"], read["scp"])
        assert (TEAMS_APPLICATION_ID, user.object_id, TENANT_ID) == (read["appid"], read["oid"], read["tid"])
        assert user.username == read["upn"]
        assert NOW + HOUR == read["exp"]
        assert "roles" not in read
        assert BOTH_SCOPES == reply.json["scope"]

    @pytest.mark.parametrize(
        ("asked", "granted"),
        [
            (f"{TEAMS}/Teams.ManageCalls", "Teams.ManageCalls"),
            (f"{TEAMS}/Teams.ManageChats {TEAMS}/Teams.ManageCalls", "Teams.ManageChats Teams.ManageCalls"),
            (f"{TEAMS}/Teams.ManageChats {TEAMS}/Teams.ManageChats", "Teams.ManageChats"),
            (f"{TEAMS}/.default", "Teams.ManageCalls Teams.ManageChats"),
        ],
    )
    async def test_only_the_scopes_asked_for_are_granted(self, app: Application, asked: str, granted: str) -> None:
        assert granted == claims(await ask(app, {**FOR_USER, "scope": asked}))["scp"]

    async def test_openid_brings_an_id_token_for_the_application(self, app: Application) -> None:
        read = claims(await ask(app, FOR_USER), "id_token")

        assert (f"{ISSUER}/adfs", TEAMS_APPLICATION_ID, ADELE.object_id) == (read["iss"], read["aud"], read["sub"])
        assert (ADELE.username, ADELE.name) == (read["upn"], read["name"])
        assert "id_token" not in (await ask(app, {**FOR_USER, "scope": BOTH_SCOPES})).json


@pytest.mark.parametrize(
    ("form", "status", "error", "described"),
    [
        ({**FOR_APPLICATION, "client_id": "somebody"}, 401, "invalid_client", APPLICATION.client_id),
        ({**FOR_APPLICATION, "client_secret": "wrong"}, 401, "invalid_client", "the one published"),
        ({**FOR_APPLICATION, "client_secret": "Ä"}, 401, "invalid_client", "the one published"),
        (without(FOR_APPLICATION, "client_secret"), 401, "invalid_client", "the one published"),
        ({**FOR_APPLICATION, "client_id": TEAMS_APPLICATION_ID}, 400, "unauthorized_client", "no secret"),
        ({**FOR_APPLICATION, "scope": f"{TEAMS}/.default"}, 400, "invalid_scope", f"{ACS}//.default"),
        ({**FOR_APPLICATION, "scope": ACS}, 400, "invalid_scope", f"{ACS}//.default"),
        (without(FOR_APPLICATION, "scope"), 400, "invalid_scope", f"{ACS}//.default"),
        ({**FOR_APPLICATION, "resource": "https://vault.azure.net"}, 400, "invalid_scope", f"{ACS}/"),
        ({**FOR_USER, "client_id": "somebody"}, 401, "invalid_client", TEAMS_APPLICATION_ID),
        ({**FOR_USER, "client_secret": "any"}, 401, "invalid_client", "public client"),
        ({**FOR_USER, "client_id": APPLICATION.client_id}, 400, "unauthorized_client", "Teams application"),
        ({**FOR_USER, "username": "eve@teams.mintmark.test"}, 400, "invalid_grant", ADELE.username),
        ({**FOR_USER, "password": "wrong"}, 400, "invalid_grant", ALEX.username),
        ({**FOR_USER, "password": ALEX.password.decode()}, 400, "invalid_grant", "published"),
        (without(FOR_USER, "password"), 400, "invalid_grant", "published"),
        ({**FOR_USER, "scope": f"{ACS}//.default"}, 400, "invalid_scope", BOTH_SCOPES.split()[1]),
        ({**FOR_USER, "scope": f"{BOTH_SCOPES} {TEAMS}/.default"}, 400, "invalid_scope", BOTH_SCOPES.split()[0]),
        ({**FOR_USER, "scope": "openid"}, 400, "invalid_scope", BOTH_SCOPES.split()[0]),
        ({**FOR_USER, "grant_type": "device_code"}, 400, "unsupported_grant_type", "client_credentials"),
        (without(FOR_USER, "grant_type"), 400, "invalid_request", "grant_type"),
        ({**FOR_USER, "grant_type": ""}, 400, "invalid_request", "grant_type"),
        (urlencode(FOR_USER).encode() + b"&scope=openid", 400, "invalid_request", "twice"),
        (urlencode(FOR_USER).encode() + b"&scope=", 400, "invalid_request", "twice"),
        (urlencode(FOR_USER).encode() + b"&claims=%FF", 400, "invalid_request", "UTF-8"),
        (b"\xff", 400, "invalid_request", "UTF-8"),
        (b"a=1&" * 51, 400, "invalid_request", "at most 50"),
        (b"", 400, "invalid_request", "grant_type"),
    ],
)
async def test_a_refusal_says_what_is_allowed(
    app: Application, form: dict[str, str] | bytes, status: int, error: str, described: str
) -> None:
    reply = await ask(app, form)

    assert (status, error) == (reply.status, reply.json["error"])
    assert described in reply.json["error_description"]
    assert ["error", "error_description"] == list(reply.json)
    assert "no-store" == reply.headers["cache-control"]
    assert (401 == status) is ("www-authenticate" in reply.headers)
    for secret in (SECRET, *(user.password.decode() for user in TEAMS_USERS)):
        assert secret not in reply.body.decode()


@pytest.mark.parametrize(
    ("headers", "form", "error"),
    [
        ([(b"content-type", b"application/json")], FOR_APPLICATION, "invalid_request"),
        ([FORM, basic(APPLICATION.client_id, SECRET)], FOR_APPLICATION, "invalid_request"),
        ([FORM, basic("another", SECRET)], without(FOR_APPLICATION, "client_secret"), "invalid_request"),
        ([FORM, basic(APPLICATION.client_id, "wrong")], without(FOR_APPLICATION, "client_secret"), "invalid_client"),
        ([FORM, (b"authorization", b"Basic !")], without(FOR_APPLICATION, "client_secret"), "invalid_client"),
        ([FORM, (b"authorization", b"Basic /w==")], without(FOR_APPLICATION, "client_secret"), "invalid_client"),
        ([FORM, (b"authorization", b"Bearer a")], without(FOR_APPLICATION, "client_secret"), "invalid_client"),
    ],
    ids=["no form", "twice", "two clients", "wrong", "no base64", "no UTF-8", "bearer"],
)
async def test_headers_that_do_not_fit_are_refused(
    app: Application, headers: list[tuple[bytes, bytes]], form: dict[str, str], error: str
) -> None:
    assert error == (await ask(app, form, *headers)).json["error"]


async def test_a_form_is_read_up_to_the_length_of_every_body(app: Application) -> None:
    assert 413 == (await ask(app, b"a=" + b"b" * MAX_BODY)).status


class TestManagedIdentity:
    @pytest.mark.parametrize("more", ["", "&client_id=any"])
    async def test_it_answers_as_app_service_does(self, app: Application, more: str) -> None:
        reply = await identity(app, f"resource={ACS}/&api-version=2019-08-01{more}")

        read = claims(reply)
        assert (APPLICATION.client_id, f"{ACS}/") == (read["appid"], read["aud"])
        assert {"expires_on": str(read["exp"]), "resource": f"{ACS}/", "token_type": "Bearer"} == without(
            reply.json, "access_token"
        )
        assert "no-store" == reply.headers["cache-control"]

    @pytest.mark.parametrize(
        ("query", "header", "status", "message"),
        [
            (f"resource={ACS}/&api-version=2019-08-01", b"wrong", 401, "IDENTITY_HEADER"),
            (f"resource={ACS}/&api-version=2019-08-01", b"", 401, "IDENTITY_HEADER"),
            ("resource=https://vault.azure.net&api-version=2019-08-01", IDENTITY_HEADER, 400, f"{ACS}/"),
            ("api-version=2019-08-01", IDENTITY_HEADER, 400, f"{ACS}/"),
            (f"resource={ACS}/&api-version=2017-09-01", IDENTITY_HEADER, 400, "2019-08-01"),
            (f"resource={ACS}/", IDENTITY_HEADER, 400, "2019-08-01"),
            (f"resource={ACS}/&resource={ACS}/", IDENTITY_HEADER, 400, "twice"),
        ],
    )
    async def test_a_refusal_says_what_is_allowed(
        self, app: Application, query: str, header: bytes, status: int, message: str
    ) -> None:
        reply = await identity(app, query, header)

        assert (status, status) == (reply.status, reply.json["statusCode"])
        assert message in reply.json["message"]
        assert IDENTITY_HEADER.decode() not in reply.body.decode()


class TestVariables:
    async def test_a_token_can_be_had_with_them_alone(self, app: Application, issuer: DevelopmentIssuer) -> None:
        named = issuer.variables()
        form = {
            **FOR_USER,
            "client_id": named["COMMUNICATION_M365_APP_ID"],
            "username": named["COMMUNICATION_MSAL_USERNAME"],
            "password": named["COMMUNICATION_MSAL_PASSWORD"],
        }

        assert HTTP == named["IDENTITY_ENDPOINT"].removesuffix("/adfs/msi/token")
        assert (ISSUER, "adfs") == (named["COMMUNICATION_M365_AAD_AUTHORITY"], named["COMMUNICATION_M365_AAD_TENANT"])
        assert ADELE.object_id == claims(await ask(app, form))["oid"]
        query = urlencode({"resource": f"{ACS}/", "api-version": "2019-08-01"})
        assert 200 == (await identity(app, query, named["IDENTITY_HEADER"].encode())).status

    async def test_the_expired_token_never_lived_by_any_time_the_clock_can_be_set_to(
        self, issuer: DevelopmentIssuer
    ) -> None:
        token = issuer.variables()["COMMUNICATION_EXPIRED_TEAMS_TOKEN"]

        read = verify_signature(token, issuer.public_jwks)
        assert read["exp"] * 1000 <= SUFFIX_EPOCH
        assert (ADELE.object_id, TEAMS) == (read["oid"], read["aud"])

    def test_what_is_published_can_be_told_at_sight(self, issuer: DevelopmentIssuer) -> None:
        named = issuer.variables()

        assert "public" in SECRET
        assert "public" in named["IDENTITY_HEADER"]
        assert "published" in named["COMMUNICATION_MSAL_PASSWORD"]
        assert not [value for value in named.values() if set(value) & set(" '\"\n")]
        assert SECRET not in repr(APPLICATION)
