"""The exchange of Teams users' tokens, as seen from outside."""

import json
from collections.abc import Sequence
from typing import Any

import jwt
import pytest

from builders import ISSUER as OURS
from builders import NOON, SEALER, FakeClock, as_header_list, signed_headers
from foreign import ISSUER, SECONDS, a_token, claims, jwk
from mintmark.bearer import TrustedIssuer
from mintmark.compose import open_service
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.doors.dev import fill_store
from mintmark.errors import IssuerUnavailable
from mintmark.openid import BearerVerifier
from mintmark.service import Service
from mintmark.shared import SharedWords
from mintmark.sources import Sources
from mintmark.store import Store
from mintmark.teams import TEAMS_AUDIENCES, TeamsIssuer
from mintmark.web import Application, build_public_app
from mintmark.web.wire import VERSIONS
from web.apps import an_administration
from web.asgi_client import Reply, call

pytestmark = pytest.mark.anyio

APP, USER = "aaaaaaaa-0000-4000-8000-00000000000a", "bbbbbbbb-0000-4000-8000-00000000000b"
OTHER = "cccccccc-0000-4000-8000-00000000000c"
TENANT = "dddddddd-0000-4000-8000-00000000000d"
EXCHANGE = "/teamsUser/:exchangeAccessToken"
SCOPES = ("Teams.ManageCalls", "Teams.ManageChats")
REQUIRED = "The {0} field is required."


class Keys:
    """The issuer's keys, without a network between."""

    def __init__(self) -> None:
        self.is_away = False

    async def keys(self, kid: str | None) -> Sequence[dict[str, Any]]:  # noqa: ARG002  the protocol's
        if self.is_away:
            raise IssuerUnavailable("no route")
        return [jwk()]


def said(**changes: Any) -> dict[str, Any]:
    usual = {
        "aud": TEAMS_AUDIENCES[0],
        "oid": USER,
        "appid": APP,
        "tid": TENANT,
        "uti": "a-token",
        "scp": " ".join(SCOPES),
        "iat": SECONDS - 300,
        "nbf": SECONDS - 300,
    }
    return claims(**{**usual, **changes})


def entra(**changes: Any) -> str:
    return a_token(said(**changes))


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
async def service(store: Store, sources: Sources, words: SharedWords, clock: FakeClock, keys: Keys) -> Service:
    await fill_store(store, SEALER, "ES256", sources)
    teams = BearerVerifier([(TeamsIssuer(ISSUER, scopes=SCOPES), keys)], lambda: (clock.now,))
    bearer = BearerVerifier([(TrustedIssuer(ISSUER), keys)], lambda: (clock.now,))
    return await open_service(
        store, SEALER, "ES256", OURS, sources, words, bearer=bearer, teams=teams, development=True
    )


@pytest.fixture
def app(service: Service, sources: Sources) -> Application:
    return build_public_app(service, sources)


async def exchange(app: Application, body: Any, version: str = "2023-10-01", now: int = NOON) -> Reply:
    sent = body if isinstance(body, bytes) else json.dumps(body).encode()
    target = f"{EXCHANGE}?api-version={version}"
    return await call(app, "POST", target, signed_headers("POST", target, sent, now=now), sent)


def asked(token: Any = None, app_id: Any = APP, user_id: Any = USER) -> dict[str, Any]:
    return {"token": entra() if token is None else token, "appId": app_id, "userId": user_id}


def read(reply: Reply) -> dict[str, Any]:
    decoded: dict[str, Any] = jwt.decode(reply.json["token"], options={"verify_signature": False})
    return decoded


class TestToken:
    async def test_it_has_the_claims_of_acs_in_their_order_then_ours(self, app: Application) -> None:
        reply = await exchange(app, asked())

        shown = read(reply)
        jti = shown["jti"]
        region, resource = DEVELOPMENT_RESOURCE.region, DEVELOPMENT_RESOURCE.id
        assert (200, {"token", "expiresOn"}) == (reply.status, set(reply.json))
        assert "2026-11-23T13:00:00.0000000+00:00" == reply.json["expiresOn"]
        assert [
            ("skypeid", f"orgid:{USER}"),
            ("scp", 1024),
            ("csi", str(SECONDS - 300)),
            ("exp", SECONDS + 3600),
            ("rgn", region),
            ("acsScope", "voip,chat"),
            ("resourceId", resource),
            ("resourceLocation", region),
            ("iat", SECONDS),
            ("iss", OURS),
            ("sub", f"8:orgid:{USER}"),
            ("aud", resource),
            ("jti", jti),
            ("nbf", SECONDS),
            ("tid", TENANT),
            ("aad_iat", str(SECONDS - 300)),
            ("aad_uti", "a-token"),
            ("aad_appid", APP),
            ("akg", "p0"),
        ] == list(shown.items())

    @pytest.mark.parametrize(
        ("life", "lives"), [(1, 1), (3600, 3600), (86_400, 86_400), (86_401, 86_400), (10**9, 86_400), (90.9, 90)]
    )
    async def test_it_outlives_neither_the_users_token_nor_a_day(
        self, app: Application, life: float, lives: int
    ) -> None:
        assert SECONDS + lives == read(await exchange(app, asked(entra(exp=SECONDS + life))))["exp"]

    async def test_times_with_a_fraction_become_whole_seconds(self, app: Application) -> None:
        shown = read(await exchange(app, asked(entra(iat=SECONDS - 0.5))))

        assert [str(SECONDS - 1)] * 2 == [shown["csi"], shown["aad_iat"]]

    async def test_what_the_users_token_does_not_say_is_left_out(self, app: Application) -> None:
        token = entra(tid=None, uti="a~?token", iat=None, appid=None, azp=APP)

        shown = read(await exchange(app, asked(token)))

        assert {"tid", "aad_uti"}.isdisjoint(shown)
        assert (APP, str(SECONDS)) == (shown["aad_appid"], shown["csi"])

    @pytest.mark.parametrize("change", [str.upper, str.lower])
    async def test_guids_fit_in_any_case_and_are_shown_in_lower(self, app: Application, change: Any) -> None:
        reply = await exchange(app, asked(entra(oid=USER.upper()), change(APP), change(USER)))

        assert f"orgid:{USER}" == read(reply)["skypeid"]

    async def test_it_lives_until_the_access_key_that_asked_is_regenerated(
        self, app: Application, service: Service, sources: Sources, words: SharedWords
    ) -> None:
        token = (await exchange(app, asked())).json["token"]
        assert (await service.introspect(token)).active

        await an_administration(service, sources, words).regenerate_access_key(DEVELOPMENT_RESOURCE.id, "primary")

        assert "regenerated" in (await service.introspect(token)).reason

    async def test_it_expires(self, app: Application, service: Service, clock: FakeClock) -> None:
        token = (await exchange(app, asked())).json["token"]
        clock.advance(hours=1)

        assert "expired" in (await service.introspect(token)).reason

    async def test_a_program_with_a_bearer_token_may_ask_too(self, app: Application, service: Service) -> None:
        body = json.dumps(asked()).encode()
        headers = {"host": "localhost", "content-type": "application/json", "authorization": f"Bearer {a_token()}"}

        reply = await call(app, "POST", f"{EXCHANGE}?api-version=2023-10-01", as_header_list(headers.items()), body)

        status = await service.introspect(reply.json["token"])
        assert (True, False) == (status.active, "akg" in status.claims)


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_api_versions_of_june_2022_and_later_have_it(app: Application, version: str) -> None:
    reply = await exchange(app, asked(), version)

    if version >= "2022-06-01":
        assert 200 == reply.status
    else:
        assert (400, "UnsupportedApiVersion") == (reply.status, reply.error["code"])


class TestRefusals:
    @pytest.mark.parametrize(
        "token",
        [
            "",
            "x",
            1,
            [],
            entra(exp=SECONDS),
            entra(exp=SECONDS) + "x",
            entra(iss="https://login.example.com/other"),
            entra(aud="https://communication.azure.com"),
            entra(scp="Teams.Other"),
            entra(nbf=SECONDS + 61),
            a_token(said(), algorithm="ES256"),
        ],
        ids=["empty", "no token", "number", "list", "expired", "broken", "issuer", "audience", "scope", "early", "key"],
    )
    @pytest.mark.parametrize(("app_id", "user_id"), [(APP, USER), ("", ""), ("x", "x"), (OTHER, OTHER)])
    async def test_a_token_that_is_not_right_wins_over_all_else(
        self, app: Application, token: object, app_id: str, user_id: str
    ) -> None:
        reply = await exchange(app, asked(token, app_id, user_id))

        assert 401 == reply.status
        assert {"code": "InvalidAccessToken", "message": "Provided access token is not valid."} == reply.error
        assert "www-authenticate" not in reply.headers

    @pytest.mark.parametrize("body", [b"", b"{}", b'{"token":null}'])
    async def test_none_at_all_is_not_right_either(self, app: Application, body: bytes) -> None:
        assert (401, "InvalidAccessToken") == ((reply := await exchange(app, body)).status, reply.error["code"])

    @pytest.mark.parametrize(
        ("app_id", "user_id", "message", "target"),
        [
            ("", USER, "AppId: The AppId field is required.", "AppId"),
            (None, USER, "AppId: The AppId field is required.", "AppId"),
            (1, USER, "AppId: The AppId field is required.", "AppId"),
            ("", "", "AppId: The AppId field is required.", "AppId"),
            (APP, "", "UserId: The UserId field is required.", "UserId"),
            (APP, None, "UserId: The UserId field is required.", "UserId"),
            (APP, {}, "UserId: The UserId field is required.", "UserId"),
            ("x", USER, "Provided AppId has invalid format.", "appId"),
            (APP, "x", "Provided UserId has invalid format.", "userId"),
            (OTHER, USER, "AAD application is not the expected one.", "appId"),
            (APP, OTHER, "Provided AAD token issued for unexpected user.", "userId"),
        ],
    )
    async def test_the_texts_are_those_recorded(
        self, app: Application, app_id: object, user_id: object, message: str, target: str
    ) -> None:
        reply = await exchange(app, asked(app_id=app_id, user_id=user_id))

        assert 400 == reply.status
        assert {"code": "ValidationError", "message": message, "target": target} == reply.error

    @pytest.mark.parametrize("missing", ["appId", "userId"])
    async def test_a_missing_field_is_as_an_empty_one(self, app: Application, missing: str) -> None:
        reply = await exchange(app, {name: value for name, value in asked().items() if name != missing})

        name = missing[0].upper() + missing[1:]
        assert (400, f"{name}: The {name} field is required.") == (reply.status, reply.error["message"])

    async def test_malformed_json_is_a_validation_error(self, app: Application) -> None:
        assert (400, "ValidationError") == ((reply := await exchange(app, b"{")).status, reply.error["code"])

    async def test_while_the_issuer_is_away_it_is_to_be_tried_again(self, app: Application, keys: Keys) -> None:
        keys.is_away = True

        reply = await exchange(app, asked())

        assert (503, "1", "ServiceUnavailable") == (reply.status, reply.headers["retry-after"], reply.error["code"])

    async def test_who_has_no_key_is_denied_first(self, app: Application) -> None:
        assert 401 == (reply := await call(app, "POST", f"{EXCHANGE}?api-version=2023-10-01")).status
        assert "Denied" == reply.error["code"]
