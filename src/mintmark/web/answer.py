"""What a handler answers: status, body and headers, not yet sent."""

import msgspec
from msgspec import Struct

JSON = b"application/json; charset=utf-8"
HTML = b"text/html; charset=utf-8"
NOT_KEPT = ((b"cache-control", b"no-store"),)


class Answer(Struct, frozen=True):
    """An HTTP answer.

    Attributes:
        status: its status code.
        body: its bytes; none for no body.
        content_type: of the body; none goes without.
        headers: what else it says.
        note: for the developer's request log, such as why something was refused.
        safe_note: the same for the log of production: without anything that the caller sent.
    """

    status: int
    body: bytes = b""
    content_type: bytes = JSON
    headers: tuple[tuple[bytes, bytes], ...] = ()
    note: str = ""
    safe_note: str = ""


def json_answer(value: object, status: int = 200) -> Answer:
    """An answer of the admin API, which nobody may keep."""
    return Answer(status, msgspec.json.encode(value), headers=NOT_KEPT)
