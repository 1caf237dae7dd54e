"""A client that is no SDK: requests signed by hand, in any api-version; they go into the support matrix."""

import json
from typing import Any

from builders import signed_headers
from calls import Answer, ask
from compat.support_matrix import Recorder
from mintmark.development import DEVELOPMENT_KEYS
from mintmark.sources import system
from running import RunningServer

NAME = "Any HTTP client, requests signed by hand"


class RawHttp:
    """One api-version of one server, over plain HTTP, with one access key."""

    def __init__(
        self, server: RunningServer, recorder: Recorder, version: str, key: bytes = DEVELOPMENT_KEYS[0]
    ) -> None:
        self._endpoint = server.http_endpoint
        self._recorder = recorder
        self._version = version
        self._key = key

    def __call__(self, method: str, path: str, body: object = None) -> Answer:
        """Sends one request; `body` becomes JSON unless it is None."""
        target = f"{path}?api-version={self._version}"
        content = b"" if body is None else json.dumps(body).encode()
        host = self._endpoint.removeprefix("http://")
        signed = signed_headers(method, target, content, now=system().now(), host=host, key=self._key)
        headers = {name.decode(): value.decode() for name, value in signed}
        answer = ask(self._endpoint, target, method=method, headers=headers, body=content)
        self._recorder(NAME, method, target, answer.status)
        return answer

    def created(self, body: object = None) -> str:
        """The id of a new identity."""
        answer = self("POST", "/identities", body)
        assert answer.status < 300, answer
        return str(answer.json["identity"]["id"])

    def issued(self, identity_id: str, **body: Any) -> str:
        """A token for an identity; for chat unless other scopes are asked for."""
        answer = self("POST", f"/identities/{identity_id}/:issueAccessToken", {"scopes": ["chat"], **body})
        assert 200 == answer.status, answer
        return str(answer.json["token"])
