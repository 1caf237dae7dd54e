"""`mintmark config`: what a server would be told, and whether it could start with that."""

from typing import Any

import click
import msgspec

from mintmark.cli.options import examine_settings, load_settings, setting_options
from mintmark.cli.output import print_json, print_table
from mintmark.store.postgres_address import parse_address


@click.group()
def config() -> None:
    """Look at the settings of `mintmark serve`.

    Give the same flags, variables and file as to `serve`.
    """


@config.command("show")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@setting_options("serve")
def show(as_json: bool, **flags: Any) -> None:
    """Print each setting and where it came from; secrets as dots."""
    loaded, complaints = examine_settings("serve", flags)
    shown = [(name, _text(name, getattr(loaded.settings, name)), origin) for name, origin in loaded.origins.items()]
    if as_json:
        print_json({name: {"value": value, "from": origin} for name, value, origin in shown})
    else:
        print_table(("SETTING", "VALUE", "FROM"), shown, "no settings")
    if complaints:
        click.echo("\nThis is not all well: mintmark config check says why.", err=True)


@config.command("check")
@setting_options("serve")
def check(**flags: Any) -> None:
    """Say whether `mintmark serve` could start with these settings; name every bad value."""
    load_settings("serve", flags)
    click.echo("The settings are good, and every file that they name can be used.")


def _text(name: str, value: object) -> str:
    if value is None:
        return "off"
    if name == "database" and value:
        return parse_address(str(value)).shown  # without its password
    if isinstance(value, bytes):
        return "••••••" if value else ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ", ".join(each if isinstance(each, str) else msgspec.json.encode(each).decode() for each in value)
    return str(value)
