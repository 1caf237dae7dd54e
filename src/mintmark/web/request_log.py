"""One readable line for each request, for the person before the terminal of `mintmark dev`."""

import asyncio
import os
from datetime import UTC, datetime

import click

from mintmark.sources import Sources
from mintmark.web.answer import Answer
from mintmark.web.call import Call

METHOD_WIDTH, TARGET_WIDTH = 7, 52
LONGEST_TARGET = 200
LONGEST_NOTE = 300


class TerminalLog:
    """Writes lines to a file descriptor, those of one turn of the event loop together."""

    def __init__(self, descriptor: int, sources: Sources, *, colour: bool) -> None:
        self._descriptor = descriptor
        self._now = sources.now
        self._colour = colour
        self._lines: list[str] = []

    def __call__(self, call: Call, answer: Answer, milliseconds: float) -> None:
        """Takes note of one request."""
        if not self._lines:
            asyncio.get_running_loop().call_soon(self._flush)
        self._lines.append(self._line(call, answer, milliseconds))

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

    def _flush(self) -> None:
        lines, self._lines = self._lines, []
        try:
            os.write(self._descriptor, ("\n".join(lines) + "\n").encode())
        except OSError:
            self._descriptor = os.open(
                os.devnull, os.O_WRONLY
            )  # Nobody reads any more: the service matters, not the log.


def printable(text: str, longest: int) -> str:
    """Text that cannot steer a terminal or break the line, cut at `longest` characters."""
    return "".join(character if character.isprintable() else "�" for character in text[:longest])
