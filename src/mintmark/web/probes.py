"""Probes: whether the process answers, whether the server has started, and whether requests will succeed."""

from collections.abc import Callable

from mintmark.errors import StoreUnavailable
from mintmark.service import Service
from mintmark.web.answer import NOT_KEPT, Answer
from mintmark.web.call import Call

_PLAIN = b"text/plain; charset=utf-8"


class Probes:
    """Handlers; `has_started` tells whether every worker has answered requests."""

    def __init__(self, has_started: Callable[[], bool]) -> None:
        self._has_started = has_started

    async def live(self, _service: Service, _call: Call) -> Answer:
        """`GET /_mintmark/live`: the process answers."""
        return _answer("live")

    async def startup(self, _service: Service, _call: Call) -> Answer:
        """`GET /_mintmark/startup`: 200 when every worker serves, 503 until then."""
        return _answer("started") if self._has_started() else _answer("starting: not every worker serves yet", 503)

    async def ready(self, service: Service, _call: Call) -> Answer:
        """`GET /_mintmark/ready`: 200 when requests will succeed, 503 when they will not."""
        try:
            await service.directory()
        except StoreUnavailable as error:
            return _answer(f"not ready: the keys cannot be read: {error}", 503)
        if not await service.store.is_ready():
            return _answer("not ready: the store does not answer", 503)
        return _answer("ready")


def _answer(text: str, status: int = 200) -> Answer:
    return Answer(status, f"{text}\n".encode(), _PLAIN, NOT_KEPT)
