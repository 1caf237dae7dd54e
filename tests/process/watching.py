"""What processes do, seen from outside: who is whose child, who stopped, what a terminal shows."""

import os
import pty
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

SECONDS = 15
_PAUSE = 0.01

# In a process of its own: taking a terminal between fork and exec is not safe where there are threads.
_LOG_IN = "import os, sys; os.login_tty(int(sys.argv[1])); os.execvp(sys.argv[2], sys.argv[2:])"


class Process(NamedTuple):
    """A process that has not ended."""

    pid: int
    parent: int
    group: int
    is_stopped: bool


def processes() -> list[Process]:
    """All processes of this machine but those that ended and were not yet reaped."""
    if Path("/proc/self/stat").exists():
        return list(_from_proc())
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,pgid=,stat="], capture_output=True, text=True, check=True)
    rows = (line.split() for line in listing.stdout.splitlines())
    return [_process(pid, parent, group, state) for pid, parent, group, state in rows if state[0] != "Z"]


def _from_proc() -> Iterator[Process]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                state, parent, group = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
            except OSError:  # It ended while we looked.
                continue
            if state not in "ZX":
                yield _process(folder.name, parent, group, state)


def _process(pid: str, parent: str, group: str, state: str) -> Process:
    return Process(int(pid), int(parent), int(group), state[0] == "T")


def children(pid: int) -> set[int]:
    """The children of a process."""
    return {process.pid for process in processes() if process.parent == pid}


def group_of(pid: int) -> set[int]:
    """The processes of the group that `pid` leads or led."""
    return {process.pid for process in processes() if process.group == pid}


def alive(pids: set[int]) -> set[int]:
    """Those that have not ended."""
    return pids & {process.pid for process in processes()}


def eventually(what: str, condition: Callable[[], object], seconds: float = SECONDS) -> None:
    """Returns as soon as `condition` holds."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(_PAUSE)


def await_end(pids: set[int]) -> None:
    """Returns as soon as all of them have ended."""
    eventually(f"the processes {pids} end", lambda: not alive(pids))


def await_pause(pid: int) -> None:
    """Returns as soon as SIGSTOP has taken effect."""
    eventually(f"{pid} stops", lambda: any(process.pid == pid and process.is_stopped for process in processes()))


def free_port() -> int:
    """A port that was free a moment ago on 127.0.0.1 and ::1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port: int = taken.getsockname()[1]
        return port


class Terminal:
    """A command on a terminal of its own, of which it is the foreground."""

    def __init__(self, process: "subprocess.Popen[bytes]", keyboard_and_screen: int) -> None:
        self.process = process
        self.shown = ""
        self._descriptor = keyboard_and_screen

    def type(self, keys: bytes) -> None:
        """Presses keys; b"\\x03" is Ctrl-C."""
        os.write(self._descriptor, keys)

    def read_until(self, text: str) -> str:
        """What the screen has shown so far, once `text` is in it."""
        end = time.monotonic() + SECONDS
        while text not in self.shown:
            assert self._read(end - time.monotonic()), f"{text!r} was not shown in {SECONDS} s: {self.shown}"
        return self.shown

    def read_to_end(self) -> str:
        """All that the screen has shown, once the command has ended."""
        end = time.monotonic() + SECONDS
        while self._read(end - time.monotonic()):
            pass
        self.process.wait(SECONDS)
        return self.shown

    def _read(self, seconds: float) -> bool:
        readable, _, _ = select.select([self._descriptor], [], [], max(0, seconds))
        assert readable, f"nothing more was shown: {self.shown}"
        try:
            part = os.read(self._descriptor, 65536)
        except OSError:  # Linux says so when nobody holds the other side any more.
            return False
        self.shown += part.decode()
        return bool(part)


@contextmanager
def on_terminal(command: Sequence[str], environ: Mapping[str, str], cwd: Path) -> Iterator[Terminal]:
    """Runs a command on a new terminal; kills it if it still runs in the end."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _LOG_IN, str(theirs), *command],
        env={**os.environ, "TERM": "xterm", **environ},
        cwd=cwd,
        pass_fds=[theirs],
    )
    os.close(theirs)
    try:
        yield Terminal(process, ours)
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(SECONDS)
        os.close(ours)
