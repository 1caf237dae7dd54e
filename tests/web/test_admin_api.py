"""The admin listener's JSON API: identities, tokens, resources, access keys, as seen from outside."""

import base64
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import jwt
import pytest

from builders import NOON, FakeClock, an_identity, as_header_list, signed_headers
from mintmark.administration import Administration
from mintmark.development import DEVELOPMENT_KEYS, DEVELOPMENT_RESOURCE
from mintmark.errors import MintmarkError
from mintmark.service import Caller, Service, TokenRequest
from mintmark.shared import SharedWords
from mintmark.sources import Sources
from mintmark.web import Application, build_public_app
from mintmark.web.wire import moment
from web.apps import an_admin_app, an_administration
from web.asgi_client import Reply, call

pytestmark = pytest.mark.anyio

HERE = as_header_list([("host", "localhost:12090")])
HTTPS = "https://localhost:12443"
CHAT = TokenRequest(("chat",))
UNKNOWN = an_identity(0, now=NOON - 1).id
NOBODYS = an_identity(0, resource_id="00000000-0000-0000-0000-000000000000").id
MALFORMED = "8:acs:nobody"


class Admin:
    """Asks an admin application."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, method: str, path: str, body: object = None, **query: object) -> Reply:
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = [*HERE, (b"content-length", str(len(content)).encode())]
        target = f"/_mintmark/{path}" + (f"?{urlencode(query)}" if query else "")
        reply = await call(self._app, method, target, headers, content)
        if reply.status >= 400:
            assert reply.error["code"]
        elif reply.body:
            assert "no-store" == reply.headers["cache-control"], "secrets and tokens are in these answers"
        return reply

    async def identity(self, **body: object) -> str:
        """The id of a new one."""
        identity_id: str = (await self("POST", "identities", body)).json["identity"]["id"]
        return identity_id


@pytest.fixture
async def admin(service: Service, sources: Sources, words: SharedWords, tmp_path: Path) -> Admin:
    return Admin(an_admin_app(service, sources, words, tmp_path))


@pytest.fixture
async def administration(service: Service, sources: Sources, words: SharedWords) -> Administration:
    return an_administration(service, sources, words)


async def create_with(service: Service, sources: Sources, key: bytes) -> Reply:
    """A Create at the public door."""
    target = "/identities?api-version=2023-10-01"
    body = b'{"createTokenWithScopes":["chat"]}'
    app = build_public_app(service, sources)
    return await call(app, "POST", target, signed_headers("POST", target, body, key=key), body)


class TestIdentity:
    async def test_one_is_shown_with_all_that_is_known(self, admin: Admin, clock: FakeClock) -> None:
        identity_id = await admin.identity(customId="ann")
        before = await admin("GET", f"identities/{identity_id}")
        clock.advance(seconds=1)
        await admin("POST", f"identities/{identity_id}/:issueAccessToken", {"scopes": ["chat"]})
        await admin("POST", f"identities/{identity_id}/:revokeAccessTokens")
        await admin("POST", f"identities/{identity_id}/:revokeAccessTokens")
        after = await admin("GET", f"identities/{identity_id}")

        expected = {"id": identity_id, "customId": "ann", "createdAt": moment(NOON), "generation": 0}
        assert {**expected, "lastTokenIssuedAt": None} == before.json
        assert {**expected, "lastTokenIssuedAt": moment(NOON + 1000), "generation": 2} == after.json

    async def test_a_custom_id_gives_the_same_one_again(self, admin: Admin) -> None:
        first = await admin("POST", "identities", {"customId": "ann"})
        second = await admin("POST", "identities", {"customId": "ann"})

        assert (201, 200) == (first.status, second.status)
        assert first.json == second.json

    async def test_a_deleted_one_is_gone_with_its_tokens(self, admin: Admin) -> None:
        created = (await admin("POST", "identities", {"createTokenWithScopes": ["chat"]})).json
        path = f"identities/{created['identity']['id']}"

        deleted = [await admin("DELETE", path) for _ in range(2)]

        assert [(204, b""), (204, b"")] == [(each.status, each.body) for each in deleted]
        assert 404 == (await admin("GET", path)).status
        assert 404 == (await admin("POST", f"{path}/:issueAccessToken", {"scopes": ["chat"]})).status
        assert 404 == (await admin("POST", f"{path}/:revokeAccessTokens")).status
        introspected = await admin("POST", "introspect", {"token": created["accessToken"]["token"]})
        assert "The token's identity does not exist or was deleted." == introspected.json["reason"]

    async def test_a_token_is_by_no_access_key_and_is_revoked(self, admin: Admin) -> None:
        path = f"identities/{await admin.identity()}"
        issued = await admin("POST", f"{path}/:issueAccessToken", {"scopes": ["voip"], "expiresInMinutes": 60})
        token = {"token": issued.json["token"]}
        alive = await admin("POST", "introspect", token)
        revoked = await admin("POST", f"{path}/:revokeAccessTokens")

        claims = jwt.decode(token["token"], options={"verify_signature": False})
        assert (200, moment(NOON + 3_600_000)) == (issued.status, issued.json["expiresOn"])
        assert "akg" not in claims
        assert "voip" == claims["acsScope"]
        assert alive.json["active"]
        assert 204 == revoked.status
        assert "The token was revoked." == (await admin("POST", "introspect", token)).json["reason"]

    @pytest.mark.parametrize("resource", ["two", "id"])
    async def test_one_of_another_resource_is_served_too(
        self, admin: Admin, administration: Administration, service: Service, sources: Sources, resource: str
    ) -> None:
        """Whoever runs the server may act for all of them."""
        two, keys = await administration.add_resource("two")
        created = await admin("POST", "identities", {}, resource="two" if resource == "two" else two.id)
        identity_id = created.json["identity"]["id"]

        issued = await admin("POST", f"identities/{identity_id}/:issueAccessToken", {"scopes": ["chat"]})

        assert two.id in identity_id
        assert 200 == issued.status == (await admin("GET", f"identities/{identity_id}")).status
        assert [identity_id] == [
            each["id"] for each in (await admin("GET", "identities", resource="two")).json["identities"]
        ]
        assert 201 == (await create_with(service, sources, keys[0].secret)).status
        assert 204 == (await admin("DELETE", f"identities/{identity_id}")).status

    @pytest.mark.parametrize(
        ("method", "suffix", "body"),
        [
            ("GET", "", None),
            ("DELETE", "", None),
            ("POST", "/:issueAccessToken", {"scopes": ["chat"]}),
            ("POST", "/:revokeAccessTokens", None),
        ],
    )
    async def test_what_is_none_is_refused(self, admin: Admin, method: str, suffix: str, body: object) -> None:
        malformed = await admin(method, f"identities/{quote(MALFORMED)}{suffix}", body)
        nobodys = await admin(method, f"identities/{NOBODYS}{suffix}", body)
        unknown = await admin(method, f"identities/{UNKNOWN}{suffix}", body)

        assert (400, "id") == (malformed.status, malformed.error["target"])
        assert (404, "IdentityNotFound") == (nobodys.status, nobodys.error["code"])
        assert (204 if method == "DELETE" else 404) == unknown.status

    @pytest.mark.parametrize(
        ("body", "target"),
        [
            ({"createTokenWithScopes": ["fax"]}, "createTokenWithScopes"),
            ({"expiresInMinutes": 59}, "ExpiresInMinutes"),
            ({"customId": ""}, "customId"),
            (b"{", None),
            ([], None),
        ],
    )
    async def test_bad_input_is_refused_by_name(self, admin: Admin, body: object, target: str | None) -> None:
        refused = await admin("POST", "identities", body)

        assert (400, target) == (refused.status, refused.error.get("target"))

    async def test_a_resource_that_is_none_is_refused(self, admin: Admin) -> None:
        for method in ("GET", "POST"):
            refused = await admin(method, "identities", None, resource="nobody's")
            assert (404, "ResourceNotFound") == (refused.status, refused.error["code"])


class TestList:
    @pytest.fixture
    async def ids(self, admin: Admin, clock: FakeClock) -> list[str]:
        made = []
        for number in range(5):
            clock.now = NOON + number * 1000
            made.append(await admin.identity(customId=f"name {number}"))
        return made

    async def test_pages_by_cursor(self, admin: Admin, ids: list[str]) -> None:
        first = (await admin("GET", "identities", limit=2)).json
        second = (await admin("GET", "identities", limit=2, cursor=first["cursor"])).json
        third = (await admin("GET", "identities", limit=2, cursor=second["cursor"])).json

        assert [ids[:2], ids[2:4], ids[4:]] == [[i["id"] for i in p["identities"]] for p in (first, second, third)]
        assert {"identities", "cursor"} == set(first)
        assert third["cursor"] is None

    async def test_one_made_between_two_pages_is_on_the_later(
        self, admin: Admin, ids: list[str], clock: FakeClock
    ) -> None:
        first = (await admin("GET", "identities", limit=4)).json
        clock.now += 1
        late = await admin.identity()
        second = (await admin("GET", "identities", limit=4, cursor=first["cursor"])).json

        assert [ids[4], late] == [each["id"] for each in second["identities"]]

    async def test_one_deleted_between_two_pages_leaves_no_gap(self, admin: Admin, ids: list[str]) -> None:
        first = (await admin("GET", "identities", limit=2)).json
        await admin("DELETE", f"identities/{ids[1]}")
        second = (await admin("GET", "identities", limit=3, cursor=first["cursor"])).json

        assert ids[2:] == [each["id"] for each in second["identities"]]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ({"customId": "name 3"}, [3]),
            ({"customId": "nobody"}, []),
            ({"customId": "name 3", "limit": 1}, [3]),
            ({"customId": "name 3", "createdAfter": NOON + 4000}, []),
            ({"createdAfter": NOON + 3000}, [3, 4]),
            ({"createdBefore": NOON + 2000}, [0, 1]),
            ({"createdAfter": NOON + 1000, "createdBefore": NOON + 3000}, [1, 2]),
            ({"createdAfter": NOON + 3000, "createdBefore": NOON + 1000}, []),
            ({"createdAfter": 0, "createdBefore": 9_999_999_999_999_999}, [0, 1, 2, 3, 4]),
            ({"limit": 1000}, [0, 1, 2, 3, 4]),
        ],
    )
    async def test_a_search(self, admin: Admin, ids: list[str], query: dict[str, object], expected: list[int]) -> None:
        found = (await admin("GET", "identities", **query)).json

        assert [ids[number] for number in expected] == [each["id"] for each in found["identities"]]
        assert found["cursor"] is None

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("limit", "0"),
            ("limit", "1001"),
            ("limit", "ten"),
            ("limit", "-1"),
            ("limit", "1.5"),
            ("limit", "²"),
            ("limit", "9" * 5000),
            ("createdAfter", "noon"),
            ("createdBefore", "-1"),
            ("cursor", "x"),
            ("cursor", "é"),
            ("cursor", base64.urlsafe_b64encode(b"x" * 15).decode()),
            ("cursor", "A" * 5000),
        ],
    )
    async def test_what_cannot_be_searched_for_is_refused_by_name(self, admin: Admin, name: str, value: str) -> None:
        refused = await admin("GET", "identities", **{name: value})

        assert (400, name) == (refused.status, refused.error["target"])
        assert name in refused.error["message"]
        assert len(refused.error["message"]) < 500


class TestResource:
    async def test_a_new_one_comes_with_both_keys_and_works(
        self, admin: Admin, service: Service, sources: Sources
    ) -> None:
        asked = {"name": "two", "region": "eu", "hosts": ["two.test", "also-two.test", "two.test"]}
        reply = await admin("POST", "resources", asked)

        made = reply.json
        expected = {"id": made["id"], "name": "two", "region": "eu", "hosts": ["also-two.test", "two.test"]}
        assert (201, {**expected, "accessKeys": made["accessKeys"]}) == (reply.status, made)
        assert [("primary", 0), ("secondary", 0)] == [(key["slot"], key["generation"]) for key in made["accessKeys"]]
        for key in made["accessKeys"]:
            assert f"endpoint={HTTPS}/;accesskey={key['key']}" == key["connectionString"]
            assert made["id"] == key["resource"]
            created = await create_with(service, sources, base64.b64decode(key["key"], validate=True))
            assert (201, made["id"]) == (created.status, created.json["identity"]["id"][6:42])
        for name_or_id in ("two", made["id"]):
            assert expected == (await admin("GET", f"resources/{name_or_id}")).json

    async def test_they_are_listed_the_oldest_first(self, admin: Admin) -> None:
        for name in ("zwei", "drei"):
            await admin("POST", "resources", {"name": name})

        listed = (await admin("GET", "resources")).json

        assert {"resources"} == set(listed)
        assert ["development", "zwei", "drei"] == [each["name"] for each in listed["resources"]]
        assert {"id", "name", "region", "hosts"} == set(listed["resources"][0])

    async def test_a_name_of_its_own_choice_and_an_id(self, admin: Admin) -> None:
        identity = "12345678-1234-4234-8234-123456789abc"
        made = (await admin("POST", "resources", {"name": "two", "id": identity})).json

        assert (identity, "local", []) == (made["id"], made["region"], made["hosts"])

    @pytest.mark.parametrize("taken", ["name", "id", "hosts"])
    async def test_what_is_taken_is_refused_and_leaves_no_trace(self, admin: Admin, taken: str) -> None:
        first = (await admin("POST", "resources", {"name": "two", "hosts": ["two.test"]})).json
        second = {"name": "three", "hosts": ["three.test"]}
        second[taken] = first[taken]

        refused = await admin("POST", "resources", second)

        assert (409, "ResourceExists") == (refused.status, refused.error["code"])
        assert 2 == len((await admin("GET", "resources")).json["resources"])
        fine = {"name": "three", "hosts": ["three.test"]}
        assert 201 == (await admin("POST", "resources", fine)).status

    @pytest.mark.parametrize(
        ("body", "target", "word"),
        [
            ({"name": ""}, "name", "1 to 63"),
            ({"name": "-a"}, "name", "1 to 63"),
            ({"name": "a\n"}, "name", "1 to 63"),
            ({"name": "ä"}, "name", "1 to 63"),
            ({"name": "a" * 64}, "name", "1 to 63"),
            ({"name": "a", "region": ""}, "region", "1 to 40"),
            ({"name": "a", "region": "~"}, "region", "1 to 40"),
            ({"name": "a", "region": "a" * 41}, "region", "1 to 40"),
            ({"name": "a", "hosts": ["A.test"]}, "hosts", "lower case"),
            ({"name": "a", "hosts": ["a.test:80"]}, "hosts", "without port"),
            ({"name": "a", "hosts": [""]}, "hosts", "host names"),
            ({"name": "a", "hosts": ["a..b"]}, "hosts", "host names"),
            ({"name": "a", "id": "x"}, "id", "GUID"),
            ({"name": "a", "id": "12345678-1234-4234-8234-123456789ABC"}, "id", "lower case"),
            ({"name": 1}, None, "name"),
            ({"name": "a", "hosts": "a.test"}, None, "hosts"),
            ({"name": "a", "colour": "red"}, None, "colour"),
            ({}, None, "name"),
            ([], None, "object"),
            (None, None, "required"),
        ],
    )
    async def test_bad_input_is_refused_by_name(
        self, admin: Admin, body: object, target: str | None, word: str
    ) -> None:
        refused = await admin("POST", "resources", body)

        assert (400, "ValidationError", target) == (
            refused.status,
            refused.error["code"],
            refused.error.get("target"),
        )
        assert word in refused.error["message"]
        assert 1 == len((await admin("GET", "resources")).json["resources"])

    async def test_a_removed_one_is_gone_with_all_that_was_its(
        self, admin: Admin, service: Service, sources: Sources
    ) -> None:
        made = (await admin("POST", "resources", {"name": "two"})).json
        key = base64.b64decode(made["accessKeys"][0]["key"])
        created = (await create_with(service, sources, key)).json

        removed = await admin("DELETE", "resources/two")

        assert (204, b"") == (removed.status, removed.body)
        assert 401 == (await create_with(service, sources, key)).status
        introspected = await admin("POST", "introspect", {"token": created["accessToken"]["token"]})
        assert "The token's resource does not exist." == introspected.json["reason"]
        assert 404 == (await admin("GET", f"identities/{created['identity']['id']}")).status
        for method, path in (
            ("GET", "resources/two"),
            ("DELETE", "resources/two"),
            ("GET", "resources/two/access-keys"),
            ("POST", "resources/two/access-keys/primary/:regenerate"),
        ):
            refused = await admin(method, path)
            assert (404, "ResourceNotFound") == (refused.status, refused.error["code"])

    async def test_its_name_host_and_id_are_free_again_but_nothing_of_it_returns(
        self, admin: Admin, service: Service, sources: Sources
    ) -> None:
        asked = {"name": "two", "hosts": ["two.test"], "id": "12345678-1234-4234-8234-123456789abc"}
        first = (await admin("POST", "resources", asked)).json
        created = (await create_with(service, sources, base64.b64decode(first["accessKeys"][0]["key"]))).json
        await admin("DELETE", "resources/two")

        second = (await admin("POST", "resources", asked)).json

        assert 404 == (await admin("GET", f"identities/{created['identity']['id']}")).status
        assert not (await admin("POST", "introspect", {"token": created["accessToken"]["token"]})).json["active"]
        for key in first["accessKeys"]:
            assert 401 == (await create_with(service, sources, base64.b64decode(key["key"]))).status
        assert not {key["key"] for key in first["accessKeys"]} & {key["key"] for key in second["accessKeys"]}

    async def test_a_create_under_way_while_its_resource_goes_leaves_nothing_that_returns(
        self, administration: Administration, service: Service
    ) -> None:
        """Its key was checked before, its row is written after: as with two workers."""
        resource_id = "12345678-1234-4234-8234-123456789abc"
        resource, _ = await administration.add_resource("two", resource_id=resource_id)
        await administration.remove_resource("two")
        try:
            _, token, _ = await service.create_identity(Caller(resource, "p0"), CHAT)
        except MintmarkError:
            return
        await administration.add_resource("two", resource_id=resource_id)

        assert token is not None
        assert not (await service.introspect(token.token)).active

    async def test_even_the_first_can_go(self, admin: Admin, service: Service, sources: Sources) -> None:
        assert 204 == (await admin("DELETE", "resources/development")).status

        assert [] == (await admin("GET", "resources")).json["resources"]
        assert 404 == (await admin("POST", "identities", {})).status
        assert 404 == (await admin("GET", "identities")).status
        assert 401 == (await create_with(service, sources, DEVELOPMENT_KEYS[0])).status
        assert 200 == (await admin("POST", "introspect", {"token": "x"})).status
        assert 404 == (await admin("GET", f"identities/{UNKNOWN}")).status
        assert 201 == (await admin("POST", "resources", {"name": "two"})).status
        assert 201 == (await admin("POST", "identities", {})).status


class TestAccessKeys:
    async def test_both_are_listed_with_connection_strings(self, admin: Admin) -> None:
        listed = (await admin("GET", "resources/development/access-keys")).json

        expected = [
            {
                "resource": DEVELOPMENT_RESOURCE.id,
                "slot": slot,
                "generation": 0,
                "key": base64.b64encode(key).decode(),
                "connectionString": f"endpoint={HTTPS}/;accesskey={base64.b64encode(key).decode()}",
            }
            for slot, key in zip(("primary", "secondary"), DEVELOPMENT_KEYS, strict=True)
        ]
        assert {"accessKeys": expected} == listed

    @pytest.mark.parametrize("slot", ["primary", "secondary"])
    async def test_one_is_regenerated_and_the_other_stays(
        self, admin: Admin, service: Service, sources: Sources, slot: str
    ) -> None:
        before = {
            key["slot"]: key for key in (await admin("GET", "resources/development/access-keys")).json["accessKeys"]
        }
        obtained = {
            each: (await create_with(service, sources, base64.b64decode(key["key"]))).json["accessToken"]["token"]
            for each, key in before.items()
        }

        reply = await admin("POST", f"resources/{DEVELOPMENT_RESOURCE.id}/access-keys/{slot}/:regenerate")

        after = {
            key["slot"]: key for key in (await admin("GET", "resources/development/access-keys")).json["accessKeys"]
        }
        assert (200, 1, slot) == (reply.status, reply.json["generation"], reply.json["slot"])
        assert {**before, slot: reply.json} == after
        assert before[slot]["key"] != reply.json["key"]
        assert 64 == len(base64.b64decode(reply.json["key"], validate=True))
        for each, token in obtained.items():
            alive = (await admin("POST", "introspect", {"token": token})).json["active"]
            assert (each != slot) == alive
        fresh = await create_with(service, sources, base64.b64decode(reply.json["key"]))
        assert 201 == fresh.status
        assert 401 == (await create_with(service, sources, base64.b64decode(before[slot]["key"]))).status

    @pytest.mark.parametrize("slot", ["tertiary", "Primary", "%00", "primary%2f"])
    async def test_there_are_two_slots(self, admin: Admin, slot: str) -> None:
        assert 404 == (await admin("POST", f"resources/development/access-keys/{slot}/:regenerate")).status

    async def test_a_key_of_one_resource_is_no_key_of_another(
        self, admin: Admin, service: Service, sources: Sources
    ) -> None:
        two = (await admin("POST", "resources", {"name": "two"})).json

        await admin("POST", "resources/two/access-keys/primary/:regenerate")

        created = await create_with(service, sources, DEVELOPMENT_KEYS[0])
        assert (201, DEVELOPMENT_RESOURCE.id) == (created.status, created.json["identity"]["id"][6:42])
        secondary = await create_with(service, sources, base64.b64decode(two["accessKeys"][1]["key"]))
        assert (201, two["id"]) == (secondary.status, secondary.json["identity"]["id"][6:42])


METHODS: dict[str, set[str]] = {
    "identities": {"GET", "POST"},
    f"identities/{UNKNOWN}": {"GET", "DELETE"},
    f"identities/{UNKNOWN}/:issueAccessToken": {"POST"},
    f"identities/{UNKNOWN}/:revokeAccessTokens": {"POST"},
    "introspect": {"POST"},
    "resources": {"GET", "POST"},
    "resources/development": {"GET", "DELETE"},
    "resources/development/access-keys": {"GET"},
    "resources/development/access-keys/primary/:regenerate": {"POST"},
    "clock": {"GET", "POST"},
    "faults": {"GET", "POST", "DELETE"},
    "openapi.json": {"GET"},
    "openapi": {"GET"},
}


@pytest.mark.parametrize("path", METHODS)
async def test_any_other_method_is_refused_with_the_ones_that_are_not(admin: Admin, path: str) -> None:
    for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - METHODS[path]:
        refused = await admin(method, path)
        assert 405 == refused.status
        assert METHODS[path] == set(refused.headers["allow"].split(", ")) - {"HEAD"}


@pytest.mark.parametrize("path", METHODS)
async def test_a_page_of_another_origin_gets_and_changes_nothing(
    service: Service, sources: Sources, words: SharedWords, tmp_path: Path, path: str
) -> None:
    app = an_admin_app(service, sources, words, tmp_path)
    for method in METHODS[path]:
        foreign: Any = [*HERE, (b"origin", b"https://evil.example"), (b"content-type", b"text/plain")]
        refused = await call(app, method, f"/_mintmark/{path}", foreign, b'{"name":"two"}')
        assert (403, "Forbidden") == (refused.status, refused.error["code"])
    assert ["development"] == [each.name for each in (await service.directory()).resources.values()]
