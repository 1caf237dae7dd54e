"""Every failure a caller can decide about. A class's docstring is its default message; its attributes are the evidence.

No HTTP here: `web.problems` has the one table from these classes to statuses and codes.
"""

from collections.abc import Sequence


class MintmarkError(Exception):
    """Something went wrong."""

    def __init__(self, message: str | None = None) -> None:
        self.message = message or type(self).default_message()
        super().__init__(self.message)

    @classmethod
    def default_message(cls) -> str:
        """The first paragraph of the class's docstring."""
        return (cls.__doc__ or "").partition("\n\n")[0].replace("\n    ", " ")


class StartRefused(MintmarkError):  # noqa: N818  the refusal is the point, as in RequestRefused
    """The server cannot start.

    `advice` says what to change.
    """

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


class ServerNotFound(MintmarkError):  # noqa: N818
    """No running server was found: start `mintmark dev`, or name its address by --admin-endpoint."""


class InvalidToken(MintmarkError):  # noqa: N818
    """The token is not one of ours, or no longer valid."""


class RequestRefused(MintmarkError):  # noqa: N818
    """The request was refused."""


class InvalidRequest(RequestRefused):
    """The request is not valid.

    `target` names the field at fault as ACS spells it; empty where no single field is.
    """

    def __init__(self, message: str, target: str = "") -> None:
        super().__init__(message)
        self.target = target


class ApiVersionUnspecified(RequestRefused):
    """An API version is required, but was not specified."""

    def __init__(self, supported: Sequence[str]) -> None:
        super().__init__(f"{self.default_message()} Add the query parameter api-version: {', '.join(supported)}.")


class UnsupportedApiVersion(RequestRefused):
    """The HTTP resource that matches the request URI does not support the API version."""

    def __init__(self, target: str, requested: str, supported: Sequence[str]) -> None:
        super().__init__(
            f"The HTTP resource that matches the request URI '{target}' does not support the API version "
            f"'{requested}'. Supported: {', '.join(supported)}."
        )


class Denied(RequestRefused):
    """Denied by the resource provider.

    `reason` says in words what did not fit; `explanation` has named texts that help to find out why (development only).
    """

    def __init__(self, reason: str, message: str | None = None, explanation: Sequence[tuple[str, str]] = ()) -> None:
        super().__init__(message)
        self.reason = reason
        self.explanation = explanation


class Forbidden(RequestRefused):
    """The bearer token is valid, but does not allow this.

    `reason` says in words what it lacks.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{self.default_message()} {reason}")
        self.reason = reason


class AdminKeyRequired(RequestRefused):
    """The admin listener asks for an admin key: send it as Authorization: Bearer."""


class InvalidAccessToken(RequestRefused):
    """Provided access token is not valid.

    `reason` says in words why not, for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class TooManyRequests(RequestRefused):
    """Too many requests of this kind for this resource.

    `retry_after` says in how many seconds there is room again.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"{self.default_message()} Try again in {retry_after} s.")
        self.retry_after = retry_after


class IssuerUnavailable(RequestRefused):
    """The keys of the bearer token's issuer cannot be fetched just now. Try again.

    `reason` says in words what went wrong, for the log.
    """

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class IdentityNotFound(RequestRefused):
    """Provided identity doesn't exist."""


class IdentityNotOwned(RequestRefused):
    """Provided identity doesn't belong to the resource."""


class ResourceNotFound(RequestRefused):
    """There is no resource of that id or name."""


class ResourceExists(RequestRefused):
    """A resource with that id, name or host name exists already."""


class SigningKeyNotFound(RequestRefused):
    """There is no signing key with that kid."""


class RouteNotFound(RequestRefused):
    """There is nothing at this path."""


class MethodNotAllowed(RequestRefused):
    """This path does not answer that method.

    `allowed` has the methods that it does answer.
    """

    def __init__(self, method: str, allowed: Sequence[str]) -> None:
        super().__init__(f"This path does not answer {method}. Allowed: {', '.join(allowed)}.")
        self.allowed = allowed


class BodyTooLarge(RequestRefused):
    """The request body is too large."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{self.default_message()} At most {limit} bytes are read.")


class UnsupportedMediaType(RequestRefused):
    """The request body is not JSON."""

    def __init__(self, media_type: str) -> None:
        super().__init__(f"The Content-Type '{media_type}' is not supported. Send application/json, or none.")


class ForeignOrigin(RequestRefused):
    """The admin listener answers under its own names only, and to its own pages."""


class Overloaded(RequestRefused):
    """The server has more requests than it can answer. Try again later."""


class StoreUnavailable(RequestRefused):
    """The store cannot be reached or written to just now; it is not known whether the change was kept. Try again.

    `reason` is the engine's own word, for the log; `is_damaged` tells that what is stored does not hold together.
    """

    def __init__(self, reason: str = "", *, is_damaged: bool = False) -> None:
        super().__init__()
        self.reason = reason
        self.is_damaged = is_damaged

    def __str__(self) -> str:
        """For logs."""
        return self.reason or self.message
