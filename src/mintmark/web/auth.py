"""The guards: what must be true of a request before its handler is asked. The route table wraps every route in one."""

import logging
import re
from collections.abc import Awaitable, Callable

from mintmark.admin_keys import AdminKeys
from mintmark.errors import AdminKeyRequired, ForeignOrigin, TooManyRequests
from mintmark.limits import Limiter
from mintmark.request_signature import SignedRequest
from mintmark.service import Caller, Service
from mintmark.sources import Sources
from mintmark.web.answer import Answer
from mintmark.web.call import Call
from mintmark.web.endpoint import Guarded
from mintmark.web.wire import VERSIONS, ApiVersion, api_version

SignedHandler = Callable[[Service, Caller, ApiVersion, Call, bytes], Awaitable[Answer]]
OpenHandler = Callable[[Service, Call], Awaitable[Answer]]

MAX_WARNED_VERSIONS = 100

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(?::\d{1,5})?", re.ASCII)

_log = logging.getLogger(__name__)


class Signed:
    """Lets through what an access key signed or a bearer token allows, in an api-version that has the operation."""

    def __init__(
        self, service: Service, sources: Sources, *, strict_versions: bool = False, limiter: Limiter | None = None
    ) -> None:
        """With `strict_versions` an api-version later than all known is refused; `limiter` refuses what is too much."""
        self._service = service
        self._now = sources.now
        self._strict = strict_versions
        self._limiter = limiter
        self._warned: set[str] = set()

    def __call__(self, operation: str, handler: SignedHandler) -> Guarded:
        """Puts the handler of an operation behind this guard."""
        service, strict = self._service, self._strict

        async def guarded(call: Call) -> Answer:
            call.operation = operation
            version = api_version(operation, call.path, call.query, strict=strict)
            call.api_version = version.name
            if version.name not in VERSIONS:
                self._warn(version)
                call.api_version = "later"
            body = await call.body()
            request = SignedRequest(call.method, call.target, call.raw_headers, call.headers, body)
            caller = await service.authenticate(request)
            call.resource_id = caller.resource.id
            if self._limiter is not None:
                self._limit(self._limiter, caller, operation)
            return await handler(service, caller, version, call, body)

        return guarded

    def _limit(self, limiter: Limiter, caller: Caller, operation: str) -> None:
        retry_after = limiter.take(caller.resource.id, operation, self._now())
        if retry_after is not None:
            raise TooManyRequests(retry_after)

    def _warn(self, version: ApiVersion) -> None:
        if version.name not in self._warned and len(self._warned) < MAX_WARNED_VERSIONS:
            self._warned.add(version.name)
            _log.warning("api-version %s is newer than all known here; served as %s.", version.name, max(VERSIONS))


class Open:
    """Lets everybody through: for what relying parties read."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def __call__(self, handler: OpenHandler) -> Guarded:
        """Puts a handler behind this guard."""

        async def guarded(call: Call) -> Answer:
            return await handler(self._service, call)

        return guarded


class Local:
    """Lets through who calls the listener by one of its own names, and no page of another origin.

    It asks for no key: what keeps strangers out is that the listener stays on loopback.
    """

    def __init__(self, service: Service, host_names: frozenset[str]) -> None:
        """Takes the names, in lower case and without port, under which the listener may be called."""
        self._service = service
        self._host_names = host_names

    def __call__(self, handler: OpenHandler) -> Guarded:
        """Puts a handler behind this guard."""

        async def guarded(call: Call) -> Answer:
            self._check(call)
            return await handler(self._service, call)

        return guarded

    def _check(self, call: Call) -> None:
        """A foreign Host is how DNS rebinding shows, a foreign Origin how a page of another site does."""
        hosts = [value.decode("latin-1") for name, value in call.raw_headers if name == b"host"]
        if len(hosts) != 1 or host_name(hosts[0]) not in self._host_names:
            raise ForeignOrigin(f"{ForeignOrigin.default_message()} Not under the name '{','.join(hosts)[:100]}'.")
        origin = call.headers.get(b"origin")
        if origin is not None and origin != b"http://" + call.headers[b"host"]:
            raise ForeignOrigin(
                f"{ForeignOrigin.default_message()} Not to pages of '{origin[:100].decode('latin-1')}'."
            )


class Keyed:
    """Lets through who sends an admin key (RFC 6750, section 2.1)."""

    def __init__(self, service: Service, keys: AdminKeys) -> None:
        self._service = service
        self._keys = keys

    def __call__(self, handler: OpenHandler) -> Guarded:
        """Puts a handler behind this guard."""

        async def guarded(call: Call) -> Answer:
            scheme, _, key = call.headers.get(b"authorization", b"").partition(b" ")
            if scheme.lower() != b"bearer" or not self._keys.accept(key.strip()):
                raise AdminKeyRequired
            return await handler(self._service, call)

        return guarded


def host_name(host: str) -> str | None:
    """The name in a Host header, in lower case, without port, brackets and final dot; None where it is malformed."""
    match = _HOST.fullmatch(host.lower())
    return match[1].strip("[]").removesuffix(".") if match else None
