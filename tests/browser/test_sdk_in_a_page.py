"""The official JavaScript SDK in a page of a real browser, which trusts the printed authority because its user does."""

import base64
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import jwt
import pytest

from browser.page_server import serving
from mintmark.development import DEVELOPMENT_RESOURCE
from running import RunningServer

pytestmark = pytest.mark.browser

SECONDS = 60


@contextmanager
def chromium(home: Path, ca: str, address: str) -> Iterator["subprocess.Popen[bytes]"]:
    """Chromium without a window, at `address`; Debian's `certutil` adds the authority to those of the user."""
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    certutil = ["certutil", "-d", f"sql:{database}"]
    subprocess.run([*certutil, "-N", "--empty-password"], check=True)
    subprocess.run([*certutil, "-A", "-n", "mintmark", "-t", "C,,", "-i", ca], check=True)
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", f"--user-data-dir={home / 'profile'}"]
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            ["chromium", *flags, address], env={**os.environ, "HOME": str(home)}, stdout=log, stderr=log
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(SECONDS)


@pytest.fixture(scope="module")
def outcomes(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the page made of the SDK."""
    for program, package in (("chromium", "chromium"), ("certutil", "libnss3-tools")):
        assert shutil.which(program), f"Debian's package {package} is missing."
    settings = {
        "connectionString": server.connection_string,
        "httpEndpoint": server.http_endpoint,
        "accessKey": server.access_key,
        "wrongKey": base64.b64encode(b"the key of somebody else").decode(),
    }
    with serving(settings) as pages, chromium(tmp_path_factory.mktemp("home"), server.ca, pages.address):
        reported: dict[str, Any] = pages.reports.get(timeout=SECONDS)
    assert "failed" not in reported, reported
    return reported


@pytest.mark.parametrize("transport", ["https", "http"])
def test_a_page_creates_a_user_with_a_token(outcomes: dict[str, Any], transport: str) -> None:
    created = outcomes[transport]

    assert "user" in created, created
    claims = jwt.decode(created["token"], options={"verify_signature": False})
    assert created["user"]["communicationUserId"] == claims["sub"]
    assert claims["sub"].startswith(f"8:acs:{DEVELOPMENT_RESOURCE.id}_")
    assert "chat,voip" == claims["acsScope"]
    assert 3600 == claims["exp"] - claims["iat"]
    assert claims["exp"] == datetime.fromisoformat(created["expiresOn"]).timestamp()


def test_the_page_was_of_another_origin(outcomes: dict[str, Any], server: RunningServer) -> None:
    assert outcomes["origin"].startswith("http://localhost:")
    assert outcomes["origin"] not in (server.http_endpoint, server.https_endpoint)


def test_the_page_learns_why_it_is_denied(outcomes: dict[str, Any]) -> None:
    denied = outcomes["denied"]

    assert (401, "Denied") == (denied["statusCode"], denied["code"])
    assert "Denied by the resource provider." == denied["message"]
