"""`mintmark token …`."""

import sys
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click

from mintmark.cli.client import find_server, server_options
from mintmark.cli.output import NO, OK, duration, print_json, print_rows
from mintmark.errors import InvalidToken, ServerNotFound
from mintmark.jose import decode_unverified
from mintmark.sources import system

STANDARD_INPUT = "-"


@click.group()
def token() -> None:
    """Work with access tokens."""


@token.command()
@click.argument("identity_id", metavar="ID")
@click.option("--scope", "scopes", metavar="SCOPE", multiple=True, required=True, help="Such as chat; may be repeated.")
@click.option("--expires-in", "minutes", metavar="MINUTES", type=int, help="Its life, 60 to 1440. [default: 1440]")
@server_options
def issue(identity_id: str, scopes: tuple[str, ...], minutes: int | None, as_json: bool, **server: Any) -> None:
    """Issue an access token for an identity."""
    path = f"/_mintmark/identities/{quote(identity_id, safe='')}/:issueAccessToken"
    issued = find_server(**server).require("POST", path, {"scopes": scopes, "expiresInMinutes": minutes})
    if as_json:
        print_json(issued)
    else:
        print_rows([("Expires", issued["expiresOn"]), ("Token", issued["token"])])


@token.command()
@click.argument("identity_id", metavar="ID")
@server_options
def revoke(identity_id: str, as_json: bool, **server: Any) -> None:
    """End every token that an identity has been issued so far."""
    find_server(**server).require("POST", f"/_mintmark/identities/{quote(identity_id, safe='')}/:revokeAccessTokens")
    if as_json:
        print_json({"revoked": identity_id})
    else:
        click.echo(f"Revoked: every token of {identity_id} issued so far has ended.")


@token.command()
@click.argument("token")
@server_options
def show(token: str, as_json: bool, **server: Any) -> None:
    """Decode TOKEN, ask the server whether it lives, and print both; exit status 0 if it does.

    With - the token is read from standard input, which keeps it out of the shell's history.
    """
    text = (token if token != STANDARD_INPUT else sys.stdin.buffer.read().decode(errors="replace")).strip()
    now = system().now()
    try:
        client = find_server(**server)
        status = client.require("POST", "/_mintmark/introspect", {"token": text})
        now = client.require("GET", "/_mintmark/clock")["now"]
    except ServerNotFound as not_found:
        status = _unchecked(text, not_found)
    if as_json:
        print_json(status)
    else:
        _print(status, now // 1000)
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
        click.style("lives", fg="green", bold=True) if status["active"] else click.style(status["reason"], fg="red")
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
    print_rows([(name, str(value)) for name, value in rows])
    click.echo()


def _time(seconds: object, now: int) -> str:
    if not isinstance(seconds, int):
        return str(seconds)
    try:
        moment = datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (ValueError, OverflowError, OSError):
        return str(seconds)
    away = duration(abs(seconds - now))
    return f"{moment}  ({'in ' + away if seconds > now else away + ' ago'})"
