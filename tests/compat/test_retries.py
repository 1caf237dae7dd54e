"""What the official SDKs do when the service fails, and what is left behind, as the how-to page has it."""

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from compat.both_sdks import ANSWER, JavaScriptSdk, PythonSdk, Sdk
from compat.raw_http import RawHttp
from compat.resource import Resource
from compat.support_matrix import Recorder
from docs.markdown import DOCS, rows, section
from mintmark.sources import system
from running import RunningServer, running_server

PAGE = DOCS / "how-to" / "survive-retries.md"
PATIENCE = 0.25  # seconds that an impatient caller waits
LATE = 500  # milliseconds after which an answer is too late for it
# The asynchronous Python client has another name for a connection that broke.
ASYNCHRONOUS = {"ServiceResponseError": "ServiceRequestError"}


class Case(NamedTuple):
    """A failure, and for each SDK: how often it asks, what the caller gets, how often the operation was carried out."""

    title: str
    fault: dict[str, Any]
    python: tuple[int, str, int]
    javascript: tuple[int, str, int]


POSTS = [
    Case(
        "429 without Retry-After",
        {"status": 429},
        (1, "HttpResponseError 429", 0),
        (1, "RestError 429", 0),
    ),
    Case("429 with Retry-After", {"status": 429, "retryAfter": 0}, (2, ANSWER, 1), (2, ANSWER, 1)),
    Case("500 once", {"status": 500}, (2, ANSWER, 1), (2, ANSWER, 1)),
    Case("503 once", {"status": 503}, (2, ANSWER, 1), (2, ANSWER, 1)),
    Case("503 with Retry-After", {"status": 503, "retryAfter": 0}, (2, ANSWER, 1), (2, ANSWER, 1)),
    Case(
        "503 again and again",
        {"status": 503, "count": 9},
        (4, "HttpResponseError 503", 0),
        (4, "RestError 503", 0),
    ),
    Case("500 though it was carried out", {"status": 500, "when": "after"}, (2, ANSWER, 2), (2, ANSWER, 2)),
    Case("the connection breaks", {"drop": True}, (1, "ServiceResponseError", 0), (2, ANSWER, 1)),
    Case(
        "the connection breaks though it was carried out",
        {"drop": True, "when": "after"},
        (1, "ServiceResponseError", 1),
        (2, ANSWER, 2),
    ),
    Case("the answer is slow", {"delay": LATE, "when": "after"}, (1, ANSWER, 1), (1, ANSWER, 1)),
    Case(
        "the answer is later than the caller waits",
        {"delay": LATE, "when": "after"},
        (1, "ServiceResponseTimeoutError", 1),
        (1, "AbortError", 1),
    ),
]
DELETES = [
    Case("429 without Retry-After", {"status": 429}, (2, ANSWER, 1), (1, "RestError 429", 0)),
    Case("500 though it was carried out", {"status": 500, "when": "after"}, (2, ANSWER, 2), (2, ANSWER, 2)),
    Case("the connection breaks", {"drop": True}, (2, ANSWER, 1), (2, ANSWER, 1)),
    Case(
        "the connection breaks though it was carried out",
        {"drop": True, "when": "after"},
        (2, ANSWER, 2),
        (2, ANSWER, 2),
    ),
    Case(
        "the answer is later than the caller waits",
        {"delay": LATE, "when": "after"},
        (2, ANSWER, 2),
        (1, "AbortError", 1),
    ),
]
AT_ONCE = pytest.mark.parametrize(
    "case", [case for case in POSTS if "delay" not in case.fault], ids=lambda case: case.title
)
# Where time passes; the two Python clients count alike.
ONE_OF_EACH = pytest.mark.parametrize("sdk", ["Python, blocking", "JavaScript"], indirect=True)


@pytest.fixture(scope="module")
def own_server() -> Iterator[RunningServer]:
    """A server that only these tests make fail."""
    with running_server("--ephemeral", "--workers", "2") as started:
        yield started


@pytest.fixture
def resource(own_server: RunningServer) -> Resource:
    return Resource(own_server, f"retries-{time.monotonic_ns()}")


@pytest.fixture(scope="module", params=["Python, blocking", "Python, asynchronous", "JavaScript"])
def sdk(request: pytest.FixtureRequest, recorder: Recorder) -> Iterator[Sdk]:
    if request.param == "JavaScript":
        javascript = JavaScriptSdk()
        yield javascript
        javascript.close()
    else:
        yield PythonSdk("blocking" if "blocking" in request.param else "async", recorder)


def expected(sdk: Sdk, case: Case) -> tuple[int, str, int]:
    if isinstance(sdk, JavaScriptSdk):
        return case.javascript
    requests, gets, carried_out = case.python
    return requests, ASYNCHRONOUS.get(gets, gets) if sdk.kind == "async" else gets, carried_out


def patience(case: Case) -> float | None:
    return PATIENCE if "later" in case.title else None


@pytest.mark.parametrize("case", POSTS, ids=lambda case: case.title)
def test_create(sdk: Sdk, resource: Resource, case: Case) -> None:
    requests, gets, carried_out = expected(sdk, case)

    with resource.failing("create", **case.fault) as arrived:
        got = sdk(resource, "create", patience=patience(case))
        assert (requests, gets) == (arrived(), got.what)

    assert carried_out == len(resource.users())
    assert (requests, 1) == (len(got.request_ids), len(set(got.request_ids)))
    if got.what == ANSWER:
        assert got.user in resource.users()
        assert resource.lives(got.token)
    check_that_nothing_is_half_made(sdk, resource)


def check_that_nothing_is_half_made(sdk: Sdk, resource: Resource) -> None:
    """Whatever exists is whole: it can have a token, and be deleted."""
    for user in resource.users():
        assert resource.lives(sdk(resource, "issue", user).token)
        assert ANSWER == sdk(resource, "delete", user).what
    assert [] == resource.users()


@AT_ONCE
def test_issue(sdk: Sdk, resource: Resource, case: Case) -> None:
    requests, gets, _ = expected(sdk, case)
    user = resource.user()["identity"]["id"]

    with resource.failing("issue", **case.fault) as arrived:
        got = sdk(resource, "issue", user)
        assert (requests, gets) == (arrived(), got.what)

    assert [user] == resource.users()
    if got.what == ANSWER:
        assert resource.lives(got.token)


@AT_ONCE
def test_revoke(sdk: Sdk, resource: Resource, case: Case) -> None:
    requests, gets, carried_out = expected(sdk, case)
    made = resource.user({"createTokenWithScopes": ["chat"]})
    user, earlier = made["identity"]["id"], made["accessToken"]["token"]

    with resource.failing("revoke", **case.fault) as arrived:
        got = sdk(resource, "revoke", user)
        assert (requests, gets) == (arrived(), got.what)

    assert bool(carried_out) is not resource.lives(earlier)
    assert resource.lives(sdk(resource, "issue", user).token)


@pytest.mark.parametrize("case", DELETES, ids=lambda case: case.title)
def test_delete(sdk: Sdk, resource: Resource, case: Case) -> None:
    requests, gets, carried_out = expected(sdk, case)
    user = resource.user()["identity"]["id"]

    with resource.failing("delete", **case.fault) as arrived:
        got = sdk(resource, "delete", user, patience=patience(case))
        assert (requests, gets) == (arrived(), got.what)

    assert ([] if carried_out else [user]) == resource.users()


@ONE_OF_EACH
def test_retry_after_is_waited_for(sdk: Sdk, resource: Resource) -> None:
    with resource.failing("create", status=429, retryAfter=1):
        started = time.monotonic()
        got = sdk(resource, "create")

    assert ANSWER == got.what
    assert time.monotonic() - started >= 1


@pytest.mark.long
@ONE_OF_EACH
def test_as_it_comes_an_sdk_outlives_two_failures(sdk: Sdk, resource: Resource) -> None:
    with resource.failing("create", status=503, count=2) as arrived:
        got = sdk(resource, "create", defaults=True)
        assert 3 == arrived()

    assert ANSWER == got.what
    assert [got.user] == resource.users()


@pytest.fixture
def by_hand(own_server: RunningServer, recorder: Recorder) -> RawHttp:
    return RawHttp(own_server, recorder, "2025-03-02-preview")


def test_a_custom_id_makes_create_repeatable(resource: Resource, by_hand: RawHttp) -> None:
    name = {"customId": f"order {system().now()}"}
    with resource.failing("create", status=500, when="after"):
        assert 500 == by_hand("POST", "/identities", name).status
        users = {by_hand.created(name) for _ in range(2)}

    assert 1 == len(users)


@pytest.mark.parametrize(("title", "cases"), [("Create, issue and revoke", POSTS), ("Delete", DELETES)])
def test_the_page_says_the_same(title: str, cases: list[Case]) -> None:
    said = [
        [case.title, *(str(cell) for cell in case.python), *(str(cell) for cell in case.javascript)] for case in cases
    ]

    assert said == rows(section(PAGE, title))
