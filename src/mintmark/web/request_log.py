"""One line for each request: for the person before the terminal of `mintmark dev`, or for the log of production."""

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

from mintmark.line_writer import LineWriter
from mintmark.model import parse_identity_id
from mintmark.settings import LogFormat
from mintmark.settings.files import Networks
from mintmark.sources import Sources
from mintmark.web.answer import Answer
from mintmark.web.call import Call

METHOD_WIDTH, TARGET_WIDTH = 7, 52
LONGEST_TARGET, LONGEST_NOTE = 200, 300  # characters


class TerminalLog:
    """Shows what developers want to see: the target as sent, and why a request was refused, in full."""

    def __init__(self, descriptor: int, sources: Sources, *, colour: bool) -> None:
        self._now = sources.now
        self._colour = colour
        self._lines = LineWriter(descriptor, lambda n: f"… {n} requests left out here: nobody read fast enough")
        self.close = self._lines.close

    def __call__(self, call: Call, answer: Answer, milliseconds: float) -> None:
        """Takes note of one request."""
        self._lines.write(self._line(call, answer, milliseconds))

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


class ProductionLog:
    """Shows what operators need, and nothing that a caller chose but the names of things that exist.

    A key or token that somebody sends in a wrong place, as a path or a scope, does not get into the log.
    """

    def __init__(self, descriptor: int, sources: Sources, form: LogFormat, proxies: Networks = ()) -> None:
        """Takes the networks of the proxies whose word on where a request came from is believed."""
        self._now = sources.now
        self._proxies = proxies
        self._write = _as_json if form == "json" else _as_text
        self._lines = LineWriter(descriptor, self._left_out)
        self.close = self._lines.close

    def __call__(self, call: Call, answer: Answer, milliseconds: float) -> None:
        """Takes note of one request."""
        fields = {
            "time": iso_time(self._now()),
            "level": "error" if answer.status >= 500 else "info",  # noqa: PLR2004  RFC 9110: the server's own failures
            "event": "request",
            "id": call.id,
            "client": client_address(call, self._proxies),
            "method": call.method if call.method.isalpha() else "",
            "route": call.route,
            "operation": call.operation,
            "apiVersion": call.api_version,
            "resource": call.resource_id,
            "identity": _identity_id(call) if call.resource_id else "",
            "status": answer.status,
            "milliseconds": round(milliseconds, 2),
            "reason": answer.safe_note,
        }
        self._lines.write(self._write({name: value for name, value in fields.items() if value != ""}))

    def _left_out(self, count: int) -> str:
        now = iso_time(self._now())
        return self._write({"time": now, "level": "warning", "event": "requests-left-out", "count": count})


def client_address(call: Call, proxies: Networks) -> str:
    """Where a request came from: the last address in X-Forwarded-For that is not a trusted proxy's own.

    The header counts only in what a trusted proxy hands on: everybody else could write into it what they like.
    """
    hops: list[str] = []
    for name, value in call.raw_headers:
        if name == b"x-forwarded-for":
            hops += [hop.strip() for hop in value.decode("latin-1").split(",")]
    client = call.client
    while hops and _is_in(client, proxies):
        client = hops.pop()
    address = _address(client)
    return "" if address is None else str(address)


def _is_in(text: str, networks: Networks) -> bool:
    address = _address(text)
    return address is not None and any(address in network for network in networks)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, read; None for anything else.

    Where one socket listens for both, the system writes IPv4 addresses as IPv6 ones (RFC 4291, section 2.5.5.2).
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _identity_id(call: Call) -> str:
    """The identity in the path, if it is one: what is not has no place in a log."""
    part = call.path.removeprefix("/identities/").partition("/")[0]
    return part if parse_identity_id(part) else ""


def iso_time(now: int) -> str:
    """A time in milliseconds as logs have it: ISO 8601, UTC."""
    return datetime.fromtimestamp(now / 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{now % 1000:03d}Z"


def _as_json(fields: dict[str, Any]) -> str:
    return msgspec.json.encode(fields).decode()


def _as_text(fields: dict[str, Any]) -> str:
    order: Sequence[str] = ("time", "level", "event")
    rest = " ".join(f"{name}={value}" for name, value in fields.items() if name not in order)
    return f"{fields['time']} {fields['level'].upper():7} {fields['event']} {rest}"


def printable(text: str, longest: int) -> str:
    """Text that cannot steer a terminal or break the line, cut at `longest` characters."""
    return "".join(character if character.isprintable() else "�" for character in text[:longest])
