"""Finds a running server and asks its admin listener: the command line never opens the store."""

import os
import stat
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import click
import msgspec

from mintmark.data_folder import SERVER_FILE
from mintmark.errors import MintmarkError, ServerNotFound

ENDPOINT_VARIABLE = "MINTMARK_ADMIN_ENDPOINT"
KEY_VARIABLE = "MINTMARK_ADMIN_KEY"
DATA_VARIABLE, DEFAULT_DATA = "MINTMARK_DATA", ".mintmark"
TIMEOUT = 10  # seconds

_Command = TypeVar("_Command", bound=Callable[..., Any])


def server_options(command: _Command) -> _Command:
    """The options that all commands have which ask a server: how to find it, and how to print."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option("--data", metavar="DIR", help=f"Data folder of the server. [default: {DEFAULT_DATA}]"),
        click.option(
            "--admin-key-file",
            metavar="FILE",
            envvar="MINTMARK_ADMIN_KEY_FILE",
            help=f"File with the admin key, for `serve`; else {KEY_VARIABLE}.",
        ),
        click.option(
            "--admin-endpoint",
            metavar="URL",
            help=f"Admin address; else by --data, else {ENDPOINT_VARIABLE}, else {DATA_VARIABLE}.",
        ),
    ):
        command = option(command)
    return command


class AdminClient:
    """Speaks to one admin listener."""

    def __init__(self, endpoint: str, key: str = "") -> None:
        """Takes an address such as http://localhost:12090, and an admin key where it asks for one.

        Raises:
            ServerNotFound: it is not such an address.
        """
        try:
            parts = urlsplit(endpoint)
            scheme, host, port = parts.scheme, parts.hostname, parts.port
        except ValueError:
            parts, scheme, host, port = urlsplit(""), "", None, None
        if scheme != "http" or not host or parts.path not in ("", "/"):
            raise ServerNotFound(f"'{endpoint}' is not an address such as http://localhost:12090.")
        self.endpoint = endpoint
        self._host, self._port = host, port
        self._headers = {"authorization": f"Bearer {key}"} if key else {}

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON (or text) of an answer.

        Raises:
            ServerNotFound: nobody answers there.
        """
        connection = HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        content = None if body is None else msgspec.json.encode(body)
        try:
            about = {"content-type": "application/json"} if content else {}
            connection.request(method, path, content, {**self._headers, **about})
            response = connection.getresponse()
            text = response.read()
        except (OSError, HTTPException) as error:
            raise ServerNotFound(f"No Mintmark server answers at {self.endpoint} ({error}).") from error
        finally:
            connection.close()
        if "json" not in (response.getheader("content-type") or ""):
            return response.status, text.decode(errors="replace")
        try:
            return response.status, msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise self._stranger() from error

    def require(self, method: str, path: str, body: object = None) -> Any:
        """The JSON of an answer that succeeds.

        Raises:
            MintmarkError: the server refused, with its own message.
            ServerNotFound: nobody answers there.
        """
        status, answer = self.ask(method, path, body)
        if status == 204:  # noqa: PLR2004  no content
            return None
        if not isinstance(answer, dict):
            raise self._stranger()
        if status >= 400:  # noqa: PLR2004  RFC 9110: errors from there on
            error = answer.get("error")
            if not isinstance(error, dict) or not isinstance(error.get("message"), str):
                raise self._stranger()
            raise MintmarkError(error["message"])
        return answer

    def _stranger(self) -> ServerNotFound:
        return ServerNotFound(f"What answers at {self.endpoint} is no admin listener of Mintmark.")


def find_server(admin_endpoint: str | None, data: str | None, admin_key_file: str | None) -> AdminClient:
    """The server that flags, the environment or the data folder of here name, in this order.

    Raises:
        ServerNotFound: none of them names one.
        MintmarkError: the file of the admin key has none.
    """
    endpoint = admin_endpoint or (None if data else os.environ.get(ENDPOINT_VARIABLE))
    may_have_key = True
    if not endpoint:
        named = data or os.environ.get(DATA_VARIABLE)
        file = Path(named or DEFAULT_DATA, SERVER_FILE)
        try:
            # A folder that merely lies here may be anybody's, and name whatever address.
            may_have_key = bool(named) or _is_own(file)
            record = msgspec.json.decode(file.read_bytes(), type=dict[str, str | int])
            endpoint = str(record[ENDPOINT_VARIABLE])
        except (OSError, msgspec.MsgspecError, KeyError) as error:
            raise ServerNotFound from error
    return AdminClient(endpoint, _admin_key(admin_key_file) if may_have_key else "")


def _is_own(file: Path) -> bool:
    """Whether file and folder belong to this user, and nobody else can write there."""
    found = [file.stat(), file.parent.stat()]
    others = stat.S_IWGRP | stat.S_IWOTH
    return all(each.st_uid == os.geteuid() and not each.st_mode & others for each in found)


def _admin_key(file: str | None) -> str:
    """The first key of the file, else of the variable: the same forms as `mintmark serve` reads."""
    if file is None:
        return os.environ.get(KEY_VARIABLE, "").partition(",")[0].strip()
    lines = [line.strip() for line in Path(file).read_text().splitlines()]
    key = next((line for line in lines if line and not line.startswith("#")), "")
    if not key:
        raise MintmarkError(f"There is no admin key in {file}.")
    return key
