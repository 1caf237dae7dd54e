"""Get, delete, issue and revoke, as seen from outside, in every api-version."""

import json
from typing import Any
from urllib.parse import quote

import jwt
import pytest

from builders import NOON, FakeClock, signed_headers
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.service import Service
from mintmark.shared import SharedWords
from mintmark.sources import Sources
from mintmark.web import Application, build_public_app
from mintmark.web.wire import NEWEST, VERSIONS
from web.apps import an_administration
from web.asgi_client import Reply, call

pytestmark = pytest.mark.anyio

PREVIEW = "2025-03-02-preview"
EVERY_VERSION = pytest.mark.parametrize("version", list(VERSIONS))
UNKNOWN = f"8:acs:{DEVELOPMENT_RESOURCE.id}_00000000-0000-0000-0000-000000000000"
FOREIGN = "8:acs:00000000-0000-0000-0000-000000000000_00000000-0000-0000-0000-000000000000"
ISSUE, REVOKE = "/:issueAccessToken", "/:revokeAccessTokens"


@pytest.fixture
async def app(service: Service, sources: Sources) -> Application:
    return build_public_app(service, sources)


async def ask(
    app: Application, method: str, path: str, body: bytes = b"", *, version: str = "2023-10-01", **signing: Any
) -> Reply:
    target = f"{path}?api-version={version}"
    return await call(app, method, target, signed_headers(method, target, body, **signing), body)


async def created(app: Application, body: bytes = b"", version: str = "2023-10-01") -> str:
    reply = await ask(app, "POST", "/identities", body, version=version)
    return str(reply.json["identity"]["id"])


async def issued(app: Application, identity_id: str, **asking: Any) -> str:
    reply = await ask(app, "POST", f"/identities/{identity_id}{ISSUE}", b'{"scopes":["chat"]}', **asking)
    return str(reply.json["token"])


class TestEveryVersion:
    @EVERY_VERSION
    async def test_create_issue_revoke_delete(self, app: Application, service: Service, version: str) -> None:
        identity_id = await created(app, b'{"createTokenWithScopes":["chat","voip"]}', version)
        token = await issued(app, identity_id, version=version)
        revoked = await ask(app, "POST", f"/identities/{identity_id}{REVOKE}", version=version)
        deleted = await ask(app, "DELETE", f"/identities/{identity_id}", version=version)

        assert (204, b"", 204, b"") == (revoked.status, revoked.body, deleted.status, deleted.body)
        assert not {"content-type", "content-length"} & (set(revoked.headers) | set(deleted.headers))
        assert not (await service.introspect(token)).active

    @EVERY_VERSION
    async def test_get_exists_in_the_preview_only(self, app: Application, version: str) -> None:
        reply = await ask(app, "GET", f"/identities/{await created(app)}", version=version)

        if version == PREVIEW:
            assert 200 == reply.status
        else:
            assert (400, "UnsupportedApiVersion") == (reply.status, reply.error["code"])
            assert "Supported: 2025-03-02-preview." in reply.error["message"]

    @EVERY_VERSION
    async def test_custom_ids_mean_something_in_the_preview_only(self, app: Application, version: str) -> None:
        ids = {await created(app, b'{"customId":"ann"}', version) for _ in range(2)}

        assert (1 if version == PREVIEW else 2) == len(ids)

    @EVERY_VERSION
    @pytest.mark.parametrize("scope", NEWEST.scopes)
    async def test_each_scope_from_the_version_that_brought_it(
        self, app: Application, version: str, scope: str
    ) -> None:
        body = f'{{"scopes":["{scope}"]}}'.encode()
        reply = await ask(app, "POST", f"/identities/{await created(app)}{ISSUE}", body, version=version)

        assert (200 if scope in VERSIONS[version].scopes else 400) == reply.status

    async def test_a_later_version_is_refused_if_so_set(self, service: Service, sources: Sources) -> None:
        strict = build_public_app(service, sources, strict_versions=True)

        assert 201 == (await ask(strict, "POST", "/identities", version=NEWEST.name)).status
        refused = await ask(strict, "POST", "/identities", version="2030-01-01")
        assert (400, "UnsupportedApiVersion") == (refused.status, refused.error["code"])


class TestIssue:
    async def test_a_token_with_its_expiry_in_compact_json(self, app: Application) -> None:
        identity_id = await created(app)
        body = b'{"scopes":["voip","chat"],"expiresInMinutes":60}'
        reply = await ask(app, "POST", f"/identities/{identity_id}{ISSUE}", body)

        claims = jwt.decode(reply.json["token"], options={"verify_signature": False})
        assert (200, {"token", "expiresOn"}) == (reply.status, set(reply.json))
        assert "2026-11-23T13:00:00.0000000+00:00" == reply.json["expiresOn"]
        assert (identity_id, "voip,chat", "p0") == (claims["sub"], claims["acsScope"], claims["akg"])

    @pytest.mark.parametrize(
        ("body", "message", "target"),
        [
            (b'{"scopes":null}', "Scopes: The Scopes field is required.", "Scopes"),
            (b"{}", "Scopes: The Scopes field is required.", "Scopes"),
            (b"", "Scopes: The Scopes field is required.", "Scopes"),
            (b'{"scopes":[]}', "Invalid scopes - Scopes field is required.", "scopes"),
            (
                b'{"scopes":["chat"],"expiresInMinutes":1441}',
                "ExpiresInMinutes value 1441 is invalid. Value must be within the [60, 1440] interval.",
                "ExpiresInMinutes",
            ),
        ],
    )
    async def test_refusals_have_the_recorded_texts(
        self, app: Application, body: bytes, message: str, target: str
    ) -> None:
        reply = await ask(app, "POST", f"/identities/{await created(app)}{ISSUE}", body)

        assert (400, "ValidationError", message, target) == (
            reply.status,
            reply.error["code"],
            reply.error["message"],
            reply.error["target"],
        )

    async def test_an_unknown_scope_names_the_field_and_the_list(self, app: Application) -> None:
        reply = await ask(app, "POST", f"/identities/{await created(app)}{ISSUE}", b'{"scopes":["x"]}')

        assert (400, "scopes") == (reply.status, reply.error["target"])
        assert "scopes value 'x' is invalid" in reply.error["message"]


class TestWhoseIdentity:
    @pytest.mark.parametrize(
        ("method", "suffix", "body", "version", "unknown"),
        [
            ("GET", "", b"", PREVIEW, 404),
            ("DELETE", "", b"", "2023-10-01", 204),
            ("POST", ISSUE, b'{"scopes":["chat"]}', "2023-10-01", 404),
            ("POST", REVOKE, b"", "2023-10-01", 404),
        ],
    )
    async def test_every_operation_answers_as_the_contract_says(
        self, app: Application, method: str, suffix: str, body: bytes, version: str, unknown: int
    ) -> None:
        foreign = await ask(app, method, f"/identities/{FOREIGN}{suffix}", body, version=version)
        malformed = await ask(app, method, f"/identities/nobody{suffix}", body, version=version)
        absent = await ask(app, method, f"/identities/{UNKNOWN}{suffix}", body, version=version)

        assert (401, "IdentityNotOwned", "Provided identity doesn't belong to the resource.") == (
            foreign.status,
            foreign.error["code"],
            foreign.error["message"],
        )
        assert (400, "ValidationError", "id") == (malformed.status, malformed.error["code"], malformed.error["target"])
        assert unknown == absent.status
        if unknown == 404:
            assert ("IdentityNotFound", "Provided identity doesn't exist.") == (
                absent.error["code"],
                absent.error["message"],
            )

    @pytest.mark.parametrize("colon", [":", "%3A", "%3a"])
    async def test_colons_may_be_encoded_or_not_and_both_sign(self, app: Application, colon: str) -> None:
        in_path = (await created(app)).replace(":", colon)

        assert 200 == (await ask(app, "POST", f"/identities/{in_path}{ISSUE}", b'{"scopes":["chat"]}')).status

    @pytest.mark.parametrize(
        "identity_id",
        ["8:acs:", "8:acs:x_y", UNKNOWN[2:], UNKNOWN + "0", UNKNOWN.upper(), "%00", "8:acs:%2e%2e", "é", "8%253Aacs"],
    )
    async def test_what_is_no_id_is_refused(self, app: Application, identity_id: str) -> None:
        path = f"/identities/{quote(identity_id, safe=':%')}"
        assert 400 == (await ask(app, "DELETE", path)).status


class TestDeleted:
    async def test_a_deleted_identity_gets_no_token_and_stays_deleted(self, app: Application, service: Service) -> None:
        identity_id = await created(app)
        token = await issued(app, identity_id)
        first = await ask(app, "DELETE", f"/identities/{identity_id}")
        second = await ask(app, "DELETE", f"/identities/{identity_id}")

        issue = await ask(app, "POST", f"/identities/{identity_id}{ISSUE}", b'{"scopes":["chat"]}')
        revoke = await ask(app, "POST", f"/identities/{identity_id}{REVOKE}")
        got = await ask(app, "GET", f"/identities/{identity_id}", version=PREVIEW)
        assert (204, 204, 404, 404, 404) == (first.status, second.status, issue.status, revoke.status, got.status)
        assert "deleted" in (await service.introspect(token)).reason

    async def test_its_custom_id_is_free_again(self, app: Application) -> None:
        first = await created(app, b'{"customId":"ann"}', PREVIEW)
        await ask(app, "DELETE", f"/identities/{first}")

        second = await ask(app, "POST", "/identities", b'{"customId":"ann"}', version=PREVIEW)

        assert 201 == second.status
        assert first != second.json["identity"]["id"]

    async def test_it_is_forgotten_when_its_last_token_must_have_expired(
        self, app: Application, service: Service, clock: FakeClock
    ) -> None:
        identity_id = await created(app)
        token = await issued(app, identity_id)
        await ask(app, "DELETE", f"/identities/{identity_id}")
        suffix = bytes.fromhex(identity_id.partition("_")[2].replace("-", ""))

        await service.forget_changes()
        kept = await service.store.identity(DEVELOPMENT_RESOURCE.id, suffix)
        clock.advance(hours=49)
        await service.forget_changes()

        assert kept is not None
        assert await service.store.identity(DEVELOPMENT_RESOURCE.id, suffix) is None
        clock.now = NOON
        assert not (await service.introspect(token)).active


class TestRevoked:
    async def test_revoking_ends_what_was_issued_before_and_nothing_after_in_the_same_millisecond(
        self, app: Application, service: Service
    ) -> None:
        identity_id = await created(app)
        before = await issued(app, identity_id)
        await ask(app, "POST", f"/identities/{identity_id}{REVOKE}")
        after = await issued(app, identity_id)

        assert "The token was revoked." == (await service.introspect(before)).reason
        assert (await service.introspect(after)).active

    async def test_a_token_that_came_with_the_identity_is_revoked_too(self, app: Application, service: Service) -> None:
        reply = await ask(app, "POST", "/identities", b'{"createTokenWithScopes":["chat"]}')
        await ask(app, "POST", f"/identities/{reply.json['identity']['id']}{REVOKE}")

        assert not (await service.introspect(reply.json["accessToken"]["token"])).active

    async def test_a_clock_that_jumps_back_revives_nothing(
        self, app: Application, service: Service, clock: FakeClock
    ) -> None:
        identity_id = await created(app)
        token = await issued(app, identity_id)
        await ask(app, "POST", f"/identities/{identity_id}{REVOKE}")
        clock.advance(minutes=-10)
        again = await issued(app, identity_id, now=clock.now)
        clock.advance(minutes=10)

        assert [False, True] == [(await service.introspect(each)).active for each in (token, again)]

    async def test_another_identity_is_not_touched(self, app: Application, service: Service) -> None:
        one, other = await created(app), await created(app)
        token = await issued(app, other)
        await ask(app, "POST", f"/identities/{one}{REVOKE}")

        assert (await service.introspect(token)).active


class TestCustomIds:
    async def test_the_first_is_201_and_the_next_200_with_the_same_identity(self, app: Application) -> None:
        first = await ask(app, "POST", "/identities", b'{"customId":"ann"}', version=PREVIEW)
        second = await ask(app, "POST", "/identities", b'{"customId":"ann"}', version=PREVIEW)

        assert (201, 200) == (first.status, second.status)
        assert first.json == second.json

    async def test_the_same_identity_can_get_a_token_that_lives(self, app: Application, service: Service) -> None:
        body = b'{"customId":"ann","createTokenWithScopes":["chat"]}'
        first = await ask(app, "POST", "/identities", body, version=PREVIEW)
        await ask(app, "POST", f"/identities/{first.json['identity']['id']}{REVOKE}")
        second = await ask(app, "POST", "/identities", body, version=PREVIEW)

        tokens = [reply.json["accessToken"]["token"] for reply in (first, second)]
        assert [False, True] == [(await service.introspect(token)).active for token in tokens]

    async def test_get_knows_it_and_when_a_token_was_issued(self, app: Application, clock: FakeClock) -> None:
        identity_id = await created(app, b'{"customId":"ann"}', PREVIEW)
        before = (await ask(app, "GET", f"/identities/{identity_id}", version=PREVIEW)).json
        clock.now += 1234
        await issued(app, identity_id)
        after = (await ask(app, "GET", f"/identities/{identity_id}", version=PREVIEW)).json

        assert {"id": identity_id, "customId": "ann"} == before
        assert {**before, "lastTokenIssuedAt": "2026-11-23T12:00:01.2340000+00:00"} == after

    async def test_get_without_either_has_the_id_alone(self, app: Application) -> None:
        identity_id = await created(app)

        assert {"id": identity_id} == (await ask(app, "GET", f"/identities/{identity_id}", version=PREVIEW)).json

    @pytest.mark.parametrize("custom_id", ['""', '"' + "x" * 257 + '"', "1", "true", "[]", "{}"])
    async def test_what_is_no_name_is_refused(self, app: Application, custom_id: str) -> None:
        reply = await ask(app, "POST", "/identities", f'{{"customId":{custom_id}}}'.encode(), version=PREVIEW)

        assert (400, "customId") == (reply.status, reply.error["target"])

    @pytest.mark.parametrize("custom_id", ["a", "x" * 256, "ä ö/\\'%00", "😀"])
    async def test_any_other_text_is_a_name(self, app: Application, custom_id: str) -> None:
        body = json.dumps({"customId": custom_id}).encode()
        identity_id = await created(app, body, PREVIEW)

        got = await ask(app, "GET", f"/identities/{identity_id}", version=PREVIEW)
        assert custom_id == got.json["customId"]

    async def test_two_resources_have_each_their_own(
        self, app: Application, service: Service, sources: Sources, words: SharedWords
    ) -> None:
        _, keys = await an_administration(service, sources, words).add_resource("other")
        one = await created(app, b'{"customId":"ann"}', PREVIEW)

        other = await ask(app, "POST", "/identities", b'{"customId":"ann"}', version=PREVIEW, key=keys[0].secret)

        assert 201 == other.status
        assert one != other.json["identity"]["id"]


class TestPaths:
    @pytest.mark.parametrize(
        ("method", "path", "status"),
        [
            ("GET", "/identities/{id}", 400),  # to the letter: an id that is none
            ("POST", "/identities/{id}/:issueAccessToken", 400),
            ("GET", "/identities/", 404),
            ("POST", "/identities//:issueAccessToken", 404),
            ("POST", "/identities/x/:issueAccessToken/", 404),
            ("POST", "/identities/x/:issueAccessTokens", 404),
            ("GET", "/identities/x/", 404),
            ("GET", "/identities/x\n", 404),
            ("PUT", "/identities/x", 405),
        ],
    )
    async def test_only_what_is_meant_is_found(self, app: Application, method: str, path: str, status: int) -> None:
        body = b'{"scopes":["chat"]}' if method == "POST" else b""
        reply = await ask(app, method, path, body, version=PREVIEW)

        assert status == reply.status
