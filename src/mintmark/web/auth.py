"""The guards: what must be true of a request before its handler is asked. The route table wraps every route in one."""

import logging
from collections.abc import Awaitable, Callable

from mintmark.errors import ForeignOrigin
from mintmark.request_signature import SignedRequest
from mintmark.service import Caller, Service
from mintmark.web.answer import Answer
from mintmark.web.call import Call
from mintmark.web.endpoint import Guarded
from mintmark.web.wire import VERSIONS, ApiVersion, api_version

SignedHandler = Callable[[Service, Caller, ApiVersion, Call, bytes], Awaitable[Answer]]
OpenHandler = Callable[[Service, Call], Awaitable[Answer]]

MAX_WARNED_VERSIONS = 100

_log = logging.getLogger(__name__)


class Signed:
    """Lets through what an access key signed, in an api-version that is served."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._warned: set[str] = set()

    def __call__(self, handler: SignedHandler) -> Guarded:
        """Puts a handler behind this guard."""
        service = self._service

        async def guarded(call: Call) -> Answer:
            version = api_version(call.path, call.query)
            if version.name not in VERSIONS:
                self._warn(version)
            body = await call.body()
            caller = service.authenticate(SignedRequest(call.method, call.target, call.raw_headers, body))
            return await handler(service, caller, version, call, body)

        return guarded

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


class Local(Open):
    """Lets through programs and pages of this machine: asks for no key, so it must not serve a page from elsewhere."""

    def __init__(self, service: Service, host_names: frozenset[str]) -> None:
        """Takes the names, without port, under which the listener may be called."""
        super().__init__(service)
        self._host_names = host_names

    def __call__(self, handler: OpenHandler) -> Guarded:
        """Puts a handler behind this guard."""
        open_to_all = super().__call__(handler)

        async def guarded(call: Call) -> Answer:
            self._check(call)
            return await open_to_all(call)

        return guarded

    def _check(self, call: Call) -> None:
        """A foreign Host is how DNS rebinding shows, a foreign Origin how a page of another site does."""
        host = call.headers.get(b"host", b"").decode("latin-1")
        if host.rpartition(":")[0].strip("[]") not in self._host_names and host.strip("[]") not in self._host_names:
            raise ForeignOrigin(f"{ForeignOrigin.default_message()} Not under the name '{host[:100]}'.")
        origin = call.headers.get(b"origin")
        if origin is not None and origin != b"http://" + call.headers[b"host"]:
            raise ForeignOrigin(
                f"{ForeignOrigin.default_message()} Not to pages of '{origin[:100].decode('latin-1')}'."
            )
