"""The oldest Python release of the SDK, in a folder of its own, since no environment can hold two releases."""

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]
REQUIREMENTS = HERE / "requirements-1.0.1.txt"
PROGRAM = HERE / "oldest_python_program.py"
SECONDS = 60


def installed() -> Path:
    """The folder of what `requirements-1.0.1.txt` pins: filled at first use, and when that file or Python changed.

    Workers of pytest-xdist that want it at the same time take turns.
    """
    folder = CHECKOUT / "build" / "compat-1.0.1"
    folder.parent.mkdir(exist_ok=True)
    with folder.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = folder / "installed"
        wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
        if not done.exists() or done.read_text() != wanted:
            shutil.rmtree(folder, ignore_errors=True)
            pip = next((CHECKOUT / "scripts" / "vendor").glob("pip-*.whl")) / "pip"  # The environment has no pip.
            options = ["-qq", "--require-hashes", "--only-binary", ":all:", "--no-deps", "--target", str(folder)]
            install = [sys.executable, str(pip), "install", *options, "--requirement", str(REQUIREMENTS)]
            subprocess.run(install, check=True)
            done.write_text(wanted)
    return folder


def run(variables: dict[str, str], *arguments: str) -> Any:
    """Runs the program with that SDK only and the variables that `mintmark dev` prints; answers the JSON it prints."""
    done = subprocess.run(
        [sys.executable, "-S", PROGRAM, *arguments],  # Without the packages of this environment.
        env={**os.environ, **variables, "PYTHONPATH": str(installed())},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
