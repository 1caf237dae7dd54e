"""The command line, called as a shell calls it, but without a new process for each line."""

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mintmark.cli import main
from running import RunningServer


class Outcome(NamedTuple):
    """What a command did."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output as JSON."""
        return json.loads(self.out)


Mintmark = Callable[..., Outcome]


@pytest.fixture
def mintmark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Mintmark:
    """Runs a command line in an empty folder, where nothing names a server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MINTMARK_ADMIN_ENDPOINT", raising=False)
    monkeypatch.delenv("MINTMARK_DATA", raising=False)

    def run(*arguments: str) -> Outcome:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert isinstance(ended.value.code, int)
        return Outcome(ended.value.code, *capsys.readouterr())

    return run


@pytest.fixture
def connected(mintmark: Mintmark, server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> Mintmark:
    """The same where the environment names the running server."""
    monkeypatch.setenv("MINTMARK_ADMIN_ENDPOINT", server.admin_endpoint)
    return mintmark


@pytest.fixture(scope="session")
def nobody() -> Iterator[str]:
    """An address where nobody listens, and nobody else can."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
