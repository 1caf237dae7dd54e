"""How the command line speaks: aligned, short, coloured on a terminal only."""

from collections.abc import Mapping, Sequence

import click
import msgspec

from mintmark.errors import MintmarkError, StartRefused

OK, NO, REFUSED = 0, 1, 2
SIGNALLED = 128  # as shells say it; plus the signal's number


def print_json(value: object) -> None:
    """A value as indented JSON."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


def print_rows(rows: Sequence[tuple[str, str]]) -> None:
    """Names and values in two aligned columns."""
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"  {click.style(name.ljust(width), dim=True)}  {plain(value)}")


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]], none: str) -> None:
    """Rows in aligned columns under a head; `none` where there are no rows."""
    if not rows:
        click.echo(f"  {none}")
        return
    rows = [[plain(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    for number, row in enumerate((head, *rows)):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        click.echo("  " + (click.style(line, dim=True) if number == 0 else line))


def plain(text: str) -> str:
    """Somebody else's text, which must not steer the terminal."""
    return "".join(character if character.isprintable() else "�" for character in text)


def print_refusal(error: MintmarkError, *, as_json: bool = False) -> None:
    """What went wrong and what to change, on standard error; as JSON on standard output if that was asked for."""
    if as_json:
        print_json({"error": {"message": error.message}})
        return
    click.echo(click.style("Error: ", fg="red", bold=True) + error.message, err=True)
    if isinstance(error, StartRefused) and error.advice:
        click.echo(error.advice, err=True)


def print_variables(variables: Mapping[str, str]) -> None:
    """One unwrapped, uncoloured `NAME=value` line for each variable, for programs to read."""
    click.echo("\n".join(f"{name}={value}" for name, value in variables.items()))


def duration(seconds: int) -> str:
    """A length of time in the two largest units that matter, such as `23 h 59 min`."""
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if days:
        return f"{days} d {hours % 24} h"
    if hours:
        return f"{hours} h {minutes % 60} min"
    return f"{minutes} min" if minutes else f"{seconds} s"
