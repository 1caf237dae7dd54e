"""`mintmark token …`."""

import sys
from datetime import UTC, datetime
from typing import Any

import click

from mintmark.cli.client import data_option, endpoint_option, find_server, json_option
from mintmark.cli.output import NO, OK, duration, print_json, print_rows
from mintmark.errors import InvalidToken, ServerNotFound
from mintmark.jose import decode_unverified
from mintmark.sources import system

STANDARD_INPUT = "-"


@click.group()
def token() -> None:
    """Work with access tokens."""


@token.command()
@click.argument("token")
@endpoint_option
@data_option
@json_option
def show(token: str, admin_endpoint: str | None, data: str, as_json: bool) -> None:  # noqa: FBT001  click passes it by name
    """Decode TOKEN, ask the server whether it holds, and print both; exit status 0 if it holds.

    With - the token is read from standard input, which keeps it out of the shell's history.
    """
    text = (token if token != STANDARD_INPUT else sys.stdin.read()).strip()
    try:
        status = find_server(admin_endpoint, data).require("POST", "/_mintmark/introspect", {"token": text})
    except ServerNotFound as not_found:
        status = _unchecked(text, not_found)
    if as_json:
        print_json(status)
    else:
        _print(status, system().now() // 1000)
    sys.exit(OK if status["active"] else NO)


def _unchecked(token: str, not_found: ServerNotFound) -> dict[str, Any]:
    try:
        header, claims = decode_unverified(token)
    except InvalidToken as invalid:
        return {"active": False, "reason": invalid.message, "header": {}, "claims": {}}
    return {"active": False, "reason": f"Not checked. {not_found.message}", "header": header, "claims": claims}


def _print(status: dict[str, Any], now: int) -> None:
    claims, header = status["claims"], status["header"]
    verdict = (
        click.style("holds", fg="green", bold=True) if status["active"] else click.style(status["reason"], fg="red")
    )
    click.echo(f"\n  Access token: {verdict}\n")
    if not claims:
        return
    rows = [
        ("Identity", claims.get("sub")),
        ("Scopes", str(claims.get("acsScope", "")).replace(",", ", ")),
        ("Issued", _time(claims.get("iat"), now)),
        ("Expires", _time(claims.get("exp"), now)),
        ("Issuer", claims.get("iss")),
        ("Audience", claims.get("aud")),
        ("Generation", claims.get("gen")),
        ("Access key", claims.get("akg", "none")),
        ("Signed with", f"{header.get('alg')}, key {header.get('kid')}"),
    ]
    print_rows([(name, _plain(value)) for name, value in rows])
    click.echo()


def _plain(value: object) -> str:
    # A token is somebody else's text: it must not steer the terminal.
    return "".join(character if character.isprintable() else "�" for character in str(value))


def _time(seconds: object, now: int) -> str:
    if not isinstance(seconds, int):
        return str(seconds)
    try:
        moment = datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
    away = duration(abs(seconds - now))
    return f"{moment}  ({'in ' + away if seconds > now else away + ' ago'})"
