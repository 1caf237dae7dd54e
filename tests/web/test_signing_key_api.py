"""The signing keys over the admin listener."""

import json
from pathlib import Path
from typing import Any

import pytest

from builders import SEALER, FakeClock
from mintmark.keyring import PUBLISHED_AHEAD
from mintmark.service import Service
from mintmark.shared import SharedWords
from mintmark.sources import Sources
from mintmark.web import Application, build_public_app
from web.apps import an_admin_app
from web.asgi_client import Reply, call

pytestmark = pytest.mark.anyio

KEYS, ROTATE = "/_mintmark/signing-keys", "/_mintmark/signing-keys/:rotate"
AT_ONCE = b'{"atOnce":true}'


@pytest.fixture
def app(service: Service, sources: Sources, words: SharedWords, tmp_path: Path) -> Application:
    return an_admin_app(service, sources, words, tmp_path)


async def ask(app: Application, method: str, target: str, body: bytes = b"") -> Reply:
    headers = [(b"host", b"localhost:12090"), (b"content-type", b"application/json")]
    return await call(app, method, target, headers, body)


async def listed(app: Application) -> list[dict[str, Any]]:
    keys: list[dict[str, Any]] = (await ask(app, "GET", KEYS)).json["signingKeys"]
    return keys


async def states(app: Application) -> list[str]:
    return [key["state"] for key in await listed(app)]


async def test_every_key_is_listed_with_what_it_does_and_nothing_secret(app: Application) -> None:
    (key,) = await listed(app)

    noon = "2026-11-23T12:00:00.0000000+00:00"
    kid = key.pop("kid")
    assert {"algorithm": "ES256", "state": "signing", "createdAt": noon, "signsAt": noon} == key
    assert 43 == len(kid)


@pytest.mark.parametrize("body", [b"", b"{}", b'{"atOnce":false}'])
async def test_a_rotation_answers_the_key_that_comes_next(app: Application, clock: FakeClock, body: bytes) -> None:
    first, second = await ask(app, "POST", ROTATE, body), await ask(app, "POST", ROTATE, body)

    assert [201, 200] == [first.status, second.status]
    assert first.json == second.json == (await listed(app))[1]
    assert ["signing", "published"] == await states(app)
    clock.now += PUBLISHED_AHEAD
    assert ["retired", "signing"] == await states(app)


async def test_one_at_once_signs_already(app: Application) -> None:
    reply = await ask(app, "POST", ROTATE, AT_ONCE)

    assert (201, "signing") == (reply.status, reply.json["state"])
    assert ["retired", "signing"] == await states(app)


async def test_relying_parties_see_the_new_key_at_once_and_may_keep_it(
    app: Application, service: Service, sources: Sources
) -> None:
    key = (await ask(app, "POST", ROTATE)).json

    reply = await call(build_public_app(service, sources), "GET", "/.well-known/jwks.json", [(b"host", b"localhost")])

    assert key["kid"] in {each["kid"] for each in reply.json["keys"]}
    assert "public, max-age=600" == reply.headers["cache-control"]


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"atOnce":"yes"}', b'{"atOnce":null}', b'{"atonce":true}', b"null"])
async def test_a_body_that_is_none_is_refused(app: Application, body: bytes) -> None:
    reply = await ask(app, "POST", ROTATE, body)

    assert (400, "ValidationError") == (reply.status, reply.error["code"])
    assert 1 == len(await listed(app))


async def test_a_key_that_does_not_sign_can_be_removed(app: Application) -> None:
    old, new = (await listed(app))[0]["kid"], (await ask(app, "POST", ROTATE, AT_ONCE)).json["kid"]

    assert 204 == (await ask(app, "DELETE", f"{KEYS}/{old}")).status
    assert [new] == [key["kid"] for key in await listed(app)]


async def test_the_one_that_signs_and_one_that_is_not_there_cannot(app: Application) -> None:
    signing = (await listed(app))[0]["kid"]

    refused = [await ask(app, "DELETE", f"{KEYS}/{kid}") for kid in (signing, "nobody", "%00")]

    assert [400, 404, 404] == [reply.status for reply in refused]
    assert ["ValidationError", "SigningKeyNotFound", "SigningKeyNotFound"] == [each.error["code"] for each in refused]
    assert "kid" == refused[0].error["target"]


async def test_key_encryption_keys_are_listed_with_how_much_each_seals(app: Application) -> None:
    reply = await ask(app, "GET", "/_mintmark/key-encryption-keys")

    assert {"keyEncryptionKeys": [{"id": SEALER.key_id, "seals": 3}]} == json.loads(reply.body)
