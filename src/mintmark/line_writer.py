"""Writes lines to a file descriptor without ever waiting for whoever reads them."""

import asyncio
import os
import queue
import select
import threading
from collections.abc import Callable

BACKLOG = 1000  # pieces of text that may wait for a reader; what comes then is left out, and said to be
LAST_WORDS = 0.5  # seconds that a reader has for what is left when the server stops


class LineWriter:
    """Writes the lines of one turn of the event loop together.

    In a thread of its own: a terminal that was stopped, or a pipe that nobody reads, must not stop the server.
    """

    def __init__(self, descriptor: int, left_out: Callable[[int], str]) -> None:
        """`left_out` makes the line that says how many lines are missing."""
        self._descriptor = descriptor
        self._say_left_out = left_out
        self._lines: list[str] = []
        self._left_out = 0
        self._texts: queue.Queue[bytes | None] = queue.Queue(BACKLOG)
        self._writer = threading.Thread(target=self._write_all, name="mintmark-log", daemon=True)
        self._writer.start()

    def write(self, line: str) -> None:
        """Takes a line, without its end."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._lines.append(line)

    def close(self) -> None:
        """Waits a moment for what was taken to be written."""
        try:
            self._texts.put_nowait(None)
        except queue.Full:
            return
        self._writer.join(LAST_WORDS)

    def _hand_over(self) -> None:
        lines, self._lines = self._lines, []
        if self._left_out:
            lines.insert(0, self._say_left_out(self._left_out))
        try:
            self._texts.put_nowait(("\n".join(lines) + "\n").encode())
        except queue.Full:
            self._left_out += len(lines) - bool(self._left_out)
        else:
            self._left_out = 0

    def _write_all(self) -> None:
        while (text := self._texts.get()) is not None:
            while text:
                try:
                    text = text[os.write(self._descriptor, text) :]
                except BlockingIOError:
                    select.select([], [self._descriptor], [])
                except OSError:
                    break  # Nobody reads any more: the service matters, not the log.
