"""The parent process: starts workers, replaces those that die, stops all of them, and takes none of the traffic.

The parent keeps no event loop, no thread and no database connection, so that it can fork at any time.
"""

import contextlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import FrameType

from mintmark.errors import MintmarkError, StartRefused
from mintmark.worker import LAST_RESORT

MAX_FAILED_STARTS = 3  # in a row
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PASSED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)

# Runs in a worker: its number, the pipe that tells of the parent's end, the pipe to say that it serves.
WorkerMain = Callable[[int, int, int], None]


class Supervisor:
    """Keeps a number of workers running."""

    def __init__(self, worker_main: WorkerMain, count: int) -> None:
        self._worker_main = worker_main
        self._count = count
        self._alive, self._parent_end = os.pipe()
        self._workers: dict[int, int] = {}
        self._ready: dict[int, int] = {}
        self._failed_starts = 0
        self._stopping = False

    def start(self) -> None:
        """Starts all workers and waits until each answers requests.

        Raises:
            StartRefused: one ended before.
        """
        try:
            for number in range(self._count):
                if not self._stopping:
                    self._fork(number)
            self._await_start()
        except BaseException:
            self.stop()
            raise

    def run(self, on_ready: Callable[[], None]) -> None:
        """Starts the workers and replaces those that die, until a stop signal; then stops them, requests finished.

        `on_ready` is called when each of them answers requests.

        Raises:
            StartRefused: workers die as soon as they start.
        """
        with _handling(STOP_SIGNALS, lambda _number, _frame: self._begin_stop()):
            self.start()
            if not self._stopping:
                on_ready()
            while self._workers:
                self._reap(*os.wait())
        self._check_failed_starts()

    def run_command(self, command: Sequence[str], environ: Mapping[str, str]) -> int:
        """Runs a command beside the workers and stops them when it has ended.

        Signals go through to the command; its standard streams are this process's own.

        Returns:
            The command's exit status; 128 and the signal's number if a signal ended it.

        Raises:
            OSError: the command cannot be started.
        """
        child = 0

        def pass_on(number: int, _frame: FrameType | None) -> None:
            # The terminal has sent Ctrl-C and its like to the command too: not twice.
            if not (number in (signal.SIGINT, signal.SIGQUIT) and _in_foreground()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, number)

        default = (*PASSED_ON, signal.SIGPIPE, signal.SIGXFSZ)
        with _handling(PASSED_ON, pass_on):
            # Held back until it is known whom to pass them on to.
            with _blocked(PASSED_ON):
                child = os.posix_spawnp(command[0], list(command), environ, setsigmask=(), setsigdef=default)
            while True:
                pid, status = os.wait()
                if pid == child:
                    break
                self._reap(pid, status)
            self.stop()
        code = os.waitstatus_to_exitcode(status)
        return code if code >= 0 else 128 - code

    def stop(self) -> None:
        """Stops all workers and waits for their end."""
        self._begin_stop()
        while self._workers:
            self._reap(*os.wait())

    def _begin_stop(self) -> None:
        if self._stopping and self._workers:
            self._signal_workers(signal.SIGKILL)  # Asked twice: at once, then.
            return
        self._stopping = True
        self._signal_workers(signal.SIGTERM)
        signal.signal(signal.SIGALRM, lambda _number, _frame: self._signal_workers(signal.SIGKILL))
        signal.alarm(LAST_RESORT)

    def _signal_workers(self, number: signal.Signals) -> None:
        for pid in list(self._workers):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _reap(self, pid: int, status: int) -> None:
        number = self._workers.pop(pid, None)
        if number is None:
            return
        served = self._serves(pid)
        if self._stopping:
            return
        self._failed_starts = 0 if served else self._failed_starts + 1
        sys.stderr.write(f"Worker {number} ended ({_how(status)}); starting another.\n")
        if self._failed_starts >= MAX_FAILED_STARTS:
            self._begin_stop()
            return
        self._fork(number)

    def _await_start(self) -> None:
        if not all(self._serves(pid) for pid in list(self._workers)) and not self._stopping:
            raise StartRefused("A worker ended as it started; its message stands above.")

    def _serves(self, pid: int) -> bool:
        """Waits until a worker answers requests (True) or ends before it does (False)."""
        pipe = self._ready.pop(pid, None)
        if pipe is None:
            return True
        answer = os.read(pipe, 1)
        os.close(pipe)
        return bool(answer)

    def _check_failed_starts(self) -> None:
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise StartRefused("Workers end as soon as they start; their message stands above.")

    def _fork(self, number: int) -> None:
        ready, say_ready = os.pipe()
        # A signal between fork and the worker's own handlers would find the parent's.
        with _blocked(signal.valid_signals()) as mask:
            pid = os.fork()
            if pid == 0:
                self._be_worker(number, say_ready, mask)
            self._workers[pid] = number
            self._ready[pid] = ready
            os.close(say_ready)

    def _be_worker(self, number: int, say_ready: int, mask: set[signal.Signals | int]) -> None:
        status = 1
        try:
            os.close(self._parent_end)
            for handled in {*STOP_SIGNALS, *PASSED_ON, signal.SIGALRM}:
                signal.signal(handled, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._worker_main(number, self._alive, say_ready)
            status = 0
        except MintmarkError as error:
            sys.stderr.write(f"{error.message}\n")
        except BaseException:  # noqa: BLE001  whatever it is, a worker must not go on as a second parent
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)


@contextlib.contextmanager
def _handling(signals: Sequence[signal.Signals], handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


@contextlib.contextmanager
def _blocked(signals: Iterable[signal.Signals | int]) -> Iterator[set[signal.Signals | int]]:
    """Holds signals back meanwhile; gives the mask that was."""
    mask: set[signal.Signals | int] = set(signal.pthread_sigmask(signal.SIG_BLOCK, signals))
    try:
        yield mask
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_foreground() -> bool:
    """Whether this process belongs to the terminal's foreground group, which gets the terminal's signals."""
    try:
        terminal = os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


def _how(status: int) -> str:
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code >= 0 else signal.Signals(-code).name
