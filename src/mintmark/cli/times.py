"""Lengths and points of time as people type them."""

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from mintmark.cli.client import AdminClient

_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|d)")


def milliseconds(text: str) -> int:
    """A length such as `23h`, `1h30m`, `90s` or `-5m`.

    Raises:
        click.BadParameter: it is not one.
    """
    unsigned = text.removeprefix("-")
    parts = _PART.findall(unsigned)
    if not parts or "".join(number + unit for number, unit in parts) != unsigned:
        raise click.BadParameter(f"'{text}' is no length of time such as 23h, 1h30m, 90s or -5m.")
    total = sum(float(number) * _UNITS[unit] for number, unit in parts)
    return round(-total if text.startswith("-") else total)


def point(text: str) -> int:
    """A time in ISO 8601, in milliseconds since 1970-01-01 00:00 UTC; UTC unless it says otherwise.

    Raises:
        click.BadParameter: it is not one.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.BadParameter(f"'{text}' is no time such as 2026-11-23 or 2026-11-23T12:00:00Z.") from error
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def moment(text: str | None, server: "AdminClient") -> int | None:
    """A time, or a length of time before the server's clock; None for none."""
    if text is None:
        return None
    if _PART.match(text) and "-" not in text:
        now: int = server.require("GET", "/_mintmark/clock")["now"]
        return now - milliseconds(text)
    return point(text)
