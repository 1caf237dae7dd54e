"""What is logged of a request that fails where nobody foresaw it, or that is cut off."""

import asyncio
import logging
import re
from typing import Any

import pytest

from mintmark.sources import Sources
from mintmark.web.answer import Answer
from mintmark.web.call import Call
from mintmark.web.endpoint import Edge, Endpoint

pytestmark = pytest.mark.anyio

SECRET = "what-somebody-sent-in-a-wrong-place"
SCOPE = {
    "method": "GET",
    "path": f"/x/{SECRET}",
    "raw_path": f"/x/{SECRET}".encode(),
    "query_string": SECRET.encode(),
    "headers": [(b"x-secret", SECRET.encode())],
    "path_params": {"id": SECRET},
}


async def fail(_call: Call) -> Answer:
    raise ZeroDivisionError


async def hang(_call: Call) -> Answer:
    await asyncio.Event().wait()
    raise AssertionError


async def never() -> Any:
    raise AssertionError


@pytest.mark.parametrize("handler", [fail, hang])
async def test_its_line_has_its_correlation_vector_and_nothing_that_its_caller_chose(
    sources: Sources, caplog: pytest.LogCaptureFixture, handler: Any
) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    endpoint = Endpoint(Edge(sources, []), {"GET": handler}, "/x/{id}")
    with caplog.at_level(logging.INFO):
        answering = asyncio.ensure_future(endpoint(dict(SCOPE), never, send))
        await asyncio.sleep(0)
        answering.cancel()
        await answering

    assert [b"500"] == [b"%d" % each["status"] for each in sent if "status" in each] or handler is hang
    assert re.search(r"Request [A-Za-z0-9+/]{22}\.0 ", caplog.text)
    assert SECRET not in caplog.text
