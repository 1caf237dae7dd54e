"""The machine that a run is measured on."""

import os
import platform
import sqlite3
from pathlib import Path

import apsw


def describe(folder: Path) -> str:
    """What a reader has to know to compare, with the file system of `folder`, in a few lines."""
    return "\n".join(
        (
            f"{_processor()}, {len(os.sched_getaffinity(0))} cores, load average {os.getloadavg()[0]:.1f} at the start",
            f"{platform.system()} {platform.release()}, data on {file_system(folder)}",
            f"{platform.python_implementation()} {platform.python_version()}",
            f"SQLite {apsw.sqlite_lib_version()} (usual: {sqlite3.sqlite_version})",
        )
    )


def file_system(folder: Path) -> str:
    """Its type, as ext4 or tmpfs: that of the last mount on the longest path above the folder."""
    mounts = [line.split()[1:3] for line in Path("/proc/self/mounts").read_text().splitlines()]
    above = [(len(at), number) for number, (at, _) in enumerate(mounts) if folder.resolve().is_relative_to(at)]
    return mounts[max(above)[1]][1]


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
