"""Backups that are killed, at each line of the code in turn. Run as a program:

    python backup_process.py back-up DATABASE FOLDER
    python backup_process.py restore FILE FOLDER

Each round is a process that kills itself one line later than the one before, and writes in a new folder in FOLDER;
after the last one, which ends by itself, the number of kills is printed.
"""

# ruff: noqa: T201  what it prints is its answer

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from mintmark.sources import system
from mintmark.store import backup

NAME = "mintmark.db"  # of what is made, in each round's folder


def work(command: str, source: Path, folder: Path) -> None:
    if command == "back-up":
        backup.back_up(source, folder / NAME, system(), lambda _done, _of: None)
    else:
        backup.restore(source, folder / NAME, system(), lambda _done, _of: None)


def die_at(line: int, file: str) -> None:
    """Has this process killed when it has come to so many lines of a file of code."""
    seen = 0

    def trace(frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal seen
        if frame.f_code.co_filename != file:
            return None
        seen += event == "line"
        if seen == line:
            os.kill(os.getpid(), signal.SIGKILL)
        return trace

    sys.settrace(trace)


def main(command: str, source: str, folder: str) -> None:
    line = status = 0
    while status == 0:
        line += 1
        own = Path(folder, str(line))
        own.mkdir()
        if (pid := os.fork()) == 0:
            die_at(line, backup.__file__)
            work(command, Path(source), own)
            os._exit(3)
        _, status = os.waitpid(pid, 0)
        status = 0 if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)
    assert status == 3, f"round {line} ended with {status}"
    print(line - 1)


if __name__ == "__main__":
    main(*sys.argv[1:])
