"""The wheel holds the package and nothing else, and serves where only its dependencies are installed."""

import os
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from threading import Timer
from time import monotonic, sleep
from urllib.error import HTTPError, URLError
from urllib.request import urlopen
from zipfile import ZipFile

import pytest

import mintmark

ROOT = Path(__file__).parents[2]
PIP = next((ROOT / "scripts" / "vendor").glob("pip-*.whl")) / "pip"
PINS = ROOT / "requirements" / "run.txt"
VARIABLES = {
    "COMMUNICATION_SERVICES_CONNECTION_STRING",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "MINTMARK_HTTP_ENDPOINT",
    "MINTMARK_ADMIN_ENDPOINT",
}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build: list[str | Path] = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def bin_folder(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a new environment that holds the wheel and what its metadata ask for, at pinned releases."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, symlinks=True)
    # In pip's hash-checking mode, which the pins switch on, the wheel needs a hash of its own.
    requirement = f"mintmark @ {wheel.as_uri()}#sha256={sha256(wheel.read_bytes()).hexdigest()}"
    install: list[str | Path] = [folder / "bin" / "python", PIP, "install", "--quiet", "--only-binary", ":all:"]
    subprocess.run([*install, "--constraint", PINS, requirement], check=True)
    return folder / "bin"


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing of this checkout or of the user can be found."""
    return {"HOME": str(tmp_path), "PATH": os.defpath}


@pytest.fixture
def server(bin_folder: Path, home: dict[str, str], tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    ports = ["--https-port", "0", "--http-port", "0", "--admin-port", "0"]
    with subprocess.Popen(
        [bin_folder / "mintmark", "dev", "--ephemeral", *ports],
        env=home,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        deadline = Timer(20, process.kill)
        deadline.start()
        yield process
        deadline.cancel()
        process.kill()


def printed_variables(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    found: dict[str, str] = {}
    while not found.keys() >= VARIABLES:
        name, equals, value = process.stdout.readline().rstrip("\n").partition("=")
        assert equals, f"{name!r} ended the NAME=value lines after {sorted(found)}"
        found[name] = value
    return found


def status_when_up(url: str) -> int:
    deadline = monotonic() + 5
    while True:
        try:
            with urlopen(url) as answer:
                return int(answer.status)
        except URLError as refusal:
            if isinstance(refusal, HTTPError):
                refusal.close()
            if monotonic() > deadline:
                raise
        sleep(0.02)


def test_it_holds_every_file_of_the_package_and_no_other(wheel: Path) -> None:
    source = ROOT / "src"
    package = {str(path.relative_to(source)) for path in source.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    metadata = f"mintmark-{mintmark.__version__}.dist-info/"
    with ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if not name.startswith(metadata)}
        assert archive.read(metadata + "licenses/LICENSE") == (ROOT / "LICENSE").read_bytes()
    assert held == package
    assert "mintmark/py.typed" in held
    assert any(name.endswith(".html") for name in held)


@pytest.mark.long
def test_it_serves_from_a_clean_environment(server: subprocess.Popen[str]) -> None:
    variables = printed_variables(server)
    assert status_when_up(variables["MINTMARK_ADMIN_ENDPOINT"] + "/_mintmark/ready") == 200
    server.send_signal(signal.SIGTERM)
    assert server.wait(timeout=10) == 0


@pytest.mark.long
def test_its_command_knows_its_version(bin_folder: Path, home: dict[str, str], tmp_path: Path) -> None:
    command: list[str | Path] = [bin_folder / "mintmark", "--version"]
    answer = subprocess.run(command, env=home, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert mintmark.__version__ in answer.stdout
