"""The packages that only the benchmark needs, kept apart from the project's own environment."""

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
BUILD = CHECKOUT / "build"
REQUIREMENTS = CHECKOUT / "bench" / "requirements.txt"


def packages() -> Path:
    """The folder, for PYTHONPATH, of what `requirements.txt` pins.

    Installed at first use, and again when the file or Python has changed.
    """
    folder, done = BUILD / "bench-packages", BUILD / "bench-packages" / "installed"
    wanted = hashlib.sha256(REQUIREMENTS.read_bytes() + sys.version.encode()).hexdigest()
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        pip = next((CHECKOUT / "scripts" / "vendor").glob("pip-*.whl")) / "pip"  # The environment has no pip.
        options = ["-qq", "--require-hashes", "--no-deps", "--target", str(folder)]
        install = [sys.executable, str(pip), "install", *options, "--requirement", str(REQUIREMENTS)]
        subprocess.run(install, check=True)
        done.write_text(wanted)
    return folder
