"""The documents are OpenAPI, and what a server really answers is what they say: every status, every field."""

from collections import defaultdict
from typing import Any
from urllib.parse import urljoin

import jsonschema_rs
import pytest
import requests

from builders import NOON, an_identity
from calls import ask
from mintmark.development_issuer import TEAMS_APPLICATION_ID, TEAMS_USERS
from mintmark.web.call import MAX_BODY
from mintmark.web.openapi import OPERATIONS, Operation
from mintmark.web.wire import DELETE, EXCHANGE, GET, ISSUE, NEWEST, REVOKE, VERSIONS
from openapi.contract import Signature, document, load
from running import RunningServer

EVERY_VERSION = pytest.mark.parametrize("version", VERSIONS)
# The store of a healthy server always answers, it has no limits, and its own issuer gives no token without a role.
NOT_PROVOKED = {403, 429, 503}
UNKNOWN = an_identity(0, now=NOON).id
FOREIGN = an_identity(0, resource_id="00000000-0000-0000-0000-000000000000").id
TOKEN = {"createTokenWithScopes": ["chat", "voip"]}
CHAT = {"scopes": ["chat"]}
TEAMS_USER = {"appId": TEAMS_APPLICATION_ID, "userId": TEAMS_USERS[0].object_id}


@EVERY_VERSION
def test_a_document_is_openapi(server: RunningServer, version: str) -> None:
    described = document(server, version)

    assert "3.1.0" == described["openapi"]
    assert version == described["info"]["version"]
    load(server, described).validate()


def test_a_document_that_is_not_is_told(server: RunningServer) -> None:
    described = document(server, NEWEST.name)
    del described["paths"]["/identities"]["post"]["responses"]["201"]["description"]

    with pytest.raises(jsonschema_rs.ValidationError, match="description"):
        load(server, described).validate()


def test_the_newest_is_the_one_without_a_name(server: RunningServer) -> None:
    answer = ask(server.admin_endpoint, "/_mintmark/openapi.json")

    assert document(server, NEWEST.name) == answer.json
    assert "application/json" == answer.headers["content-type"]


@pytest.mark.parametrize("version", ["2020-01-01", "2030-01-01", "%FF"])
def test_a_version_that_is_not_served_has_no_document(server: RunningServer, version: str) -> None:
    answer = ask(server.admin_endpoint, f"/_mintmark/openapi.json?api-version={version}")

    assert (400, "UnsupportedApiVersion") == (answer.status, answer.json["error"]["code"])


class Contract:
    """A document with no room for fields that it does not name, and the statuses that were seen."""

    def __init__(self, server: RunningServer, version: str) -> None:
        self.seen: dict[str, set[int]] = defaultdict(set)
        self._server, self._version, self._document = server, version, document(server, version)
        for schema in self._document["components"]["schemas"].values():
            close(schema)

    def ask(self, operation: str, identity: str = "", body: Any = None, **arguments: Any) -> Any:
        """What a request is answered, as JSON, once it has been found to be what the document says."""
        described = OPERATIONS[operation]
        response = requests.request(
            described.method,
            self._server.http_endpoint + described.path.replace("{id}", identity),
            params={"api-version": self._version},
            json=body,
            **{"auth": Signature(), "timeout": 10, **arguments},
        )
        self.seen[operation].add(response.status_code)
        return self._checked(described, response)

    def _checked(self, described: Operation, response: requests.Response) -> Any:
        answers = self._document["paths"][described.path][described.method]["responses"]
        content = answers[str(response.status_code)].get("content")
        if content is None:
            assert b"" == response.content
            return None
        (media_type, holds), *others = content.items()
        assert [] == others
        assert media_type == response.headers["content-type"].partition(";")[0]
        fits({**self._document, **holds["schema"]}, response.json())
        return response.json()


def teams_token(server: RunningServer) -> str:
    """What the development issuer gives a Teams user."""
    user = TEAMS_USERS[0]
    form = {
        "grant_type": "password",
        "client_id": TEAMS_APPLICATION_ID,
        "username": user.username,
        "password": user.password.decode(),
        "scope": "https://auth.msft.communication.azure.com/.default",
    }
    answer = requests.post(f"{server.http_endpoint}/adfs/oauth2/token", data=form, timeout=10)
    return str(answer.json()["access_token"])


def fits(schema: dict[str, Any], value: Any) -> None:
    jsonschema_rs.Draft202012Validator(schema, validate_formats=True).validate(value)


def close(schema: dict[str, Any]) -> None:
    """Lets an object have the fields that its schema names, and no others."""
    if schema.get("type") == "object":
        schema["additionalProperties"] = False
        for each in schema["properties"].values():
            close(each)


@EVERY_VERSION
def test_every_answer_is_one_of_its_document_and_each_of_these_is_given(server: RunningServer, version: str) -> None:
    contract, known = Contract(server, version), VERSIONS[version]
    alone = contract.ask("create")["identity"]["id"]
    identity = contract.ask("create", body=TOKEN)["identity"]["id"]
    contract.ask(ISSUE, identity, CHAT)
    if known.has_custom_id:
        named = [contract.ask("create", body={"customId": f"document {version}", **TOKEN}) for _ in range(2)]
        assert named[0]["identity"] == named[1]["identity"]
        assert {"id", "customId", "lastTokenIssuedAt"} == set(contract.ask(GET, named[0]["identity"]["id"]))
        assert {"id": alone} == contract.ask(GET, alone)
    if EXCHANGE in known.operations:
        contract.ask(EXCHANGE, body={"token": teams_token(server), **TEAMS_USER})
    contract.ask(REVOKE, identity)
    contract.ask(DELETE, identity)

    for operation in known.operations:
        body = {"create": TOKEN, ISSUE: CHAT}.get(operation)
        for wrong in ("nobody", FOREIGN, UNKNOWN):
            contract.ask(operation, wrong, body)
        contract.ask(operation, alone, body, auth=None)
        contract.ask(operation, alone, data=b"x" * (MAX_BODY + 1), headers={"content-type": "application/json"})
        if OPERATIONS[operation].body:
            contract.ask(operation, alone, data=b"{}", headers={"content-type": "text/plain"})
            contract.ask(operation, alone, data=b"{", headers={"content-type": "application/json"})

    described = document(server, version)["paths"]
    assert {
        operation: {int(status) for status in described[each.path][each.method]["responses"]} - NOT_PROVOKED
        for operation, each in OPERATIONS.items()
        if operation in known.operations
    } == contract.seen


def test_a_program_finds_the_service_by_its_document(server: RunningServer) -> None:
    """A relative address is relative to where the document is, and that is the admin listener."""
    at = f"{server.admin_endpoint}/_mintmark/openapi.json"
    addresses = [
        urljoin(at, each["url"]) for each in ask(server.admin_endpoint, "/_mintmark/openapi.json").json["servers"]
    ]

    assert addresses
    for address in addresses:
        answer = requests.post(
            f"{address.removesuffix('/')}/identities",
            params={"api-version": NEWEST.name},
            auth=Signature(),
            verify=server.ca,
            timeout=10,
        )
        assert 201 == answer.status_code, address
