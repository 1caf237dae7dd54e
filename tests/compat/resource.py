"""A resource of a running server, for a test that wants one to itself."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from calls import ask
from running import RunningServer

COUNTED = 1000  # requests, more than any test of faults sends


def admin(server: RunningServer, method: str, path: str, body: object = None) -> Any:
    """Asks the admin API of a server, below `/_mintmark`; answers its JSON."""
    content = None if body is None else json.dumps(body).encode()
    headers = {"content-type": "application/json"} if content else {}
    answer = ask(server.admin_endpoint, f"/_mintmark{path}", method=method, headers=headers, body=content)
    assert answer.status < 300, answer
    return answer.json if answer.body else None


class Resource:
    """A resource of a server that one test has for itself."""

    def __init__(self, server: RunningServer, name: str) -> None:
        self.server = server
        made = admin(self.server, "POST", "/resources", {"name": name})
        self.id: str = made["id"]
        self.access_key, self.secondary_key = (str(each["key"]) for each in made["accessKeys"])

    def users(self) -> list[str]:
        """The ids of the identities that exist."""
        return [each["id"] for each in admin(self.server, "GET", f"/identities?resource={self.id}")["identities"]]

    def user(self, body: object = None) -> Any:
        """A new identity, made while nothing fails."""
        return admin(self.server, "POST", f"/identities?resource={self.id}", body)

    def lives(self, token: str) -> bool:
        """Whether a token lives."""
        return bool(admin(self.server, "POST", "/introspect", {"token": token})["active"])

    def regenerate(self, slot: str) -> str:
        """Replaces an access key; answers the new one."""
        return str(admin(self.server, "POST", f"/resources/{self.id}/access-keys/{slot}/:regenerate")["key"])

    @contextmanager
    def failing(self, operation: str, **fault: Any) -> Iterator[Callable[[], int]]:
        """Makes an operation fail; gives the number of requests for it so far."""
        # A delay of a millisecond harms nobody, and counts the requests that come when the fault is used up.
        for each in (fault, {"delay": 1, "count": COUNTED}):
            admin(self.server, "POST", "/faults", {"operation": operation, **each})
        total = COUNTED + fault.get("count", 1)

        def arrived() -> int:
            return int(total - sum(each.get("count", 1) for each in admin(self.server, "GET", "/faults")["faults"]))

        try:
            yield arrived
        finally:
            admin(self.server, "DELETE", "/faults")
