"""No request that schemathesis makes of a document gives a 5xx, and every error stands in the ACS envelope.

These two and nothing else: its other checks complain of what ACS does, such as a 401 for an identity of somebody else.
MINTMARK_SCHEMATHESIS_EXAMPLES sets how many random requests and how many random sequences there are for each operation,
beside those at the edges of every schema.
"""

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from schemathesis.checks import CheckContext
from schemathesis.core.transport import Response
from schemathesis.engine import events, from_schema
from schemathesis.generation.case import Case

from builders import NOON, an_identity
from calls import ask, create
from mintmark.web.openapi import OPERATIONS
from mintmark.web.wire import EXCHANGE, VERSIONS
from openapi.contract import document, load
from running import RunningServer

EXAMPLES = int(os.environ.get("MINTMARK_SCHEMATHESIS_EXAMPLES", "3"))
IDENTITIES = 100 + 15 * EXAMPLES  # that exist at first; some are deleted on the way

answers: Counter[tuple[str, int]] = Counter()


@schemathesis.check
def acs_error(_context: CheckContext, response: Response, case: Case[Any]) -> None:
    answers[case.operation.label, response.status_code] += 1
    assert response.status_code < 500
    if response.status_code >= 400:
        assert in_envelope(json.loads(response.content)), response.content


def in_envelope(body: object) -> bool:
    match body:
        case {"error": {"code": str(), "message": str(), **rest}, **nothing}:
            return not nothing and set(rest) <= {"target", "details"}
        case _:
            return False


@pytest.fixture(autouse=True)
def no_answers_yet() -> None:
    answers.clear()


@pytest.fixture(scope="module")
def identities(server: RunningServer) -> list[str]:
    """Some that exist, so that requests get beyond their path, and one that does not."""
    return [an_identity(0, now=NOON).id, *(create(server).json["identity"]["id"] for _ in range(IDENTITIES))]


def run(server: RunningServer, version: str, identities: list[str], examples: int = EXAMPLES) -> list[str]:
    """All that went wrong."""
    schema = load(
        server,
        document(server, version),
        seed=1,
        generation={"max-examples": examples, "deterministic": True},
        checks={"enabled": False, "acs_error": {"enabled": True}},
        dictionaries={"identities": {"values": identities}},
        parameters={"path.id": {"dictionary": "identities", "probability": 0.8}},
    )
    return list(complaints(from_schema(schema).execute()))


def complaints(stream: Iterator[events.EngineEvent]) -> Iterator[str]:
    for event in stream:
        if isinstance(event, events.FatalError | events.NonFatalError):
            yield repr(event)
        elif isinstance(event, events.ScenarioFinished):
            for case_id, checks in event.recorder.checks.items():
                failed = {f"{check.name}: {check.failure_info.failure}" for check in checks if check.failure_info}
                if failed:
                    yield f"{event.recorder.cases[case_id].value.as_curl_command()}\n{failed}"


@pytest.mark.long
@pytest.mark.parametrize("version", VERSIONS)
def test_no_input_gives_a_5xx_or_an_error_outside_the_envelope(
    server: RunningServer, version: str, identities: list[str], record_property: Callable[[str, object], None]
) -> None:
    wrong = run(server, version, identities)

    print(f"\napi-version {version}: {answers.total()} requests")  # noqa: T201
    record_property("requests", answers.total())
    assert [] == wrong
    for name in VERSIONS[version].operations:
        operation = OPERATIONS[name]
        label = f"{operation.method.upper()} {operation.path}"
        seen = {status for (asked, status), _ in answers.items() if asked == label}
        # No made-up token is that of a Teams user, and that is looked at before the rest.
        assert seen & ({401} if name == EXCHANGE else set(operation.answers)), f"{label} never succeeded: {seen}"
        assert 400 in seen, label


@pytest.mark.long
def test_it_finds_a_5xx_where_there_is_one(server: RunningServer, identities: list[str]) -> None:
    """The proof that the test above can fail."""
    fault = b'{"operation":"revoke","status":500,"count":1000000}'
    asked = ask(server.admin_endpoint, "/_mintmark/faults", method="POST", body=fault)
    try:
        assert 200 == asked.status
        wrong = run(server, "2023-10-01", identities, examples=1)
    finally:
        ask(server.admin_endpoint, "/_mintmark/faults", method="DELETE")

    assert wrong
    assert all(":revokeAccessTokens" in each and "acs_error" in each for each in wrong)


@pytest.mark.parametrize(
    ("body", "holds"),
    [
        ({"error": {"code": "a", "message": "b"}}, True),
        ({"error": {"code": "a", "message": "b", "target": "c", "details": []}}, True),
        ({"error": {"code": "a", "message": "b", "status": 400}}, False),
        ({"error": {"code": 1, "message": "b"}}, False),
        ({"error": {"code": "a"}}, False),
        ({"error": {"code": "a", "message": "b"}, "more": 1}, False),
        ({"detail": "Not Found"}, False),
        ([], False),
    ],
)
def test_what_is_no_envelope_is_told_from_one(body: object, holds: bool) -> None:  # noqa: FBT001  a column
    assert holds == in_envelope(body)
