"""How the product's own log is written: what went wrong, for people or for programs that collect logs."""

import logging
import time
import traceback
from datetime import UTC, datetime

import msgspec

from mintmark.settings import LogFormat


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
