"""ACS JSON to values and back, for each api-version (contract sections 1 and 5). Every refusal names the field."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from mintmark.errors import ApiVersionUnspecified, InvalidRequest, UnsupportedApiVersion, UnsupportedMediaType
from mintmark.model import AccessToken, Identity
from mintmark.service import TokenRequest
from mintmark.teams import TeamsExchange

_Body = TypeVar("_Body")

_DATED = re.compile(r"(\d{4}-\d\d-\d\d)(?:-preview)?", re.ASCII)

LONGEST_ECHO = 100  # characters of what somebody sent that a message repeats
MIN_MINUTES, MAX_MINUTES = 60, 1440
LONGEST_CUSTOM_ID = 256  # characters
USUAL_QUERY = 256  # bytes; what a longer one asks for is not kept

CREATE, GET, DELETE, ISSUE, REVOKE, EXCHANGE = "create", "get", "delete", "issue", "revoke", "exchange"

_FIRST = frozenset((CREATE, DELETE, ISSUE, REVOKE))
_CORE = _FIRST | {EXCHANGE}
_FIRST_SCOPES = ("chat", "voip")
_ALL_SCOPES = ("chat", "voip", "chat.join", "chat.join.limited", "voip.join")


class ApiVersion(Struct, frozen=True):
    """What one api-version knows (contract section 1.1).

    Attributes:
        name: the date by which it is asked for.
        scopes: the scopes that a token can have.
        has_expiry: whether `expiresInMinutes` means anything.
        has_custom_id: whether `customId` means anything.
        operations: what it can do.
    """

    name: str
    scopes: tuple[str, ...] = _ALL_SCOPES
    has_expiry: bool = True
    has_custom_id: bool = False
    operations: frozenset[str] = _CORE


VERSIONS = {
    version.name: version
    for version in (
        ApiVersion("2021-03-07", _FIRST_SCOPES, has_expiry=False, operations=_FIRST),
        ApiVersion("2022-06-01", _FIRST_SCOPES, has_expiry=False),
        ApiVersion("2022-10-01", _FIRST_SCOPES),
        ApiVersion("2023-10-01"),
        ApiVersion("2025-03-02-preview", has_custom_id=True, operations=_CORE | {GET}),
        ApiVersion("2025-06-30"),
        ApiVersion("2026-09-23"),
    )
}
NEWEST = VERSIONS[max(VERSIONS)]


def api_version(operation: str, path: str, query: bytes, *, strict: bool = False) -> ApiVersion:
    """The api-version that a query string asks for; a later one than all known is served as the newest of them.

    Args:
        operation: what is asked for.
        path: of the request, for the message.
        query: of the request.
        strict: whether later versions are refused.

    Raises:
        ApiVersionUnspecified: there is none.
        UnsupportedApiVersion: it is not served, or has no such operation.
    """
    version, requested = (_find_usual_version if len(query) <= USUAL_QUERY else _find_version)(query)
    if version is not None and operation in version.operations and not (strict and version.name not in VERSIONS):
        return version
    serving = [each.name for each in VERSIONS.values() if operation in each.operations]
    if not requested:
        raise ApiVersionUnspecified(serving)
    raise UnsupportedApiVersion(shorten(path), shorten(requested), serving)


def _find_version(query: bytes) -> tuple[ApiVersion | None, str]:
    """The version that a query string names, if there is such, and how it names it."""
    parameters = parse_qsl(query.decode("latin-1"), keep_blank_values=True)
    values = list(dict.fromkeys(value for name, value in parameters if name == "api-version"))
    if len(values) != 1:
        return None, ", ".join(values)
    requested = values[0]
    known = VERSIONS.get(requested)
    if known is None and _is_later(requested):
        known = msgspec.structs.replace(NEWEST, name=requested)
    return known, requested


_find_usual_version = lru_cache(maxsize=256)(_find_version)  # Clients send the same few query strings for ever.


def _is_later(requested: str) -> bool:
    """Whether a version is dated after the newest known; a preview of the same day is not."""
    match = _DATED.fullmatch(requested)
    try:
        return match is not None and date.fromisoformat(match[1]) > date.fromisoformat(NEWEST.name)
    except ValueError:
        return False


class CreateRequest(Struct, frozen=True):
    """What Create was asked: a token, or none, and the name that its owner gives the identity."""

    token: TokenRequest = TokenRequest()
    custom_id: str | None = None


class _CreateBody(Struct, rename="camel"):
    create_token_with_scopes: object = None
    expires_in_minutes: Raw = Raw(b"null")  # As sent, so that 60.0 is told from 60 and any number can be named.
    custom_id: object = None


class _IssueBody(Struct, rename="camel"):
    scopes: object = None
    expires_in_minutes: Raw = Raw(b"null")


class _ExchangeBody(Struct, rename="camel"):
    token: object = None
    app_id: object = None
    user_id: object = None


class _IntrospectBody(Struct):
    token: object = None


_decode_create = msgspec.json.Decoder(_CreateBody).decode
_decode_issue = msgspec.json.Decoder(_IssueBody).decode
_decode_exchange = msgspec.json.Decoder(_ExchangeBody).decode
_decode_introspect = msgspec.json.Decoder(_IntrospectBody).decode


def read_create(body: bytes, content_type: bytes, version: ApiVersion) -> CreateRequest:
    """The body of Create; absent, `{}` and explicit nulls all mean an identity without a token.

    Raises:
        UnsupportedMediaType: there is a body and it is not JSON.
        InvalidRequest: malformed JSON, an unknown scope, or a value out of range.
    """
    if not body:
        return CreateRequest()
    asked = _decode(body, content_type, _decode_create)
    scopes = _scopes(asked.create_token_with_scopes, "createTokenWithScopes", version)
    minutes = _minutes(bytes(asked.expires_in_minutes)) if version.has_expiry else None
    custom_id = _custom_id(asked.custom_id) if version.has_custom_id else None
    return CreateRequest(TokenRequest(scopes, minutes), custom_id)


def read_issue(body: bytes, content_type: bytes, version: ApiVersion) -> TokenRequest:
    """The body of Issue access token, which must name scopes.

    Raises:
        UnsupportedMediaType: the body is not JSON.
        InvalidRequest: malformed JSON, no scope or an unknown one, or minutes out of range.
    """
    asked = _decode(body, content_type, _decode_issue) if body else _IssueBody()
    # Two texts for two ways of leaving them out, as recorded; an SDK's test compares the second to the letter.
    if asked.scopes is None:
        raise InvalidRequest("Scopes: The Scopes field is required.", "Scopes")
    if asked.scopes == []:
        raise InvalidRequest("Invalid scopes - Scopes field is required.", "scopes")
    scopes = _scopes(asked.scopes, "scopes", version)
    return TokenRequest(scopes, _minutes(bytes(asked.expires_in_minutes)) if version.has_expiry else None)


def read_exchange(body: bytes, content_type: bytes) -> TeamsExchange:
    """The body of Exchange Teams user access token; what is no text counts as empty, and is refused later.

    Raises:
        UnsupportedMediaType: the body is not JSON.
        InvalidRequest: malformed JSON.
    """
    asked = _decode(body, content_type, _decode_exchange) if body else _ExchangeBody()
    texts = [value if isinstance(value, str) else "" for value in (asked.token, asked.app_id, asked.user_id)]
    return TeamsExchange(*texts)


def read_introspect(body: bytes, content_type: bytes) -> str:
    """The token of an introspection request.

    Raises:
        UnsupportedMediaType: the body is not JSON.
        InvalidRequest: malformed JSON, or no token in it.
    """
    token = _decode(body, content_type, _decode_introspect).token
    if not isinstance(token, str):
        raise InvalidRequest("The field token is required and must be a string.", "token")
    return token


def read_typed(body: bytes, content_type: bytes, kind: type[_Body]) -> _Body:
    """A body of the admin API, checked against the type of its value.

    Raises:
        UnsupportedMediaType: the body is not JSON.
        InvalidRequest: malformed JSON, or a field is missing, unknown or of another type.
    """
    try:
        return _decode(body, content_type, lambda text: msgspec.json.decode(text, type=kind))
    except InvalidRequest as error:
        cause = error.__cause__
        if isinstance(cause, msgspec.ValidationError):
            raise InvalidRequest(f"The request body does not fit: {str(cause).replace('`', '')}.") from cause
        raise


def _decode(body: bytes, content_type: bytes, decode: Callable[[str], _Body]) -> _Body:
    if not body:
        raise InvalidRequest("A request body is required.")
    if content_type != b"application/json":  # What every SDK sends; the long way is for others.
        _check_media_type(content_type.decode("latin-1"))
    try:
        return decode(body.decode())
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The request body is not UTF-8: byte {error.start} does not fit.") from error
    except msgspec.ValidationError as error:
        raise InvalidRequest("The request body must be a JSON object.") from error
    except msgspec.DecodeError as error:
        raise InvalidRequest(f"The request body is not JSON, or ends too early. {error}.") from error
    except RecursionError as error:
        raise InvalidRequest("The request body is nested too deeply.") from error


def _check_media_type(content_type: str) -> None:
    """JSON in UTF-8 by any of its names; a missing type is read as JSON."""
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if media_type not in ("", "application/json", "text/json") and not media_type.endswith("+json"):
        raise UnsupportedMediaType(shorten(content_type))
    for name, _, value in (parameter.partition("=") for parameter in parameters):
        if name.strip() == "charset" and value.strip(' "') not in ("utf-8", "utf8", "us-ascii"):
            raise UnsupportedMediaType(shorten(content_type))


def _scopes(value: object, target: str, version: ApiVersion) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise _no_scopes(target, version)
    for scope in value:
        if scope not in version.scopes:
            if not all(isinstance(each, str) for each in value):
                raise _no_scopes(target, version)
            raise InvalidRequest(
                f"{target} value '{shorten(scope)}' is invalid. Allowed in api-version {version.name}: "
                f"{', '.join(version.scopes)}.",
                target,
            )
    return tuple(dict.fromkeys(value))  # A scope named twice counts once, at its first place.


def _no_scopes(target: str, version: ApiVersion) -> InvalidRequest:
    return InvalidRequest(f"{target} must be a list of scope names. Allowed: {', '.join(version.scopes)}.", target)


def _minutes(sent: bytes) -> int | None:
    if sent == b"null":
        return None
    minutes = int(sent) if sent.isdigit() and len(sent) <= len(str(MAX_MINUTES)) else 0
    if not MIN_MINUTES <= minutes <= MAX_MINUTES:
        raise InvalidRequest(
            f"ExpiresInMinutes value {shorten(sent.decode())} is invalid. Value must be within the "
            f"[{MIN_MINUTES}, {MAX_MINUTES}] interval.",
            "ExpiresInMinutes",
        )
    return minutes


def _custom_id(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= LONGEST_CUSTOM_ID:
        raise InvalidRequest(f"customId must be a string of 1 to {LONGEST_CUSTOM_ID} characters.", "customId")
    return value


def shorten(text: str) -> str:
    """What somebody sent, short enough to be said back to them."""
    return text if len(text) <= LONGEST_ECHO else text[:LONGEST_ECHO] + "…"


class _Identity(Struct):
    id: str


class _AccessToken(Struct, rename="camel"):
    token: str
    expires_on: str


class _StoredIdentity(Struct, rename="camel", omit_defaults=True):
    id: str
    custom_id: str | None = None
    last_token_issued_at: str | None = None


class _Created(Struct, rename="camel"):
    identity: _Identity
    access_token: _AccessToken | UnsetType = UNSET  # Absent, not null, where no token was asked for.


_encode = msgspec.json.Encoder().encode


def write_created(identity: Identity, token: AccessToken | None) -> bytes:
    """The body of the answer to Create."""
    return _encode(
        _Created(
            _Identity(identity.id),
            UNSET if token is None else _AccessToken(token.token, expires_on(token.expires_at_seconds)),
        )
    )


def write_token(token: AccessToken) -> bytes:
    """The body of the answer to Issue access token."""
    return _encode(_AccessToken(token.token, expires_on(token.expires_at_seconds)))


def write_identity(identity: Identity) -> bytes:
    """The body of the answer to Get; what is not known is left out."""
    issued_at = identity.last_issued_at
    return _encode(_StoredIdentity(identity.id, identity.custom_id, None if issued_at is None else moment(issued_at)))


@lru_cache(maxsize=256)  # Tokens issued in one second mostly expire in one second.
def expires_on(seconds: int) -> str:
    """A time in seconds as .NET writes it (contract section 1.4).

    The fraction is zeros because a token's `exp` counts whole seconds, and the two shall not differ.
    """
    return moment(seconds * 1000)


def moment(milliseconds: int) -> str:
    """A time as .NET writes it: seven fractional digits and a numeric offset."""
    time = datetime.fromtimestamp(milliseconds // 1000, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S")
    return f"{time}.{milliseconds % 1000:03d}0000+00:00"
