"""Bearer tokens instead of signatures: who may do what, and what every kind of refusal looks like from outside."""

import json
from collections.abc import Callable, Sequence
from typing import Any

import jwt
import pytest

from builders import ISSUER as OURS
from builders import NOON, SEALER, FakeClock, as_header_list, signed_headers
from foreign import ISSUER, SECONDS, a_token, claims, jwk, written
from mintmark.bearer import TrustedIssuer
from mintmark.compose import open_service
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.doors.dev import fill_store
from mintmark.errors import IssuerUnavailable
from mintmark.openid import BearerVerifier, KeySource
from mintmark.service import Service
from mintmark.shared import SharedWords
from mintmark.sources import Sources
from mintmark.store import Store
from mintmark.web import Application, build_public_app
from web.apps import an_administration
from web.asgi_client import Reply, call

pytestmark = pytest.mark.anyio

V = "?api-version=2023-10-01"
ROLE = "Identity.Manage"
TRUSTED = TrustedIssuer(ISSUER, roles=(ROLE,))
OWN_HOST = "contoso.example.com"
SCOPES = b'{"scopes":["chat"]}'
WITH_TOKEN = b'{"createTokenWithScopes":["chat"]}'


class Keys:
    """The issuer's keys, without a network between."""

    async def keys(self, kid: str | None) -> Sequence[dict[str, Any]]:  # noqa: ARG002  the protocol's
        return [jwk("RS256", alg=None), jwk("ES256", alg=None)]


class NoKeys:
    """An issuer that cannot be reached."""

    async def keys(self, kid: str | None) -> Sequence[dict[str, Any]]:  # noqa: ARG002
        raise IssuerUnavailable("no route")


def good(**changes: Any) -> str:
    return a_token(claims(**{"roles": [ROLE], **changes}))


Build = Callable[..., Any]


@pytest.fixture
def build(store: Store, sources: Sources, words: SharedWords, clock: FakeClock) -> Build:
    async def built(
        trusted: TrustedIssuer = TRUSTED, keys: KeySource | None = None, *, clients_now: int | None = None, **door: Any
    ) -> tuple[Application, Service]:
        await fill_store(store, SEALER, "ES256", sources)
        bearer = BearerVerifier([(trusted, keys or Keys())], lambda: (clock.now, clients_now or clock.now))
        service = await open_service(
            store, SEALER, "ES256", OURS, sources, words, bearer=bearer, **{"development": True, **door}
        )
        return build_public_app(service, sources), service

    return built


@pytest.fixture
async def app(build: Build) -> Application:
    router, _ = await build()
    assert isinstance(router, Application)
    return router


async def ask(
    app: Application,
    method: str,
    target: str,
    token: str | None,
    body: bytes = b"",
    host: str = "localhost",
    **more: str,
) -> Reply:
    headers = {"host": host, "content-length": str(len(body)), "content-type": "application/json", **more}
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return await call(app, method, target, as_header_list(headers.items()), body)


async def create(app: Application, token: str | None, body: bytes = b"", **more: str) -> Reply:
    return await ask(app, "POST", f"/identities{V}", token, body, **more)


async def test_every_operation_can_be_asked_for_with_a_token(app: Application) -> None:
    identity = (await create(app, good())).json["identity"]["id"]
    asked = [
        await ask(app, "POST", f"/identities/{identity}/:issueAccessToken{V}", good(), SCOPES),
        await ask(app, "POST", f"/identities/{identity}/:revokeAccessTokens{V}", good()),
        await ask(app, "GET", f"/identities/{identity}?api-version=2025-03-02-preview", good()),
        await ask(app, "DELETE", f"/identities/{identity}{V}", good()),
    ]

    assert [200, 204, 200, 204] == [reply.status for reply in asked]


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "PS256"])
@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_read_in_any_case_and_keys_of_both_kinds(
    app: Application, algorithm: str, scheme: str
) -> None:
    token = a_token(claims(roles=[ROLE]), algorithm)

    assert 201 == (await create(app, None, authorization=f"{scheme} {token}")).status


async def test_a_signature_works_beside(app: Application) -> None:
    headers = signed_headers("POST", f"/identities{V}", host="localhost")

    assert 201 == (await call(app, "POST", f"/identities{V}", headers)).status


async def test_a_token_so_obtained_names_no_access_key_and_outlives_them_all(
    build: Build, sources: Sources, words: SharedWords
) -> None:
    app, service = await build()
    token = (await create(app, good(), WITH_TOKEN)).json["accessToken"]["token"]
    for slot in ("primary", "secondary"):
        await an_administration(service, sources, words).regenerate_access_key(DEVELOPMENT_RESOURCE.id, slot)

    status = await service.introspect(token)

    assert (True, False) == (status.active, "akg" in status.claims)


class TestWhichResource:
    async def test_the_host_decides(self, build: Build, sources: Sources, words: SharedWords) -> None:
        app, service = await build()
        added, _ = await an_administration(service, sources, words).add_resource("contoso", "europe", (OWN_HOST,))

        ids = [(await create(app, good(), host=host)).json["identity"]["id"] for host in (OWN_HOST, "localhost")]

        assert [added.id, DEVELOPMENT_RESOURCE.id] == [each.partition("_")[0].removeprefix("8:acs:") for each in ids]

    @pytest.mark.parametrize("named", ["id", "name"])
    async def test_an_issuer_counts_for_its_resources_only(
        self, build: Build, sources: Sources, words: SharedWords, named: str
    ) -> None:
        resource = getattr(DEVELOPMENT_RESOURCE, named)
        app, service = await build(TrustedIssuer(ISSUER, roles=(ROLE,), resources=(resource,)))
        await an_administration(service, sources, words).add_resource("contoso", "europe", (OWN_HOST,))

        assert [201, 401] == [(await create(app, good(), host=host)).status for host in ("localhost", OWN_HOST)]

    async def test_an_identity_of_another_is_not_owned(self, app: Application) -> None:
        target = f"/identities/8:acs:{OTHER}_{OTHER}/:issueAccessToken{V}"
        reply = await ask(app, "POST", target, good(), SCOPES)

        assert (401, "IdentityNotOwned") == (reply.status, reply.error["code"])


OTHER = "00000000-0000-4000-8000-000000000001"
HS256 = jwt.encode(claims(roles=[ROLE]), b"s" * 32, "HS256", {"kid": jwk()["kid"]})
NONE = written({"alg": "none", "kid": jwk()["kid"]}, json.dumps(claims(roles=[ROLE])).encode(), b"")
HEAD, PAYLOAD, SIGNATURE = good().split(".")
ATTACKS = {
    "empty": "",
    "not a token": "x",
    "no signature": f"{HEAD}.{PAYLOAD}.",
    "algorithm none": NONE,
    "a public key as secret": HS256,
    "another payload": f"{HEAD}.{a_token().split('.')[1]}.{SIGNATURE}",
    "unknown key": a_token(claims(roles=[ROLE]), header={"kid": "nobody"}),
    "brings its key": a_token(claims(roles=[ROLE]), header={"kid": "nobody", "jwk": jwk()}),
    "critical extension": a_token(claims(roles=[ROLE]), header={"crit": ["b64"], "b64": True}),
    "another type": a_token(claims(roles=[ROLE]), header={"typ": "secevent+jwt"}),
    "another issuer": good(iss="https://login.example.com/other/v2.0"),
    "another audience": good(aud="https://graph.microsoft.com"),
    "no audience": good(aud=None),
    "expired": good(exp=SECONDS),
    "no expiry": good(exp=None),
    "not yet": good(nbf=SECONDS + 61),
    "issued in the future": good(iat=SECONDS + 61),
    "expiry as text": good(exp=str(SECONDS + 3600)),
    "too long": a_token(claims(roles=[ROLE] * 4000)),
}


class TestRefusals:
    @pytest.mark.parametrize("attack", ATTACKS)
    @pytest.mark.parametrize("development", [True, False])
    async def test_a_token_that_is_not_right_is_denied(
        self,
        build: Build,
        attack: str,
        development: bool,  # noqa: FBT001  a column
    ) -> None:
        """RFC 8725, sections 2 and 3."""
        app, _ = await build(development=development)

        reply = await create(app, ATTACKS[attack])

        challenges = [value for name, value in reply.header_list if name == b"www-authenticate"]
        assert (401, "Denied") == (reply.status, reply.error["code"])
        assert [b"HMAC-SHA256", b"Bearer"] == challenges
        assert "Denied by the resource provider." == reply.error["message"]
        assert development == ("details" in reply.error)
        assert not ATTACKS[attack] or ATTACKS[attack] not in reply.body.decode() or attack == "not a token"

    @pytest.mark.parametrize("roles", [None, [], ["Another"], "another", {}])
    async def test_without_the_role_it_is_forbidden(self, app: Application, roles: object) -> None:
        reply = await create(app, good(roles=roles))

        assert (403, "Forbidden") == (reply.status, reply.error["code"])
        assert ROLE in reply.error["message"]

    async def test_while_the_issuer_is_away_it_is_to_be_tried_again(self, build: Build) -> None:
        app, _ = await build(keys=NoKeys())

        reply = await create(app, good())

        assert (503, "1", "ServiceUnavailable") == (reply.status, reply.headers["retry-after"], reply.error["code"])
        assert "no route" not in reply.body.decode()

    async def test_without_a_trusted_issuer_there_are_no_bearer_tokens(
        self, service: Service, sources: Sources
    ) -> None:
        reply = await create(build_public_app(service, sources), good())

        assert (401, "Denied") == (reply.status, reply.error["code"])

    @pytest.mark.parametrize("first", ["bearer", "signature"])
    async def test_two_authorizations_are_none(self, app: Application, first: str) -> None:
        signed = signed_headers("POST", f"/identities{V}", host="localhost")
        bearer = (b"authorization", f"Bearer {good()}".encode())
        headers = [bearer, *signed] if first == "bearer" else [*signed, bearer]

        reply = await call(app, "POST", f"/identities{V}", headers)

        assert (401, "Denied") == (reply.status, reply.error["code"])

    async def test_a_doubled_host_is_refused(self, app: Application) -> None:
        headers = [(b"host", b"a"), (b"host", b"b"), (b"authorization", f"Bearer {good()}".encode())]

        assert 400 == (await call(app, "POST", f"/identities{V}", headers)).status


class TestMovedClock:
    @pytest.mark.parametrize(
        ("moved", "issued", "status"),
        [(0, 0, 201), (30, 0, 201), (-30, 0, 201), (30, 30, 201), (30, 15, 401), (-30, -15, 401)],
    )
    async def test_a_token_holds_by_the_servers_clock_or_the_clients(
        self, build: Build, clock: FakeClock, moved: int, issued: int, status: int
    ) -> None:
        """Days by which the clock is moved, and after which the token is issued."""
        app, _ = await build(clients_now=NOON)
        clock.advance(hours=24 * moved)
        at = SECONDS + 86_400 * issued

        assert status == (await create(app, good(iat=at, nbf=at, exp=at + 3600))).status

    async def test_in_production_there_is_one_clock(self, build: Build, clock: FakeClock) -> None:
        app, _ = await build(development=False)
        clock.advance(hours=2)

        assert 401 == (await create(app, good())).status
