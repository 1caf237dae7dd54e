"""One readable line for each request, for the person before the terminal of `mintmark dev`."""

import asyncio
import os
import queue
import select
import threading
from datetime import UTC, datetime

import click

from mintmark.sources import Sources
from mintmark.web.answer import Answer
from mintmark.web.call import Call

METHOD_WIDTH, TARGET_WIDTH = 7, 52
LONGEST_TARGET, LONGEST_NOTE = 200, 300  # characters
BACKLOG = 1000  # pieces of text that may wait for a reader; what comes then is left out, and said to be
LAST_WORDS = 0.5  # seconds that a reader has for what is left when the server stops


class TerminalLog:
    """Writes lines to a file descriptor, those of one turn of the event loop together.

    In a thread of its own: a terminal that was stopped, or a pipe that nobody reads, must not stop the server.
    """

    def __init__(self, descriptor: int, sources: Sources, *, colour: bool) -> None:
        self._descriptor = descriptor
        self._now = sources.now
        self._colour = colour
        self._lines: list[str] = []
        self._left_out = 0
        self._texts: queue.Queue[bytes | None] = queue.Queue(BACKLOG)
        self._writer = threading.Thread(target=self._write_all, name="mintmark-log", daemon=True)
        self._writer.start()

    def __call__(self, call: Call, answer: Answer, milliseconds: float) -> None:
        """Takes note of one request."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._hand_over)
        self._lines.append(self._line(call, answer, milliseconds))

    def close(self) -> None:
        """Waits a moment for what was noted to be written."""
        try:
            self._texts.put_nowait(None)
        except queue.Full:
            return
        self._writer.join(LAST_WORDS)

    def _line(self, call: Call, answer: Answer, milliseconds: float) -> str:
        time = datetime.fromtimestamp(self._now() / 1000, tz=UTC).astimezone().strftime("%H:%M:%S")
        target = printable(call.target.decode("latin-1"), LONGEST_TARGET)
        status = str(answer.status)
        note = printable(answer.note, LONGEST_NOTE)
        if self._colour:
            status = click.style(status, fg="green" if answer.status < 400 else "red")  # noqa: PLR2004  RFC 9110: 4xx on are errors
            time, note = click.style(time, dim=True), click.style(note, fg="yellow")
        line = f"{time}  {call.method:{METHOD_WIDTH}} {target:{TARGET_WIDTH}} {status} {milliseconds:7.1f} ms  {note}"
        return line.rstrip()

    def _hand_over(self) -> None:
        lines, self._lines = self._lines, []
        if self._left_out:
            lines.insert(0, f"… {self._left_out} requests left out here: nobody read fast enough")
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


def printable(text: str, longest: int) -> str:
    """Text that cannot steer a terminal or break the line, cut at `longest` characters."""
    return "".join(character if character.isprintable() else "�" for character in text[:longest])
