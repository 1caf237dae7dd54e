"""The load on a store of many identities: each request is for another identity, and signed before the load begins."""

import base64
import random
from collections.abc import Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.parse import quote

from bench import served
from bench.growth_report import Sample
from bench.growth_store import Store
from bench.load import Load, LoadError, drive
from bench.measure import fault_of
from bench.scripts import repeat_file
from bench.server import Request, Server, exchange
from bench.subjects import CREATE, ISSUE

OPERATIONS = {"create": 201, "issue": 200, "get": 200, "list": 200, "delete": 204}  # with the status of success
"""In this order in each round: what was deleted can be neither issued a token nor got."""

PER_SECOND = 12_000  # requests signed for each second of load: more than a server answers
PAGE = 100  # identities in a list
VERSION, GET_VERSION = "api-version=2023-10-01", "api-version=2025-03-02-preview"


def requests_for(operation: str, server: Server, store: Store, seconds: int, seed: int) -> list[Request]:
    """For a load of whole `seconds`, each for another identity, picked by chance; Create is always the same."""
    count = PER_SECOND * seconds
    resource, port = served.resource(server), server.place.port
    picked = random.Random(f"{operation} {seed}").sample(range(store.size - PAGE), count)

    def signed(method: str, target: str, body: bytes = b"") -> Request:
        return served.signed(port, resource.key, method, target, body)

    def path(number: int) -> str:
        return f"/identities/{quote(store.identity(resource.id, number), safe='')}"

    match operation:
        case "create":
            return [signed("POST", f"/identities?{VERSION}", CREATE)] * 2
        case "issue":
            return [signed("POST", f"{path(number)}/:issueAccessToken?{VERSION}", ISSUE) for number in picked]
        case "get":
            return [signed("GET", f"{path(number)}?{GET_VERSION}") for number in picked]
        case "list":
            admin = served.port(server, "admin")
            key = (server.place.folder / "admin-key").read_text()
            headers = {"Host": f"127.0.0.1:{admin}", "Authorization": f"Bearer {key}"}
            cursors = (base64.urlsafe_b64encode(store.suffix(number)).decode() for number in picked)
            targets = [f"/_mintmark/identities?limit={PAGE}&cursor={cursor}" for cursor in cursors]
            return [Request(admin, "GET", target, headers, b"") for target in targets]
        case "delete":
            return [signed("DELETE", f"{path(number)}?{VERSION}") for number in picked]
    raise ValueError(operation)


def measure(
    operation: str, server: Server, store: Store, requests: list[Request], connections: int, seconds: int, number: int
) -> Sample:
    """One load of those requests, in the round of that number, with one answer checked before it."""

    def sample(load: Load | None, fault: str) -> Sample:
        return Sample(operation, store.size, number, load, server.usage().resident, fault)

    try:
        checked = exchange(requests.pop())
    except (OSError, HTTPException) as error:
        return sample(None, f"{type(error).__name__}: {error}")
    if checked.status != OPERATIONS[operation]:
        return sample(None, f"status {checked.status}: {checked.body[:300].decode(errors='replace')}")
    try:
        load = press(requests, connections, seconds, server.place.folder)
    except LoadError as error:
        return sample(None, str(error))
    if operation == "delete" and load.requests + connections > len(requests):
        return sample(load, f"{len(requests)} requests were too few: some identities were deleted twice")
    return sample(load, fault_of(load, len(checked.body)))


def press(requests: Sequence[Request], connections: int, seconds: int, folder: Path) -> Load:
    """Sends the requests in turn, from one thread of wrk, over that many connections for whole `seconds`.

    After the last comes the first again. `folder` is for files. Raises LoadError.
    """
    file = folder / "requests"
    file.write_bytes(b"\0".join(raw(request) for request in requests))
    return drive(f"http://127.0.0.1:{requests[0].port}", repeat_file(file), connections, seconds, folder)


def raw(request: Request) -> bytes:
    """The request as it goes over the wire."""
    headers = dict(request.headers)
    if request.body:
        headers["Content-Length"] = str(len(request.body))
    lines = [f"{request.method} {request.target} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join((*lines, "", "")).encode() + request.body
