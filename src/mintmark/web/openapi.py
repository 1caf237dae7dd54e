"""The contract of each api-version as an OpenAPI 3.1 document, and as a page that needs nothing but itself."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from mintmark.errors import UnsupportedApiVersion
from mintmark.model import GUID
from mintmark.service import Service
from mintmark.web.answer import HTML, NOT_KEPT, Answer
from mintmark.web.call import Call
from mintmark.web.problems import PROBLEMS
from mintmark.web.wire import (
    CREATE,
    DELETE,
    EXCHANGE,
    GET,
    ISSUE,
    LONGEST_CUSTOM_ID,
    MAX_MINUTES,
    MIN_MINUTES,
    NEWEST,
    REVOKE,
    VERSIONS,
    ApiVersion,
)

Json = dict[str, Any]

# The page needs nothing from anywhere, so it may load nothing from anywhere.
_POLICY = b"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"
_ID_PATTERN = f"^8:acs:{GUID.pattern}_{GUID.pattern}$"


class Operation(Struct, frozen=True):
    """One operation as a document describes it.

    Attributes:
        id: the operationId of ACS.
        method: in lower case, as OpenAPI has it.
        path: with `{id}` for an identity.
        summary: one line.
        body: the schema of what is sent; empty for nothing.
        body_required: whether something must be sent.
        answers: the schema of what comes back by status; empty for nothing.
        refusals: the statuses of refusals.
    """

    id: str
    method: str
    path: str
    summary: str
    body: str
    body_required: bool
    answers: Mapping[int, str]
    refusals: Sequence[int]


_ANY_SIGNED = (400, 401, 403, 413, 429, 503)

OPERATIONS: Mapping[str, Operation] = {
    CREATE: Operation(
        "CommunicationIdentity_Create", "post", "/identities", "Create an identity, and a token for it if asked.",
        "CreateRequest", False, {201: "IdentityAccessToken"}, (*_ANY_SIGNED, 415),
    ),
    GET: Operation(
        "CommunicationIdentity_Get", "get", "/identities/{id}", "Get an identity.",
        "", False, {200: "Identity"}, (*_ANY_SIGNED, 404),
    ),
    DELETE: Operation(
        "CommunicationIdentity_Delete", "delete", "/identities/{id}", "Delete an identity and end its tokens.",
        "", False, {204: ""}, _ANY_SIGNED,
    ),
    ISSUE: Operation(
        "CommunicationIdentity_IssueAccessToken", "post", "/identities/{id}/:issueAccessToken", "Issue a token.",
        "IssueRequest", True, {200: "AccessToken"}, (*_ANY_SIGNED, 404, 415),
    ),
    REVOKE: Operation(
        "CommunicationIdentity_RevokeAccessTokens", "post", "/identities/{id}/:revokeAccessTokens",
        "End every token issued so far.", "", False, {204: ""}, (*_ANY_SIGNED, 404),
    ),
    EXCHANGE: Operation(
        "CommunicationIdentity_ExchangeTeamsUserAccessToken", "post", "/teamsUser/:exchangeAccessToken",
        "Exchange the Entra token of a Teams user.", "ExchangeRequest", True, {200: "AccessToken"}, (*_ANY_SIGNED, 415),
    ),
}  # fmt: skip


def document(version: ApiVersion, endpoint: str = "/") -> Json:
    """The OpenAPI document of an api-version, served at `endpoint`."""
    paths: dict[str, Json] = {}
    for name, operation in OPERATIONS.items():
        if name in version.operations:
            paths.setdefault(operation.path, {})[operation.method] = _operation(operation, version)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Communication identity",
            "version": version.name,
            "description": "The wire contract of Azure Communication Services Identity as Mintmark serves it.",
        },
        "servers": [{"url": endpoint}],
        "security": [{"hmac": []}, {"bearer": []}],
        "paths": paths,
        "components": {"schemas": _schemas(version), "securitySchemes": _SECURITY},
    }


class ContractPages:
    """The routes that show the contract; `endpoint` is the public HTTPS address."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint

    async def show_json(self, _service: Service, call: Call) -> Answer:
        """`GET /_mintmark/openapi.json?api-version=`: the document of that version; of the newest if none is named."""
        requested = dict(parse_qsl(call.query.decode("latin-1"))).get("api-version", NEWEST.name)
        version = VERSIONS.get(requested)
        if version is None:
            raise UnsupportedApiVersion(call.path, requested[:100], list(VERSIONS))
        return Answer(200, msgspec.json.encode(document(version, self._endpoint)), b"application/json")

    async def show_page(self, _service: Service, _call: Call) -> Answer:
        """`GET /_mintmark/openapi`: all versions on one page, to be read."""
        # Imported when somebody looks, as in the start page.
        from jinja2 import Environment, PackageLoader, StrictUndefined

        templates = Environment(loader=PackageLoader("mintmark.web"), autoescape=True, undefined=StrictUndefined)
        html = templates.get_template("openapi.html").render(
            bodies=_bodies(VERSIONS["2025-03-02-preview"]),  # The one that has every field.
            versions=list(VERSIONS.values()),
            operations=OPERATIONS,
            problems=sorted((status, code, error.default_message()) for error, (status, code) in PROBLEMS.items()),
        )
        return Answer(200, html.encode(), HTML, ((b"content-security-policy", _POLICY), *NOT_KEPT))


class _Field(Struct):
    name: str
    required: bool
    kind: str


def _bodies(version: ApiVersion) -> dict[str, list[_Field]]:
    """The fields of every body, in words."""
    schemas = {name: schema for name, schema in _schemas(version).items() if not name.startswith("Error")}
    return {
        name: [_Field(field, field in schema["required"], _in_words(of)) for field, of in schema["properties"].items()]
        for name, schema in schemas.items()
    }


def _in_words(schema: Json) -> str:
    kinds = schema.get("type", ["object"])
    kind = kinds if isinstance(kinds, str) else kinds[0]
    if kind == "array":
        return f"a list of: {', '.join(schema['items']['enum'])}"
    if kind == "integer":
        return f"a whole number from {schema['minimum']} to {schema['maximum']}; {schema['default']} if left out"
    if "maxLength" in schema:
        return f"{schema['minLength']} to {schema['maxLength']} characters"
    if "$ref" in schema:
        return f"see {schema['$ref'].rpartition('/')[2]}"
    if kind == "object":
        return f"an object with {', '.join(schema['properties'])}"
    return "a time in ISO 8601" if schema.get("format") == "date-time" else "a string"


def _operation(operation: Operation, version: ApiVersion) -> Json:
    parameters: list[Json] = [
        {
            "name": "api-version",
            "in": "query",
            "required": True,
            "schema": {"type": "string", "enum": [version.name]},
        }
    ]
    if "{id}" in operation.path:
        schema = {"type": "string", "pattern": _ID_PATTERN}
        parameters.append({"name": "id", "in": "path", "required": True, "schema": schema})
    described: Json = {
        "operationId": operation.id,
        "summary": operation.summary,
        "parameters": parameters,
        "responses": {
            **{str(status): _response("Done.", schema) for status, schema in _answers(operation, version).items()},
            **{str(status): _response(_CODES[status], "Error") for status in sorted(operation.refusals)},
        },
    }
    if operation.body:
        described["requestBody"] = {"required": operation.body_required, "content": _content(operation.body)}
    return described


def _answers(operation: Operation, version: ApiVersion) -> Mapping[int, str]:
    """Create answers 200 where a custom id can find an identity that exists."""
    if operation.path == "/identities" and version.has_custom_id:
        return {200: operation.answers[201], **operation.answers}
    return operation.answers


def _response(description: str, schema: str) -> Json:
    return {"description": description, **({"content": _content(schema)} if schema else {})}


def _content(schema: str) -> Json:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _schemas(version: ApiVersion) -> Json:
    scopes: Json = {"type": "array", "items": {"type": "string", "enum": list(version.scopes)}}
    minutes: Json = {
        "type": ["integer", "null"],
        "minimum": MIN_MINUTES,
        "maximum": MAX_MINUTES,
        "default": MAX_MINUTES,
    }
    expiry: Json = {"expiresInMinutes": minutes} if version.has_expiry else {}
    custom: Json = {"type": ["string", "null"], "minLength": 1, "maxLength": LONGEST_CUSTOM_ID}
    custom_id: Json = {"customId": custom} if version.has_custom_id else {}
    text, time = {"type": "string"}, {"type": "string", "format": "date-time"}
    identity_id = {"type": "string", "pattern": _ID_PATTERN}
    create = {"createTokenWithScopes": {**scopes, "type": ["array", "null"]}, **expiry, **custom_id}
    schemas = {
        "CreateRequest": _object(create, []),
        "IssueRequest": _object({"scopes": {**scopes, "minItems": 1}, **expiry}, ["scopes"]),
        "AccessToken": _object({"token": text, "expiresOn": time}, ["token", "expiresOn"]),
        "IdentityAccessToken": _object(
            {
                "identity": _object({"id": identity_id}, ["id"]),
                "accessToken": {"$ref": "#/components/schemas/AccessToken"},
            },
            ["identity"],
        ),
        "Error": _object({"error": {"$ref": "#/components/schemas/ErrorDetail"}}, ["error"]),
        "ErrorDetail": _object(
            {
                "code": text,
                "message": text,
                "target": text,
                "details": {"type": "array", "items": {"$ref": "#/components/schemas/ErrorDetail"}},
            },
            ["code", "message"],
        ),
    }
    if GET in version.operations:
        known = {"id": identity_id, "customId": text, "lastTokenIssuedAt": time}
        schemas["Identity"] = _object(known, ["id"])
    if EXCHANGE in version.operations:
        guid = {"type": "string", "format": "uuid"}
        asked = {"token": text, "appId": guid, "userId": guid}
        schemas["ExchangeRequest"] = _object(asked, list(asked))
    return schemas


def _object(properties: Json, required: list[str]) -> Json:
    return {"type": "object", "properties": properties, "required": required}


_SECURITY: Json = {
    "hmac": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=…",
    },
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "JWT",
        "description": "An access token of an issuer that the setting bearer trusts.",
    },
}
_CODES = {status: f"Refused: {', '.join(sorted({c for s, c in PROBLEMS.values() if s == status}))}."
          for status, _ in PROBLEMS.values()}  # fmt: skip
