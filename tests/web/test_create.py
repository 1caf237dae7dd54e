"""Create identity, as seen from outside: status, headers and bytes."""

import json
import re
from typing import Any

import jwt
import pytest

from builders import NOON, FakeClock, as_header_list, signed_headers
from mintmark.development import DEVELOPMENT_KEYS, DEVELOPMENT_RESOURCE
from mintmark.model import Identity
from mintmark.service import Service
from mintmark.sources import Sources
from mintmark.store.sqlite import SqliteStore
from mintmark.web import Application, build_public_app
from mintmark.web.call import MAX_BODY
from mintmark.web.endpoint import Cors
from mintmark.web.wire import VERSIONS
from web.asgi_client import Reply, call

pytestmark = pytest.mark.anyio

TARGET = "/identities?api-version=2023-10-01"
ID = re.compile(r"8:acs:00000de7-0000-4000-8000-00000000acc5_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@pytest.fixture
async def app(service: Service, sources: Sources) -> Application:
    return build_public_app(service, sources, cors=Cors(any=True))


async def create(app: Application, body: bytes = b"", target: str = TARGET, **signing: Any) -> Reply:
    return await call(app, "POST", target, signed_headers("POST", target, body, **signing), body)


async def count(store: SqliteStore) -> Any:
    (row,) = await store._read("select count(*) from identity")
    return row[0]


async def stored(store: SqliteStore, identity_id: str) -> Identity | None:
    return await store.identity(DEVELOPMENT_RESOURCE.id, bytes.fromhex(identity_id.partition("_")[2].replace("-", "")))


class TestSuccess:
    @pytest.mark.parametrize("body", [b"", b"{}", b'{"createTokenWithScopes": null, "expiresInMinutes": null}'])
    async def test_an_identity_alone(self, app: Application, store: SqliteStore, body: bytes) -> None:
        reply = await create(app, body)

        assert 201 == reply.status
        assert {"identity"} == set(reply.json)
        assert ID.fullmatch(reply.json["identity"]["id"])
        assert await stored(store, reply.json["identity"]["id"]) is not None

    async def test_with_a_token_that_another_library_verifies(
        self, app: Application, service: Service, clock: FakeClock
    ) -> None:
        clock.now += 999
        reply = await create(app, b'{"createTokenWithScopes":["voip","chat"],"expiresInMinutes":60}')

        token = reply.json["accessToken"]["token"]
        claims = jwt.decode(
            token,
            jwt.PyJWK((await service.keyring()).public_jwks[0]),
            algorithms=["ES256"],
            audience=DEVELOPMENT_RESOURCE.id,
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
        assert reply.json["identity"]["id"] == claims["sub"] == "8:" + claims["skypeid"]
        assert ("voip,chat", "p0", 0) == (claims["acsScope"], claims["akg"], claims["gen"])
        assert (NOON // 1000, NOON // 1000 + 3600) == (claims["iat"], claims["exp"])
        assert "2026-11-23T13:00:00.0000000+00:00" == reply.json["accessToken"]["expiresOn"]

    async def test_a_token_holds_a_day_unless_asked_otherwise(self, app: Application) -> None:
        reply = await create(app, b'{"createTokenWithScopes":["chat"]}')

        assert "2026-11-24T12:00:00.0000000+00:00" == reply.json["accessToken"]["expiresOn"]

    async def test_the_store_knows_when_and_whether_a_token_was_issued(
        self, app: Application, store: SqliteStore
    ) -> None:
        alone = await stored(store, (await create(app)).json["identity"]["id"])
        with_token = await stored(
            store, (await create(app, b'{"createTokenWithScopes":["chat"]}')).json["identity"]["id"]
        )

        assert alone is not None
        assert with_token is not None
        assert (NOON, None) == (alone.created_at, alone.last_issued_at)
        assert (NOON, NOON) == (with_token.created_at, with_token.last_issued_at)

    async def test_bytes_and_headers_are_those_of_the_contract(self, app: Application) -> None:
        headers = [*signed_headers("POST", TARGET), (b"x-ms-client-request-id", b"my-id")]

        reply = await call(app, "POST", TARGET, headers)

        assert b" " not in reply.body
        assert {
            "api-supported-versions": ", ".join(VERSIONS),
            "content-length": str(len(reply.body)),
            "content-type": "application/json; charset=utf-8",
            "x-ms-client-request-id": "my-id",
        }.items() <= reply.headers.items()
        assert re.fullmatch(r"[A-Za-z0-9+/]{22}\.0", reply.headers["ms-cv"])
        assert re.fullmatch(r"\d+ms", reply.headers["x-processing-time"])
        assert not {"strict-transport-security", "server", "access-control-allow-origin"} & set(reply.headers)

    async def test_the_secondary_key_is_as_good_and_is_named_in_the_token(self, app: Application) -> None:
        reply = await create(app, b'{"createTokenWithScopes":["chat"]}', key=DEVELOPMENT_KEYS[1])

        claims = jwt.decode(reply.json["accessToken"]["token"], options={"verify_signature": False})
        assert "s0" == claims["akg"]

    async def test_every_identity_is_another(self, app: Application, store: SqliteStore) -> None:
        ids = {(await create(app)).json["identity"]["id"] for _ in range(20)}

        assert 20 == len(ids) == await count(store)

    async def test_a_body_in_pieces_is_one_body(self, app: Application) -> None:
        body = b'{"createTokenWithScopes":["chat"]}'

        reply = await call(app, "POST", TARGET, signed_headers("POST", TARGET, body), [body[:5], b"", body[5:]])

        assert 201 == reply.status

    async def test_a_later_api_version_is_served_and_warned_of_once(
        self, app: Application, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(3):
            assert 201 == (await create(app, target="/identities?api-version=2030-01-01")).status

        assert ["2030-01-01"] == [record.args[0] for record in caplog.records if isinstance(record.args, tuple)]


class TestRefusals:
    @pytest.mark.parametrize(
        ("change", "status", "code", "target", "message"),
        [
            ({"target": "/identities"}, 400, "ApiVersionUnspecified", None, "api-version"),
            ({"target": "/identities?api-version=1999-01-01"}, 400, "UnsupportedApiVersion", None, "'1999-01-01'"),
            ({"key": b"wrong"}, 401, "Denied", None, "Denied by the resource provider."),
            ({"now": NOON - 901_000}, 401, "Denied", None, "901 seconds behind"),
            ({"now": NOON + 901_000}, 401, "Denied", None, "901 seconds ahead"),
            ({"body": b"{"}, 400, "ValidationError", None, "not JSON"),
            ({"body": b"\xff"}, 400, "ValidationError", None, "not UTF-8"),
            ({"body": b"[" * 30000}, 400, "ValidationError", None, "JSON object"),
            ({"body": b'{"a":' + b"[" * 30000}, 400, "ValidationError", None, "nested too deeply"),
            ({"body": b" " * (MAX_BODY + 1)}, 413, "RequestBodyTooLarge", None, "65536 bytes"),
            ({"body": b"{}", "content_type": "text/plain"}, 415, "UnsupportedMediaType", None, "'text/plain'"),
            (
                {"body": b'{"createTokenWithScopes":["x"]}'},
                400,
                "ValidationError",
                "createTokenWithScopes",
                "chat, voip",
            ),
            ({"body": b'{"expiresInMinutes":59}'}, 400, "ValidationError", "ExpiresInMinutes", "value 59 is invalid"),
            (
                {"body": b'{"expiresInMinutes":60.5}'},
                400,
                "ValidationError",
                "ExpiresInMinutes",
                "value 60.5 is invalid",
            ),
        ],
        ids=lambda value: str(value)[:40] if isinstance(value, dict) else "",
    )
    async def test_each_says_what_is_wrong_and_stores_nothing(
        self,
        app: Application,
        store: SqliteStore,
        change: dict[str, Any],
        status: int,
        code: str,
        target: str | None,
        message: str,
    ) -> None:
        reply = await create(app, **change)

        assert (status, code, target) == (reply.status, reply.error["code"], reply.error.get("target"))
        assert message in reply.error["message"]
        assert "retry-after" not in reply.headers
        assert 0 == await count(store)

    async def test_a_body_announced_too_large_is_not_waited_for(self, app: Application) -> None:
        headers = [*signed_headers("POST", TARGET)[:-2], (b"content-length", b"65537")]

        assert 413 == (await call(app, "POST", TARGET, headers, [])).status

    async def test_a_body_that_grows_too_large_is_refused(self, app: Application) -> None:
        reply = await call(app, "POST", TARGET, [], [b" " * 40_000, b" " * 40_000])

        assert 413 == reply.status

    async def test_nobody_is_answered_who_has_gone(self, app: Application, store: SqliteStore) -> None:
        assert 0 == (await call(app, "POST", TARGET, signed_headers("POST", TARGET), [])).status
        assert 0 == await count(store)

    async def test_authentication_comes_before_parsing(self, app: Application) -> None:
        assert 401 == (await create(app, b"{", key=b"wrong")).status

    async def test_without_authorization_it_names_the_schemes(self, app: Application) -> None:
        reply = await call(app, "POST", TARGET, [(b"host", b"localhost")])

        schemes = [value for name, value in reply.header_list if name == b"www-authenticate"]
        assert (401, "Denied", [b"HMAC-SHA256", b"Bearer"]) == (reply.status, reply.error["code"], schemes)

    async def test_a_doubled_host_is_400(self, app: Application) -> None:
        reply = await call(app, "POST", TARGET, [*signed_headers("POST", TARGET), (b"host", b"x")])

        assert (400, "Host") == (reply.status, reply.error["target"])

    async def test_a_401_explains_itself(self, app: Application) -> None:
        headers = [(name, b"other" if name == b"host" else value) for name, value in signed_headers("POST", TARGET)]

        reply = await call(app, "POST", TARGET, headers)

        details = {detail["code"]: detail["message"] for detail in reply.error["details"]}
        assert {"Reason", "StringToSign", "ContentHash", "Host", "Date", "Differs"} == set(details)
        assert details["StringToSign"].startswith(f"POST\n{TARGET}\nMon, 23 Nov 2026 12:00:00 GMT;other;")
        assert "Denied by the resource provider." == reply.error["message"]

    @pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "BREW"])
    async def test_any_other_method_is_405_with_allow(self, app: Application, method: str) -> None:
        reply = await call(app, method, TARGET)

        assert (405, "POST") == (reply.status, reply.headers["allow"])

    @pytest.mark.parametrize(
        "path", ["/", "/identities/", "/Identities", "//identities", "/%00", "/..%2f", "/identities%0A"]
    )
    async def test_any_other_path_is_404(self, app: Application, path: str) -> None:
        reply = await call(app, "POST", path)

        assert (404, "NotFound") == (reply.status, reply.error["code"])

    async def test_a_store_that_fails_is_503_with_retry_after(self, app: Application, store: SqliteStore) -> None:
        await store.close()

        reply = await create(app)

        assert (503, "ServiceUnavailable", "1") == (reply.status, reply.error["code"], reply.headers["retry-after"])

    async def test_what_nobody_foresaw_is_500_and_says_nothing(
        self, app: Application, service: Service, caplog: pytest.LogCaptureFixture
    ) -> None:
        (await service.keyring()).signers.clear()  # A fault that no request can cause.

        reply = await create(app, b'{"createTokenWithScopes":["chat"]}')

        assert (500, "Internal server error.") == (reply.status, reply.error["message"])
        assert caplog.records[-1].exc_info is not None

    @pytest.mark.parametrize("request_id", [b"x" * 1025, b"\xff", b"a\x01b", "é".encode()])
    async def test_a_request_id_that_cannot_be_said_back_is_not(self, app: Application, request_id: bytes) -> None:
        reply = await call(
            app, "POST", TARGET, [*signed_headers("POST", TARGET), (b"x-ms-client-request-id", request_id)]
        )

        assert 201 == reply.status
        assert "x-ms-client-request-id" not in reply.headers


class TestCors:
    ORIGIN = (b"origin", b"http://localhost:3000")

    async def test_a_preflight_allows_what_a_page_needs(self, app: Application) -> None:
        asked = as_header_list(
            [
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "authorization,content-type,x-ms-date,x-ms-content-sha256"),
            ]
        )

        reply = await call(app, "OPTIONS", TARGET, [self.ORIGIN, *asked])

        assert (204, b"") == (reply.status, reply.body)
        assert "*" == reply.headers["access-control-allow-origin"]
        assert "POST" == reply.headers["access-control-allow-methods"]
        assert (
            "authorization,content-type,x-ms-date,x-ms-content-sha256" == reply.headers["access-control-allow-headers"]
        )
        assert "content-length" not in reply.headers

    async def test_answers_and_refusals_can_be_read_by_a_page(self, app: Application) -> None:
        for headers in (signed_headers("POST", TARGET), []):
            reply = await call(app, "POST", TARGET, [*headers, self.ORIGIN])

            assert "*" == reply.headers["access-control-allow-origin"]
            assert "x-ms-client-request-id" in reply.headers["access-control-expose-headers"]

    async def test_without_cors_there_is_none_of_it(self, service: Service, sources: Sources) -> None:
        closed = build_public_app(service, sources)

        preflight = await call(closed, "OPTIONS", TARGET, [self.ORIGIN, (b"access-control-request-method", b"POST")])

        assert 405 == preflight.status
        assert "access-control-allow-origin" not in preflight.headers


class TestRelyingParties:
    async def test_the_key_set_has_the_public_key_and_may_be_cached(self, app: Application, service: Service) -> None:
        reply = await call(app, "GET", "/.well-known/jwks.json")

        assert (await service.keyring()).public_jwks == reply.json["keys"]
        assert "public, max-age=600" == reply.headers["cache-control"]

    async def test_discovery_leads_to_it(self, app: Application) -> None:
        document = (await call(app, "GET", "/.well-known/openid-configuration")).json

        assert "https://localhost:12443" == document["issuer"]
        assert "https://localhost:12443/.well-known/jwks.json" == document["jwks_uri"]
        assert ["ES256"] == document["id_token_signing_alg_values_supported"]

    @pytest.mark.parametrize("path", ["/.well-known/jwks.json", "/.well-known/openid-configuration"])
    async def test_head_answers_as_get_without_a_body(self, app: Application, path: str) -> None:
        got, headed = await call(app, "GET", path), await call(app, "HEAD", path)

        assert (200, b"", got.headers["content-length"]) == (
            headed.status,
            headed.body,
            headed.headers["content-length"],
        )

    async def test_tokens_and_json_never_hold_private_parts(self, app: Application) -> None:
        keys = json.dumps((await call(app, "GET", "/.well-known/jwks.json")).json)

        assert '"d"' not in keys
