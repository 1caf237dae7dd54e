"""Finds a running server and asks its admin listener: the command line never opens the store."""

import os
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
TIMEOUT = 10  # seconds

_Command = TypeVar("_Command", bound=Callable[..., Any])


def server_options(command: _Command) -> _Command:
    """The options that all commands have which ask a server: how to find it, and how to print."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON."),
        click.option(
            "--data",
            metavar="DIR",
            envvar="MINTMARK_DATA",
            default=".mintmark",
            help="Data folder of the server.",
        ),
        click.option(
            "--admin-endpoint",
            metavar="URL",
            help=f"Admin address; else {ENDPOINT_VARIABLE}, else by --data.",
        ),
    ):
        command = option(command)
    return command


class AdminClient:
    """Speaks to one admin listener."""

    def __init__(self, endpoint: str) -> None:
        """Takes an address such as http://localhost:12090.

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

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """Status and JSON (or text) of an answer.

        Raises:
            ServerNotFound: nobody answers there.
        """
        connection = HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        content = None if body is None else msgspec.json.encode(body)
        try:
            connection.request(method, path, content, {"content-type": "application/json"} if content else {})
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


def find_server(admin_endpoint: str | None, data: str) -> AdminClient:
    """The server that the flag, the environment or the data folder names, in this order.

    Raises:
        ServerNotFound: none of them names one.
    """
    endpoint = admin_endpoint or os.environ.get(ENDPOINT_VARIABLE)
    if not endpoint:
        try:
            record = msgspec.json.decode(Path(data, SERVER_FILE).read_bytes(), type=dict[str, str | int])
            endpoint = str(record[ENDPOINT_VARIABLE])
        except (OSError, msgspec.MsgspecError, KeyError) as error:
            raise ServerNotFound from error
    return AdminClient(endpoint)
