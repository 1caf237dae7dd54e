"""The command line: parse, call, print, exit status."""

import sys
from collections.abc import Sequence

import click

from mintmark import __version__
from mintmark.cli import identity, server, token
from mintmark.cli.output import REFUSED, print_refusal
from mintmark.errors import MintmarkError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="mintmark", message="%(prog)s %(version)s")
def cli() -> None:
    """Mintmark: identities and access tokens for chat and calling, as Azure Communication Services issues them."""


for _command in (server.dev, server.exec_, server.health, identity.identity, token.token):
    cli.add_command(_command)


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command line and exits with its status.

    0 for success, 1 for a plain no (such as a token that does not hold), 2 for what cannot be done.
    """
    try:
        cli.main(args=arguments, prog_name="mintmark", standalone_mode=True)
    except MintmarkError as error:
        print_refusal(error)
        sys.exit(REFUSED)
