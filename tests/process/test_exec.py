"""`mintmark exec`: a command with a server of its own, as if it ran alone."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from process.watching import await_end, children, eventually, group_of, on_terminal
from running import MINTMARK

SECONDS = 20
EXEC = [*MINTMARK, "exec"]
PYTHON = sys.executable
SH = shutil.which("sh") or "sh"

# Says its process id, waits for a signal, says which, and ends with a status of its own.
WAITS = """
import os, signal, sys, time
def note(number, frame):
    print(signal.Signals(number).name, flush=True)
    sys.exit(5)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, note)
print(os.getpid(), flush=True)
while True:
    time.sleep(60)
"""


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    """Where temporary folders go."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.fixture
def environ(temporary: Path) -> dict[str, str]:
    return {**os.environ, "TMPDIR": str(temporary)}


@contextmanager
def started(command: list[str], environ: dict[str, str], **options: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """An exec in a session of its own: no terminal, and a group by which what is left can be found."""
    with subprocess.Popen(
        [*EXEC, *command],
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        **options,
    ) as process:
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()


def finished(
    command: list[str], environ: dict[str, str], given: bytes = b"", **options: Any
) -> "subprocess.CompletedProcess[bytes]":
    """An exec that ended by itself, and left no process behind."""
    with started(command, environ, **options) as process:
        out, err = process.communicate(given, timeout=SECONDS)
        assert set() == group_of(process.pid)
        return subprocess.CompletedProcess(command, process.returncode, out, err)


def _long(*values: object) -> Any:
    return pytest.param(*values, marks=pytest.mark.long)


@pytest.mark.parametrize(
    ("script", "status"),
    [
        _long("exit 0", 0),
        ("exit 7", 7),
        ("kill -TERM $$", 128 + signal.SIGTERM),
        _long("kill -KILL $$", 128 + signal.SIGKILL),
    ],
)
def test_it_ends_as_the_command_ends(script: str, status: int, environ: dict[str, str], temporary: Path) -> None:
    done = finished(["--", SH, "-c", script], environ)

    assert (status, b"", b"") == (done.returncode, done.stdout, done.stderr)
    assert [] == list(temporary.iterdir())


def test_it_keeps_its_data_apart_whatever_database_is_set(environ: dict[str, str]) -> None:
    done = finished(["--", SH, "-c", "exit 0"], {**environ, "MINTMARK_DATABASE": "postgresql://127.0.0.1:1/none"})

    assert (0, b"") == (done.returncode, done.stderr)


@pytest.mark.parametrize("command", ["no-such-command-here", _long("./no-such-file"), _long("")])
def test_a_command_that_is_not_found_ends_with_127(command: str, environ: dict[str, str], temporary: Path) -> None:
    done = finished(["--", command], environ)

    assert 127 == done.returncode
    assert f"mintmark exec: {command}: No such file or directory\n" == done.stderr.decode()
    assert [] == list(temporary.iterdir())


def test_a_file_that_is_no_program_ends_with_126(environ: dict[str, str], tmp_path: Path, temporary: Path) -> None:
    text = tmp_path / "text"
    text.write_text("no program")
    done = finished(["--", str(text)], environ)

    assert 126 == done.returncode
    assert f"mintmark exec: {text}: Permission denied\n".encode() == done.stderr
    assert [] == list(temporary.iterdir())


ASKS = """
import json, os, ssl, urllib.request
ready = urllib.request.urlopen(os.environ["MINTMARK_ADMIN_ENDPOINT"] + "/_mintmark/ready").status
trusting = ssl.create_default_context(cafile=os.environ["NODE_EXTRA_CA_CERTS"])
https = os.environ["COMMUNICATION_SERVICES_CONNECTION_STRING"].removeprefix("endpoint=").partition(";")[0]
keys = urllib.request.urlopen(https + ".well-known/jwks.json", context=trusting).status
print(json.dumps({"ready": ready, "keys": keys, "environ": dict(os.environ)}))
"""


def test_the_command_finds_a_server_that_is_ready(environ: dict[str, str]) -> None:
    done = finished(["--", PYTHON, "-c", ASKS], {**environ, "OF_ITS_OWN": "kept"})
    answer = json.loads(done.stdout)
    environment = answer["environ"]

    assert (0, b"") == (done.returncode, done.stderr)
    assert (200, 200) == (answer["ready"], answer["keys"])
    assert "kept" == environment["OF_ITS_OWN"]
    assert environment["COMMUNICATION_SERVICES_CONNECTION_STRING"].startswith("endpoint=https://localhost:")
    assert environment["MINTMARK_HTTP_ENDPOINT"].startswith("http://localhost:")
    assert environment["REQUESTS_CA_BUNDLE"] == environment["SSL_CERT_FILE"]


COPIES = """
import sys
given = sys.stdin.buffer.read()
sys.stdout.buffer.write(given)
sys.stderr.buffer.write(given[::-1])
"""


def test_the_standard_streams_go_through_untouched(environ: dict[str, str]) -> None:
    given = bytes(range(256)) * 1000
    done = finished(["--", PYTHON, "-c", COPIES], environ, given)

    assert given == done.stdout
    assert given[::-1] == done.stderr


@pytest.mark.parametrize("separator", [["--"], []], ids=["--", "none"])
def test_flags_of_the_command_are_its_own(separator: list[str], environ: dict[str, str]) -> None:
    command = [*separator, PYTHON, "-c", "import sys; print(sys.argv[1:])", "--workers", "9", "--help", "-x", "--", "y"]
    done = finished(command, environ)

    assert b"['--workers', '9', '--help', '-x', '--', 'y']\n" == done.stdout


def test_flags_before_the_command_are_the_servers(environ: dict[str, str]) -> None:
    script = "import os, urllib.request as u; print(u.urlopen(os.environ['MINTMARK_HTTP_ENDPOINT'] + '{}').read())"
    command = ["--signing-algorithm", "RS256", "--", PYTHON, "-c", script.format("/.well-known/jwks.json")]
    done = finished(command, environ)

    assert b'"alg":"RS256"' in done.stdout


def test_a_setting_of_dev_cannot_take_away_the_free_ports_or_the_fresh_data(
    environ: dict[str, str], tmp_path: Path
) -> None:
    for_dev = {"MINTMARK_HTTP_PORT": "1", "MINTMARK_DATA": str(tmp_path / "data"), "MINTMARK_HOST": "0.0.0.0"}
    done = finished(["--", SH, "-c", "echo $MINTMARK_HTTP_ENDPOINT"], {**environ, **for_dev})

    assert done.stdout.startswith(b"http://localhost:")
    assert b"http://localhost:1\n" != done.stdout
    assert not (tmp_path / "data").exists()


def test_where_the_server_cannot_start_the_command_does_not(environ: dict[str, str], temporary: Path) -> None:
    done = finished(["--workers", "none", "--", SH, "-c", "echo started"], environ)

    assert (2, b"") == (done.returncode, done.stdout)
    assert b"--workers is 'none', but must be a number from 1 to 64." in done.stderr
    assert [] == list(temporary.iterdir())


@pytest.mark.parametrize(
    "number",
    [signal.SIGTERM, signal.SIGINT, _long(signal.SIGHUP), _long(signal.SIGUSR1)],
    ids=lambda number: number.name,
)
def test_signals_reach_the_command(number: signal.Signals, environ: dict[str, str], temporary: Path) -> None:
    with started(["--", PYTHON, "-c", WAITS], environ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        out, err = process.communicate(timeout=SECONDS)

    assert (5, f"{number.name}\n".encode(), b"") == (process.returncode, out, err)
    assert set() == group_of(process.pid)
    assert [] == list(temporary.iterdir())


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, _long(signal.SIGINT), _long(signal.SIGHUP)], ids=lambda number: number.name
)
def test_a_signal_before_the_command_starts_is_no_success(
    number: signal.Signals, environ: dict[str, str], temporary: Path
) -> None:
    """A script that asks whether its tests passed must not hear yes when they never ran."""
    with started(["--", SH, "-c", "exec sleep 60"], environ) as process:
        eventually("the server begins to start", lambda: list(temporary.glob("mintmark-*")))
        process.send_signal(number)
        process.communicate(timeout=SECONDS)

    assert 0 != process.returncode
    assert set() == group_of(process.pid)
    assert [] == list(temporary.iterdir())


def test_the_command_starts_with_signals_as_if_it_ran_alone(environ: dict[str, str]) -> None:
    """Python ignores SIGPIPE; what is ignored or blocked stays so in a program that is started then."""
    script = 'yes | head -1; exec "$0" -c "import signal; print(signal.pthread_sigmask(signal.SIG_BLOCK, []))"'
    done = finished(["--", SH, "-c", script, PYTHON], environ)

    assert (b"y\nset()\n", b"") == (done.stdout, done.stderr)


def test_a_worker_that_dies_does_not_end_the_command(environ: dict[str, str]) -> None:
    with started(["--", PYTHON, "-c", WAITS], environ) as process:
        assert process.stdout is not None
        command = int(process.stdout.readline())
        (worker,) = children(process.pid) - {command}
        os.kill(worker, signal.SIGKILL)
        await_end({worker})
        eventually("another worker", lambda: len(children(process.pid)) == 2)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=SECONDS)

    assert (5, b"SIGTERM\n") == (process.returncode, out)


def test_a_killed_exec_leaves_no_server(environ: dict[str, str]) -> None:
    with started(["--", PYTHON, "-c", WAITS], environ) as process:
        assert process.stdout is not None
        command = int(process.stdout.readline())
        servers = children(process.pid) - {command}
        process.kill()
        await_end({process.pid, *servers})
        os.kill(command, signal.SIGKILL)

    assert 1 == len(servers)


# Counts Ctrl-C for half a second after the first.
COUNTS = """
import signal, sys, time
seen = []
signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))
print("waiting", flush=True)
while not seen:
    time.sleep(0.01)
time.sleep(0.5)
print(f"{len(seen)} times", flush=True)
sys.exit(6)
"""


@pytest.mark.long
def test_ctrl_c_reaches_the_command_once(tmp_path: Path, temporary: Path) -> None:
    command = [*EXEC, "--", PYTHON, "-c", COUNTS]
    with on_terminal(command, {"TMPDIR": str(temporary)}, tmp_path) as terminal:
        terminal.read_until("waiting\r\n")
        terminal.type(b"\x03")
        shown = terminal.read_to_end()

    assert "waiting\r\n^C1 times\r\n" == shown
    assert 6 == terminal.process.returncode
    assert [] == list(temporary.iterdir())


def test_ctrl_c_ends_a_command_that_does_not_mind_it(tmp_path: Path, temporary: Path) -> None:
    command = [*EXEC, "--", SH, "-c", "echo waiting; exec sleep 60"]
    with on_terminal(command, {"TMPDIR": str(temporary)}, tmp_path) as terminal:
        terminal.read_until("waiting\r\n")
        terminal.type(b"\x03")
        shown = terminal.read_to_end()

    assert "waiting\r\n^C" == shown
    assert 128 + signal.SIGINT == terminal.process.returncode
    assert [] == list(temporary.iterdir())
