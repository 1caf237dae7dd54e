"""ACS JSON to values and back, for each api-version (contract sections 1 and 5). Every refusal names the field."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from mintmark.errors import ApiVersionUnspecified, InvalidRequest, UnsupportedApiVersion, UnsupportedMediaType
from mintmark.model import AccessToken, Identity

_Body = TypeVar("_Body")

LONGEST_ECHO = 100  # characters of what somebody sent that a message repeats
MIN_MINUTES, MAX_MINUTES = 60, 1440

_FIRST_SCOPES = ("chat", "voip")
_ALL_SCOPES = ("chat", "voip", "chat.join", "chat.join.limited", "voip.join")


class ApiVersion(Struct, frozen=True):
    """What one api-version knows.

    Attributes:
        name: the date by which it is asked for.
        scopes: the scopes that a token can have.
        has_expiry: whether `expiresInMinutes` means anything.
    """

    name: str
    scopes: tuple[str, ...]
    has_expiry: bool


VERSIONS = {
    version.name: version
    for version in (
        ApiVersion("2021-03-07", _FIRST_SCOPES, has_expiry=False),
        ApiVersion("2022-06-01", _FIRST_SCOPES, has_expiry=False),
        ApiVersion("2022-10-01", _FIRST_SCOPES, has_expiry=True),
        ApiVersion("2023-10-01", _ALL_SCOPES, has_expiry=True),
        ApiVersion("2025-06-30", _ALL_SCOPES, has_expiry=True),
        ApiVersion("2026-09-23", _ALL_SCOPES, has_expiry=True),
    )
}
NEWEST = VERSIONS[max(VERSIONS)]


@lru_cache(maxsize=256)  # Clients send the same few query strings for ever.
def api_version(path: str, query: bytes) -> ApiVersion:
    """The api-version that a query string asks for; a later one than all known is served as the newest of them.

    Raises:
        ApiVersionUnspecified: there is none.
        UnsupportedApiVersion: it is not served.
    """
    values = [
        value for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True) if name == "api-version"
    ]
    if not values or not values[0]:
        raise ApiVersionUnspecified(list(VERSIONS))
    requested = values[0]
    known = VERSIONS.get(requested)
    if known is not None and len(set(values)) == 1:
        return known
    if len(values) == 1 and requested > NEWEST.name and _is_date(requested.removesuffix("-preview")):
        return msgspec.structs.replace(NEWEST, name=requested)
    raise UnsupportedApiVersion(path, shorten(", ".join(values)), list(VERSIONS))


def _is_date(text: str) -> bool:
    try:
        datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return False
    return True


class CreateRequest(Struct, frozen=True):
    """What Create was asked: scopes, none for no token, and the token's life in minutes, None for the default."""

    scopes: Sequence[str] = ()
    minutes: int | None = None


class _CreateBody(Struct, rename="camel"):
    create_token_with_scopes: object = None
    expires_in_minutes: Raw = Raw(b"null")  # As sent, so that 60.0 is told from 60 and any number can be named.


class _IntrospectBody(Struct):
    token: object = None


_decode_create = msgspec.json.Decoder(_CreateBody).decode
_decode_introspect = msgspec.json.Decoder(_IntrospectBody).decode


def read_create(body: bytes, content_type: bytes, version: ApiVersion = NEWEST) -> CreateRequest:
    """The body of Create; absent, `{}` and explicit nulls all mean an identity without a token.

    Raises:
        UnsupportedMediaType: there is a body and it is not JSON.
        InvalidRequest: malformed JSON, an unknown scope, or minutes out of range.
    """
    if not body:
        return CreateRequest()
    asked = _decode(body, content_type, _decode_create)
    scopes = _scopes(asked.create_token_with_scopes, "createTokenWithScopes", version)
    return CreateRequest(scopes, _minutes(bytes(asked.expires_in_minutes)) if version.has_expiry else None)


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
        raise InvalidRequest(f"The request body is not JSON. {error}.") from error
    except RecursionError as error:
        raise InvalidRequest("The request body is nested too deeply.") from error


def _check_media_type(content_type: str) -> None:
    """JSON in UTF-8 by any of its names; a missing type is read as JSON."""
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    if media_type not in ("", "application/json", "text/json") and not media_type.endswith("+json"):
        raise UnsupportedMediaType(shorten(content_type))
    name, _, charset = parameters.partition("=")
    if name.strip().lower() == "charset" and charset.strip(' "').lower() not in ("utf-8", "utf8", "us-ascii"):
        raise UnsupportedMediaType(shorten(content_type))


def _scopes(value: object, target: str, version: ApiVersion) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(scope, str) for scope in value):
        raise InvalidRequest(f"{target} must be a list of scope names. Allowed: {', '.join(version.scopes)}.", target)
    for scope in value:
        if scope not in version.scopes:
            raise InvalidRequest(
                f"{target} value '{shorten(scope)}' is invalid. Allowed in api-version {version.name}: "
                f"{', '.join(version.scopes)}.",
                target,
            )
    return tuple(dict.fromkeys(value))  # A scope named twice counts once, at its first place.


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


def shorten(text: str) -> str:
    """What somebody sent, short enough to be said back to them."""
    return text if len(text) <= LONGEST_ECHO else text[:LONGEST_ECHO] + "…"


class _Identity(Struct):
    id: str


class _AccessToken(Struct, rename="camel"):
    token: str
    expires_on: str


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


@lru_cache(maxsize=256)  # Tokens issued in one second mostly expire in one second.
def expires_on(seconds: int) -> str:
    """A time as .NET writes it: seven fractional digits and a numeric offset (contract section 1.4).

    The digits are zeros because a token's `exp` counts whole seconds, and the two shall not differ.
    """
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%S") + ".0000000+00:00"
