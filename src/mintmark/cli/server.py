"""`mintmark dev`, `mintmark exec`, `mintmark serve`, `mintmark health`."""

import errno
import logging
import os
import shlex
import signal
import sys
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import click

from mintmark import __version__
from mintmark.cli.client import ENDPOINT_VARIABLE, find_server, server_options
from mintmark.cli.options import load_settings, setting_options
from mintmark.cli.output import NO, OK, SIGNALLED, print_json, print_rows, print_variables
from mintmark.service_manager import READY, STOPPING, notify
from mintmark.settings import Door
from mintmark.sockets import is_loopback, port_of, reachable_name

NOT_FOUND, NOT_EXECUTABLE = 127, 126  # as shells say it

# What a server of its own for one command leaves open.
OPEN_IN_EXEC = (
    "workers", "issuer", "signing_algorithm", "tls_names", "limits", "connections", "strict_versions",
)  # fmt: skip


@click.command()
@setting_options("dev")
def dev(**flags: Any) -> None:
    """Start the development server.

    Every flag can be given as a variable too, such as MINTMARK_HTTPS_PORT=0.
    Not for production: the access key is published.
    """
    with ExitStack() as stack:
        server = _prepare("dev", flags, stack, lambda _signal: OK)
        names = server.door.variables
        if not sys.stdout.isatty():
            print_variables(names)
            sys.stdout.flush()
        server.folder.announce(names)

        def welcome() -> None:
            server.mark_started()
            _welcome(server)

        server.supervisor().run(welcome, on_stop=server.stop_listening)


@click.command()
@setting_options("serve")
def serve(**flags: Any) -> None:
    """Start the server for production.

    It refuses to start where something is missing or unsafe, and says what. Every flag can be given as a variable too,
    such as MINTMARK_WORKERS=4, or in a TOML file. SIGHUP has it read its certificate and its keys again.
    """
    with ExitStack() as stack:
        server = _prepare("serve", flags, stack, lambda _signal: OK)
        admin = f"http://{reachable_name(server.settings.admin_host)}:{port_of(server.sockets.admin)}"
        server.folder.announce({ENDPOINT_VARIABLE: admin})
        log = logging.getLogger("mintmark.serve")

        def say_ready() -> None:
            server.mark_started()
            notify(READY, os.environ)
            log.info("Mintmark %s is ready: %s", __version__, _listeners(server, admin))
            if not is_loopback(server.settings.admin_host):
                host = server.settings.admin_host
                log.warning("The admin listener is plain HTTP on %s: keep it on a network of your own.", host)
            for issuer in (*server.settings.bearer, *server.settings.teams):
                if not issuer.roles and not issuer.scopes:
                    log.warning("Every token of %s is accepted: no role and no scope is asked for.", issuer.issuer)

        def stop() -> None:
            server.stop_listening()
            notify(STOPPING, os.environ)

        server.supervisor().run(say_ready, server.read_again, stop)


def _listeners(server: Any, admin: str) -> str:
    host = reachable_name(server.settings.host)
    sockets = (("https", server.sockets.https), ("http", server.sockets.http))
    return ", ".join([*(f"{scheme}://{host}:{port_of(bound)}" for scheme, bound in sockets if bound), f"admin {admin}"])


@click.command("exec", context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False})
@setting_options("dev", OPEN_IN_EXEC)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def exec_(command: tuple[str, ...], **flags: Any) -> None:
    """Run COMMAND with a fresh server of its own and exit with its status.

    The server takes free ports, keeps its data until the command ends, and prints only what goes wrong.
    For example: mintmark exec -- pytest
    """
    ports = {"https_port": 0, "http_port": 0, "admin_port": 0, "host": "localhost", "admin_host": "localhost"}
    with ExitStack() as stack:
        flags = {**flags, **ports, "database": "", "ephemeral": True, "quiet": True}
        server = _prepare("dev", flags, stack, lambda number: SIGNALLED + number)
        names = server.door.variables
        server.folder.announce(names)
        try:
            status = server.supervisor().run_command(command, {**os.environ, **names}, server.mark_started)
        except (OSError, ValueError) as error:  # ValueError: an empty name, or one with a NUL in it
            reason = error.strerror if isinstance(error, OSError) else os.strerror(errno.ENOENT)
            click.echo(f"mintmark exec: {command[0]}: {reason}", err=True)
            status = NOT_EXECUTABLE if isinstance(error, PermissionError) else NOT_FOUND
    sys.exit(status)


@click.command()
@server_options
def health(as_json: bool, **server: Any) -> None:
    """Say whether a server answers requests; exit status 0 if so."""
    client = find_server(**server)
    status, text = client.ask("GET", "/_mintmark/ready")
    ready = status == 200  # noqa: PLR2004  the probe's yes
    text = str(text).strip() if status in (200, 503) else f"not ready: no admin listener answers here (status {status})"
    if as_json:
        print_json({"ready": ready, "adminEndpoint": client.endpoint})
    else:
        click.echo(f"{click.style(text, fg='green' if ready else 'red')}  {client.endpoint}")
    sys.exit(OK if ready else NO)


def _prepare(door: Door, flags: dict[str, Any], stack: ExitStack, status_of: Callable[[int], int]) -> Any:
    # Imported here: the other commands start without the server.
    from mintmark.data_folder import hold
    from mintmark.doors.dev import prepare_development_server
    from mintmark.doors.serve import prepare_production_server
    from mintmark.logs import write_logs

    # Until the supervisor takes over, these shall clean up as Ctrl-C does.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda number, _frame: sys.exit(status_of(number)))
    if door == "serve":
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # It asks to read what is being read just now.
    settings = load_settings(door, flags)
    write_logs(settings.log_format, bare=door == "dev", quiet=settings.quiet)
    folder = stack.enter_context(hold(settings.data, ephemeral=settings.ephemeral))
    return (prepare_development_server if door == "dev" else prepare_production_server)(settings, folder)


def _welcome(server: Any) -> None:
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
    settings, names = server.settings, server.door.variables
    click.echo(f"\n  {click.style('Mintmark', fg='green', bold=True)} {__version__} is ready\n")
    workers = "1 worker" if settings.workers == 1 else f"{settings.workers} workers"
    print_rows(
        [
            ("HTTPS", server.door.endpoints.https),
            ("HTTP", server.door.endpoints.http),
            ("Admin", f"{server.door.endpoints.admin}  (open it in a browser)"),
            (
                "Data",
                f"{'temporary' if settings.ephemeral else server.folder.path}, {workers}, {settings.signing_algorithm}",
            ),
        ]
    )
    click.echo(click.style("\n  Connect a program:\n", bold=True))
    for name, value in names.items():
        if not name.startswith("COMMUNICATION_M") and name != "COMMUNICATION_EXPIRED_TEAMS_TOKEN":
            click.echo(f"  export {name}={shlex.quote(value)}")
    click.echo(click.style("\n  Tests of Teams users need more: mintmark exec sets it all.", dim=True))
    click.echo(
        click.style(
            "\n  The access key is published with Mintmark: for development only. Ctrl-C stops the server.\n", dim=True
        )
    )
