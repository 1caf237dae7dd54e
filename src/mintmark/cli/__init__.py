"""The command line: parse, call, print, exit status."""

import os
import sys
from collections.abc import Sequence
from importlib import import_module

import click

from mintmark import __version__
from mintmark.cli.output import REFUSED, print_refusal
from mintmark.errors import MintmarkError

# Where each command is. It is imported when it is called: most need little of the product, and start the sooner for it.
COMMANDS = {
    "dev": "server.dev",
    "exec": "server.exec_",
    "serve": "server.serve",
    "config": "config.config",
    "health": "server.health",
    "identity": "identity.identity",
    "token": "token.token",
    "resource": "resource.resource",
    "access-key": "resource.access_key",
    "signing-key": "signing_key.signing_key",
    "key-encryption-key": "signing_key.key_encryption_key",
    "clock": "controls.clock",
    "fault": "controls.fault",
    "backup": "backup.backup",
    "restore": "backup.restore",
    "migrate": "migrate.migrate",
}


class _Commands(click.Group):
    """The commands of `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        module, _, name = COMMANDS.get(cmd_name, "").partition(".")
        if not module:
            return None
        command: click.Command = getattr(import_module(f"mintmark.cli.{module}"), name)
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mintmark", message="%(prog)s %(version)s")
def cli() -> None:
    """Mintmark: identities and access tokens for chat and calling, as Azure Communication Services issues them."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its status.

    0 for success, 1 for a plain no (such as a token that does not hold), 2 for what cannot be done.
    """
    _open_missing_streams()
    words = sys.argv[1:] if arguments is None else arguments
    try:
        cli.main(args=words, prog_name="mintmark", standalone_mode=True)
    except (MintmarkError, OSError, UnicodeError) as error:
        refusal = error if isinstance(error, MintmarkError) else MintmarkError(f"{error}.")
        print_refusal(refusal, as_json="--json" in words)
        sys.exit(REFUSED)


def _open_missing_streams() -> None:
    """A program started with a standard stream closed would get the next file or socket in its place."""
    for number, name, flags in ((0, "stdin", os.O_RDONLY), (1, "stdout", os.O_WRONLY), (2, "stderr", os.O_WRONLY)):
        if getattr(sys, name) is None:
            opened = os.open(os.devnull, flags)
            if opened != number:
                os.dup2(opened, number)
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w"))
