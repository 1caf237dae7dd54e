"""`mintmark identity …`."""

from typing import Any
from urllib.parse import quote, urlencode

import click

from mintmark.cli.client import find_server, server_options
from mintmark.cli.output import print_json, print_rows, print_table
from mintmark.cli.times import moment

resource_option = click.option("--resource", metavar="RESOURCE", help="Id or name. [default: the oldest resource]")


@click.group()
def identity() -> None:
    """Work with identities."""


@identity.command()
@click.option(
    "--scope",
    "scopes",
    metavar="SCOPE",
    multiple=True,
    help="A scope of its token, such as chat; may be repeated.",
)
@click.option(
    "--expires-in", "minutes", metavar="MINUTES", type=int, help="Its token's life, 60 to 1440. [default: 1440]"
)
@click.option("--custom-id", metavar="NAME", help="Your own name for it; the same name gives the same identity.")
@resource_option
@server_options
def create(
    scopes: tuple[str, ...],
    minutes: int | None,
    custom_id: str | None,
    resource: str | None,
    as_json: bool,
    **server: Any,
) -> None:
    """Create an identity, and a token for it if scopes are given."""
    body = {"createTokenWithScopes": scopes, "expiresInMinutes": minutes, "customId": custom_id}
    path = "/_mintmark/identities" + _query(resource=resource)
    created = find_server(**server).require("POST", path, body)
    if as_json:
        print_json(created)
        return
    rows = [("Identity", created["identity"]["id"])]
    if "accessToken" in created:
        rows += [("Expires", created["accessToken"]["expiresOn"]), ("Token", created["accessToken"]["token"])]
    print_rows(rows)


@identity.command()
@click.argument("identity_id", metavar="ID")
@server_options
def show(identity_id: str, as_json: bool, **server: Any) -> None:
    """Show what is known of an identity."""
    found = find_server(**server).require("GET", f"/_mintmark/identities/{quote(identity_id, safe='')}")
    if as_json:
        print_json(found)
        return
    print_rows(
        [
            ("Identity", found["id"]),
            ("Custom id", found["customId"] or "none"),
            ("Created", found["createdAt"]),
            ("Last token", found["lastTokenIssuedAt"] or "never"),
            ("Generation", f"{found['generation']}  (how often its tokens were revoked)"),
        ]
    )


@identity.command("list")
@click.option("--custom-id", metavar="NAME", help="Only the one of that name.")
@click.option("--created-after", metavar="TIME", help="Such as 2026-11-23T12:00:00Z, or 2h: two hours ago.")
@click.option("--created-before", metavar="TIME", help="Likewise.")
@click.option("--limit", metavar="N", type=int, default=100, show_default=True, help="How many, 1 to 1000.")
@click.option("--cursor", metavar="CURSOR", help="Those after a page, as that page ended.")
@resource_option
@server_options
def list_(
    custom_id: str | None,
    created_after: str | None,
    created_before: str | None,
    limit: int,
    cursor: str | None,
    resource: str | None,
    as_json: bool,
    **server: Any,
) -> None:
    """List the identities of a resource, the oldest first."""
    client = find_server(**server)
    query = _query(
        resource=resource,
        customId=custom_id,
        createdAfter=moment(created_after, client),
        createdBefore=moment(created_before, client),
        limit=limit,
        cursor=cursor,
    )
    page = client.require("GET", "/_mintmark/identities" + query)
    if as_json:
        print_json(page)
        return
    rows = [
        (each["id"], each["createdAt"][:19].replace("T", " "), each["customId"] or "") for each in page["identities"]
    ]
    print_table(("Identity", "Created (UTC)", "Custom id"), rows, "There are none.")
    if page["cursor"]:
        click.echo(f"\n  More with --cursor {page['cursor']}")


@identity.command()
@click.argument("identity_id", metavar="ID")
@server_options
def delete(identity_id: str, as_json: bool, **server: Any) -> None:
    """Delete an identity and end all its tokens, for good."""
    find_server(**server).require("DELETE", f"/_mintmark/identities/{quote(identity_id, safe='')}")
    if as_json:
        print_json({"deleted": identity_id})
    else:
        click.echo(f"Deleted {identity_id}; its tokens have ended.")


def _query(**values: object) -> str:
    given = {name: value for name, value in values.items() if value is not None}
    return "?" + urlencode(given) if given else ""
