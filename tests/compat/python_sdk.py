"""The official Python SDK, blocking and asynchronous, behind one face; what it sends goes into the support matrix."""

import asyncio
import base64
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib.metadata import version
from typing import Any, Protocol

from azure.communication.identity import CommunicationIdentityClient, CommunicationUserIdentifier
from azure.communication.identity.aio import CommunicationIdentityClient as AsyncCommunicationIdentityClient
from azure.core.credentials import AccessToken, AzureKeyCredential
from azure.core.pipeline import PipelineRequest, PipelineResponse
from azure.core.pipeline.policies import SansIOHTTPPolicy

from compat.support_matrix import Recorder
from running import RunningServer

WAYS = ("blocking https", "blocking http", "async https", "async http")
NAME = f"Python with azure-communication-identity {version('azure-communication-identity')}"
NAMES = {"blocking": f"{NAME}, blocking", "async": f"{NAME}, asynchronous"}


class Client(Protocol):
    """What both clients do, asked without `await`."""

    def create_user(self, **options: Any) -> CommunicationUserIdentifier: ...

    def create_user_and_token(
        self, scopes: list[str], *, token_expires_in: timedelta | None = None, **options: Any
    ) -> tuple[CommunicationUserIdentifier, AccessToken]: ...

    def get_token(
        self,
        user: CommunicationUserIdentifier,
        scopes: list[str],
        *,
        token_expires_in: timedelta | None = None,
        **options: Any,
    ) -> AccessToken: ...

    def revoke_tokens(self, user: CommunicationUserIdentifier, **options: Any) -> None: ...

    def delete_user(self, user: CommunicationUserIdentifier, **options: Any) -> None: ...


class _Record(SansIOHTTPPolicy[Any, Any]):
    """Notes each request with its answer; neither is touched."""

    def __init__(self, recorder: Recorder, name: str) -> None:
        self._recorder = recorder
        self._name = name

    def on_response(self, request: PipelineRequest[Any], response: PipelineResponse[Any, Any]) -> None:
        sent = request.http_request
        self._recorder(self._name, sent.method, sent.url, response.http_response.status_code)


class _Waiting:
    """The asynchronous client; each call waits for its answer."""

    def __init__(self, client: AsyncCommunicationIdentityClient, runner: asyncio.Runner) -> None:
        self._client = client
        self._runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def call(*arguments: Any, **keywords: Any) -> Any:
            return await getattr(self._client, name)(*arguments, **keywords)

        return lambda *arguments, **keywords: self._runner.run(call(*arguments, **keywords))


@contextmanager
def connected(
    way: str, server: RunningServer, recorder: Recorder, access_key: str | bytes | None = None, **options: Any
) -> Iterator[Client]:
    """A client by one of WAYS: over HTTPS by connection string, over HTTP with a key; by default the server's first."""
    kind, transport = way.split()
    key = base64.b64encode(access_key).decode() if isinstance(access_key, bytes) else access_key or server.access_key
    options["per_call_policies"] = [_Record(recorder, NAMES[kind])]
    make: Any = CommunicationIdentityClient if kind == "blocking" else AsyncCommunicationIdentityClient
    if transport == "https":
        connection_string = f"endpoint={server.https_endpoint}/;accesskey={key}"
        # The authority alone: the asynchronous client reads this file for each request.
        client = make.from_connection_string(connection_string, connection_verify=server.ca, **options)
    else:
        client = make(server.http_endpoint, AzureKeyCredential(key), **options)
    if kind == "blocking":
        yield client  # It cannot be closed.
        return
    with asyncio.Runner() as runner:
        try:
            yield _Waiting(client, runner)
        finally:
            runner.run(client.close())
