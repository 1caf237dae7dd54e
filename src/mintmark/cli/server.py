"""`mintmark dev`, `mintmark exec`, `mintmark health`."""

import errno
import os
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import click

from mintmark import __version__
from mintmark.cli.client import find_server, server_options
from mintmark.cli.output import NO, OK, print_json, print_rows, print_variables

NOT_FOUND, NOT_EXECUTABLE, SIGNALLED = 127, 126, 128  # as shells say it; the last plus the signal's number

_Command = Callable[..., Any]


def _options(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    def apply(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return apply


# Defaults and checks are in `mintmark.settings`, where flags and environment meet.
_everywhere = _options(
    click.option("--workers", metavar="N", help="Processes that serve; they share the data. [default: 1]"),
    click.option("--signing-algorithm", metavar="ALG", help="ES256 or RS256. [default: ES256]"),
    click.option("--issuer", metavar="URL", help="The iss of tokens. [default: the HTTPS address]"),
    click.option(
        "--strict-versions", is_flag=True, default=None, help="Refuse api-versions later than all that are known."
    ),
    click.option(
        "--tls-name",
        "tls_names",
        metavar="NAME",
        multiple=True,
        help="Another name for the certificate; may be repeated.",
    ),
)


@click.command()
@click.option("--host", metavar="HOST", help="Where HTTPS and HTTP listen. [default: localhost]")
@click.option("--https-port", metavar="PORT", help="0 for any free one. [default: 12443]")
@click.option("--http-port", metavar="PORT", help="0 for any free one. [default: 12080]")
@click.option("--admin-host", metavar="HOST", help="Where the admin listener listens. [default: localhost]")
@click.option("--admin-port", metavar="PORT", help="0 for any free one. [default: 12090]")
@click.option("--data", metavar="DIR", help="Data folder. [default: .mintmark]")
@click.option(
    "--ephemeral", is_flag=True, default=None, help="Keep data in a temporary folder and remove it in the end."
)
@_everywhere
@click.option("--quiet", is_flag=True, default=None, help="Print no line for each request.")
def dev(**flags: Any) -> None:
    """Start the development server.

    Every flag can be given as a variable too, such as MINTMARK_HTTPS_PORT=0.
    Not for production: the access key is published.
    """
    with ExitStack() as stack:
        server = _prepare(flags, stack, lambda _signal: OK)
        if not sys.stdout.isatty():
            print_variables(server.variables)
            sys.stdout.flush()
        server.folder.announce(server.variables)
        server.supervisor().run(lambda: _welcome(server))


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@_everywhere
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(command: tuple[str, ...], **flags: Any) -> None:
    """Run COMMAND with a fresh server of its own and exit with its status.

    The server takes free ports, keeps its data until the command ends, and prints only what goes wrong.
    For example: mintmark exec -- pytest
    """
    apart = {"https_port": 0, "http_port": 0, "admin_port": 0, "ephemeral": True, "quiet": True, "host": "localhost"}
    with ExitStack() as stack:
        server = _prepare({**flags, **apart, "admin_host": "localhost"}, stack, lambda number: SIGNALLED + number)
        server.folder.announce(server.variables)
        try:
            status = server.supervisor().run_command(command, {**os.environ, **server.variables})
        except (OSError, ValueError) as error:  # ValueError: an empty name, or one with a NUL in it
            reason = error.strerror if isinstance(error, OSError) else os.strerror(errno.ENOENT)
            click.echo(f"mintmark exec: {command[0]}: {reason}", err=True)
            status = NOT_EXECUTABLE if isinstance(error, PermissionError) else NOT_FOUND
    sys.exit(status)


@click.command()
@server_options
def health(admin_endpoint: str | None, data: str, as_json: bool) -> None:
    """Say whether a server answers requests; exit status 0 if so."""
    client = find_server(admin_endpoint, data)
    status, text = client.ask("GET", "/_mintmark/ready")
    ready = status == 200  # noqa: PLR2004  the probe's yes
    text = str(text).strip() if status in (200, 503) else f"not ready: no admin listener answers here (status {status})"
    if as_json:
        print_json({"ready": ready, "adminEndpoint": client.endpoint})
    else:
        click.echo(f"{click.style(text, fg='green' if ready else 'red')}  {client.endpoint}")
    sys.exit(OK if ready else NO)


def _prepare(flags: dict[str, Any], stack: ExitStack, status_of: Callable[[int], int]) -> Any:
    # Imported here: the other commands start without the server.
    from mintmark.compose import prepare_development_server
    from mintmark.data_folder import hold
    from mintmark.settings import load

    # Until the supervisor takes over, these shall clean up as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda number, _frame: sys.exit(status_of(number)))
    settings = load({name: value or None if value == () else value for name, value in flags.items()}, os.environ)
    folder = stack.enter_context(hold(settings.data, ephemeral=settings.ephemeral))
    return prepare_development_server(settings, folder)


def _welcome(server: Any) -> None:
    from mintmark.sockets import is_loopback

    if sys.stdout.isatty():
        _print_banner(server)
    for host, what in (
        (server.settings.host, "the access key is published"),
        (server.settings.admin_host, "the admin listener asks for no key"),
    ):
        if not is_loopback(host):
            warning = click.style("Warning: ", fg="yellow", bold=True)
            click.echo(f"{warning}listening on {host}, and {what}: open to all who reach this machine.", err=True)


def _print_banner(server: Any) -> None:
    settings, names = server.settings, server.variables
    click.echo(f"\n  {click.style('Mintmark', fg='green', bold=True)} {__version__} is ready\n")
    workers = "1 worker" if settings.workers == 1 else f"{settings.workers} workers"
    print_rows(
        [
            ("HTTPS", server.endpoints.https),
            ("HTTP", server.endpoints.http),
            ("Admin", f"{server.endpoints.admin}  (open it in a browser)"),
            (
                "Data",
                f"{'temporary' if settings.ephemeral else server.folder.path}, {workers}, {settings.signing_algorithm}",
            ),
        ]
    )
    click.echo(click.style("\n  Connect a program:\n", bold=True))
    for name, value in names.items():
        click.echo(f"  export {name}={shlex.quote(value)}")
    click.echo(
        click.style(
            "\n  The access key is published with Mintmark: for development only. Ctrl-C stops the server.\n", dim=True
        )
    )
