"""Writes lines to a file descriptor without ever waiting for whoever reads them."""

import asyncio
import os
import queue
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence

BACKLOG = 1000  # pieces of text that may wait for a reader; what comes then is left out, and said to be
LAST_WORDS = 0.5  # seconds that a reader has for what is left when the server stops


class WriterThread:
    """Writes in a thread of its own.

    A terminal that was stopped, or a pipe that nobody reads, must not stop the server.

    To be made after the fork. Its methods are for one caller at a time.
    """

    def __init__(self, descriptor: int, left_out: Callable[[int], str]) -> None:
        """`left_out` makes the line that says how many lines are missing."""
        self._descriptor = descriptor
        self._say_left_out = left_out
        self._left_out = 0
        # An event is set when all before it is written; None ends the thread.
        self._texts: queue.Queue[bytes | threading.Event | None] = queue.Queue(BACKLOG)
        self._thread = threading.Thread(target=self._write_all, name="mintmark-log", daemon=True)
        self._thread.start()

    def write(self, lines: Sequence[str]) -> None:
        """Takes lines, without their ends; leaves them out if too many are waiting."""
        said = [self._say_left_out(self._left_out)] if self._left_out else []
        try:
            # As Python's own standard error does with what cannot be encoded.
            self._texts.put_nowait(("\n".join([*said, *lines]) + "\n").encode(errors="backslashreplace"))
        except queue.Full:
            self._left_out += len(lines)
        else:
            self._left_out = 0

    def drain(self) -> None:
        """Waits for what was taken to be written, but only for a moment."""
        end, done = time.monotonic() + LAST_WORDS, threading.Event()
        try:
            self._texts.put(done, timeout=LAST_WORDS)
        except queue.Full:
            return
        done.wait(max(end - time.monotonic(), 0))

    def close(self) -> None:
        """Waits as `drain` does, and ends the thread."""
        if self._left_out:
            self.write(())
        self.drain()
        try:
            self._texts.put_nowait(None)
        except queue.Full:
            return

    def _write_all(self) -> None:
        while (text := self._texts.get()) is not None:
            if isinstance(text, threading.Event):
                text.set()
                continue
            try:
                for piece in pieces(text):
                    self._write(piece)
            except OSError:
                pass  # Nobody reads any more: the service matters, not the log.

    def _write(self, piece: bytes) -> None:
        while piece:
            try:
                piece = piece[os.write(self._descriptor, piece) :]
            except BlockingIOError:
                select.select([], [self._descriptor], [])


class LineWriter:
    """Writes the lines of one turn of the event loop together, in a thread."""

    def __init__(self, descriptor: int, left_out: Callable[[int], str]) -> None:
        """`left_out` makes the line that says how many lines are missing."""
        self._lines: list[str] = []
        self._thread = WriterThread(descriptor, left_out)

    def write(self, line: str) -> None:
        """Takes a line, without its end."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._lines.append(line)

    def close(self) -> None:
        """Waits a moment for what was taken to be written."""
        self._hand_over()
        self._thread.close()

    def _hand_over(self) -> None:
        lines, self._lines = self._lines, []
        if lines:
            self._thread.write(lines)


def pieces(text: bytes) -> Iterator[bytes]:
    """Whole lines, as many at once as a pipe takes without mixing them with what others write into it.

    That is PIPE_BUF bytes (POSIX, write()). A line that is longer comes alone.
    """
    begin = 0
    while begin < len(text):
        end = text.rfind(b"\n", begin, begin + select.PIPE_BUF) + 1 or text.find(b"\n", begin) + 1 or len(text)
        yield text[begin:end]
        begin = end
