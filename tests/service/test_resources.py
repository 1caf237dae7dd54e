"""Resources and access keys: found by host or by key, kept apart, regenerated; and looking through identities."""

from typing import Any

import pytest

from builders import FakeClock, signed_headers, signed_request
from mintmark.administration import Administration, Search
from mintmark.development import DEVELOPMENT_KEYS, DEVELOPMENT_RESOURCE
from mintmark.errors import Denied, IdentityNotOwned, InvalidRequest, ResourceExists, ResourceNotFound
from mintmark.request_signature import SignedRequest
from mintmark.service import Caller, Service, TokenRequest
from mintmark.shared import SharedWords
from mintmark.sources import Sources
from web.apps import an_administration

pytestmark = pytest.mark.anyio

CHAT = TokenRequest(("chat",))


@pytest.fixture
async def administration(service: Service, sources: Sources, words: SharedWords) -> Administration:
    return an_administration(service, sources, words)


def request(key: bytes, host: str = "localhost:12080") -> SignedRequest:
    return signed_request("POST", b"/x", signed_headers("POST", "/x", host=host, key=key), b"")


async def token_for(service: Service, caller: Caller) -> str:
    _, token, _ = await service.create_identity(caller, CHAT)
    assert token is not None
    return token.token


async def test_a_new_resource_works_at_once_with_both_keys(service: Service, administration: Administration) -> None:
    resource, keys = await administration.add_resource("two", "eu")

    for key in keys:
        assert Caller(resource, key.label) == await service.authenticate(request(key.secret))
    assert ("primary", "secondary") == (keys[0].slot, keys[1].slot)
    assert 64 == len(keys[0].secret)
    assert keys[0].secret != keys[1].secret


async def test_a_host_of_its_own_admits_its_own_keys_only(service: Service, administration: Administration) -> None:
    resource, (key, _) = await administration.add_resource("two", hosts=["two.test"])

    for host in ("two.test", "TWO.test:443", "elsewhere"):
        assert resource == (await service.authenticate(request(key.secret, host))).resource
    with pytest.raises(Denied):
        await service.authenticate(request(DEVELOPMENT_KEYS[0], "two.test"))


async def test_nothing_of_one_resource_can_be_touched_with_the_keys_of_another(
    service: Service, administration: Administration
) -> None:
    _, (key, _) = await administration.add_resource("two")
    stranger, owner = await service.authenticate(request(key.secret)), Caller(DEVELOPMENT_RESOURCE)
    identity, _, _ = await service.create_identity(owner, CHAT)

    for attempt in (
        service.identity(stranger, identity.id),
        service.issue_token(stranger, identity.id, CHAT),
        service.revoke_tokens(stranger, identity.id),
        service.delete_identity(stranger, identity.id),
    ):
        with pytest.raises(IdentityNotOwned):
            await attempt
    assert identity.id == (await service.identity(owner, identity.id)).id


async def test_names_ids_and_hosts_are_taken_once_and_a_refusal_keeps_nothing(administration: Administration) -> None:
    resource, _ = await administration.add_resource("one", hosts=["one.test"])

    for taken in (
        administration.add_resource("development"),
        administration.add_resource("one"),
        administration.add_resource("new", hosts=["new.test", "one.test"]),
        administration.add_resource("new", resource_id=resource.id),
    ):
        with pytest.raises(ResourceExists):
            await taken
    assert ["development", "one"] == [each.name for each in await administration.resources()]
    assert "new" == (await administration.add_resource("new", hosts=["new.test"]))[0].name


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("name", {"name": ""}),
        ("name", {"name": "a b"}),
        ("name", {"name": "x" * 64}),
        ("region", {"name": "a", "region": "~"}),
        ("hosts", {"name": "a", "hosts": ["UPPER"]}),
        ("hosts", {"name": "a", "hosts": ["a:80"]}),
        ("id", {"name": "a", "resource_id": "x"}),
    ],
)
async def test_malformed_values_are_refused_by_name(
    administration: Administration, field: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await administration.add_resource(**arguments)

    assert field == refused.value.target


async def test_a_removed_resource_leaves_nothing_alive(service: Service, administration: Administration) -> None:
    resource, (key, _) = await administration.add_resource("two")
    identity, token, _ = await service.create_identity(Caller(resource, "p0"), CHAT)
    assert token is not None
    assert (await service.introspect(token.token)).active

    await administration.remove_resource("two")

    assert "The token's resource does not exist." == (await service.introspect(token.token)).reason
    assert await service.store.identity(resource.id, identity.suffix) is None
    with pytest.raises(Denied):
        await service.authenticate(request(key.secret))
    for attempt in (administration.remove_resource("two"), administration.access_keys("two")):
        with pytest.raises(ResourceNotFound):
            await attempt


async def test_the_region_is_in_the_tokens(service: Service, administration: Administration) -> None:
    resource, _ = await administration.add_resource("two", "eu-west")

    claims = (await service.introspect(await token_for(service, Caller(resource)))).claims

    assert ("eu-west", "eu-west", resource.id) == (claims["rgn"], claims["resourceLocation"], claims["aud"])


class TestRegenerating:
    async def test_the_old_key_opens_nothing_and_what_it_obtained_has_ended(
        self, service: Service, administration: Administration
    ) -> None:
        old = await token_for(service, await service.authenticate(request(DEVELOPMENT_KEYS[0])))
        other = await token_for(service, await service.authenticate(request(DEVELOPMENT_KEYS[1])))
        by_no_key = await token_for(service, Caller(DEVELOPMENT_RESOURCE))

        fresh = await administration.regenerate_access_key("development", "primary")

        assert "regenerated" in (await service.introspect(old)).reason
        assert (await service.introspect(other)).active
        assert (await service.introspect(by_no_key)).active
        with pytest.raises(Denied):
            await service.authenticate(request(DEVELOPMENT_KEYS[0]))
        caller = await service.authenticate(request(fresh.secret))
        assert ("p1", 1) == (caller.access_key, fresh.generation)

    async def test_a_token_asked_for_before_and_signed_after_is_dead(
        self, service: Service, administration: Administration
    ) -> None:
        caller = await service.authenticate(request(DEVELOPMENT_KEYS[0]))
        await administration.regenerate_access_key("development", "primary")

        assert not (await service.introspect(await token_for(service, caller))).active

    async def test_every_regeneration_is_another_generation(self, administration: Administration) -> None:
        keys = [await administration.regenerate_access_key("development", "secondary") for _ in range(3)]

        kept = await administration.access_keys("development")
        assert [1, 2, 3] == [key.generation for key in keys]
        assert 3 == len({key.secret for key in keys})
        assert [0, 3] == [key.generation for key in kept]
        assert keys[2].secret == kept[1].secret


class TestListing:
    @pytest.fixture
    async def ids(self, service: Service, clock: FakeClock) -> list[str]:
        made = []
        for _ in range(7):
            clock.advance(seconds=1)
            made.append((await service.create_identity(Caller(DEVELOPMENT_RESOURCE), TokenRequest()))[0].id)
        return made

    async def test_pages_follow_one_another_without_gap_or_overlap(
        self, administration: Administration, ids: list[str]
    ) -> None:
        page = await administration.identities(None, Search(limit=3))
        pages = [page]
        while page.cursor is not None:
            page = await administration.identities(None, Search(limit=3, cursor=page.cursor))
            pages.append(page)

        assert [3, 3, 1] == [len(page.identities) for page in pages]
        assert ids == [each.id for page in pages for each in page.identities]

    async def test_a_full_last_page_has_no_cursor(self, administration: Administration, ids: list[str]) -> None:
        page = await administration.identities(None, Search(limit=len(ids)))

        assert (len(ids), None) == (len(page.identities), page.cursor)

    async def test_times_bound_it(self, administration: Administration, ids: list[str], clock: FakeClock) -> None:
        search = Search(created_after=clock.now - 4000, created_before=clock.now - 1000)

        assert ids[2:5] == [each.id for each in (await administration.identities(None, search)).identities]

    @pytest.mark.usefixtures("ids")
    async def test_a_custom_id_finds_its_identity(self, service: Service, administration: Administration) -> None:
        ann, _, _ = await service.create_identity(Caller(DEVELOPMENT_RESOURCE), TokenRequest(), "ann")

        found = await administration.identities(None, Search(custom_id="ann"))
        nobody = await administration.identities(None, Search(custom_id="bob"))

        assert ([ann.id], []) == ([each.id for each in found.identities], list(nobody.identities))

    async def test_deleted_ones_and_those_of_others_are_not_listed(
        self, service: Service, administration: Administration, ids: list[str]
    ) -> None:
        other, _ = await administration.add_resource("two")
        await service.create_identity(Caller(other), TokenRequest())
        await service.delete_identity(Caller(DEVELOPMENT_RESOURCE), ids[0])

        assert ids[1:] == [each.id for each in (await administration.identities(None, Search())).identities]
        assert 1 == len((await administration.identities("two", Search())).identities)

    @pytest.mark.parametrize("search", [Search(limit=0), Search(limit=1001), Search(cursor="x"), Search(cursor="é")])
    async def test_what_is_no_page_is_refused(self, administration: Administration, search: Search) -> None:
        with pytest.raises(InvalidRequest):
            await administration.identities(None, search)
