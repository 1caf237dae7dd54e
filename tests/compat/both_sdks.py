"""The Python and the JavaScript SDK behind one face, for tests of what they do when a service fails."""

import json
import subprocess
from typing import Any, NamedTuple

from azure.communication.identity import CommunicationUserIdentifier
from azure.core.exceptions import AzureError, HttpResponseError
from azure.core.pipeline import PipelineRequest
from azure.core.pipeline.policies import SansIOHTTPPolicy

from compat.conftest import NODE_FOLDER, find_node
from compat.python_sdk import Client, connected
from compat.resource import Resource
from compat.support_matrix import Recorder

ANSWER = "the answer"
QUICK = 0.01  # seconds before a second retry, where a test does not look at the default


class Got(NamedTuple):
    """What a caller got.

    Attributes:
        what: `ANSWER`, or the error's name and status.
        request_ids: `x-ms-client-request-id` of each try.
        user: an id, where there is one.
        token: likewise.
    """

    what: str
    request_ids: list[str]
    user: str = ""
    token: str = ""


class _RequestIds(SansIOHTTPPolicy[Any, Any]):
    """Stands behind the retries, so that it sees every try."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_request(self, request: PipelineRequest[Any]) -> None:
        self.seen.append(request.http_request.headers["x-ms-client-request-id"])


class PythonSdk:
    """The Python SDK, `blocking` or `async`, over plain HTTP."""

    def __init__(self, kind: str, recorder: Recorder) -> None:
        self.kind = kind
        self._recorder = recorder

    def __call__(
        self,
        resource: Resource,
        operation: str,
        user: str = "",
        *,
        patience: float | None = None,
        defaults: bool = False,
    ) -> Got:
        """Asks for one operation; waits `patience` seconds for an answer if given."""
        ids = _RequestIds()
        options: dict[str, Any] = {"per_retry_policies": [ids]}
        if not defaults:
            options["retry_backoff_factor"] = QUICK
        if patience is not None:
            options["read_timeout"] = patience
        with connected(f"{self.kind} http", resource.server, self._recorder, resource.access_key, **options) as client:
            try:
                return Got(ANSWER, ids.seen, *_done(client, operation, user))
            except HttpResponseError as error:
                return Got(f"{type(error).__name__} {error.status_code}", ids.seen)
            except AzureError as error:
                return Got(type(error).__name__, ids.seen)


def _done(client: Client, operation: str, user: str) -> tuple[str, str]:
    who = CommunicationUserIdentifier(user)
    if operation == "create":
        created, token = client.create_user_and_token(["chat"])
        return created.raw_id, token.token
    if operation == "issue":
        return user, client.get_token(who, ["chat"]).token
    (client.revoke_tokens if operation == "revoke" else client.delete_user)(who)
    return user, ""


class JavaScriptSdk:
    """The JavaScript SDK, in one Node process until it is closed."""

    def __init__(self) -> None:
        program = [find_node(), str(NODE_FOLDER / "client.mjs")]
        self._node = subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __call__(
        self,
        resource: Resource,
        operation: str,
        user: str = "",
        *,
        patience: float | None = None,
        defaults: bool = False,
    ) -> Got:
        """Asks for one operation; waits `patience` seconds for an answer if given."""
        assert self._node.stdin is not None
        assert self._node.stdout is not None
        order = {
            "endpoint": resource.server.http_endpoint,
            "accessKey": resource.access_key,
            "options": {} if defaults else {"retryOptions": {"retryDelayInMs": QUICK * 1000}},
            "operation": operation,
            "user": user,
            "patience": None if patience is None else patience * 1000,
        }
        print(json.dumps(order), file=self._node.stdin, flush=True)
        told = json.loads(self._node.stdout.readline())
        ids, error = told["requestIds"], told.get("error")
        if error:
            return Got(" ".join(str(error[key]) for key in ("name", "statusCode", "code") if key in error), ids)
        return Got(ANSWER, ids, told.get("user", user), told.get("token", ""))

    def close(self) -> None:
        """Ends Node."""
        self._node.communicate()


Sdk = PythonSdk | JavaScriptSdk
