"""SDKs that are not run here: what they send, by the vectors, signed anew with a fresh date for the running server.

Each keeps its habits: Java names the host without its port, .NET sends the date twice, old JavaScript the port twice.
"""

import base64
import json
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

import pytest

from calls import Answer, ask, holds
from compat.support_matrix import Recorder
from mintmark.development import DEVELOPMENT_KEYS
from mintmark.request_signature import content_hash, sign, string_to_sign
from mintmark.sources import system
from running import RunningServer

VECTORS = [
    json.loads(line) for line in (Path(__file__).parents[1] / "vectors" / "requests.jsonl").read_text().splitlines()
]


class Habit(NamedTuple):
    """How a client signs: which vectors are its, and what it makes of host and port."""

    client: str
    vectors: str
    sent: str
    signed: str


HABITS = [
    Habit("Java", "Java, built from its source: host without port", "{host}", "{host}"),
    Habit(
        "Java behind a client that adds the port",
        "Java behind a client that restores the port: signed without port",
        "{host}:{port}",
        "{host}",
    ),
    Habit(".NET", ".NET, built from its source: date twice", "{host}:{port}", "{host}:{port}"),
    Habit(
        "JavaScript with communication-common up to 2.4.0",
        "JS communication-common up to 2.4.0 on a custom port, built from its source: port twice",
        "{host}:{port}:{port}",
        "{host}:{port}:{port}",
    ),
]


def vector(habit: Habit) -> dict[str, Any]:
    """A request of that client, as it was taken down."""
    found: dict[str, Any] = next(each for each in VECTORS if each["client"] == habit.vectors)
    return found


class Imitation:
    """Sends what a client sends, over HTTPS: its headers in its order, with its host, dated now."""

    def __init__(self, habit: Habit, server: RunningServer, recorder: Recorder) -> None:
        self._habit = habit
        self._names = [name for name, _ in vector(habit)["headers"] if name not in ("content-type", "content-length")]
        self._server = server
        self._recorder = recorder

    def __call__(self, method: str, path: str, body: bytes = b"") -> Answer:
        target = f"{path}?api-version=2023-10-01"
        headers = self._headers(method, target, body)
        if body:
            headers |= {"content-type": "application/json", "content-length": str(len(body))}
        endpoint = self._server.https_endpoint
        answer = ask(endpoint, target, method=method, headers=headers, body=body or None, ca=self._server.ca)
        self._recorder(self._habit.client, method, target, answer.status)
        return answer

    def _headers(self, method: str, target: str, body: bytes) -> dict[str, str]:
        parts, date = urlsplit(self._server.https_endpoint), formatdate(system().now() / 1000, usegmt=True)
        place = {"host": parts.hostname, "port": parts.port}
        signed = (date.encode(), self._habit.signed.format(**place).encode(), content_hash(body))
        text = string_to_sign(method, target.encode(), signed)
        signature = sign(text, DEVELOPMENT_KEYS[0]).decode()
        values = {
            "host": self._habit.sent.format(**place),
            "date": date,
            "x-ms-date": date,
            "x-ms-content-sha256": content_hash(body).decode(),
            "authorization": f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}",
            "x-ms-hmac-string-to-sign-base64": base64.b64encode(text).decode(),
        }
        return {name: values[name] for name in self._names}


@pytest.fixture(params=HABITS, ids=lambda habit: habit.client)
def imitation(request: pytest.FixtureRequest, server: RunningServer, recorder: Recorder) -> Imitation:
    return Imitation(request.param, server, recorder)


@pytest.mark.parametrize(
    "body", sorted({each["body"] for each in VECTORS if each["target"].startswith("/identities?")})
)
def test_it_creates_users_by_every_body_in_the_vectors(imitation: Imitation, body: str) -> None:
    answer = imitation("POST", "/identities", body.encode())

    assert 201 == answer.status
    assert ("createTokenWithScopes" in body) == ("accessToken" in answer.json)


@pytest.mark.parametrize("colon", [":", "%3A"])
def test_it_does_all_that_can_be_done_with_a_user(imitation: Imitation, server: RunningServer, colon: str) -> None:
    created = imitation("POST", "/identities", b'{"createTokenWithScopes":["chat"],"expiresInMinutes":60}')
    first = created.json["accessToken"]["token"]
    path = f"/identities/{quote(created.json['identity']['id']).replace('%3A', colon)}"

    second = imitation("POST", f"{path}/:issueAccessToken", b'{"scopes":["chat","voip"]}').json["token"]
    assert [True, True] == [holds(server, first), holds(server, second)]
    assert 204 == imitation("POST", f"{path}/:revokeAccessTokens").status
    third = imitation("POST", f"{path}/:issueAccessToken", b'{"scopes":["voip"]}').json["token"]
    assert [False, False, True] == [holds(server, each) for each in (first, second, third)]
    assert 204 == imitation("DELETE", path).status
    assert not holds(server, third)
    assert 404 == imitation("POST", f"{path}/:issueAccessToken", b'{"scopes":["voip"]}').status


@pytest.mark.parametrize("habit", HABITS, ids=lambda habit: habit.client)
def test_the_imitation_signs_as_the_vector_is_signed(habit: Habit) -> None:
    """Or else the tests above would be about nobody."""
    taken = vector(habit)
    headers, key = dict(taken["headers"]), base64.b64decode(taken["accessKey"])
    host, _, port = headers["host"].partition(":")
    place = {"host": host, "port": port.partition(":")[0]}

    values = (headers["x-ms-date"], habit.signed.format(**place), headers["x-ms-content-sha256"])
    text = string_to_sign(taken["method"], taken["target"].encode(), tuple(value.encode() for value in values))

    assert headers["host"] == habit.sent.format(**place)
    assert headers["authorization"].endswith(f"&Signature={sign(text, key).decode()}")
