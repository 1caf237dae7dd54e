"""`mintmark clock …` and `mintmark fault …`: the controls of a development server."""

from typing import Any

import click

from mintmark.cli.client import find_server, server_options
from mintmark.cli.output import print_json, print_rows, print_table
from mintmark.cli.times import milliseconds, point


@click.group()
def clock() -> None:
    """Move the clock of a development server: tokens, expiry and signatures follow it."""


@clock.command("show")
@server_options
def show_clock(as_json: bool, **server: Any) -> None:
    """Say where the clock stands."""
    _print(find_server(**server).require("GET", "/_mintmark/clock"), as_json=as_json)


@clock.command()
@server_options
def freeze(as_json: bool, **server: Any) -> None:
    """Stop the clock where it stands."""
    _move(server, as_json, action="freeze")


# A length may begin with a minus: it is no option then, and -h no help.
@clock.command(context_settings={"ignore_unknown_options": True, "help_option_names": ["--help"]})
@click.argument("length")
@server_options
def advance(length: str, as_json: bool, **server: Any) -> None:
    """Move the clock on by LENGTH, such as 23h, 1h30m or 90s; -5m moves it back."""
    _move(server, as_json, action="advance", milliseconds=milliseconds(length))


@clock.command("set")
@click.argument("time")
@server_options
def set_(time: str, as_json: bool, **server: Any) -> None:
    """Move the clock to TIME, such as 2026-11-23T12:00:00Z."""
    _move(server, as_json, action="set", now=point(time))


@clock.command()
@server_options
def resume(as_json: bool, **server: Any) -> None:
    """Go back to real time."""
    _move(server, as_json, action="resume")


@click.group()
def fault() -> None:
    """Make a development server fail, to see how a program bears it."""


@fault.command()
@click.option(
    "--operation", metavar="NAME", default="*", help="create, get, delete, issue, revoke or exchange. [default: any]"
)
@click.option("--count", metavar="N", type=int, default=1, show_default=True, help="How many requests it befalls.")
@click.option("--status", metavar="STATUS", type=int, help="Answer with this status, 400 to 599.")
@click.option("--retry-after", metavar="SECONDS", type=int, help="With the status: a Retry-After header.")
@click.option("--delay", metavar="LENGTH", help="Wait first, such as 500ms or 2s.")
@click.option("--drop", is_flag=True, help="Close the connection instead of an answer.")
@click.option("--after", is_flag=True, help="Carry the operation out first: its answer is lost.")
@server_options
def add(
    operation: str,
    count: int,
    status: int | None,
    retry_after: int | None,
    delay: str | None,
    drop: bool,
    after: bool,
    as_json: bool,
    **server: Any,
) -> None:
    """Add a fault; faults happen in the order in which they were added."""
    body = {
        "operation": operation,
        "count": count,
        "status": status,
        "retryAfter": retry_after,
        "delay": milliseconds(delay) if delay else 0,
        "drop": drop,
        "when": "after" if after else "before",
    }
    _print_faults(find_server(**server).require("POST", "/_mintmark/faults", body), as_json=as_json)


@fault.command("list")
@server_options
def list_(as_json: bool, **server: Any) -> None:
    """List the faults that are still to happen."""
    _print_faults(find_server(**server).require("GET", "/_mintmark/faults"), as_json=as_json)


@fault.command()
@server_options
def clear(as_json: bool, **server: Any) -> None:
    """Take all faults away."""
    find_server(**server).require("DELETE", "/_mintmark/faults")
    _print_faults({"faults": []}, as_json=as_json)


def _move(server: dict[str, Any], as_json: bool, **move: object) -> None:
    _print(find_server(**server).require("POST", "/_mintmark/clock", move), as_json=as_json)


def _print(state: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(state)
        return
    away = state["offset"] / 1000
    difference = "real time" if not away else f"{abs(away):,.3f} s {'ahead of' if away > 0 else 'behind'} real time"
    time = state["time"][:23].replace("T", " ")
    print_rows([("Time", f"{time} UTC"), ("Clock", "frozen" if state["frozen"] else "runs"), ("Offset", difference)])


def _print_faults(answer: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    rows = [
        (
            each.get("operation", "any"),
            str(each.get("count", 1)),
            each.get("when", "before"),
            "connection dropped" if each.get("drop") else str(each.get("status", "as usual")),
            f"{each.get('delay', 0)} ms",
        )
        for each in answer["faults"]
    ]
    print_table(("Operation", "Left", "When", "Answer", "Delay"), rows, "No faults are to happen.")
