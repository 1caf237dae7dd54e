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
    errors.InvalidAccessToken: (401, "InvalidAccessToken"),
    errors.AdminKeyRequired: (401, "Unauthorized"),
    errors.Forbidden: (403, "Forbidden"),
    errors.ForeignOrigin: (403, "Forbidden"),
    errors.IdentityNotOwned: (401, "IdentityNotOwned"),
    errors.IdentityNotFound: (404, "IdentityNotFound"),
    errors.ResourceNotFound: (404, "ResourceNotFound"),
    errors.SigningKeyNotFound: (404, "SigningKeyNotFound"),
    errors.ResourceExists: (409, "ResourceExists"),
    errors.RouteNotFound: (404, "NotFound"),
    errors.MethodNotAllowed: (405, "MethodNotAllowed"),
    errors.BodyTooLarge: (413, "RequestBodyTooLarge"),
    errors.UnsupportedMediaType: (415, "UnsupportedMediaType"),
    errors.TooManyRequests: (429, "TooManyRequests"),
    errors.Overloaded: (503, "ServiceUnavailable"),
    errors.StoreUnavailable: (503, "ServiceUnavailable"),
    errors.IssuerUnavailable: (503, "ServiceUnavailable"),
}
RETRY_AFTER = b"1"  # seconds

# Those that say why in words of ours.
_WITH_REASON = (
    errors.Denied,
    errors.Forbidden,
    errors.InvalidAccessToken,
    errors.StoreUnavailable,
    errors.IssuerUnavailable,
)

_JSON = b"application/json"  # Without charset, unlike the answers to what went well: as recorded.


def envelope(code: str, message: str, target: str = "", details: list[dict[str, str]] | None = None) -> bytes:
    """The body of an ACS error; what is empty is left out."""
    error = {"code": code, "message": message, "target": target, "details": details}
    return msgspec.json.encode({"error": {name: value for name, value in error.items() if value}})


def refusal(refused: RequestRefused) -> Answer:
    """The answer to a request that was refused."""
    status, code = PROBLEMS[type(refused)]
    target, details, note, safe_note = "", None, refused.message, code
    if isinstance(refused, errors.InvalidRequest):
        target = refused.target
        safe_note = f"{code}: {target}" if target else code
    elif isinstance(refused, errors.Denied):
        details = [{"code": name, "message": text} for name, text in refused.explanation]
    if isinstance(refused, _WITH_REASON):
        note = refused.reason
        safe_note = f"{code}: {note}"
    body = envelope(code, refused.message, target, details)
    return Answer(status, body, _JSON, _headers(refused), f"{code}: {note}", safe_note)


def internal_error() -> Answer:
    """The answer where something failed that nobody foresaw: the log has it, the caller learns nothing."""
    code = "InternalServerError"
    return Answer(500, envelope(code, "Internal server error."), _JSON, note="see the log", safe_note=code)


def _headers(refused: RequestRefused) -> tuple[tuple[bytes, bytes], ...]:
    if isinstance(refused, errors.Denied):
        # RFC 9110, section 11.6.1 asks for it; ACS sends none, and no SDK minds.
        return (b"www-authenticate", b"HMAC-SHA256"), (b"www-authenticate", b"Bearer")
    if isinstance(refused, errors.AdminKeyRequired):
        return ((b"www-authenticate", b"Bearer"),)
    if isinstance(refused, errors.MethodNotAllowed):
        return ((b"allow", ", ".join(refused.allowed).encode()),)
    if isinstance(refused, errors.TooManyRequests):
        return ((b"retry-after", b"%d" % refused.retry_after),)
    if isinstance(refused, (errors.Overloaded, errors.StoreUnavailable, errors.IssuerUnavailable)):
        return ((b"retry-after", RETRY_AFTER),)
    return ()
