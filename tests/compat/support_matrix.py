"""Counts what every client asked for with success, as the tests run, and keeps docs/reference/support-matrix.md true.

A pytest plugin. Each test of this folder says what its clients sent and how that was answered; the reports carry it
from the workers to the process that sums up. A run of the whole folder fails if the page says something else, or writes
it with `--write-support-matrix`.
"""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from mintmark.web.wire import VERSIONS

HERE = Path(__file__).parent
PAGE = HERE.parents[1] / "docs" / "reference" / "support-matrix.md"
PROPERTY = "support"
NONE = "\N{EN DASH}"
PARTLY = "support matrix: only a part of the tests ran"
OPERATIONS = {
    "create": ("Create", re.compile("POST /identities")),
    "issue": ("Issue access token", re.compile("POST /identities/[^/]+/:issueAccessToken")),
    "revoke": ("Revoke access tokens", re.compile("POST /identities/[^/]+/:revokeAccessTokens")),
    "delete": ("Delete", re.compile("DELETE /identities/[^/]+")),
    "exchange": ("Exchange Teams token", re.compile("POST /teamsUser/:exchangeAccessToken")),
    "get": ("Get", re.compile("GET /identities/[^/]+")),
}
HEAD = """# Support matrix

What each client was seen to do with success, by operation and api-version. A number says in how many tests the client
asked for the operation and got the answer it wanted; a dash, that the api-version has no such operation.

The tests write this page: they watch what the clients send over real sockets and how it is answered, and a test counts
when all that it expects came true. `make support-matrix` writes the page anew, and `make test` fails where it differs.
"""
OF_ONE_VERSION = """## Clients of one api-version

Java, .NET and old JavaScript are imitated: requests like those in `tests/vectors`, signed anew and sent as these
clients send them.
"""

Seen = tuple[str, str, str]  # client, operation, api-version


class Recorder:
    """Takes note of answered requests in the test that runs."""

    def __init__(self) -> None:
        self._test: pytest.Item | None = None

    def __call__(self, client: str, method: str, url: str, status: int) -> None:
        """One request, by whole address or target; refusals do not count."""
        parts = urlsplit(url)
        asked = f"{method} {unquote(parts.path)}"
        names = [name for name, (_, pattern) in OPERATIONS.items() if pattern.fullmatch(asked)]
        if self._test is not None and names and status < 300:
            seen = (client, names[0], parse_qs(parts.query)["api-version"][0])
            if (PROPERTY, seen) not in self._test.user_properties:
                self._test.user_properties.append((PROPERTY, seen))

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Knows which test runs."""
        self._test = item
        try:
            return (yield)
        finally:
            self._test = None

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """A run without some of these tests cannot tell what the page should say."""
        for item in items:
            if item.path.is_relative_to(HERE):
                getattr(item.config, "workeroutput", {})[PARTLY] = True
                item.config.stash[PARTLY_KEY] = True


RECORDER_KEY = pytest.StashKey[Recorder]()
PARTLY_KEY = pytest.StashKey[bool]()


class Summary:
    """Sums up what the tests noted, and compares or writes the page in the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._counts: Counter[Seen] = Counter()
        self._complaint = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test that passed counts once in each of its cells."""
        if report.when == "call" and report.passed:
            # Lists in what comes from a worker; twice the same if threads noted it.
            self._counts.update({tuple(value) for name, value in report.user_properties if name == PROPERTY})  # type: ignore[arg-type,misc]

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """A worker of pytest-xdist has ended."""
        if getattr(node, "workeroutput", {}).get(PARTLY):
            self._config.stash[PARTLY_KEY] = True

    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Compares or writes, if all tests of the folder ran and passed."""
        if exitstatus != pytest.ExitCode.OK or not self._ran_all():
            return
        page = render(self._counts)
        if self._config.option.write_support_matrix:
            PAGE.write_text(page)
        elif not PAGE.exists() or PAGE.read_text() != page:
            self._complaint = f"{PAGE.name} does not say what the tests saw: run `make support-matrix`."
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Says why the run failed though every test passed."""
        if self._complaint:
            terminalreporter.section("support matrix", red=True)
            terminalreporter.write_line(self._complaint)

    def _ran_all(self) -> bool:
        config = self._config
        folders = [(config.invocation_params.dir / argument).resolve() for argument in config.args]
        return (
            any(HERE.is_relative_to(folder) for folder in folders)
            and not config.option.lf
            and not config.option.collectonly
            and not config.stash.get(PARTLY_KEY, False)
        )


def render(counts: Counter[Seen]) -> str:
    """The page, for counts by client, operation and api-version."""
    versions = {
        client: [name for name in VERSIONS if any((client, name) == (seen[0], seen[2]) for seen in counts)]
        for client in sorted({client for client, _, _ in counts}, key=str.casefold)
    }
    parts = [HEAD]
    for client, names in versions.items():
        if len(names) > 1:
            operations = [name for name in OPERATIONS if any((client, name) == seen[:2] for seen in counts)]
            rows = [
                [OPERATIONS[operation][0], *(_cell(counts, client, operation, name) for name in names)]
                for operation in operations
            ]
            parts += [f"## {client}\n", _table(["operation", *names], rows)]
    operations = [name for name in OPERATIONS if name in VERSIONS["2021-03-07"].operations]
    rows = [
        [client, *names, *(_cell(counts, client, operation, names[0]) for operation in operations)]
        for client, names in versions.items()
        if len(names) == 1
    ]
    titles = [OPERATIONS[operation][0] for operation in operations]
    return "\n".join([*parts, OF_ONE_VERSION, _table(["client", "api-version", *titles], rows)])


def _table(head: list[str], rows: list[list[str]]) -> str:
    rule = ["--:" if cell.isdigit() or cell == NONE else "---" for cell in rows[0]]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in (head, rule, *rows))


def _cell(counts: Counter[Seen], client: str, operation: str, version: str) -> str:
    return str(counts[client, operation, version]) if operation in VERSIONS[version].operations else NONE


def pytest_addoption(parser: pytest.Parser) -> None:
    """The flag of `make support-matrix`."""
    parser.addoption("--write-support-matrix", action="store_true", help=f"write {PAGE.name} instead of comparing it")


def pytest_configure(config: pytest.Config) -> None:
    """Every process records; the one that sums up is no worker of pytest-xdist."""
    config.stash[RECORDER_KEY] = Recorder()
    config.pluginmanager.register(config.stash[RECORDER_KEY])
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Summary(config))


@pytest.fixture(scope="session")
def recorder(request: pytest.FixtureRequest) -> Recorder:
    """Takes note of requests that were answered."""
    return request.config.stash[RECORDER_KEY]
