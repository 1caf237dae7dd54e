"""Documents fetched over HTTP and HTTPS, each in a thread that nobody has to wait for."""

import asyncio
import base64
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPSConnection
from threading import Thread
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]

from mintmark.bearer import is_loopback

FETCH_SECONDS = 5  # that a connection, or one read of it, may take
MOST_BYTES = 1024 * 1024


class Fetcher:
    """Fetches documents, one after the other.

    A look-up of a name cannot be cut off. So each fetch has a thread of its own, which does not hold up the end of the
    process, and while one lives that was given up there is no other: whatever hangs, it is one thread.
    """

    def __init__(self) -> None:
        self._last: Future[bytes] | None = None

    async def fetch(self, url: str) -> bytes:
        """What an address answers; redirects are not followed. Whoever cancels it cuts it off.

        Raises:
            OSError, HTTPException, ValueError: it cannot be reached or trusted, does not answer 200, or answers too
                much; or the fetch before this one has not ended yet.
            RuntimeError: there can be no more threads.
        """
        if self._last is not None and not self._last.done():
            raise OSError("the fetch before this one was given up, and hangs still")
        answer: Future[bytes] = Future()
        answer.set_running_or_notify_cancel()  # From now on only its thread ends it.
        cut = _Cut()
        Thread(target=_run, args=(answer, url, cut), name="fetch", daemon=True).start()
        self._last = answer
        try:
            return await asyncio.wrap_future(answer)
        finally:
            cut.cut()


class _Cut:
    """Cuts the connection of a fetch that was given up, be it open by then or not."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None
        self._is_cut = False

    def opened(self, connected: socket.socket) -> None:
        self._socket = connected
        self._apply()

    def cut(self) -> None:
        self._is_cut = True
        self._apply()

    def _apply(self) -> None:
        # Each side notes its own part first and then looks for the other's, so one of them sees both.
        if self._is_cut and self._socket is not None:
            with suppress(OSError):  # It may have ended by itself.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)  # below TLS, which is the thread's


def _run(answer: Future[bytes], url: str, cut: _Cut) -> None:
    try:
        answer.set_result(_get(url, cut.opened))
    except BaseException as error:  # noqa: BLE001  raised where the answer is awaited
        answer.set_exception(error)
        del answer  # Else each would hold the other, and both the connection, until a garbage collection.


def _get(url: str, on_open: Callable[[socket.socket], None]) -> bytes:
    parts = urlsplit(url)
    connection = _connection(parts)
    with closing(connection):
        connection.connect()
        on_open(connection.sock)
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
        connection.request("GET", target, headers={"Accept": "application/json"})
        with connection.getresponse() as answer:
            if answer.status != 200:  # noqa: PLR2004  OK
                raise ValueError(f"'{url}' answered {answer.status}")
            body = answer.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise ValueError(f"'{url}' answered more than {MOST_BYTES} bytes")
    return body


def _connection(address: SplitResult) -> HTTPConnection:
    """A connection to an address, by the environment's proxy where there is one; none stands within this machine.

    The system's own settings are not asked: on macOS their library may end a process that was forked
    (https://bugs.python.org/issue30385).
    """
    host = address.hostname or ""
    if address.scheme == "http":
        return HTTPConnection(host, address.port or 80, timeout=FETCH_SECONDS)
    port, context = address.port or 443, ssl.create_default_context()
    proxies = getproxies_environment()
    proxy = proxies.get("https", "")
    if not proxy or is_loopback(address) or proxy_bypass_environment(f"{host}:{port}", proxies):
        return HTTPSConnection(host, port, timeout=FETCH_SECONDS, context=context)
    via = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
    connection = HTTPSConnection(via.hostname or "", via.port or 80, timeout=FETCH_SECONDS, context=context)
    user = f"{unquote(via.username or '')}:{unquote(via.password or '')}".encode()
    headers = {"Proxy-Authorization": f"Basic {base64.b64encode(user).decode()}"} if via.username else {}
    connection.set_tunnel(host, port, headers)
    return connection
