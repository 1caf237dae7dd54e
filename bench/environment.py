"""The packages that only the benchmark needs, kept apart from the project's own environment."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parent.parent
BUILD = CHECKOUT / "build"
REQUIREMENTS = CHECKOUT / "bench" / "requirements.txt"
PEERS = CHECKOUT / "bench" / "peers"


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


def peers() -> Path:
    """The folder of the programs in `bench/peers`, with the npm packages that its `package.json` pins.

    Installed at first use, and again when anything in `bench/peers` has changed.
    """
    folder, done = BUILD / "bench-peers", BUILD / "bench-peers" / "installed"
    wanted = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(PEERS.iterdir()))).hexdigest()
    if not done.exists() or done.read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(PEERS, folder)
        programs = str(Path(sys.executable).parent)
        options = ["--no-package-lock", "--ignore-scripts", "--omit=optional", "--no-fund", "--no-audit"]
        install = [f"{programs}/npm", "install", *options, "--loglevel=error"]
        environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
        subprocess.run(install, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)
        done.write_text(wanted)
    return folder
