"""`mintmark identity …`."""

import click

from mintmark.cli.client import data_option, endpoint_option, find_server, json_option
from mintmark.cli.output import print_json, print_rows


@click.group()
def identity() -> None:
    """Work with identities."""


@identity.command()
@click.option(
    "--scope",
    "scopes",
    metavar="SCOPE",
    multiple=True,
    help="A scope of a token for it, such as chat; may be repeated.",
)
@click.option(
    "--expires-in", "minutes", metavar="MINUTES", type=int, help="The token's life, 60 to 1440. [default: 1440]"
)
@endpoint_option
@data_option
@json_option
def create(
    scopes: tuple[str, ...],
    minutes: int | None,
    admin_endpoint: str | None,
    data: str,
    as_json: bool,  # noqa: FBT001  click passes it by name
) -> None:
    """Create an identity, and a token for it if scopes are given."""
    body = {"createTokenWithScopes": scopes, "expiresInMinutes": minutes}
    created = find_server(admin_endpoint, data).require("POST", "/_mintmark/identities", body)
    if as_json:
        print_json(created)
        return
    rows = [("Identity", created["identity"]["id"])]
    if "accessToken" in created:
        rows += [("Expires", created["accessToken"]["expiresOn"]), ("Token", created["accessToken"]["token"])]
    print_rows(rows)
