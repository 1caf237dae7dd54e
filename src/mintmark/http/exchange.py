"""One request and its answer: as uvicorn has it, but an answer that is whole goes out in one piece."""

from collections.abc import Sequence
from typing import cast

from uvicorn._types import ASGIReceiveEvent, ASGISendEvent, HTTPRequestEvent, HTTPResponseStartEvent
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, RequestResponseCycle

from mintmark.http.outbox import Outbox

_WITHOUT_BODY = (204, 304)  # RFC 9110, section 6.4.1
_FIELD = b": ".join  # of a name and a value


class Exchange(RequestResponseCycle):
    """Head and body of an answer in one system call, and so mostly in one packet.

    A request or an answer in several parts goes uvicorn's way.

    Attributes:
        outbox: through which the answer leaves; given by the connection.
    """

    outbox: Outbox
    _head: HTTPResponseStartEvent | None = None  # kept until the body is there

    async def receive(self) -> ASGIReceiveEvent:
        """The request's body, and when that was taken the news that the client has gone."""
        if self.disconnected or self.response_complete:  # First: uvicorn would ask a refused client to go on.
            return {"type": "http.disconnect"}
        if not self.message_event.is_set() or self.more_body or self.waiting_for_100_continue:
            return await super().receive()
        self.message_event.clear()
        body, self.body = bytes(self.body), bytearray()
        message: HTTPRequestEvent = {"type": "http.request", "body": body, "more_body": False}
        return message

    async def send(self, message: ASGISendEvent) -> None:
        """Keeps the head, and writes it with the body."""
        if message["type"] == "http.response.start" and self._head is None and not self.response_started:
            self._head = message
            return
        head, self._head = self._head, None
        if head is not None:
            is_whole = message["type"] == "http.response.body" and not message.get("more_body", False)
            body = cast("bytes", message.get("body", b""))
            if is_whole and self.answer(head["status"], list(head.get("headers", ())), body):
                return
            await super().send(head)
        await super().send(message)

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bool:
        """Sends all of it on its way; or nothing where it is not the usual, and says so.

        Raises:
            RuntimeError: a header has a line break in it.
        """
        length = None if status in _WITHOUT_BODY else b"%d" % len(body)
        said = dict(headers)
        is_head = self.scope["method"] == "HEAD"
        has_its_length = is_head or said.get(b"content-length") == length
        if not has_its_length or b"connection" in said or self.flow.write_paused or self.disconnected:
            return False
        lines = [STATUS_LINE[status][:-2], *map(_FIELD, (*self.default_headers, *headers))]
        if not self.keep_alive:
            lines.append(b"connection: close")
        text = b"\r\n".join(lines)
        if text.count(b"\n") != len(lines) - 1 or text.count(b"\r") != len(lines) - 1:
            raise RuntimeError("A header has a line break in it.")
        self.response_started, self.waiting_for_100_continue = True, False
        self.outbox.write(self.transport, b"%b\r\n\r\n%b" % (text, b"" if is_head else body))
        self.response_complete = True
        self.message_event.set()
        if not self.keep_alive:
            self.outbox.flush()
            self.transport.close()
        self.on_response()
        return True
