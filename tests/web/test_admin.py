from pathlib import Path

import jwt
import pytest

from builders import FakeClock, as_header_list
from mintmark.service import Service
from mintmark.shared import SharedWords
from mintmark.sources import Sources
from mintmark.store.sqlite import SqliteStore
from mintmark.web import Application
from web.apps import an_admin_app
from web.asgi_client import Reply, call

pytestmark = pytest.mark.anyio

HERE = as_header_list([("host", "localhost:12090")])
VARIABLES = {"COMMUNICATION_SERVICES_CONNECTION_STRING": "endpoint=https://localhost:12443/;accesskey=<'&>"}


@pytest.fixture
async def app(service: Service, sources: Sources, words: SharedWords, tmp_path: Path) -> Application:
    return an_admin_app(service, sources, words, tmp_path, VARIABLES)


async def post(app: Application, path: str, body: bytes) -> Reply:
    return await call(app, "POST", path, [*HERE, (b"content-length", str(len(body)).encode())], body)


async def introspect(app: Application, token: str) -> Reply:
    return await post(app, "/_mintmark/introspect", f'{{"token":"{token}"}}'.encode())


@pytest.mark.parametrize("path", ["/_mintmark/live", "/_mintmark/ready"])
async def test_probes_say_yes(app: Application, path: str) -> None:
    reply = await call(app, "GET", path, HERE)

    assert (200, "no-store") == (reply.status, reply.headers["cache-control"])


async def test_ready_says_no_when_the_store_does_not_answer_and_live_goes_on(
    app: Application, store: SqliteStore
) -> None:
    await store.close()

    assert 503 == (await call(app, "GET", "/_mintmark/ready", HERE)).status
    assert 200 == (await call(app, "GET", "/_mintmark/live", HERE)).status


async def test_an_identity_is_created_by_no_access_key(app: Application) -> None:
    reply = await post(app, "/_mintmark/identities", b'{"createTokenWithScopes":["chat"],"expiresInMinutes":60}')

    claims = jwt.decode(reply.json["accessToken"]["token"], options={"verify_signature": False})
    assert (201, reply.json["identity"]["id"]) == (reply.status, claims["sub"])
    assert "akg" not in claims


async def test_bad_input_is_refused_in_the_envelope(app: Application) -> None:
    reply = await post(app, "/_mintmark/identities", b'{"expiresInMinutes":1}')

    assert (400, "ExpiresInMinutes") == (reply.status, reply.error["target"])


class TestIntrospection:
    async def test_a_token_of_ours_is_active(self, app: Application) -> None:
        created = await post(app, "/_mintmark/identities", b'{"createTokenWithScopes":["chat"]}')

        reply = await introspect(app, created.json["accessToken"]["token"])

        assert (True, "") == (reply.json["active"], reply.json["reason"])
        assert created.json["identity"]["id"] == reply.json["claims"]["sub"]
        assert "ES256" == reply.json["header"]["alg"]
        assert "no-store" == reply.headers["cache-control"]

    async def test_an_expired_one_is_not(self, app: Application, clock: FakeClock) -> None:
        body = b'{"createTokenWithScopes":["chat"],"expiresInMinutes":60}'
        token = (await post(app, "/_mintmark/identities", body)).json["accessToken"]["token"]

        clock.advance(minutes=59, seconds=59.999)
        before = (await introspect(app, token)).json["active"]
        clock.advance(seconds=0.001)
        after = (await introspect(app, token)).json

        assert before
        assert (False, "The token has expired.") == (after["active"], after["reason"])

    @pytest.mark.parametrize("token", ["", "x", "e30.e30.x", "a.b.c", f"e30.{'W1tb' * 4000}.x"])
    async def test_what_is_no_token_is_not(self, app: Application, token: str) -> None:
        reply = await introspect(app, token)

        assert (200, False) == (reply.status, reply.json["active"])
        assert reply.json["reason"]

    async def test_no_token_is_a_bad_request(self, app: Application) -> None:
        assert (400, "token") == (
            (reply := await post(app, "/_mintmark/introspect", b"{}")).status,
            reply.error["target"],
        )


class TestStartPage:
    async def test_it_says_how_to_connect_with_everything_escaped(self, app: Application) -> None:
        page = (await call(app, "GET", "/", HERE)).body.decode()

        assert "https://localhost:12443" in page
        # Quoted for a shell, then escaped for a page.
        assert "accesskey=&lt;&#39;&#34;&#39;&#34;&#39;&amp;&gt;" in page

    async def test_it_loads_nothing_and_may_not(self, app: Application) -> None:
        reply = await call(app, "GET", "/", HERE)

        assert "default-src 'none'" in reply.headers["content-security-policy"]
        assert not any(word in reply.body for word in (b"<script", b"<link", b"src=", b"@import", b"url("))


class TestOnlyThisMachine:
    @pytest.mark.parametrize(
        "host", ["localhost:12090", "localhost", "LOCALHOST:1", "localhost.", "127.0.0.1:1", "[::1]:12090", "[::1]"]
    )
    async def test_under_its_own_names_it_answers(self, app: Application, host: str) -> None:
        assert 200 == (await call(app, "GET", "/_mintmark/live", as_header_list([("host", host)]))).status

    @pytest.mark.parametrize(
        "host",
        [
            "evil.example",
            "evil.example:12090",
            "localhost.evil.example",
            "localhost:evil.example",
            "",
            "10.0.0.1",
            "[localhost]",
        ],
    )
    @pytest.mark.parametrize("path", ["/", "/_mintmark/live"])
    async def test_under_any_other_it_does_not(self, app: Application, path: str, host: str) -> None:
        """DNS rebinding: a page of another site that has its name point to this machine."""
        reply = await call(app, "GET", path, as_header_list([("host", host)]))

        assert (403, "Forbidden") == (reply.status, reply.error["code"])

    async def test_two_hosts_are_none(self, app: Application) -> None:
        assert 403 == (await call(app, "GET", "/_mintmark/live", [*HERE, (b"host", b"localhost:12090")])).status

    async def test_without_a_host_it_does_not_answer(self, app: Application) -> None:
        assert 403 == (await call(app, "GET", "/_mintmark/live")).status

    @pytest.mark.parametrize(
        "origin", ["https://evil.example", "null", "http://localhost:3000", "https://localhost:12090"]
    )
    async def test_pages_of_other_origins_are_refused(self, app: Application, origin: str) -> None:
        headers = [*HERE, (b"origin", origin.encode())]

        assert 403 == (await call(app, "POST", "/_mintmark/identities", headers, b"")).status

    async def test_its_own_pages_are_not(self, app: Application) -> None:
        headers = [*HERE, (b"origin", b"http://localhost:12090")]

        assert 201 == (await call(app, "POST", "/_mintmark/identities", headers, b"")).status

    async def test_there_is_no_cors_here(self, app: Application) -> None:
        asked = [*HERE, (b"origin", b"http://localhost:12090"), (b"access-control-request-method", b"POST")]

        assert 405 == (await call(app, "OPTIONS", "/_mintmark/identities", asked)).status
