"""`mintmark resource …` and `mintmark access-key …`."""

from typing import Any
from urllib.parse import quote

import click

from mintmark.cli.client import AdminClient, find_server, server_options
from mintmark.cli.output import print_json, print_rows, print_table
from mintmark.errors import ResourceNotFound


@click.group()
def resource() -> None:
    """Work with resources: each owns identities and has two access keys."""


@resource.command()
@click.argument("name")
@click.option("--region", metavar="REGION", help="For the tokens' rgn and resourceLocation. [default: local]")
@click.option("--host", "hosts", metavar="HOST", multiple=True, help="A host name of its own; may be repeated.")
@click.option("--id", "resource_id", metavar="GUID", help="Its id. [default: a new one]")
@server_options
def add(
    name: str, region: str | None, hosts: tuple[str, ...], resource_id: str | None, as_json: bool, **server: Any
) -> None:
    """Add a resource called NAME, with two new access keys."""
    body: dict[str, object] = {"name": name, "hosts": hosts, "id": resource_id}
    added = find_server(**server).require(
        "POST", "/_mintmark/resources", {**body, **({"region": region} if region else {})}
    )
    if as_json:
        print_json(added)
        return
    _print(added)
    click.echo()
    print_rows([(key["slot"].capitalize(), key["connectionString"]) for key in added["accessKeys"]])


@resource.command("list")
@server_options
def list_(as_json: bool, **server: Any) -> None:
    """List all resources, the oldest first."""
    found = find_server(**server).require("GET", "/_mintmark/resources")
    if as_json:
        print_json(found)
        return
    rows = [(each["name"], each["id"], each["region"], ", ".join(each["hosts"])) for each in found["resources"]]
    print_table(("Name", "Id", "Region", "Hosts"), rows, "There are none.")


@resource.command()
@click.argument("resource")
@server_options
def show(resource: str, as_json: bool, **server: Any) -> None:
    """Show RESOURCE, given by id or name."""
    found = find_server(**server).require("GET", _path(resource))
    if as_json:
        print_json(found)
    else:
        _print(found)


@resource.command()
@click.argument("resource")
@server_options
def remove(resource: str, as_json: bool, **server: Any) -> None:
    """Remove RESOURCE with its identities; all their tokens end."""
    find_server(**server).require("DELETE", _path(resource))
    if as_json:
        print_json({"removed": resource})
    else:
        click.echo(f"Removed {resource}; its identities and their tokens have ended.")


@click.group("access-key")
def access_key() -> None:
    """Work with the two access keys of a resource."""


_of_resource = click.option(
    "--resource", metavar="RESOURCE", default="", help="Id or name. [default: the oldest resource]"
)


@access_key.command("list")
@_of_resource
@server_options
def list_keys(resource: str, as_json: bool, **server: Any) -> None:
    """List both access keys with their connection strings."""
    client = find_server(**server)
    found = client.require("GET", f"{_path(resource or _oldest(client))}/access-keys")
    if as_json:
        print_json(found)
    else:
        primary, secondary = found["accessKeys"]
        _print_key(primary)
        click.echo()
        _print_key(secondary)


@access_key.command()
@click.argument("slot", type=click.Choice(["primary", "secondary"]))
@_of_resource
@server_options
def regenerate(slot: str, resource: str, as_json: bool, **server: Any) -> None:
    """Replace an access key; what was obtained with the old one ends.

    Switch your programs to the other key first.
    """
    client = find_server(**server)
    key = client.require("POST", f"{_path(resource or _oldest(client))}/access-keys/{slot}/:regenerate")
    if as_json:
        print_json(key)
    else:
        _print_key(key)


def _oldest(client: AdminClient) -> str:
    resources = client.require("GET", "/_mintmark/resources")["resources"]
    if not resources:
        raise ResourceNotFound("There is no resource.")
    oldest: str = resources[0]["id"]
    return oldest


def _path(resource: str) -> str:
    if "/" in resource:  # It would name something else than a resource, encoded or not.
        raise ResourceNotFound
    return f"/_mintmark/resources/{quote(resource, safe='')}"


def _print(resource: dict[str, Any]) -> None:
    rows = [("Name", resource["name"]), ("Id", resource["id"]), ("Region", resource["region"])]
    print_rows([*rows, ("Hosts", ", ".join(resource["hosts"]) or "none of its own")])


def _print_key(key: dict[str, Any]) -> None:
    print_rows(
        [
            ("Slot", f"{key['slot']}, generation {key['generation']}"),
            ("Key", key["key"]),
            ("Connection string", key["connectionString"]),
        ]
    )
