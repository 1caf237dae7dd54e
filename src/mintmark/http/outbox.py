"""Where answers wait for those that are ready in the same turn of the event loop, to leave right after one another."""

import asyncio
import logging

_log = logging.getLogger(__name__)


class Outbox:
    """That of one worker.

    An answer that leaves by itself wakes whoever waits for it, a client or a proxy, and on a busy machine that takes
    the processor from us. Answers that leave together wake it once (docs/decisions/0013).

    What is begun after an answer was taken comes after it: the loop keeps the order. Whoever writes to a connection or
    closes it at any other time calls `flush` first.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._call_soon = loop.call_soon
        self._waiting: list[tuple[asyncio.Transport, bytes]] = []

    def write(self, transport: asyncio.Transport, answer: bytes) -> None:
        """Takes an answer, to be written in the next turn of the loop."""
        if not self._waiting:
            self._call_soon(self.flush)
        self._waiting.append((transport, answer))

    def flush(self) -> None:
        """Writes what waits, in the order in which it came; nothing where the client has gone.

        A transport that fails, as one does that is closed or was told that nothing follows, costs no other its answer.
        """
        waiting, self._waiting = self._waiting, []
        for transport, answer in waiting:
            if not transport.is_closing():
                try:
                    transport.write(answer)
                except Exception:  # noqa: BLE001  whatever it is, others must not lose their answers
                    _log.exception("An answer could not be sent.")
                    transport.abort()
