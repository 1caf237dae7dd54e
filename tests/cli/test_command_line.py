"""What is the same for all commands: version, help, how a server is found, exit statuses."""

import json
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

import mintmark as package
from calls import create
from cli.conftest import Mintmark
from running import MINTMARK, RunningServer, running_server

COMMANDS = [
    *(
        ("dev",),
        ("exec",),
        ("health",),
        ("identity",),
        ("token",),
        ("resource",),
        ("access-key",),
        ("clock",),
        ("fault",),
        ("serve",),
        ("config",),
        ("signing-key",),
        ("key-encryption-key",),
        ("backup",),
        ("restore",),
        ("migrate",),
    ),
    *(("identity", name) for name in ("create", "show", "list", "delete")),
    *(("token", name) for name in ("issue", "revoke", "show")),
    *(("resource", name) for name in ("add", "list", "show", "remove")),
    *(("access-key", name) for name in ("list", "regenerate")),
    *(("clock", name) for name in ("show", "freeze", "advance", "set", "resume")),
    *(("fault", name) for name in ("add", "list", "clear")),
    *(("config", name) for name in ("show", "check")),
    *(("signing-key", name) for name in ("list", "rotate", "remove")),
    ("key-encryption-key", "list"),
]
SECONDS = 20


def test_it_says_its_version(mintmark: Mintmark) -> None:
    assert (0, f"mintmark {package.__version__}\n", "") == mintmark("--version")


@pytest.mark.parametrize(
    "command", [MINTMARK, (str(Path(sys.executable).with_name("mintmark")),)], ids=["-m", "script"]
)
def test_it_runs_as_a_module_and_as_a_program(command: tuple[str, ...]) -> None:
    done = subprocess.run([*command, "--version"], capture_output=True, text=True, timeout=SECONDS, check=False)

    assert (0, f"mintmark {package.__version__}\n", "") == (done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_every_command(mintmark: Mintmark, flag: str) -> None:
    status, out, err = mintmark(flag)
    listed = out.partition("Commands:\n")[2]

    assert (0, "") == (status, err)
    assert {command[0] for command in COMMANDS} == {line.split()[0] for line in listed.splitlines()}


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(mintmark: Mintmark, command: tuple[str, ...]) -> None:
    status, out, err = mintmark(*command, "--help")

    assert (0, "") == (status, err)
    assert out.startswith(f"Usage: mintmark {' '.join(command)} ")


@pytest.mark.parametrize("arguments", [["no-such-command"], ["health", "--no-such-flag"], ["exec"], ["token", "show"]])
def test_a_line_that_makes_no_sense_ends_with_2(mintmark: Mintmark, arguments: list[str]) -> None:
    status, out, err = mintmark(*arguments)

    assert (2, "") == (status, out)
    assert "Error: " in err


def name_in_folder(folder: Path, admin_endpoint: str) -> None:
    folder.mkdir()
    (folder / "server.json").write_text(json.dumps({"pid": 1, "MINTMARK_ADMIN_ENDPOINT": admin_endpoint}))


def test_a_flag_is_stronger_than_the_environment(
    mintmark: Mintmark, server: RunningServer, nobody: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINTMARK_ADMIN_ENDPOINT", nobody)
    assert 2 == mintmark("health").status
    assert 0 == mintmark("health", "--admin-endpoint", server.admin_endpoint).status

    monkeypatch.setenv("MINTMARK_ADMIN_ENDPOINT", server.admin_endpoint)
    assert 0 == mintmark("health").status
    assert 2 == mintmark("health", "--admin-endpoint", nobody).status


def test_the_environment_is_stronger_than_the_folder(
    mintmark: Mintmark, server: RunningServer, nobody: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_in_folder(tmp_path / ".mintmark", nobody)
    assert 2 == mintmark("health").status

    monkeypatch.setenv("MINTMARK_ADMIN_ENDPOINT", server.admin_endpoint)
    assert 0 == mintmark("health").status


def test_a_folder_that_a_flag_names_is_stronger_than_the_environment(
    mintmark: Mintmark, server: RunningServer, nobody: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_in_folder(tmp_path / "elsewhere", server.admin_endpoint)

    monkeypatch.setenv("MINTMARK_ADMIN_ENDPOINT", nobody)
    assert 0 == mintmark("health", "--data", "elsewhere").status


def test_the_folder_is_dot_mintmark_or_the_one_named(
    mintmark: Mintmark, server: RunningServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name_in_folder(tmp_path / "elsewhere", server.admin_endpoint)
    assert 2 == mintmark("health").status
    assert 0 == mintmark("health", "--data", "elsewhere").status

    monkeypatch.setenv("MINTMARK_DATA", str(tmp_path / "elsewhere"))
    assert 0 == mintmark("health").status


@pytest.mark.parametrize(("mode", "sent"), [(0o777, False), (0o700, True)], ids=["anybody's", "ours"])
def test_an_admin_key_is_not_sent_to_whom_anybody_could_name_here(
    mintmark: Mintmark,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: int,
    sent: bool,  # noqa: FBT001  a column
) -> None:
    heard = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            heard.append(self.headers.get("Authorization"))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    monkeypatch.setenv("MINTMARK_ADMIN_KEY", "a" * 32)
    with HTTPServer(("127.0.0.1", 0), Handler) as listener:
        name_in_folder(tmp_path / ".mintmark", f"http://127.0.0.1:{listener.server_port}")
        (tmp_path / ".mintmark").chmod(mode)
        serving = Thread(target=listener.handle_request)
        serving.start()
        assert 0 == mintmark("health").status
        serving.join()

    assert [f"Bearer {'a' * 32}" if sent else None] == heard


def test_a_server_started_here_is_found_while_it_runs(mintmark: Mintmark, tmp_path: Path) -> None:
    with running_server(cwd=tmp_path) as started:
        assert 201 == create(started).status  # Answered: so it has written where it is.
        status, out, _ = mintmark("health")
    stopped = mintmark("health")

    assert (0, f"ready  {started.admin_endpoint}\n") == (status, out)
    assert (2, "") == (stopped.status, stopped.out)
    assert "No running server was found: start `mintmark dev`" in stopped.err


def test_a_refusal_is_json_where_json_is_asked_for(mintmark: Mintmark) -> None:
    status, out, err = mintmark("identity", "create", "--json")

    assert (2, "") == (status, err)
    assert json.loads(out)["error"]["message"].startswith("No running server was found")


def test_an_empty_variable_is_as_good_as_none(mintmark: Mintmark, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINTMARK_ADMIN_ENDPOINT", "")

    assert "No running server was found" in mintmark("health").err


@pytest.mark.parametrize("arguments", [["health"], ["identity", "create"]], ids=" ".join)
def test_without_a_server_it_says_how_to_get_one(mintmark: Mintmark, arguments: list[str]) -> None:
    status, out, err = mintmark(*arguments)

    assert (2, "") == (status, out)
    assert "Error: No running server was found: start `mintmark dev`, or name its address by --admin-endpoint.\n" == err


def test_an_address_where_nobody_answers_is_named(mintmark: Mintmark, nobody: str) -> None:
    status, out, err = mintmark("identity", "create", "--admin-endpoint", nobody)

    assert (2, "") == (status, out)
    assert f"Error: No Mintmark server answers at {nobody} (" in err


@pytest.mark.parametrize(
    "address",
    [
        "localhost:12090",
        "https://localhost:12090",
        "http://",
        "http://localhost:port",
        "http://localhost:99999",
        "http://[",
    ],
)
def test_an_address_that_is_none_is_named(mintmark: Mintmark, address: str) -> None:
    status, out, err = mintmark("health", "--admin-endpoint", address)

    assert (2, "") == (status, out)
    assert f"Error: '{address}' is not an address such as http://localhost:12090.\n" == err


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"MINTMARK_ADMIN_ENDPOINT": "', "\xff"])
def test_a_damaged_record_of_a_server_is_as_good_as_none(mintmark: Mintmark, tmp_path: Path, content: str) -> None:
    (tmp_path / ".mintmark").mkdir()
    (tmp_path / ".mintmark" / "server.json").write_text(content, encoding="latin-1")
    status, _, err = mintmark("health")

    assert 2 == status
    assert "No running server was found" in err
