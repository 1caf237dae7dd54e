"""Connections to the server that takes writes, among several: found, watched, and given up when it does not answer.

After a failover a connection to the old primary can go on answering reads of what is no longer true, and a server that
was stopped for a while does not know that another took over. So a store goes on only while a write of its own, made
twice a second, was confirmed a moment ago; where a standby has to confirm it, an old primary cannot. Of two servers
that both say they take writes the one on the later timeline is right.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg
from asyncpg import exceptions
from msgspec import Struct

from mintmark.errors import StoreUnavailable
from mintmark.store.postgres_address import Address

CONNECT_SECONDS = 2.0  # for a connection, and for a server to say what it is
GRACE_SECONDS = 0.2  # for other servers to answer too
ANSWER_SECONDS = 5.0  # for a batch or a query
BEAT_SECONDS = 0.5  # between two beats
BEAT_ANSWER_SECONDS = 1.5
FRESH_SECONDS = 1.0  # since the last confirmed beat began
LEASE_SECONDS = 3.0  # since the last confirmed beat began
DEADLOCK_ATTEMPTS = 5

_SETTINGS = {
    "application_name": "mintmark",
    "default_transaction_isolation": "read committed",
    # It would cut off a commit that waits for its standby, and then the commit is answered as if it had not.
    "statement_timeout": "0",
    "lock_timeout": "4s",
    "client_min_messages": "warning",  # What a commit says that did not reach its standby.
    "idle_in_transaction_session_timeout": "10s",
    # A node whose machine is gone shall not seem to be at work for hours.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
    # All queries look up keys. A plan that was made when a table was small shall not read all of it when it is large.
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
}

_WHO = """
    select case when pg_is_in_recovery() or current_setting('transaction_read_only')::boolean then ''
            else substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) end,
        (select system_identifier from pg_control_system())
"""
_DURABLE = "set synchronous_commit = on"
_IS_WEAK = "select current_setting('synchronous_commit') in ('off', 'local', 'remote_write')"
_WAITS_IN_VAIN = """
    select current_setting('synchronous_standby_names') <> '' and not exists (select from pg_stat_replication)
"""

# The connection, or the server behind it, is of no use any more.
LOST = (
    OSError,  # TimeoutError too
    exceptions.InterfaceError,
    exceptions.InternalClientError,
    exceptions.PostgresConnectionError,
    exceptions.OperatorInterventionError,  # 57P01 and others: it stops, or starts
    exceptions.ReadOnlySQLTransactionError,
)
# What fails by its values, whatever the server: a constraint, or what cannot be encoded.
REFUSED = (exceptions.IntegrityConstraintViolationError, exceptions.DataError, ValueError)
_AGAIN = (exceptions.SerializationError, exceptions.DeadlockDetectedError)

_log = logging.getLogger(__name__)

Connection = Any  # asyncpg.Connection, which has no types
Answer = TypeVar("Answer")
Work = Callable[[Connection], Awaitable[Answer]]


class _Candidate(Struct, frozen=True):
    """A server that takes writes, by its own account: a connection to it, its timeline, and whose data it has."""

    connection: Connection
    timeline: int
    system: int


class Primary:
    """The server that takes writes."""

    def __init__(self, address: Address) -> None:
        self._hosts = address.hosts
        self._timeline = 0  # the latest that was seen: servers on earlier ones are out of date
        self._system = 0  # what PostgreSQL calls the system identifier: a standby has that of its primary
        self._open: set[Connection] = set()
        self._confirmed = float("-inf")  # when the last beat that was confirmed began
        self._reason = ""
        self._has_answered = asyncio.Event()  # or was found not to

    async def connect(self) -> Connection:
        """A connection to it.

        Raises:
            StoreUnavailable: no server takes writes.
        """
        found, reasons = await self._candidates()
        best = max(found, key=lambda each: each.timeline, default=None)
        systems = {each.system for each in found} | ({self._system} if self._system else set())
        if len(systems) > 1:
            best = None
            reasons.append("these are servers with different data, or with other data than before: then restart")
        elif best is not None and best.timeline < self._timeline:
            best = None
            reasons.append("the only server that takes writes is an old primary")
        for candidate in found:
            if candidate is not best:
                candidate.connection.terminate()
        if best is None:
            raise StoreUnavailable("; ".join(dict.fromkeys(reasons)))
        if best.timeline > self._timeline:
            self.drop_all()  # They are to a server that is the primary no more.
        self._timeline, self._system = best.timeline, best.system
        self._open.add(best.connection)
        return best.connection

    async def _candidates(self) -> tuple[list[_Candidate], list[str]]:
        """The servers that take writes, and why others do not.

        One on a later timeline than any seen is right, whatever the others say. Where one has answered that was right
        before, others get a moment: they may be stopped, or gone.
        """
        found: list[_Candidate] = []
        reasons: list[str] = []
        waiting = {asyncio.ensure_future(self._ask(host)) for host in self._hosts}
        try:
            while waiting and not any(self._timeline and each.timeline > self._timeline for each in found):
                patience = GRACE_SECONDS if any(each.timeline == self._timeline for each in found) else None
                done, waiting = await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    break
                for each in done:
                    try:
                        found.append(each.result())
                    except Exception as error:  # noqa: BLE001  whatever it is, that server is of no use
                        reasons.append(said(error))
        except asyncio.CancelledError:
            for candidate in found:
                candidate.connection.terminate()
            raise
        finally:
            for each in waiting:
                each.add_done_callback(_throw_away)
        return found, reasons

    async def _ask(self, host: str) -> _Candidate:
        async with asyncio.timeout(CONNECT_SECONDS):
            connection = await asyncpg.connect(host, timeout=CONNECT_SECONDS, server_settings=_SETTINGS)
            try:
                return await _candidate(connection)
            except BaseException:
                connection.terminate()
                raise

    def drop(self, connection: Connection) -> None:
        """Ends a connection, without a word to the server: a request to cancel would end a commit's wait."""
        self._open.discard(connection)
        connection.terminate()

    def drop_all(self) -> None:
        """Ends every connection."""
        for connection in list(self._open):
            self.drop(connection)

    def confirm(self, began: float) -> None:
        """It was the primary at that time of the loop's clock, in seconds."""
        if self._reason:
            _log.info("PostgreSQL answers again.")
        self._reason = ""
        self._confirmed = began
        self._has_answered.set()

    def doubt(self, reason: str) -> None:
        """It did not answer: nothing that it says counts until it does."""
        if not self._reason:
            _log.warning("PostgreSQL is not to be relied on: %s.", reason)
        self._reason = reason
        self._confirmed = float("-inf")
        self._has_answered.set()
        self.drop_all()

    async def has_answered(self) -> None:
        """Waits until it is known for the first time whether there is one."""
        if not self._has_answered.is_set():
            await self._has_answered.wait()

    @property
    def is_fresh(self) -> bool:
        """Whether what was heard with the last beat can be no older than beats usually are."""
        return asyncio.get_running_loop().time() - self._confirmed < FRESH_SECONDS

    def check(self) -> None:
        """Refuses to rely on it when nobody knows whether it still is the primary.

        Raises:
            StoreUnavailable: it was not confirmed lately.
        """
        if asyncio.get_running_loop().time() - self._confirmed > LEASE_SECONDS:
            raise StoreUnavailable(self._reason)


class Link:
    """One connection to the primary, opened when it is needed, used by one at a time."""

    def __init__(self, primary: Primary, prepare: Work[None]) -> None:
        """`prepare` is done on each new connection."""
        self._primary = primary
        self._prepare = prepare
        self._lock = asyncio.Lock()
        self._connection: Connection | None = None
        self._has_warned = False

    async def run(self, work: Work[Answer], again: Work[Answer] | None = None) -> Answer:
        """What `work` answers, with a connection.

        Where the connection is lost, `again` does it once more over another: it must allow for the first attempt to
        have succeeded. An error of PostgreSQL's that says that values were refused comes out as it is.

        Raises:
            StoreUnavailable: the server cannot be reached, or cannot do it; what was written may stand.
        """
        await self._primary.has_answered()
        async with self._lock:
            try:
                return await self._attempt(work)
            except LOST as error:
                if again is None:
                    raise StoreUnavailable(said(error)) from error
            try:
                return await self._attempt(again)
            except LOST as error:
                raise StoreUnavailable(said(error)) from error

    async def beat(self, work: Work[Answer], seconds: float = BEAT_ANSWER_SECONDS) -> Answer:
        """The same, whether or not the primary was confirmed, and in so many seconds.

        Raises:
            StoreUnavailable: as `run`.
        """
        async with self._lock:
            try:
                return await self._attempt(work, seconds, is_beat=True)
            except LOST as error:
                raise StoreUnavailable(said(error)) from error

    async def close(self) -> None:
        """Closes the connection."""
        async with self._lock:
            if self._connection is not None:
                connection, self._connection = self._connection, None
                with suppress(*LOST, exceptions.PostgresError):
                    await connection.close(timeout=CONNECT_SECONDS)

    async def _attempt(self, work: Work[Answer], seconds: float = ANSWER_SECONDS, *, is_beat: bool = False) -> Answer:
        """Before it and after it the primary has to be confirmed: it may have waited, and so may its answer."""
        if not is_beat:
            self._primary.check()
        try:
            connection = await self._connected()
            answer = await self._timed(connection, work, seconds)
        except (*LOST, *REFUSED):
            raise
        except exceptions.PostgresError as error:
            raise StoreUnavailable(said(error)) from error
        if self._has_warned:
            # The commit's wait for its standby was cut short: it stands here, but perhaps nowhere else.
            self._primary.drop(connection)
            raise StoreUnavailable("the server committed without its standby")
        if not is_beat:
            self._primary.check()
        return answer

    async def _timed(self, connection: Connection, work: Work[Answer], seconds: float) -> Answer:
        """What `work` answers in that time. A connection that is lost meanwhile is dropped."""
        self._has_warned = is_late = False

        def give_up() -> None:
            nonlocal is_late
            is_late = True
            self._primary.drop(connection)

        too_late = asyncio.get_running_loop().call_later(seconds, give_up)
        try:
            for _ in range(DEADLOCK_ATTEMPTS - 1):
                with suppress(*_AGAIN):
                    return await work(connection)
            return await work(connection)
        except LOST as error:
            self._primary.drop(connection)
            if is_late:
                raise TimeoutError from error
            raise
        except Exception as error:
            if connection.is_closed() and not isinstance(error, exceptions.PostgresError):
                # Dropped by another at a moment for which the driver has no word of its own.
                raise exceptions.InterfaceError("the connection was closed") from error
            raise
        finally:
            too_late.cancel()

    async def _connected(self) -> Connection:
        if self._connection is not None and self._connection.is_closed():
            self._primary.drop(self._connection)
            self._connection = None
        if self._connection is None:
            self._connection = await self._connect()
        return self._connection

    async def _connect(self) -> Connection:
        connection = await self._primary.connect()
        connection.add_log_listener(self._note)
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self._prepare(connection)
        except BaseException:
            self._primary.drop(connection)
            raise
        return connection

    def _note(self, _connection: Connection, message: Any) -> None:
        # By where it comes from, as its words are in the server's language. Others, as of vacuums, are no matter.
        where = message.server_source_function or "SyncRep"
        self._has_warned = self._has_warned or (message.severity_en == "WARNING" and where.startswith("SyncRep"))


async def _candidate(connection: Connection) -> _Candidate:
    """A server that takes writes, which it is told to sync."""
    timeline, system = await connection.fetchrow(_WHO)
    if not timeline:
        raise StoreUnavailable("it takes no writes")
    if await connection.fetchval(_IS_WEAK):
        await connection.execute(_DURABLE)
    return _Candidate(connection, int(timeline, 16), system)


async def refuse_to_wait_in_vain(connection: Connection) -> None:
    """Refuses to write where no standby is there to confirm it.

    Raises:
        StoreUnavailable: one has to, and none follows the server.
    """
    if await connection.fetchval(_WAITS_IN_VAIN):
        raise StoreUnavailable("it waits for a synchronous standby (synchronous_standby_names), and none follows it")


def _throw_away(late: "asyncio.Future[_Candidate]") -> None:
    """A server that answered when another had been found."""
    if not late.cancelled() and late.exception() is None:
        late.result().connection.terminate()


def said(error: BaseException) -> str:
    """Why, for a log."""
    if isinstance(error, TimeoutError):
        return "no answer in time"
    lines = str(error).splitlines()  # After the first come PostgreSQL's hints.
    return lines[0].rstrip(".") if lines else type(error).__name__
