"""The admin listener's own routes: probes, and the JSON API that the command line speaks."""

import msgspec

from mintmark.service import Caller, Service
from mintmark.web.answer import Answer
from mintmark.web.call import Call
from mintmark.web.wire import read_create, read_introspect, write_created

_PLAIN = b"text/plain; charset=utf-8"
_NOT_KEPT = ((b"cache-control", b"no-store"),)


async def live(_service: Service, _call: Call) -> Answer:
    """`GET /_mintmark/live`: the process answers."""
    return Answer(200, b"live\n", _PLAIN, _NOT_KEPT)


async def ready(service: Service, _call: Call) -> Answer:
    """`GET /_mintmark/ready`: 200 when requests will succeed, 503 when they will not."""
    if await service.store.is_ready():
        return Answer(200, b"ready\n", _PLAIN, _NOT_KEPT)
    return Answer(503, b"not ready: the store does not answer\n", _PLAIN, _NOT_KEPT)


async def create_identity(service: Service, call: Call) -> Answer:
    """`POST /_mintmark/identities`: as Create of the newest api-version, for the default resource, by no access key."""
    asked = read_create(await call.body(), call.headers.get(b"content-type", b""))
    caller = Caller(service.default_resource)
    return Answer(201, write_created(*await service.create_identity(caller, asked.scopes, asked.minutes)))


async def introspect(service: Service, call: Call) -> Answer:
    """`POST /_mintmark/introspect`: whether the token in the body holds, and what it says."""
    token = read_introspect(await call.body(), call.headers.get(b"content-type", b""))
    return Answer(200, msgspec.json.encode(service.introspect(token)), headers=_NOT_KEPT)
