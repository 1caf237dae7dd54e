"""Limits as a client meets them."""

import pytest

from builders import FakeClock, signed_headers
from mintmark.limits import Limiter, shared_cells
from mintmark.service import Service
from mintmark.shared import SharedWords
from mintmark.sources import Sources
from mintmark.web import Application, build_public_app
from web.apps import an_administration
from web.asgi_client import Reply, call

pytestmark = pytest.mark.anyio

CREATE = "/identities?api-version=2023-10-01"


@pytest.fixture
def app(service: Service, sources: Sources) -> Application:
    return build_public_app(service, sources, limiter=Limiter({"create": 3, "issue": 1}, shared_cells(1), 0))


async def create(app: Application, clock: FakeClock, body: bytes = b"", **signing: bytes) -> Reply:
    headers = signed_headers("POST", CREATE, body, now=clock.now, **signing)  # type: ignore[arg-type]
    return await call(app, "POST", CREATE, headers, body)


async def test_one_too_many_is_told_when_there_is_room_again(app: Application, clock: FakeClock) -> None:
    clock.advance(seconds=12.5)

    replies = [await create(app, clock) for _ in range(4)]

    assert [201, 201, 201, 429] == [reply.status for reply in replies]
    assert "18" == replies[-1].headers["retry-after"]
    assert {
        "code": "TooManyRequests",
        "message": "Too many requests of this kind for this resource. Try again in 18 s.",
    } == replies[-1].error


async def test_who_waits_as_told_is_served_however_often_it_was_refused(app: Application, clock: FakeClock) -> None:
    refused = [await create(app, clock) for _ in range(20)][-1]
    clock.advance(seconds=int(refused.headers["retry-after"]) - 1)
    assert 429 == (await create(app, clock)).status

    clock.advance(seconds=1)

    assert [201, 201, 201, 429] == [(await create(app, clock)).status for _ in range(4)]


async def test_operations_are_counted_apart_and_one_without_limit_passes(app: Application, clock: FakeClock) -> None:
    created = [await create(app, clock) for _ in range(4)]
    identity = created[0].json["identity"]["id"]

    async def ask(method: str, suffix: str, body: bytes = b"") -> int:
        target = f"/identities/{identity}{suffix}?api-version=2023-10-01"
        return (await call(app, method, target, signed_headers(method, target, body), body)).status

    statuses = [await ask("POST", "/:issueAccessToken", b'{"scopes":["chat"]}') for _ in range(2)]
    assert [200, 429] == statuses
    assert [204] * 5 == [await ask("POST", "/:revokeAccessTokens") for _ in range(5)]


async def test_resources_are_counted_apart(
    app: Application, clock: FakeClock, service: Service, sources: Sources, words: SharedWords
) -> None:
    administration = an_administration(service, sources, words)
    await administration.add_resource("contoso", "europe", ())
    key = (await service.directory()).keys[(await service.resource("contoso")).id][0].secret

    assert [201, 201, 201, 429] == [(await create(app, clock)).status for _ in range(4)]
    assert [201, 201, 201, 429] == [(await create(app, clock, key=key)).status for _ in range(4)]


async def test_a_request_that_is_not_the_resources_does_not_count(app: Application, clock: FakeClock) -> None:
    assert {401} == {(await create(app, clock, key=b"x" * 64)).status for _ in range(5)}
    assert 201 == (await create(app, clock)).status


async def test_one_that_is_wrong_does(app: Application, clock: FakeClock) -> None:
    assert [400, 400, 400, 429] == [(await create(app, clock, b"{")).status for _ in range(4)]
