"""Each HTTP request in the docs, byte for byte, gets the answer that stands below it."""

from pathlib import Path

import pytest
from starlette.routing import Router

from builders import as_header_list
from docs.examples import is_left_alone, matches
from docs.markdown import PAGES, Block, blocks
from mintmark.development import Endpoints
from mintmark.service import Service
from mintmark.settings import Settings
from mintmark.sources import Sources
from mintmark.web import build_admin_app, build_public_app
from mintmark.web.start_page import StartPage
from web.asgi_client import call

pytestmark = pytest.mark.anyio

MESSAGES = [block for page in PAGES for block in blocks(page) if block.language == "http" and not is_left_alone(block)]
EXCHANGES = list(zip(MESSAGES[::2], MESSAGES[1::2], strict=True))
HOST, ADMIN_HOST = "localhost:12080", "localhost:12090"


@pytest.fixture
async def apps(service: Service, sources: Sources) -> dict[str, Router]:
    page = StartPage(Endpoints("", "", ""), {}, Settings(), Path())
    return {
        HOST: build_public_app(service, sources, cors=True, log=None),
        ADMIN_HOST: build_admin_app(service, sources, page, frozenset({"localhost"}), None),
    }


def test_requests_and_answers_alternate() -> None:
    assert EXCHANGES
    assert all(answer.text.startswith("HTTP/1.1 ") for _, answer in EXCHANGES)


@pytest.mark.parametrize(("request_block", "answer_block"), EXCHANGES, ids=[block.place for block, _ in EXCHANGES])
async def test_a_request_gets_the_answer_below_it(
    request_block: Block, answer_block: Block, apps: dict[str, Router]
) -> None:
    method, target, headers, body = parse(request_block.text)
    app = apps[dict(headers)["Host"]]

    reply = await call(app, method, target, as_header_list(headers), body)

    reason = answer_block.text.splitlines()[0].split(" ", 2)[2]  # Of uvicorn's making, not of the application's.
    printed = "\n".join(
        (
            f"HTTP/1.1 {reply.status} {reason}",
            *(f"{name.decode()}: {value.decode()}" for name, value in reply.header_list),
            "",
            reply.body.decode(),
        )
    )
    assert matches(answer_block.text, printed), f"{answer_block.place}: there came\n{printed}"


def parse(text: str) -> tuple[str, str, list[tuple[str, str]], bytes]:
    """Method, target, headers and body of a request as a page shows it."""
    head, _, body = text.partition("\n\n")
    first, *lines = head.splitlines()
    method, target, _ = first.split(" ")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    return method, target, headers, body.strip("\n").encode()
