"""A worker process: one event loop, one store, and one uvicorn server for each listener."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import uvicorn
import uvloop
from msgspec import Struct
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from mintmark.errors import MintmarkError
from mintmark.web.call import ABORT
from mintmark.web.problems import envelope

_log = logging.getLogger(__name__)

KEEP_ALIVE = 75  # seconds; longer than common clients keep an idle connection, so that they close first
GRACE = 10  # seconds that requests in flight have to finish
GOODBYE = 1  # seconds that a closed connection has to end properly when the server stops
LAST_RESORT = GRACE + 2  # seconds after which a worker ends whatever it does


class Listener(Struct, frozen=True):
    """What a worker serves on a set of sockets.

    Attributes:
        sockets: inherited from the parent, listening already.
        app: the ASGI application.
        certificate: certificate and private key files for TLS; None for plain HTTP.
    """

    sockets: Sequence[socket.socket]
    app: Any
    certificate: tuple[Path, Path] | None = None


class Running(Struct, frozen=True):
    """What a worker has to run.

    Attributes:
        listeners: what it serves.
        close: to be called when it has ended.
        sweep: to be called every minute; None for nothing.
    """

    listeners: Sequence[Listener]
    close: Callable[[], Awaitable[None]]
    sweep: Callable[[], Awaitable[None]] | None = None


def run_worker(build: Callable[[], Awaitable[Running]], parent: int, ready: int) -> None:
    """Serves until told to stop (SIGTERM) or left alone.

    Args:
        build: makes what is to be served, inside the event loop.
        parent: a pipe whose other end only the parent holds: it ends when the parent does, however it ends.
        ready: a pipe to say so when requests are being answered.
    """
    logging.getLogger("uvicorn").setLevel(
        logging.ERROR
    )  # Its warnings are of clients that speak no HTTP: answered, not ours.
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(build, parent, ready))


async def _serve(build: Callable[[], Awaitable[Running]], parent: int, ready: int) -> None:
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
    servers = [_Server(_config(listener)) for listener in running.listeners]
    serving = [
        asyncio.create_task(server.serve(list(listener.sockets)))
        for server, listener in zip(servers, running.listeners, strict=True)
    ]
    while not all(server.started for server in servers):
        # A server that cannot start, for want of its certificate say, ends its task: then the worker ends with it.
        done, _ = await asyncio.wait(serving, timeout=0.001, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    os.write(ready, b"1")
    os.close(ready)
    sweeping = None if running.sweep is None else asyncio.create_task(_every_minute(running.sweep))
    await stop.wait()
    if sweeping is not None:
        sweeping.cancel()
    for server in servers:
        server.should_exit = True
    await asyncio.gather(*serving)
    await running.close()


async def _every_minute(sweep: Callable[[], Awaitable[None]]) -> None:
    while True:
        await asyncio.sleep(60)
        try:
            await sweep()
        except MintmarkError:
            _log.warning("Sweeping failed; it is tried again in a minute.", exc_info=True)


class _Server(uvicorn.Server):
    """Leaves signals alone: several servers share the process, and the parent decides."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _Protocol(HttpToolsProtocol):
    """Answers what is no HTTP in the envelope of everything else."""

    is_stopping = False

    def shutdown(self) -> None:
        """Stops without waiting for an idle client to answer TLS's goodbye: it may have gone to sleep."""
        super().shutdown()
        self.is_stopping = True
        self._hang_up_soon()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._hang_up_soon()

    def _hang_up_soon(self) -> None:
        if self.is_stopping and self.transport.is_closing():
            self.loop.call_later(GOODBYE, self.transport.abort)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keeps a plain connection open for the answer when the client has only finished sending."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None until the first request, whatever uvicorn says
        if cycle is None or cycle.response_complete or self.scheme != "http":
            return False
        cycle.keep_alive = False
        return True

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"close": self.transport.abort}}

    def send_400_response(self, msg: str) -> None:
        _log.warning("What arrived is no HTTP/1.1 (a TLS client on the plain port, perhaps); answered 400.")
        body = envelope("BadRequest", msg)
        headers = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        self.transport.write(STATUS_LINE[400] + headers + body)
        self.transport.close()


def _config(listener: Listener) -> uvicorn.Config:
    certificate, private_key = listener.certificate or (None, None)
    return uvicorn.Config(
        listener.app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=GRACE,
        ssl_certfile=certificate,
        ssl_keyfile=private_key,
    )
