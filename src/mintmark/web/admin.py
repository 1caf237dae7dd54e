"""The admin listener's JSON API, which the command line speaks: identities, tokens, resources, access keys."""

import base64
from typing import Any, TypeVar, get_args
from urllib.parse import parse_qsl

from msgspec import Struct

from mintmark.administration import Administration, Search
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.errors import IdentityNotFound, InvalidRequest, RouteNotFound
from mintmark.model import AccessKey, Identity, KeySlot, Resource, parse_identity_id
from mintmark.service import Caller, Service, malformed_id
from mintmark.web.answer import NOT_KEPT, Answer, json_answer
from mintmark.web.call import Call
from mintmark.web.wire import (
    VERSIONS,
    moment,
    read_create,
    read_introspect,
    read_issue,
    read_typed,
    shorten,
    write_created,
    write_token,
)

# What the API can do with an identity is what the version with the most can.
_VERSION = VERSIONS["2025-03-02-preview"]


_Default = TypeVar("_Default", int, None)


class NewResource(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The body of `POST /_mintmark/resources`; see `Administration.add_resource`."""

    name: str
    region: str = "local"
    hosts: tuple[str, ...] = ()
    id: str | None = None


class AdminApi:
    """Handlers over the two services; `endpoint` is the public HTTPS address, for connection strings."""

    def __init__(self, administration: Administration, endpoint: str, *, development: bool) -> None:
        """Without `development` nobody makes the development resource, whose keys are published."""
        self._administration = administration
        self._endpoint = endpoint
        self._development = development

    async def create_identity(self, service: Service, call: Call) -> Answer:
        """`POST /_mintmark/identities?resource=`: as Create, by no access key."""
        body = await call.body()
        asked = read_create(body, _content_type(call), _VERSION)
        caller = Caller(await service.resource(_query(call, "resource").get("resource")))
        identity, token, is_new = await service.create_identity(caller, asked.token, asked.custom_id)
        return Answer(201 if is_new else 200, write_created(identity, token), headers=NOT_KEPT)

    async def list_identities(self, _service: Service, call: Call) -> Answer:
        """`GET /_mintmark/identities`: a page of them, chosen by the query (see `Search`)."""
        query = _query(call, "resource", "limit", "cursor", "customId", "createdAfter", "createdBefore")
        search = Search(
            limit=_number(query, "limit", 100),
            cursor=query.get("cursor"),
            custom_id=query.get("customId"),
            created_after=_number(query, "createdAfter", None),
            created_before=_number(query, "createdBefore", None),
        )
        page = await self._administration.identities(query.get("resource"), search)
        return json_answer({"identities": [_identity(each) for each in page.identities], "cursor": page.cursor})

    async def show_identity(self, service: Service, call: Call) -> Answer:
        """`GET /_mintmark/identities/{id}`: all that is known of it."""
        return json_answer(_identity(await service.identity(await _owner(service, call), call.identity_id)))

    async def delete_identity(self, service: Service, call: Call) -> Answer:
        """`DELETE /_mintmark/identities/{id}`: ends it and its tokens."""
        await service.delete_identity(await _owner(service, call), call.identity_id)
        return Answer(204)

    async def issue_token(self, service: Service, call: Call) -> Answer:
        """`POST /_mintmark/identities/{id}/:issueAccessToken`: a token, by no access key."""
        asked = read_issue(await call.body(), _content_type(call), _VERSION)
        token = await service.issue_token(await _owner(service, call), call.identity_id, asked)
        return Answer(200, write_token(token), headers=NOT_KEPT)

    async def revoke_tokens(self, service: Service, call: Call) -> Answer:
        """`POST /_mintmark/identities/{id}/:revokeAccessTokens`: ends every token issued so far."""
        await service.revoke_tokens(await _owner(service, call), call.identity_id)
        return Answer(204)

    async def introspect(self, service: Service, call: Call) -> Answer:
        """`POST /_mintmark/introspect`: whether the token in the body lives, if not why, and what it says."""
        token = read_introspect(await call.body(), _content_type(call))
        return json_answer(await service.introspect(token))

    async def list_resources(self, _service: Service, _call: Call) -> Answer:
        """`GET /_mintmark/resources`: all of them, the oldest first."""
        return json_answer({"resources": [_resource(each) for each in await self._administration.resources()]})

    async def add_resource(self, _service: Service, call: Call) -> Answer:
        """`POST /_mintmark/resources`: a new one, with its access keys."""
        asked = read_typed(await call.body(), _content_type(call), NewResource)
        is_its_name, is_its_id = asked.name == DEVELOPMENT_RESOURCE.name, asked.id == DEVELOPMENT_RESOURCE.id
        if is_its_id and not self._development:
            raise InvalidRequest(f"id {asked.id} belongs to the development resource.", "id")
        if is_its_name and not is_its_id and self._development:
            raise InvalidRequest(f"name {asked.name} belongs to the development resource.", "name")
        resource, keys = await self._administration.add_resource(asked.name, asked.region, asked.hosts, asked.id)
        shown = {**_resource(resource), "accessKeys": [self._access_key(each, resource) for each in keys]}
        return json_answer(shown, 201)

    async def show_resource(self, service: Service, call: Call) -> Answer:
        """`GET /_mintmark/resources/{id}`: the one with that id or name."""
        return json_answer(_resource(await service.resource(call.path_parameter("id"))))

    async def remove_resource(self, _service: Service, call: Call) -> Answer:
        """`DELETE /_mintmark/resources/{id}`: ends it with its identities and their tokens."""
        await self._administration.remove_resource(call.path_parameter("id"))
        return Answer(204)

    async def list_access_keys(self, service: Service, call: Call) -> Answer:
        """`GET /_mintmark/resources/{id}/access-keys`: both, with connection strings."""
        resource = await service.resource(call.path_parameter("id"))
        keys = await self._administration.access_keys(resource.id)
        return json_answer({"accessKeys": [self._access_key(each, resource) for each in keys]})

    async def regenerate_access_key(self, service: Service, call: Call) -> Answer:
        """`POST /_mintmark/resources/{id}/access-keys/{slot}/:regenerate`: a new key in that slot."""
        resource = await service.resource(call.path_parameter("id"))
        slot = next((each for each in get_args(KeySlot) if each == call.path_parameter("slot")), None)
        if slot is None:
            raise RouteNotFound("An access key is primary or secondary.")
        return json_answer(
            self._access_key(await self._administration.regenerate_access_key(resource.id, slot), resource)
        )

    def _access_key(self, key: AccessKey, resource: Resource) -> dict[str, Any]:
        text = base64.b64encode(key.secret).decode()
        return {
            "resource": resource.id,
            "slot": key.slot,
            "generation": key.generation,
            "key": text,
            "connectionString": f"endpoint={self._endpoint}/;accesskey={text}",
        }


async def _owner(service: Service, call: Call) -> Caller:
    """Whoever runs the server may act for the resource that the identity's id names."""
    parsed = parse_identity_id(call.identity_id)
    if parsed is None:
        raise malformed_id(call.identity_id)
    resource = (await service.directory()).resources.get(parsed[0])
    if resource is None:
        raise IdentityNotFound
    return Caller(resource)


def _identity(identity: Identity) -> dict[str, Any]:
    issued_at = identity.last_issued_at
    return {
        "id": identity.id,
        "customId": identity.custom_id,
        "createdAt": moment(identity.created_at),
        "lastTokenIssuedAt": None if issued_at is None else moment(issued_at),
        "generation": identity.generation,
    }


def _resource(resource: Resource) -> dict[str, Any]:
    return {"id": resource.id, "name": resource.name, "region": resource.region, "hosts": resource.hosts}


def _content_type(call: Call) -> bytes:
    content_type: bytes = call.headers.get(b"content-type", b"")
    return content_type


def _query(call: Call, *known: str) -> dict[str, str]:
    """The query's parameters; one that is empty, doubled or unknown is refused: it would mean more than was meant."""
    pairs = parse_qsl(call.query.decode("latin-1"), keep_blank_values=True)
    for number, (name, value) in enumerate(pairs):
        if name not in known:
            raise InvalidRequest(f"There is no parameter {shorten(name)}; there are: {', '.join(known)}.")
        if not value or name in dict(pairs[:number]):
            raise InvalidRequest(f"{name} must be given once and not be empty.", name)
    return dict(pairs)


def _number(query: dict[str, str], name: str, default: _Default) -> int | _Default:
    text = query.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 16:  # noqa: PLR2004  enough for milliseconds
        raise InvalidRequest(f"{name} must be a whole number.", name)
    return int(text)
