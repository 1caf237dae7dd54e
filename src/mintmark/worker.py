"""A worker process: one event loop, one store, and one uvicorn server for each listener."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
import uvloop
from msgspec import Struct

from mintmark.errors import StartRefused, StoreUnavailable
from mintmark.http.connections import DEFAULT_BOUNDS, Bounds, Connections, fit_open_files
from mintmark.http.outbox import Outbox
from mintmark.http.protocol import Protocol, RefuseLate, Strangers
from mintmark.http.waiting import WaitingLine
from mintmark.logs import logging_aside
from mintmark.settings.files import load_certificate, open_certificate

_log = logging.getLogger(__name__)

GRACE = 10  # seconds that requests in flight have to finish
# Of each listening socket in a turn of the event loop. The library accepts one connection in a turn for each descriptor
# that it is given, and turns are long when many come at once.
ACCEPTED_AT_ONCE = 2
LAST_RESORT = GRACE + 2  # seconds after which a worker ends whatever it does


class Listener(Struct, frozen=True):
    """What a worker serves on a set of sockets.

    Attributes:
        sockets: inherited from the parent, listening already.
        app: the ASGI application.
        certificate: certificate and private key files for TLS; None for plain HTTP.
        tls: what the parent has read of them: a worker starts with that even if the files were broken meanwhile; None
            to have the worker read them.
        refuse_late: makes the answer to a request that had to wait too long for its turn; None where none is refused.
    """

    sockets: Sequence[socket.socket]
    app: Any
    certificate: tuple[Path, Path] | None = None
    tls: ssl.SSLContext | None = None
    refuse_late: RefuseLate | None = None


class Running(Struct, frozen=True):
    """What a worker has to run.

    Attributes:
        listeners: what it serves.
        close: to be called when it has ended.
        sweep: to be called every minute; None for nothing.
        reload: to be called on SIGHUP, before certificates are read again; None for nothing: SIGHUP is ignored then.
        background: to run beside the serving, and to be cancelled when that ends.
    """

    listeners: Sequence[Listener]
    close: Callable[[], Awaitable[None]]
    sweep: Callable[[], Awaitable[None]] | None = None
    reload: Callable[[], Awaitable[None]] | None = None
    background: Sequence[Callable[[], Awaitable[None]]] = ()


def run_worker(
    build: Callable[[], Awaitable[Running]], parent: int, ready: int, bounds: Bounds = DEFAULT_BOUNDS
) -> None:
    """Serves until told to stop (SIGTERM) or left alone. From then on, what is logged waits for nobody to read it.

    Args:
        build: makes what is to be served, inside the event loop.
        parent: a pipe whose other end only the parent holds: it ends when the parent does, however it ends.
        ready: a pipe to say so when requests are being answered.
        bounds: what clients can take; fewer connections where the limit of open files is low.
    """
    with logging_aside(), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(build, parent, ready, Connections(fit_open_files(bounds))))


async def _serve(build: Callable[[], Awaitable[Running]], parent: int, ready: int, connections: Connections) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)

    def left_alone() -> None:
        loop.remove_reader(parent)
        loop.call_later(LAST_RESORT, os._exit, 1)
        stop.set()

    loop.add_reader(parent, left_alone)
    running = await build()
    # What was made for the start lives as long as the worker: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    line, outbox = WaitingLine(loop), Outbox(loop)
    servers = [
        _Server(_config(listener), connections, outbox, line, listener.refuse_late) for listener in running.listeners
    ]
    serving = [
        asyncio.create_task(server.serve(list(listener.sockets)))
        for server, listener in zip(servers, running.listeners, strict=True)
    ]
    while not all(server.started for server in servers):
        # A server that cannot start, for want of its certificate say, ends its task: then the worker ends with it.
        done, _ = await asyncio.wait(serving, timeout=0.001, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    background = [asyncio.ensure_future(each()) for each in running.background]
    if running.sweep is not None:
        background.append(asyncio.ensure_future(_every_minute(running.sweep)))
    if running.reload is not None:
        again = asyncio.Event()
        loop.add_signal_handler(signal.SIGHUP, again.set)
        background.append(asyncio.ensure_future(_reload_whenever(again, running.reload, servers, running.listeners)))
    for task in background:
        task.add_done_callback(_complain)
    os.write(ready, b"1")
    os.close(ready)
    await stop.wait()
    for task in background:
        task.cancel()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*serving)
    await running.close()


def _complain(task: "asyncio.Future[None]") -> None:
    """A task that nobody waits for must not end unseen."""
    if not task.cancelled() and (failure := task.exception()) is not None:
        _log.critical("What should go on for ever has ended.", exc_info=failure)


async def _reload_whenever(
    asked: asyncio.Event,
    reload: Callable[[], Awaitable[None]],
    servers: Sequence[uvicorn.Server],
    listeners: Sequence[Listener],
) -> None:
    """Reads secrets and certificates again each time it is asked for; connections that are open go on as they are."""
    while await asked.wait():
        asked.clear()
        await reload()
        for server, listener in zip(servers, listeners, strict=True):
            if listener.certificate is not None and server.config.ssl is not None:
                try:
                    load_certificate(server.config.ssl, *listener.certificate)
                except StartRefused as refused:
                    _log.error("The certificate stays as it was: %s", refused.message)
                else:
                    _log.info("The certificate was read again.")


async def _every_minute(sweep: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(60)
        try:
            await sweep()
        except StoreUnavailable as error:
            _log.warning("The store is unavailable: %s", error)
        except Exception:  # noqa: BLE001  whatever it is, keys must go on being rotated
            _log.warning("Sweeping failed; it is tried again in a minute.", exc_info=True)


class _Server(uvicorn.Server):
    """Leaves signals alone: several servers share the process, and the parent decides."""

    def __init__(
        self,
        config: uvicorn.Config,
        connections: Connections,
        outbox: Outbox,
        line: WaitingLine,
        refuse_late: RefuseLate | None,
    ) -> None:
        super().__init__(config)
        self._connect = partial(
            Protocol, config, self.server_state, connections, Strangers(), outbox, line, refuse_late
        )
        self._connections = connections

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tells connections that are made from now on too; uvicorn tells those that it finds, once."""
        self._connections.is_stopping = True
        await super().shutdown(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens with our protocol, and with a bound on the TLS handshake: uvicorn has no setting for either."""
        config, bounds = self.config, self._connections.bounds
        tls: dict[str, Any] = {}
        if config.ssl is not None:
            tls = {
                "ssl": config.ssl,
                "ssl_handshake_timeout": bounds.handshake_seconds,
                "ssl_shutdown_timeout": bounds.write_seconds,
            }
        loop = asyncio.get_running_loop()
        self.servers = [
            await loop.create_server(self._connect, sock=listening.dup(), backlog=config.backlog, **tls)
            for listening in sockets or ()
            for _ in range(ACCEPTED_AT_ONCE)
        ]
        self.started = True


def _config(listener: Listener) -> uvicorn.Config:
    config = uvicorn.Config(
        listener.app,
        interface="asgi3",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=GRACE,
    )
    config.load()
    if listener.certificate is not None:
        config.ssl = listener.tls or open_certificate(*listener.certificate)
    return config
