"""The one table from refusals to statuses and codes, and the ACS envelope (contract section 5.1).

What is not in the table says nothing to the caller.
"""

import msgspec

from mintmark import errors
from mintmark.errors import RequestRefused
from mintmark.web.answer import Answer

PROBLEMS: dict[type[RequestRefused], tuple[int, str]] = {
    errors.InvalidRequest: (400, "ValidationError"),
    errors.ApiVersionUnspecified: (400, "ApiVersionUnspecified"),
    errors.UnsupportedApiVersion: (400, "UnsupportedApiVersion"),
    errors.Denied: (401, "Denied"),
    errors.ForeignOrigin: (403, "Forbidden"),
    errors.IdentityNotOwned: (401, "IdentityNotOwned"),
    errors.IdentityNotFound: (404, "IdentityNotFound"),
    errors.ResourceNotFound: (404, "ResourceNotFound"),
    errors.ResourceExists: (409, "ResourceExists"),
    errors.RouteNotFound: (404, "NotFound"),
    errors.MethodNotAllowed: (405, "MethodNotAllowed"),
    errors.BodyTooLarge: (413, "RequestBodyTooLarge"),
    errors.UnsupportedMediaType: (415, "UnsupportedMediaType"),
    errors.StoreUnavailable: (503, "ServiceUnavailable"),
}
RETRY_AFTER = b"1"  # seconds

_JSON = b"application/json"  # Without charset, unlike the answers to what went well: as recorded.


def envelope(code: str, message: str, target: str = "", details: list[dict[str, str]] | None = None) -> bytes:
    """The body of an ACS error; what is empty is left out."""
    error = {"code": code, "message": message, "target": target, "details": details}
    return msgspec.json.encode({"error": {name: value for name, value in error.items() if value}})


def refusal(refused: RequestRefused) -> Answer:
    """The answer to a request that was refused."""
    status, code = PROBLEMS[type(refused)]
    target, details, note = "", None, refused.message
    if isinstance(refused, errors.InvalidRequest):
        target = refused.target
    elif isinstance(refused, errors.Denied):
        details = [{"code": name, "message": text} for name, text in refused.explanation]
        note = refused.reason
    elif isinstance(refused, errors.StoreUnavailable):
        note = refused.reason
    return Answer(status, envelope(code, refused.message, target, details), _JSON, _headers(refused), f"{code}: {note}")


def internal_error() -> Answer:
    """The answer where something failed that nobody foresaw: the log has it, the caller learns nothing."""
    return Answer(500, envelope("InternalServerError", "Internal server error."), _JSON, (), "see the log")


def _headers(refused: RequestRefused) -> tuple[tuple[bytes, bytes], ...]:
    if isinstance(refused, errors.Denied):
        # RFC 9110, section 11.6.1 asks for it; ACS sends none, and no SDK minds.
        return (b"www-authenticate", b"HMAC-SHA256"), (b"www-authenticate", b"Bearer")
    if isinstance(refused, errors.MethodNotAllowed):
        return ((b"allow", ", ".join(refused.allowed).encode()),)
    if isinstance(refused, errors.StoreUnavailable):
        return ((b"retry-after", RETRY_AFTER),)
    return ()
