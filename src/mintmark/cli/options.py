"""The flags of the commands that start a server or look at its settings, made from what there is to say of each."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from mintmark.errors import StartRefused
from mintmark.settings import ABOUT, PREFIX, Door, Settings, names
from mintmark.settings.files import check_files
from mintmark.settings.load import Loaded, examine

CONFIG = "config"
NEEDED_IN_SERVE = ("data", "issuer")

_Command = TypeVar("_Command", bound=Callable[..., Any])


def setting_options(door: Door, only: Sequence[str] = ()) -> Callable[[_Command], _Command]:
    """Gives a command a flag for each setting of a door that has one, or for some of them, and `--config`."""

    def apply(command: _Command) -> _Command:
        for name in reversed(only or names(door)):
            if ABOUT[name].flag:
                command = _option(name, door)(command)
        help_text = f"Read settings from a TOML file. [variable: {PREFIX}CONFIG]"
        return click.option("--config", metavar="FILE", help=help_text)(command)

    return apply


def load_settings(door: Door, flags: dict[str, Any]) -> Settings:
    """The settings that a command's flags, this process's environment and the file that they name ask for.

    Raises:
        StartRefused: names every bad value and, for `serve`, every file that cannot be used, at once.
    """
    loaded, complaints = examine_settings(door, flags)
    if complaints:
        raise StartRefused("\n".join(complaints))
    return loaded.settings


def examine_settings(door: Door, flags: dict[str, Any]) -> tuple[Loaded, list[str]]:
    """The same with a default in the place of each bad value, where each came from, and all that is wrong."""
    file = flags.get(CONFIG) or os.environ.get(PREFIX + "CONFIG")
    given = {name: None if value is False or value == () else value for name, value in flags.items()}
    loaded, complaints = examine(door, given, os.environ, Path(file) if file else None)
    return loaded, complaints + (check_files(loaded.settings) if door == "serve" else [])


def shown_default(name: str, door: Door) -> str:
    """The default of a setting, as help and reference show it; empty where there is none."""
    about = ABOUT[name]
    default = {field.name: field.default for field in msgspec.structs.fields(Settings)}[name]
    if door == "serve" and name in NEEDED_IN_SERVE:
        return ""
    if door == "serve" and about.serve_default is not None:
        default = about.serve_default
    return about.default or ("" if default in ("", (), b"", False) else str(default))


def _option(name: str, door: Door) -> Callable[[_Command], _Command]:
    about = ABOUT[name]
    default = shown_default(name, door)
    help_text = about.meaning + (f" [default: {default}]" if default else "")
    if not about.metavar:
        return click.option(about.flag, name, is_flag=True, default=None, help=help_text)
    is_list = isinstance(getattr(Settings(), name), tuple)
    return click.option(about.flag, name, metavar=about.metavar, multiple=is_list, help=help_text)
