"""How `mintmark dev` starts: what it prints, what its data folder holds, and what it refuses to start with."""

import json
import os
import re
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jwt
import pytest

from calls import Answer, ask, create, holds
from mintmark.development import DEVELOPMENT_KEYS
from process.watching import free_port, on_terminal
from running import FREE_PORTS, MINTMARK, running_server

SECONDS = 20
VARIABLES = [
    "COMMUNICATION_SERVICES_CONNECTION_STRING",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "MINTMARK_HTTP_ENDPOINT",
    "MINTMARK_ADMIN_ENDPOINT",
    "IDENTITY_ENDPOINT",
    "IDENTITY_HEADER",
    "COMMUNICATION_M365_APP_ID",
    "COMMUNICATION_M365_AAD_AUTHORITY",
    "COMMUNICATION_M365_AAD_TENANT",
    "COMMUNICATION_MSAL_USERNAME",
    "COMMUNICATION_MSAL_PASSWORD",
    "COMMUNICATION_EXPIRED_TEAMS_TOKEN",
]


def refused(*flags: str, environ: dict[str, str] | None = None, cwd: Path) -> str:
    """What a start that is refused says on standard error."""
    done = subprocess.run(
        [*MINTMARK, "dev", *flags],
        env={"PATH": "", "HOME": str(cwd), **(environ or {})},
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert (2, "") == (done.returncode, done.stdout)
    assert "Traceback" not in done.stderr
    return done.stderr


@contextmanager
def taken_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other.getsockname()[1]


def await_ready(process: "subprocess.Popen[bytes]", address: str) -> None:
    """Returns as soon as the probe says yes: its listener is bound before, and the answer waits."""
    while True:
        assert process.poll() is None
        try:
            assert 200 == ask(address, "/_mintmark/ready").status
        except ConnectionRefusedError:
            time.sleep(0.002)
        else:
            return


def test_a_pipe_gets_the_variables_and_nothing_else_before_it_is_ready(tmp_path: Path) -> None:
    admin_port = free_port()
    command = [*MINTMARK, "dev", *FREE_PORTS[:4], "--admin-port", str(admin_port), "--data", "data"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            await_ready(process, f"http://localhost:{admin_port}")
            assert process.stdout is not None
            printed = os.read(process.stdout.fileno(), 65536)
            record = json.loads((tmp_path / "data" / "server.json").read_bytes())
        finally:
            process.terminate()
        assert b"" == process.stdout.read()
    variables = dict(line.split("=", 1) for line in printed.decode().splitlines())

    assert printed.endswith(b"\n")
    assert VARIABLES == list(variables)
    assert re.fullmatch(r"endpoint=https://localhost:\d+/;accesskey=[A-Za-z0-9+/]+=*", variables[VARIABLES[0]])
    assert re.fullmatch(r"http://localhost:\d+", variables["MINTMARK_HTTP_ENDPOINT"])
    assert f"http://localhost:{admin_port}" == variables["MINTMARK_ADMIN_ENDPOINT"]
    assert all(Path(variables[name]).is_absolute() for name in VARIABLES[1:4])
    assert {"pid": process.pid, **variables} == record


def test_the_data_folder_is_private_and_out_of_git(tmp_path: Path) -> None:
    home = tmp_path / "home"
    environ = {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    with running_server(cwd=tmp_path, environ=environ) as started:
        assert 201 == create(started).status
        folder = tmp_path / ".mintmark"
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}
        folder_mode = stat.S_IMODE(folder.stat().st_mode)
        ignored = (folder / ".gitignore").read_text()
    (authority_key,) = home.rglob("ca-key.pem")

    assert 0o700 == folder_mode
    assert "*\n" == ignored
    for secret in ("key-encryption-key", "server-key.pem", "server.json", "lock"):
        assert 0o600 == modes[secret], secret
    assert 0o600 == stat.S_IMODE(authority_key.stat().st_mode)
    assert 0o700 == stat.S_IMODE(authority_key.parent.stat().st_mode)


@pytest.mark.parametrize("name", [".", "notes"])
def test_a_folder_of_somebody_elses_is_refused_and_left_as_it_is(tmp_path: Path, name: str) -> None:
    """As with `--data .` by mistake: what is there is the user's."""
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    (folder / "file").write_text("mine")
    folder.chmod(0o755)

    ended = subprocess.run(
        [*MINTMARK, "dev", *FREE_PORTS, "--data", name], cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert 2 == ended.returncode
    assert "is not empty and holds no data of Mintmark" in ended.stderr
    assert (["file"], 0o755) == ([each.name for each in folder.iterdir()], folder.stat().st_mode & 0o777)


def test_an_empty_folder_is_taken_and_a_later_start_leaves_its_gitignore_alone(tmp_path: Path) -> None:
    with running_server("--data", str(tmp_path)):
        pass
    (tmp_path / ".gitignore").write_text("build/\n")
    with running_server("--data", str(tmp_path)):
        pass

    assert "build/\n" == (tmp_path / ".gitignore").read_text()
    assert 0o700 == tmp_path.stat().st_mode & 0o777


def test_the_users_authority_is_kept_when_data_is_not(tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    authorities = []
    for _ in range(2):
        with running_server("--ephemeral", environ=environ) as started:
            authorities.append(Path(started.ca).read_bytes())

    assert authorities[0] == authorities[1]


def test_an_empty_xdg_variable_is_as_good_as_none(tmp_path: Path) -> None:
    """As the XDG Base Directory Specification has it: the authority's key must not land in the current folder."""
    work, home = tmp_path / "work", tmp_path / "home"
    work.mkdir()
    with running_server("--ephemeral", cwd=work, environ={"HOME": str(home), "XDG_CONFIG_HOME": ""}):
        pass

    assert [] == list(work.iterdir())
    assert 1 == len(list(home.rglob("ca-key.pem")))


def test_a_second_start_on_the_same_data_says_where_the_first_runs(tmp_path: Path) -> None:
    with running_server("--data", str(tmp_path / "data")) as first:
        said = refused(*FREE_PORTS, "--data", str(tmp_path / "data"), cwd=tmp_path)

        assert f"already running on {tmp_path / 'data'}" in said
        assert f"process {first.process.pid}" in said
        assert first.admin_endpoint in said
        assert 201 == create(first).status


@pytest.mark.parametrize("flag", ["--https-port", "--http-port", "--admin-port"])
def test_a_taken_port_is_named_with_the_flag_that_changes_it(flag: str, tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    with taken_port() as port:
        said = refused(*FREE_PORTS, flag, str(port), "--ephemeral", environ={"TMPDIR": str(temporary)}, cwd=tmp_path)

    assert f"port {port}" in said
    assert flag in said
    assert [] == list(temporary.iterdir())


def test_every_bad_setting_is_said_at_once(tmp_path: Path) -> None:
    environ = {"MINTMARK_SIGNING_ALGORITHM": "HS256", "MINTMARK_ADMIN_PORT": "ninety", "MINTMARK_HTTP_PORT": "-1"}
    said = refused("--workers", "0", "--https-port", "70000", environ=environ, cwd=tmp_path)

    assert "MINTMARK_SIGNING_ALGORITHM is 'HS256', but must be ES256 or RS256." in said
    assert "MINTMARK_ADMIN_PORT is 'ninety', but must be a port from 0 to 65535." in said
    assert "MINTMARK_HTTP_PORT is '-1', but must be a port from 0 to 65535, or off." in said
    assert "--workers is '0', but must be a number from 1 to 64." in said
    assert "--https-port is '70000', but must be a port from 0 to 65535, or off." in said
    assert not (tmp_path / ".mintmark").exists()


@pytest.mark.parametrize("name", ["bad name", "-", "a..b", "x" * 64])
def test_a_bad_name_for_the_certificate_is_refused(name: str, tmp_path: Path) -> None:
    said = refused(*FREE_PORTS, "--ephemeral", f"--tls-name={name}", cwd=tmp_path)

    assert f"'{name}' is not a host name." in said
    assert "--tls-name" in said


def test_a_flag_is_stronger_than_the_environment() -> None:
    environ = {"MINTMARK_SIGNING_ALGORITHM": "RS256"}
    with running_server("--ephemeral", "--signing-algorithm", "ES256", environ=environ) as started:
        assert ["ES256"] == algorithms(key_set(started.http_endpoint))


def key_set(address: str) -> Answer:
    return ask(address, "/.well-known/jwks.json")


def algorithms(published: Answer) -> list[str]:
    return [key["alg"] for key in published.json["keys"]]


def test_the_data_survive_a_restart(tmp_path: Path) -> None:
    flags = ("--data", str(tmp_path / "data"), "--https-port", str(free_port()))
    with running_server(*flags) as first:
        token = create(first).json["accessToken"]["token"]
        published = key_set(first.http_endpoint).json
        issuer = ask(first.http_endpoint, "/.well-known/openid-configuration").json["issuer"]
    with running_server(*flags) as second:
        assert published == key_set(second.http_endpoint).json
        assert issuer == ask(second.http_endpoint, "/.well-known/openid-configuration").json["issuer"]
        assert holds(second, token)


@pytest.mark.parametrize("way", ["flag", pytest.param("variable", marks=pytest.mark.long)])
def test_another_algorithm_signs_and_older_tokens_still_hold(way: str, tmp_path: Path) -> None:
    data = ("--data", str(tmp_path / "data"))
    with running_server(*data) as first:
        older = create(first).json["accessToken"]["token"]
    flags = ("--signing-algorithm", "RS256") if way == "flag" else ()
    environ = {"MINTMARK_SIGNING_ALGORITHM": "RS256"} if way == "variable" else {}
    with running_server(*data, *flags, environ=environ) as second:
        newer = create(second).json["accessToken"]["token"]

        assert ["RS256", "ES256"] == algorithms(key_set(second.http_endpoint))
        assert holds(second, older)
        assert holds(second, newer)
        assert "RS256" == jwt.get_unverified_header(newer)["alg"]


def test_beyond_loopback_it_warns_of_the_published_key(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running_server("--ephemeral", "--host", "0.0.0.0", stderr=log) as started:
        assert 201 == create(started).status
    said = log.read_text()

    assert "Warning: listening on 0.0.0.0, and the access key is published" in said


@pytest.mark.long
def test_beyond_loopback_it_warns_of_the_admin_listener_too(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running_server("--ephemeral", "--host", "127.0.0.2", "--admin-host", "0.0.0.0", stderr=log) as started:
        assert 201 == create(started).status

    assert [
        "Warning: listening on 0.0.0.0, and the admin listener asks for no key: open to all who reach this machine."
    ] == [line for line in log.read_text().splitlines() if "Warning" in line]


def test_a_terminal_gets_something_pleasant(tmp_path: Path) -> None:
    environ = {"TMPDIR": str(tmp_path)}
    with on_terminal([*MINTMARK, "dev", *FREE_PORTS, "--ephemeral", "--workers", "2"], environ, tmp_path) as terminal:
        shown = terminal.read_until("Ctrl-C stops the server")
        terminal.type(b"\x03")
        everything = terminal.read_to_end()

    assert 0 == terminal.process.returncode
    assert re.search(r"Mintmark\S* \d+\.\d+\.\d+ is ready", shown)
    assert "2 workers" in shown
    connection = re.search(r"export COMMUNICATION_SERVICES_CONNECTION_STRING='(\S+)'\r\n", shown)
    assert connection
    assert connection[1].startswith("endpoint=https://localhost:")
    assert "\x1b[" in shown  # in colour
    assert DEVELOPMENT_KEYS[0].hex() not in everything
    assert "Traceback" not in everything
    assert [] == list(tmp_path.iterdir())
