"""The ACS Identity operations: read, ask, answer."""

from mintmark.service import Caller, Service
from mintmark.web.answer import Answer
from mintmark.web.call import Call
from mintmark.web.wire import ApiVersion, read_create, read_issue, write_created, write_identity, write_token

_CONTENT_TYPE = b"content-type"


async def create(service: Service, caller: Caller, version: ApiVersion, call: Call, body: bytes) -> Answer:
    """`POST /identities`: an identity, and a token if scopes are asked for."""
    asked = read_create(body, call.headers.get(_CONTENT_TYPE, b""), version)
    identity, token, is_new = await service.create_identity(caller, asked.token, asked.custom_id)
    return Answer(201 if is_new else 200, write_created(identity, token))


async def get(service: Service, caller: Caller, _version: ApiVersion, call: Call, _body: bytes) -> Answer:
    """`GET /identities/{id}`: its custom id, and when a token was last issued."""
    return Answer(200, write_identity(await service.identity(caller, call.identity_id)))


async def delete(service: Service, caller: Caller, _version: ApiVersion, call: Call, _body: bytes) -> Answer:
    """`DELETE /identities/{id}`: ends it and its tokens."""
    await service.delete_identity(caller, call.identity_id)
    return Answer(204)


async def issue(service: Service, caller: Caller, version: ApiVersion, call: Call, body: bytes) -> Answer:
    """`POST /identities/{id}/:issueAccessToken`: a token."""
    asked = read_issue(body, call.headers.get(_CONTENT_TYPE, b""), version)
    return Answer(200, write_token(await service.issue_token(caller, call.identity_id, asked)))


async def revoke(service: Service, caller: Caller, _version: ApiVersion, call: Call, _body: bytes) -> Answer:
    """`POST /identities/{id}/:revokeAccessTokens`: ends every token issued so far."""
    await service.revoke_tokens(caller, call.identity_id)
    return Answer(204)
