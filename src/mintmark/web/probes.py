"""Probes: whether the process answers, and whether requests will succeed."""

from mintmark.service import Service
from mintmark.web.answer import NOT_KEPT, Answer
from mintmark.web.call import Call

_PLAIN = b"text/plain; charset=utf-8"


async def live(_service: Service, _call: Call) -> Answer:
    """`GET /_mintmark/live`: the process answers."""
    return Answer(200, b"live\n", _PLAIN, NOT_KEPT)


async def ready(service: Service, _call: Call) -> Answer:
    """`GET /_mintmark/ready`: 200 when requests will succeed, 503 when they will not."""
    if await service.store.is_ready():
        return Answer(200, b"ready\n", _PLAIN, NOT_KEPT)
    return Answer(503, b"not ready: the store does not answer\n", _PLAIN, NOT_KEPT)
