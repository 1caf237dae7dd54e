"""Run by `oldest_python` with release 1.0.1 of the SDK: asks a server all that it can do and prints what came of it.

Arguments: the id of a user of another resource. Prints JSON as `outcomes.Outcomes` reads it, by transport.
"""

import json
import os
import sys
import typing
import urllib.request
from collections.abc import Callable
from typing import Any

from azure.core.exceptions import HttpResponseError

# This release names fields of a TypedDict in a way that Python 3.13 took away: there it needs this to be imported.
_typed_dict: Any = typing.TypedDict
vars(typing)["TypedDict"] = lambda name, **fields: _typed_dict(name, fields)

from azure.communication.identity import CommunicationIdentityClient, CommunicationUserIdentifier  # noqa: E402  see above

vars(typing)["TypedDict"] = _typed_dict

Experiment = Callable[[Any], Any]

(foreign_user,) = sys.argv[1:]
connection_string = os.environ["COMMUNICATION_SERVICES_CONNECTION_STRING"]
access_key = connection_string.partition("accesskey=")[2]


def connect(transport: str, sent: list[Any]) -> Any:
    def note(response: Any) -> None:
        request = response.http_request
        sent.append((request.method, request.url, response.http_response.status_code))

    if transport == "https":
        return CommunicationIdentityClient.from_connection_string(connection_string, raw_response_hook=note)
    make: Any = CommunicationIdentityClient  # Of release 1.0.1: it wants the key as text.
    return make(os.environ["MINTMARK_HTTP_ENDPOINT"], access_key, raw_response_hook=note)


def holds(*tokens: Any) -> list[bool]:
    address = os.environ["MINTMARK_ADMIN_ENDPOINT"] + "/_mintmark/introspect"
    active = []
    for token in tokens:
        content = json.dumps({"token": token.token}).encode()
        request = urllib.request.Request(address, content, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as answer:
            active.append(json.load(answer)["active"])
    return active


def refused(call: Callable[[], object]) -> dict[str, Any]:
    try:
        call()
    except HttpResponseError as error:
        return {"kind": type(error).__name__, "status": error.status_code, "message": str(error)}
    raise AssertionError("this was to be refused")


def token(client: Any) -> Any:
    user, created = client.create_user_and_token(["chat", "voip"])
    issued = client.get_token(user, ["voip"])
    return {
        "user": user.properties["id"],
        "tokens": [created.token, issued.token],
        "expiresOn": [created.expires_on.isoformat(), issued.expires_on.isoformat()],
    }


def life_of_a_user(client: Any) -> Any:
    user, first = client.create_user_and_token(["chat"])
    second = client.get_token(user, ["voip"])
    before = holds(first, second)
    client.revoke_tokens(user)
    third = client.get_token(user, ["chat"])
    revoked = holds(first, second, third)
    client.delete_user(user)
    client.delete_user(user)
    return {"before": before, "revoked": revoked, "deleted": holds(third)}


def deleted_user(client: Any) -> Any:
    user = client.create_user()
    client.delete_user(user)
    return [refused(lambda: client.get_token(user, ["chat"])), refused(lambda: client.revoke_tokens(user))]


def foreign(client: Any) -> Any:
    user = CommunicationUserIdentifier(foreign_user)
    calls = [lambda: client.get_token(user, ["chat"]), lambda: client.revoke_tokens(user)]
    return [refused(call) for call in (*calls, lambda: client.delete_user(user))]


EXPERIMENTS: dict[str, Experiment] = {
    "user": lambda client: [client.create_user().properties["id"] for _ in range(2)],
    "token": token,
    "life": life_of_a_user,
    "deleted": deleted_user,
    "foreign": foreign,
    "noScopes": lambda client: refused(lambda: client.get_token(client.create_user(), [])),
    "laterScope": lambda client: refused(lambda: client.create_user_and_token(["voip.join"])),
}


def main() -> None:
    outcomes: dict[str, Any] = {}
    for transport in ("https", "http"):
        outcomes[transport] = {}
        for name, experiment in EXPERIMENTS.items():
            sent: list[Any] = []
            outcome = experiment(connect(transport, sent))
            outcomes[transport][name] = {"outcome": outcome, "sent": sent}
    json.dump(outcomes, sys.stdout)


main()
