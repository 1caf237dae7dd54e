import shutil
import sys
from pathlib import Path

import pytest

from bench import machine


@pytest.mark.parametrize(
    ("platform", "wrk", "kind", "reason"),
    [
        ("darwin", "/usr/bin/wrk", "ext4", "it runs on Linux only"),
        ("linux", None, "ext4", "apt-get install wrk"),
        ("linux", "/usr/bin/wrk", "tmpfs", "name a folder on a disk"),
        ("linux", "/usr/bin/wrk", "ext4", ""),
    ],
)
def test_what_hinders_a_measurement_is_told(
    platform: str, wrk: str | None, kind: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(shutil, "which", {"wrk": wrk}.get)
    monkeypatch.setattr(machine, "file_system", lambda _: kind)

    said = machine.hindrance(tmp_path / "data")

    assert reason in said
    assert bool(reason) == bool(said)
