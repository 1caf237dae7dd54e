"""`mintmark signing-key`: the keys that sign tokens, and those that seal secrets."""

from typing import Any
from urllib.parse import quote

import click

from mintmark.cli.client import find_server, server_options
from mintmark.cli.output import print_json, print_table
from mintmark.errors import SigningKeyNotFound

PATH = "/_mintmark/signing-keys"
SHORT = 19  # characters of a time: to the second


@click.group("signing-key")
def signing_key() -> None:
    """List, rotate and remove the keys that sign tokens."""


@signing_key.command("list")
@server_options
def list_(as_json: bool, **server: Any) -> None:
    """Print every published key and what it does."""
    answer = find_server(**server).require("GET", PATH)
    if as_json:
        print_json(answer)
    else:
        _print(answer["signingKeys"])


@signing_key.command()
@click.option("--at-once", is_flag=True, help="Sign with it now: services may have to fetch the key set again.")
@server_options
def rotate(at_once: bool, as_json: bool, **server: Any) -> None:
    """Publish a new key; it signs as soon as every service can know it."""
    answer = find_server(**server).require("POST", f"{PATH}/:rotate", {"atOnce": at_once})
    if as_json:
        print_json(answer)
    else:
        _print([answer])


@signing_key.command()
@click.argument("kid")
@server_options
def remove(kid: str, as_json: bool, **server: Any) -> None:
    """End a key that does not sign, and every token that it signed: for one that fell into wrong hands."""
    if "/" in kid or not kid:
        raise SigningKeyNotFound
    find_server(**server).require("DELETE", f"{PATH}/{quote(kid, safe='')}")
    if as_json:
        print_json({"removed": kid})
    else:
        click.echo(f"  Removed. Tokens that {kid} signed hold no more.")


@click.group("key-encryption-key")
def key_encryption_key() -> None:
    """Look at the keys that seal secrets in the database."""


@key_encryption_key.command("list")
@server_options
def list_key_encryption_keys(as_json: bool, **server: Any) -> None:
    """Print how many secrets each key seals; the first is in use, one that seals none can be taken away."""
    answer = find_server(**server).require("GET", "/_mintmark/key-encryption-keys")
    if as_json:
        print_json(answer)
        return
    rows = [(key["id"], str(key["seals"])) for key in answer["keyEncryptionKeys"]]
    print_table(("KEY", "SEALS"), rows, "no keys")


def _print(keys: list[dict[str, Any]]) -> None:
    rows = [
        (key["kid"], key["algorithm"], key["state"], key["signsAt"][:SHORT].replace("T", " ") + " UTC") for key in keys
    ]
    print_table(("KID", "ALGORITHM", "STATE", "SIGNS FROM"), rows, "no keys")
