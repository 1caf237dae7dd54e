"""The ACS Identity operations: read, ask, answer."""

from mintmark.service import Caller, Service
from mintmark.web.answer import Answer
from mintmark.web.call import Call
from mintmark.web.wire import ApiVersion, read_create, write_created


async def create(service: Service, caller: Caller, version: ApiVersion, call: Call, body: bytes) -> Answer:
    """`POST /identities`: an identity, and a token if scopes are asked for."""
    asked = read_create(body, call.headers.get(b"content-type", b""), version)
    identity, token = await service.create_identity(caller, asked.scopes, asked.minutes)
    return Answer(201, write_created(identity, token))
