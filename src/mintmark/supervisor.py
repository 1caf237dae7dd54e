"""The parent process: starts workers, replaces those that die, stops all of them, and takes none of the traffic.

The parent keeps no event loop, no thread and no database connection, so that it can fork at any time. It waits for
signals and for what workers say in one place, `_step`; a signal is a byte in a pipe there, so that none is missed.
"""

import contextlib
import logging
import os
import select
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from mintmark.errors import MintmarkError, StartRefused
from mintmark.worker import LAST_RESORT

_log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 30  # seconds between two tries to start a worker
MAX_FAILED_STARTS = 3  # in a row
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
PASSED_ON = (*STOP_SIGNALS, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
SIGNALLED = 128  # plus the signal's number: the exit status by which shells say so

# Runs in a worker: its number, the pipe that tells of the parent's end, the pipe to say that it serves.
WorkerMain = Callable[[int, int, int], None]


class Supervisor:
    """Keeps a number of workers running."""

    def __init__(self, worker_main: WorkerMain, count: int) -> None:
        self._worker_main = worker_main
        self._count = count
        self._alive, self._parent_end = os.pipe()
        self._heard, self._wake = os.pipe()
        os.set_blocking(self._heard, False)
        os.set_blocking(self._wake, False)
        self._workers: dict[int, int] = {}  # numbers by process
        self._starting: dict[int, int] = {}  # pipes to hear that a worker serves, by process
        self._ended: dict[int, int] = {}  # how other children ended, by process
        self._reload_later: set[int] = set()  # processes that were starting when a reload was asked for
        self._failed_starts = 0
        self._has_given_up = False
        self._to_fork: list[tuple[float, int]] = []  # when to start a worker again, and its number
        self._killing_at: float | None = None  # set as soon as the workers are told to stop

    def run(
        self,
        on_ready: Callable[[], None],
        on_reload: Callable[[], bool] | None = None,
        on_stop: Callable[[], None] = lambda: None,
    ) -> None:
        """Starts the workers and replaces those that die, until a stop signal; then stops them, requests finished.

        `on_ready` is called when each of them answers requests. With `on_reload` SIGHUP is no stop signal: it is called
        then, so that workers that start later know what it reads; where it says yes, SIGHUP goes on to the workers.
        `on_stop` is called as soon as they have been told to stop.

        Raises:
            StartRefused: workers die as soon as they start.
        """
        with self._hearing(STOP_SIGNALS):
            on_signal = self._stop_on if on_reload is None else partial(self._reload_or_stop_on, on_reload)
            if self._start(on_signal):
                on_ready()
            while self._has_work and not self._stopping:
                self._step(on_signal)
            on_stop()
            while self._workers:
                self._step(on_signal)
        self._check_failed_starts()

    def run_command(self, command: Sequence[str], environ: Mapping[str, str], on_ready: Callable[[], None]) -> int:
        """Runs a command beside the workers and stops them when it has ended.

        `on_ready` is called when each of them answers requests, before the command starts. Signals go
        through to the command; its standard streams are this process's own.

        Returns:
            The command's exit status; 128 and the signal's number if a signal ended it or came before it.

        Raises:
            OSError: the command cannot be started.
            ValueError: its name is empty or has a NUL in it.
            StartRefused: workers die as soon as they start.
        """
        with self._hearing(PASSED_ON):
            try:
                status = self._run_beside(command, environ, on_ready)
            finally:
                self._begin_stop()
                while self._workers:
                    self._step(self._stop_on)
        self._check_failed_starts()
        return status

    def _run_beside(self, command: Sequence[str], environ: Mapping[str, str], on_ready: Callable[[], None]) -> int:
        early: list[int] = []
        if not self._start(early.append, lambda: bool(early)):
            return SIGNALLED + early[0] if early else 1
        on_ready()
        child = os.posix_spawnp(
            command[0], list(command), environ, setsigmask=(), setsigdef=(*PASSED_ON, signal.SIGPIPE, signal.SIGXFSZ)
        )

        def pass_on(number: int) -> None:
            # The terminal has sent Ctrl-C and its like to the command too: not twice.
            if not (number in (signal.SIGINT, signal.SIGQUIT) and _in_foreground()):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, number)

        while child not in self._ended:
            self._step(pass_on)
        code = os.waitstatus_to_exitcode(self._ended[child])
        return code if code >= 0 else SIGNALLED - code

    def _start(self, on_signal: Callable[[int], None], given_up: Callable[[], bool] = bool) -> bool:
        """Starts all workers and waits until each answers requests; False if that was given up."""
        for number in range(self._count):
            self._fork(number)
        while (self._starting or self._to_fork) and not self._stopping and not given_up():
            self._step(on_signal)
        return not self._stopping and not given_up()

    def _step(self, on_signal: Callable[[int], None]) -> None:
        """Waits for one thing to happen, and deals with it: a signal, a child's end, a worker that serves."""
        if not self._stopping:
            self._fork_those_due()
        moments = [when for when, _ in self._to_fork] if self._killing_at is None else [self._killing_at]
        wait = max(min(moments) - time.monotonic(), 0) if moments else None
        readable, _, _ = select.select([self._heard, *self._starting.values()], [], [], wait)
        if not readable and self._stopping:
            self._signal_workers(signal.SIGKILL)
            self._killing_at = time.monotonic() + 1
        if self._heard in readable:
            for number in os.read(self._heard, 4096):
                if number == signal.SIGCHLD:
                    self._reap()
                else:
                    on_signal(number)
        for pid in [pid for pid, pipe in self._starting.items() if pipe in readable]:
            self._hear_of_start(pid)

    def _hear_of_start(self, pid: int) -> None:
        """Takes note of whether a worker that was starting serves now, or ended before."""
        pipe = self._starting.pop(pid)
        serves = bool(os.read(pipe, 1))
        os.close(pipe)
        self._failed_starts = 0 if serves else self._failed_starts + 1
        if pid in self._reload_later:
            self._reload_later.remove(pid)
            self._signal(pid, signal.SIGHUP)

    def _reap(self) -> None:
        """Takes note of the children that have ended; one signal may stand for several."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in self._workers:
                self._replace(pid, status)
            else:
                self._ended[pid] = status

    def _replace(self, pid: int, status: int) -> None:
        number = self._workers.pop(pid)
        self._reload_later.discard(pid)
        if pid in self._starting:
            self._hear_of_start(pid)
        if self._stopping:
            return
        if self._failed_starts >= MAX_FAILED_STARTS and not self._serving:
            self._has_given_up = True
            self._begin_stop()
            return
        _log.error("Worker %d ended (%s); starting another.", number, _how(status))
        if self._failed_starts:  # While others serve it is tried again and again, less and less often.
            pause = min(FIRST_PAUSE * 2**self._failed_starts, LONGEST_PAUSE)
            self._to_fork.append((time.monotonic() + pause, number))
        else:
            self._fork(number)

    @property
    def _serving(self) -> bool:
        return len(self._workers) > len(self._starting)

    @property
    def _has_work(self) -> bool:
        return bool(self._workers or self._to_fork)

    def _fork_those_due(self) -> None:
        due = [each for each in self._to_fork if each[0] <= time.monotonic()]
        for each in due:
            self._to_fork.remove(each)
            self._fork(each[1])

    @property
    def _stopping(self) -> bool:
        return self._killing_at is not None

    def _reload_or_stop_on(self, on_reload: Callable[[], bool], number: int) -> None:
        if number != signal.SIGHUP:
            self._stop_on(number)
            return
        if not on_reload():
            return
        for pid in self._workers:
            if pid in self._starting:  # It may have read the files already, and does not listen to signals yet.
                self._reload_later.add(pid)
            else:
                self._signal(pid, signal.SIGHUP)

    def _stop_on(self, _number: int) -> None:
        if self._stopping:
            self._signal_workers(signal.SIGKILL)  # Asked twice: at once, then.
        self._begin_stop()

    def _begin_stop(self) -> None:
        if not self._stopping:
            self._killing_at = time.monotonic() + LAST_RESORT
            self._signal_workers(signal.SIGTERM)

    def _signal_workers(self, number: signal.Signals) -> None:
        for pid in self._workers:
            self._signal(pid, number)

    def _signal(self, pid: int, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    def _check_failed_starts(self) -> None:
        if self._has_given_up:
            raise StartRefused("Workers end as soon as they start; their message stands above.")

    @contextlib.contextmanager
    def _hearing(self, signals: Sequence[signal.Signals]) -> Iterator[None]:
        """Has these signals, and the end of children, written into a pipe instead of interrupting."""
        # The pipe first: a signal that comes between is heard by the handler before, or by both, but never lost.
        wake = signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        before = {number: signal.signal(number, _do_nothing) for number in (*signals, signal.SIGCHLD)}
        try:
            yield
        finally:
            signal.set_wakeup_fd(wake)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _fork(self, number: int) -> None:
        ready, say_ready = os.pipe()
        # A signal between fork and the worker's own handlers would be heard by the parent.
        with _blocked(signal.valid_signals()) as mask:
            pid = os.fork()
            if pid == 0:
                self._be_worker(number, say_ready, mask)
            self._workers[pid] = number
            self._starting[pid] = ready
            os.close(say_ready)

    def _be_worker(self, number: int, say_ready: int, mask: set[signal.Signals | int]) -> None:
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for descriptor in (self._parent_end, self._heard, self._wake, *self._starting.values()):
                os.close(descriptor)
            for handled in (*PASSED_ON, signal.SIGCHLD):
                signal.signal(handled, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._worker_main(number, self._alive, say_ready)
            status = 0
        except MintmarkError as error:
            _log.error("A worker cannot serve: %s", error)
        except BaseException:  # noqa: BLE001  whatever it is, a worker must not go on as a second parent
            _log.critical("A worker failed.", exc_info=True)
        finally:
            sys.stderr.flush()
            os._exit(status)


def _do_nothing(_number: int, _frame: object) -> None:
    """A handler, because a signal that is ignored is not heard either."""


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
