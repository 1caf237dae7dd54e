"""Clients that ask several nodes at once, and write down what each was answered."""

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from http.client import HTTPConnection, HTTPException
from itertools import pairwise
from time import monotonic, sleep
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from builders import signed_headers
from mintmark.sources import system
from serving import OwnedResource, Serving
from soak.history import UNKNOWN, WRITES, Kind, Operation, generation

CLIENTS = 8
WINDOW = 6  # identities that are asked about at any time
LONGEST = 45  # operations on one identity, or a few more
MOST_UNKNOWN = 4  # changes of one identity without an answer
PATIENCE = 12.0  # seconds for an answer: longer than a store tries
PAUSE = 0.005  # seconds between two requests of a client
RECOVERY = 40.0  # seconds until all must be well again
VERSION = "2025-03-02-preview"  # It has all operations.

# Of a hundred requests about an identity, so many are of a kind or of one before it.
_SHARES = ((Kind.ISSUE, 34), (Kind.LIVE, 66), (Kind.GET, 80), (Kind.REVOKE, 96), (Kind.DELETE, 100))
_PATHS = {Kind.GET: ("GET", ""), Kind.DELETE: ("DELETE", ""), Kind.REVOKE: ("POST", "/:revokeAccessTokens")}
_ISSUE, _SCOPES = "/:issueAccessToken", {"scopes": ["chat"]}
_STATUSES = {
    Kind.CREATE: {201: True, 200: True},
    Kind.GET: {200: True, 404: False},
    Kind.ISSUE: {200: True, 404: False},
    Kind.REVOKE: {204: True, 404: False},
    Kind.DELETE: {204: True},
}


class NotSentError(Exception):
    """Nobody listens: the request has certainly had no effect."""


class Subject:
    """An identity that clients ask about, and all that they were answered."""

    def __init__(self, identity_id: str, name: str) -> None:
        self.id = identity_id
        self.name = name  # its custom id; empty for none
        self.history: list[Operation] = []
        self.tokens: list[tuple[str, int]] = []

    @property
    def is_spent(self) -> bool:
        """Whether enough is known of it: a longer history would be slow to check."""
        unknown = sum(each.ended == UNKNOWN for each in self.history)
        return len(self.history) >= LONGEST or unknown >= MOST_UNKNOWN


class Write(NamedTuple):
    """A write that was acknowledged: by which node, when it was asked for, and when it was answered."""

    node: int
    began: float
    ended: float


class Load:
    """The clients of one round, and what they know in the end."""

    def __init__(self, nodes: Sequence[Serving], resource: OwnedResource, name: str) -> None:
        """`name` must be another one in each round."""
        self.subjects: list[Subject] = []
        self.acknowledged: list[Write] = []
        self.unanswered_creates = 0
        self.refusals: list[tuple[Kind, float]] = []  # with 503: what was asked, and when it was answered
        self.surprises: list[str] = []  # answers that nobody may get
        self._nodes, self._resource, self._name = nodes, resource, name
        self._window: list[Subject] = []
        self._named = 0
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    @contextmanager
    def running(self) -> Iterator[None]:
        """The clients ask until the end of the block."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            clients = [_Client(self, number % len(self._nodes)) for number in range(CLIENTS)]
            running: list[Future[None]] = [pool.submit(client.run) for client in clients]
            try:
                yield
            finally:
                self._stopping.set()
            for each in running:
                each.result(PATIENCE * 4)

    def first_write_since(self, node: int, moment: float) -> float | None:
        """When a write was acknowledged that was asked of a node after that moment; None if none was yet."""
        ended = (write.ended for write in list(self.acknowledged) if write.node == node and write.began >= moment)
        return next(ended, None)

    def await_refusal(self) -> float:
        """Returns when a write was refused after now."""
        now = monotonic()
        while True:
            for kind, moment in list(self.refusals):
                if kind in WRITES and moment > now:
                    return moment
            assert monotonic() < now + RECOVERY, f"no write was refused within {RECOVERY} s"
            sleep(0.01)

    def await_writes(self, since: float) -> None:
        """Returns when each node has acknowledged a write that was asked of it after that moment."""
        end = monotonic() + RECOVERY
        while any(self.first_write_since(node, since) is None for node in range(len(self._nodes))):
            assert monotonic() < end, f"a node acknowledged no write within {RECOVERY} s"
            sleep(0.01)

    def gaps_since(self, moment: float) -> list[float]:
        """For each node, milliseconds from that moment until a write was acknowledged that was asked of it later."""
        answered = (self.first_write_since(node, moment) for node in range(len(self._nodes)))
        return [1000 * (each - moment) for each in answered if each is not None]

    def pauses_since(self, moment: float) -> list[float]:
        """For each node, the longest time without an acknowledgement from that moment on, in milliseconds."""
        pauses = []
        for node in range(len(self._nodes)):
            ended = sorted(each.ended for each in self.acknowledged if each.node == node and each.ended >= moment)
            pauses.append(1000 * max(after - before for before, after in pairwise([moment, *ended])))
        return pauses

    def ask_all_again(self) -> None:
        """Asks, now that all is well, about each identity and each token, of one node and of another."""
        clients = [_Client(self, number) for number in range(len(self._nodes))]
        for number, subject in enumerate(self.subjects):
            client = clients[number % len(clients)]
            client.until_answered(lambda client=client, subject=subject: client.ask(subject, Kind.GET))  # type: ignore[misc]
            for token in subject.tokens:
                client.until_answered(
                    lambda client=client, subject=subject, token=token: client.ask_live(subject, *token)  # type: ignore[misc]
                )
        for client in clients:
            client.close()


class _Client:
    """One client: it asks one node, over one connection for each of its listeners."""

    def __init__(self, load: Load, node: int) -> None:
        self._load, self._node = load, node
        at = load._nodes[node]
        self._public, self._admin = _Wire(at.http_endpoint), _Wire(at.admin_endpoint)
        self._admin_key, self._key = at.admin_key, load._resource.keys[0]

    def run(self) -> None:
        """Asks one thing after the other."""
        while not self._load._stopping.is_set():
            try:
                is_answered = self._turn()
            except NotSentError:
                is_answered = False
            sleep(PAUSE if is_answered else 10 * PAUSE)
        self.close()

    def close(self) -> None:
        """Closes its connections."""
        self._public.close()
        self._admin.close()

    def until_answered(self, ask: Callable[[], bool]) -> None:
        """Asks again until there is a definite answer."""
        end = monotonic() + RECOVERY
        while True:
            try:
                if ask():
                    return
            except NotSentError:
                pass
            assert monotonic() < end, f"no definite answer within {RECOVERY} s"
            sleep(10 * PAUSE)

    def _turn(self) -> bool:
        load, chance = self._load, system().random(4)
        if chance[0] < 64:
            return self._create() is not None
        place = chance[1] % WINDOW
        if place >= len(load._window) or load._window[place].is_spent:
            return self._renew(place)
        subject, share = load._window[place], chance[2] % 100
        kind = next(kind for kind, below in _SHARES if share < below)
        if kind is Kind.LIVE:
            tokens = subject.tokens[-4:]
            return self.ask_live(subject, *tokens[chance[3] % len(tokens)]) if tokens else True
        return self.ask(subject, kind)

    def _renew(self, place: int) -> bool:
        load = self._load
        with load._lock:
            load._named += 1
            name = f"{load._name}-{load._named}"
        began = monotonic()
        subject = None
        while subject is None and not load._stopping.is_set():  # By its name it can be asked for again.
            with suppress(NotSentError):
                subject = self._create(name, began)
            if subject is None:
                sleep(10 * PAUSE)
        if subject is None:
            return False
        with load._lock:
            load._window[place : place + 1] = [subject]
        return True

    def _create(self, name: str = "", began: float | None = None) -> Subject | None:
        began = monotonic() if began is None else began
        wanted: dict[str, Any] = {"createTokenWithScopes": ["chat"], **({"customId": name} if name else {})}
        answer = self._signed("POST", "/identities", wanted)
        found, ended = self._definite(Kind.CREATE, answer), monotonic()
        if found is None or answer is None:
            self._load.unanswered_creates += 1
            return None
        made = json.loads(answer[1])
        subject, token = Subject(made["identity"]["id"], name), made["accessToken"]["token"]
        subject.history.append(Operation(Kind.CREATE, began, ended))
        # By a name that was asked for before, the token is of the moment; else of the creation.
        subject.history.append(Operation(Kind.ISSUE, began, ended, generation=generation(token)))
        subject.tokens.append((token, generation(token)))
        self._load.subjects.append(subject)
        self._load.acknowledged.append(Write(self._node, began, ended))
        return subject

    def ask(self, subject: Subject, kind: Kind) -> bool:
        """Asks for anything but a token's life; answers whether there was a definite answer."""
        began = monotonic()
        target = f"/identities/{quote(subject.id, safe='')}"
        if kind is Kind.ISSUE:
            answer = self._signed("POST", target + _ISSUE, _SCOPES)
        else:
            method, path = _PATHS[kind]
            answer = self._signed(method, target + path)
        found, ended = self._definite(kind, answer), monotonic()
        if found is None or answer is None:
            subject.history.append(Operation(kind, began, UNKNOWN))
            return False
        issued = 0
        if kind is Kind.ISSUE and found:
            token = json.loads(answer[1])["token"]
            issued = generation(token)
            subject.tokens.append((token, issued))
        subject.history.append(Operation(kind, began, ended, found, issued))
        if kind in WRITES and found:
            self._load.acknowledged.append(Write(self._node, began, ended))
        return True

    def ask_live(self, subject: Subject, token: str, issued: int) -> bool:
        """Asks whether a token lives; answers whether there was a definite answer."""
        headers = {"authorization": f"Bearer {self._admin_key}", "content-type": "application/json"}
        body = json.dumps({"token": token}).encode()
        began = monotonic()
        answer = self._admin.ask("POST", "/_mintmark/introspect", headers, body)
        ended = monotonic()
        if answer is None or answer[0] != 200:
            self._note(Kind.LIVE, answer)
            subject.history.append(Operation(Kind.LIVE, began, UNKNOWN, generation=issued))
            return False
        lives: bool = json.loads(answer[1])["active"]
        subject.history.append(Operation(Kind.LIVE, began, ended, lives, issued))
        return True

    def _definite(self, kind: Kind, answer: tuple[int, bytes] | None) -> bool | None:
        """Whether it was found; None where nobody knows whether the request took effect."""
        found = None if answer is None else _STATUSES[kind].get(answer[0])
        if found is None:
            self._note(kind, answer)
        return found

    def _note(self, kind: Kind, answer: tuple[int, bytes] | None) -> None:
        if answer is not None and answer[0] == 503:
            self._load.refusals.append((kind, monotonic()))
        elif answer is not None:
            self._load.surprises.append(f"{kind.name}: {answer[0]} {answer[1][:300]!r}")

    def _signed(self, method: str, path: str, body: object = None) -> tuple[int, bytes] | None:
        target, content = f"{path}?api-version={VERSION}", b"" if body is None else json.dumps(body).encode()
        headers = signed_headers(method, target, content, now=system().now(), host=self._public.host, key=self._key)
        return self._public.ask(method, target, {n.decode(): v.decode() for n, v in headers}, content)


class _Wire:
    """One connection that is kept, and made anew where it was cut off."""

    def __init__(self, endpoint: str) -> None:
        self.host = urlsplit(endpoint).netloc
        self._connection: HTTPConnection | None = None

    def ask(self, method: str, target: str, headers: dict[str, str], body: bytes) -> tuple[int, bytes] | None:
        """Status and body; None if there was no answer.

        Raises:
            NotSentError: nobody listens.
        """
        if self._connection is None:
            connection = HTTPConnection(self.host, timeout=PATIENCE)
            try:
                connection.connect()
            except OSError as error:
                raise NotSentError from error
            self._connection = connection
        try:
            self._connection.request(method, target, body, headers)
            answer = self._connection.getresponse()
            content = answer.read()
        except (OSError, HTTPException):
            self.close()
            return None
        if answer.will_close:
            self.close()
        return answer.status, content

    def close(self) -> None:
        """Closes it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
