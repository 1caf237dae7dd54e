"""In which order requests that were begun together are worked on and answered."""

import asyncio

import pytest

from builders import FakeClock, counted_sources
from mintmark.web.answer import Answer
from mintmark.web.call import Call
from mintmark.web.endpoint import Edge, Endpoint
from web.asgi_client import call

pytestmark = pytest.mark.anyio


async def test_requests_begun_together_are_all_worked_on_before_the_first_is_answered() -> None:
    events: list[str] = []

    async def work(_: Call) -> Answer:
        events.append("worked")
        return Answer(200)

    endpoint = Endpoint(Edge(counted_sources(FakeClock()), [lambda *_: events.append("answered")]), {"GET": work})

    replies = await asyncio.gather(*(call(endpoint, "GET", "/") for _ in range(3)))

    assert [reply.status for reply in replies] == [200] * 3
    assert events == ["worked"] * 3 + ["answered"] * 3
