"""Each HTTP request in the docs, byte for byte, gets the answer that stands below it.

Each is asked of a new server at noon, which knows the resource `shop` and the identity `alice`, with that custom id and
a token, beside what every server has.
"""

from pathlib import Path

import msgspec
import pytest

from builders import NOON, an_identity, as_header_list
from docs.examples import is_left_alone, matches
from docs.markdown import PAGES, Block, blocks
from mintmark.service import Service
from mintmark.shared import SharedWords
from mintmark.sources import Sources
from mintmark.web import Application, build_public_app
from mintmark.web.endpoint import Cors
from web.apps import an_admin_app, an_administration
from web.asgi_client import call

pytestmark = pytest.mark.anyio

MESSAGES = [block for page in PAGES for block in blocks(page) if block.language == "http" and not is_left_alone(block)]
EXCHANGES = list(zip(MESSAGES[::2], MESSAGES[1::2], strict=True))
HOST, ADMIN_HOST = "localhost:12080", "localhost:12090"
ALICE = msgspec.structs.replace(an_identity(1), custom_id="alice", last_issued_at=NOON)
SHOP_ID = "0000054a-0000-4000-8000-000000005409"


@pytest.fixture
async def apps(service: Service, sources: Sources, words: SharedWords, tmp_path: Path) -> dict[str, Application]:
    await service.store.create_or_get_identity(ALICE)
    await an_administration(service, sources, words).add_resource("shop", "eu", ["shop.test"], SHOP_ID)
    return {
        HOST: build_public_app(service, sources, cors=Cors(any=True)),
        ADMIN_HOST: an_admin_app(service, sources, words, tmp_path),
    }


def test_requests_and_answers_alternate() -> None:
    assert EXCHANGES
    assert all(answer.text.startswith("HTTP/1.1 ") for _, answer in EXCHANGES)


@pytest.mark.parametrize(("request_block", "answer_block"), EXCHANGES, ids=[block.place for block, _ in EXCHANGES])
async def test_a_request_gets_the_answer_below_it(
    request_block: Block, answer_block: Block, apps: dict[str, Application]
) -> None:
    method, target, headers, body = parse(request_block.text)
    app = apps[dict(headers)["Host"]]

    reply = await call(app, method, target, as_header_list(headers), body)

    reason = answer_block.text.splitlines()[0].split(" ", 2)[2]  # Of uvicorn's making, not of the application's.
    head = (
        f"HTTP/1.1 {reply.status} {reason}",
        *(f"{name.decode()}: {value.decode()}" for name, value in reply.header_list),
    )
    printed = "\n".join((*head, "", reply.body.decode()))
    assert matches(answer_block.text, printed), f"{answer_block.place}: there came\n{printed}"


def parse(text: str) -> tuple[str, str, list[tuple[str, str]], bytes]:
    """Method, target, headers and body of a request as a page shows it."""
    head, _, body = text.partition("\n\n")
    first, *lines = head.splitlines()
    method, target, _ = first.split(" ")
    headers = [(name, value) for name, _, value in (line.partition(": ") for line in lines)]
    return method, target, headers, body.strip("\n").encode()
