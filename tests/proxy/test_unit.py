"""`packaging/mintmark.service`: systemd accepts it, it allows little, and Mintmark needs no more than it allows."""

import os
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from calls import CREATE, WITH_TOKEN, ask, create_headers
from process.watching import eventually
from proxy.nginx import PACKAGING, changed
from proxy.sandboxed import setting
from running import STOP_SECONDS
from serving import LOG, Files, Serving

pytestmark = pytest.mark.proxy

UNIT = PACKAGING / "mintmark.service"
INSTALLED = "/opt/mintmark/bin/mintmark"
MINTMARK = str(Path(sys.executable).with_name("mintmark"))
SANDBOXED = (sys.executable, str(Path(__file__).with_name("sandboxed.py")), str(UNIT))
MOST_EXPOSED = 13  # tenths, of 100; a service without any of it has 96

FORBIDDEN = {
    "memory to write and to execute": "import mmap; mmap.mmap(-1, 4096, prot=7)",
    "a socket to the kernel": "import socket; socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)",
    "another host name": "import socket; socket.sethostname('x')",
    "another user": "import os; os.setuid(0)",
    "another root": "import os; os.chroot('/')",
}


def run(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_systemd_takes_every_line_of_it(tmp_path: Path) -> None:
    """For a program that is not installed it would end with 1."""
    unit = tmp_path / UNIT.name
    unit.write_text(changed(UNIT.read_text(), {INSTALLED: MINTMARK}))

    verified = run("systemd-analyze", "verify", "--man=no", str(unit))

    assert (0, "", "") == (verified.returncode, verified.stdout, verified.stderr)


def test_it_exposes_little() -> None:
    """`systemd-analyze security` fails above the threshold."""
    looked_at = run(
        "systemd-analyze", "--no-pager", "security", "--offline=true", f"--threshold={MOST_EXPOSED}", str(UNIT)
    )

    assert 0 == looked_at.returncode, looked_at.stdout


@pytest.mark.parametrize("program", FORBIDDEN.values(), ids=FORBIDDEN)
def test_the_sandbox_of_these_tests_forbids_what_the_unit_forbids(program: str) -> None:
    """Otherwise the tests below would prove nothing."""
    assert 0 == run(*SANDBOXED, sys.executable, "-c", "import ctypes, ssl, uvloop").returncode

    tried = run(*SANDBOXED, sys.executable, "-c", program)

    assert 1 == tried.returncode
    assert "PermissionError" in tried.stderr


@contextmanager
def started_by_its_unit(folder: Path, manager: Path) -> Iterator[Serving]:
    """What ExecStart says, with the example configuration, keys in another folder, and two ports that are free."""
    files = Files(folder)
    configuration = (PACKAGING / "mintmark.toml").read_text()
    ports = {"http_port = 12080": "http_port = 0", "admin_port = 12090": "admin_port = 0"}
    keys = ("key_encryption_key_file", "admin_key_file")
    paths = {
        'data = "/var/lib/mintmark"': f'data = "{files.data}"',
        **{f'{key} = "/etc/mintmark': f'{key} = "{folder}' for key in keys},
    }
    (folder / "mintmark.toml").write_text(changed(configuration, {**ports, **paths}))
    unit = UNIT.read_text()
    (command,) = setting(unit, "ExecStart")
    command = changed(command, {INSTALLED: MINTMARK, "/etc/mintmark": str(folder)})
    with (folder / LOG).open("wb") as errors:
        process = subprocess.Popen(
            [*SANDBOXED, *shlex.split(command)],
            stderr=errors,
            env={**os.environ, "NOTIFY_SOCKET": str(manager)},
        )
    try:
        yield Serving(process, files)
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(STOP_SECONDS)


def test_mintmark_does_all_of_it_in_the_sandbox_of_its_unit(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "manager"))
        manager.settimeout(STOP_SECONDS)
        with started_by_its_unit(tmp_path, tmp_path / "manager") as mintmark:
            assert b"READY=1" == manager.recv(64)

            resource = mintmark.add_resource("shop")
            headers = create_headers(mintmark.http_endpoint, WITH_TOKEN, resource.keys[0])
            created = ask(mintmark.http_endpoint, CREATE, method="POST", headers=headers, body=WITH_TOKEN)
            assert 201 == created.status, created
            assert 200 == mintmark.admin("GET", "metrics").status
            assert 201 == mintmark.admin("POST", "signing-keys/:rotate", {"atOnce": True}).status
            backup = run(*SANDBOXED, MINTMARK, "backup", "--data", str(mintmark.files.data), str(tmp_path / "backup"))
            assert 0 == backup.returncode, backup.stderr
            reload_and_look(mintmark)
            assert 0 == mintmark.stop()
            assert b"STOPPING=1" == manager.recv(64)

    assert all("warn" not in line["level"] and "error" not in line["level"] for line in mintmark.lines())


def reload_and_look(mintmark: Serving) -> None:
    """SIGHUP, as ExecReload sends it, lets the server read its keys again."""
    (command,) = setting(UNIT.read_text(), "ExecReload")
    assert "kill -HUP $MAINPID" == command
    another = "another admin key, of forty-one characters".replace(" ", "-")
    mintmark.files.admin_key.write_text(f"{mintmark.admin_key}\n{another}\n")
    mintmark.process.send_signal(signal.SIGHUP)
    eventually("the new key counts", lambda: 200 == mintmark.admin("GET", "resources", key=another).status)
