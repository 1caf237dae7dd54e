"""How the product's own log is written: what went wrong, for people or for programs that collect logs."""

import logging
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec

from mintmark.line_writer import WriterThread
from mintmark.settings import LogFormat

STANDARD_ERROR = 2


def write_logs(form: LogFormat, *, bare: bool = False, quiet: bool = False) -> None:
    """Has everything logged by this process written to standard error.

    Args:
        form: `text` for people, `json` for programs: one object a line.
        bare: of text only the message, for the person before the terminal.
        quiet: only errors of ours.
    """
    handler = logging.StreamHandler()
    line = "%(message)s" if bare else "%(asctime)s.%(msecs)03dZ %(levelname)-7s %(message)s"
    text = logging.Formatter(line, "%Y-%m-%dT%H:%M:%S")
    text.converter = time.gmtime
    handler.setFormatter(JsonFormatter() if form == "json" else text)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    logging.getLogger("mintmark").setLevel(logging.ERROR if quiet else logging.INFO)
    # Its warnings are of clients that speak no HTTP: answered, not ours.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)


@contextmanager
def logging_aside() -> Iterator[None]:
    """Has everything logged by this process written by a thread, in the same form: nobody needs to read it.

    For workers, which must go on serving; it is to be called after the fork. What is logged when this has ended, about
    what ended it, is waited for: each record for `LAST_WORDS` at most.
    """
    root = logging.getLogger()
    handler = _Aside(root.handlers[0].formatter if root.handlers else None)
    root.handlers[:] = [handler]
    try:
        yield
    finally:
        handler.wait_from_now_on()


class _Aside(logging.Handler):
    """Leaves the writing to a thread, and records out when too many wait for it."""

    def __init__(self, formatter: logging.Formatter | None) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._is_waiting = False
        self._thread = WriterThread(STANDARD_ERROR, self._left_out)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception:  # noqa: BLE001  a wrong call of the log must not fail what is logged
            self.handleError(record)
            return
        self._thread.write([line])
        if self._is_waiting:
            self._thread.drain()

    def wait_from_now_on(self) -> None:
        self._is_waiting = True
        self._thread.drain()

    def _left_out(self, count: int) -> str:
        message = f"{count} messages are left out here: nobody read fast enough."
        return self.format(logging.LogRecord(__name__, logging.WARNING, "", 0, message, None, None))


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        moment = datetime.fromtimestamp(record.created, tz=UTC).isoformat(timespec="milliseconds")
        fields = {
            "time": moment.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "event": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = "".join(traceback.format_exception(*record.exc_info))
        return msgspec.json.encode(fields).decode()
