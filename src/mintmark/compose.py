"""The only place where concrete classes meet: what a door has prepared in, a running server out."""

import logging
import ssl
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from socket import socket
from time import monotonic
from typing import TYPE_CHECKING

from msgspec import Struct

from mintmark.admin_keys import AdminKeys
from mintmark.administration import Administration
from mintmark.bearer import TrustedIssuer
from mintmark.data_folder import DataFolder
from mintmark.development import Endpoints
from mintmark.development_clock import DevelopmentClock
from mintmark.development_issuer import APPLICATION, DevelopmentIssuer
from mintmark.directory import DirectoryLoader
from mintmark.errors import StartRefused, StoreUnavailable
from mintmark.faults import Faults
from mintmark.gauges import gauges
from mintmark.http.connections import Bounds
from mintmark.jose import Sealer
from mintmark.limits import Limiter, parse_limits
from mintmark.logs import write_logs
from mintmark.metrics import Metrics
from mintmark.model import SigningAlgorithm
from mintmark.openid import BearerVerifier, trust
from mintmark.service import Service
from mintmark.settings import Settings
from mintmark.settings.files import Networks, Secrets, check_files, load_certificate, read_secrets
from mintmark.shared import REVISION, STARTED, SharedWords
from mintmark.signing_keys import KeyPolicy, SigningKeys
from mintmark.snapshots import Snapshots
from mintmark.sources import Sources, system
from mintmark.store import Store, postgres_address
from mintmark.store.sqlite import SqliteStore, damaged
from mintmark.supervisor import Supervisor
from mintmark.teams import TeamsIssuer
from mintmark.web import AdminPages, build_admin_app, build_public_app
from mintmark.web.adfs import DevelopmentSignIn
from mintmark.web.admin import AdminApi
from mintmark.web.auth import Keyed, Local
from mintmark.web.dev import DevelopmentControls
from mintmark.web.endpoint import Cors, RequestLog
from mintmark.web.metrics import MetricsPage, RequestCounter
from mintmark.web.openapi import ContractPages
from mintmark.web.probes import Probes
from mintmark.web.request_log import ProductionLog, TerminalLog
from mintmark.web.signing_keys import SigningKeyApi
from mintmark.web.start_page import StartPage
from mintmark.worker import Listener, Running, run_worker

if TYPE_CHECKING:
    from mintmark.store.postgres import PostgresStore

DAY = 24 * 3600 * 1000  # milliseconds

_log = logging.getLogger(__name__)


class Sockets(Struct, frozen=True):
    """The listening sockets of each listener, bound before anything else is made; none for one that is off."""

    https: list[socket]
    http: list[socket]
    admin: list[socket]


class Development(Struct, frozen=True):
    """What only `mintmark dev` has."""

    clock: DevelopmentClock
    endpoints: Endpoints
    issuer: DevelopmentIssuer
    variables: dict[str, str]


class Production(Struct, frozen=True):
    """What only `mintmark serve` has."""

    admin_keys: AdminKeys
    proxies: Networks


class Server(Struct, frozen=True, kw_only=True):
    """All that a door decides before its workers start; they inherit it.

    Attributes:
        settings: as they were loaded.
        folder: the data folder, held.
        sockets: bound.
        certificate: for HTTPS, with its private key; None where HTTPS is off.
        tls: what was read of it last; None to have each worker read it.
        endpoint: the public address, for connection strings.
        issuer: the `iss` of tokens.
        sealer: seals secrets.
        words: what all processes see at once.
        snapshots: what workers count.
        cells: what workers count for limits; None without limits.
        sources: of time and chance.
        door: what only this door has.
    """

    settings: Settings
    folder: DataFolder
    sockets: Sockets
    certificate: tuple[Path, Path] | None
    tls: ssl.SSLContext | None = None
    endpoint: str
    issuer: str
    sealer: Sealer
    words: SharedWords
    snapshots: Snapshots
    cells: memoryview | None
    sources: Sources
    door: Development | Production

    def supervisor(self) -> Supervisor:
        """The parent of the workers, not started yet."""
        return Supervisor(self._worker_main, self.settings.workers)

    def stop_listening(self) -> None:
        """Has the kernel refuse connections as soon as the workers do; it would go on to take them for this process."""
        for sockets in (self.sockets.https, self.sockets.http, self.sockets.admin):
            for each in sockets:
                each.close()

    def mark_started(self) -> None:
        """Has the startup probe say that every worker serves."""
        self.words[STARTED] = 1

    def read_again(self) -> bool:
        """Reads keys and certificate again in the parent, on SIGHUP: a worker that starts later inherits them.

        False, and nothing changes, where a file cannot be used: the log says why.
        """
        if not isinstance(self.door, Production):
            return False
        complaints = check_files(self.settings)
        if not complaints:
            try:
                secrets = read_secrets(self.settings)
                if self.tls is not None and self.certificate is not None:
                    load_certificate(self.tls, *self.certificate)
            except (StartRefused, OSError) as refused:
                complaints = [str(refused)]
            else:
                self._take(secrets, self.door)
        if complaints:
            _log.error("Keys and certificate stay as they were: %s", " ".join(complaints))
        return not complaints

    def _take(self, secrets: Secrets, door: Production) -> None:
        self.sealer.replace(secrets.key_encryption_keys)
        door.admin_keys.replace(secrets.admin_keys)

    def _worker_main(self, number: int, parent: int, ready: int) -> None:
        settings = self.settings
        write_logs(settings.log_format, bare=isinstance(self.door, Development), quiet=settings.quiet)
        bounds = Bounds(connections=max(settings.connections // settings.workers, 1))
        run_worker(lambda: self._build(number), parent, ready, bounds)

    async def _build(self, number: int) -> Running:
        """One worker's parts. The first worker serves the admin listener too, and sweeps."""
        metrics = Metrics(self.snapshots, number)
        store = open_store(self.settings, self.folder, on_commit=metrics.batch)
        service = await self._service(store)
        log = self._request_log()
        logs: list[RequestLog] = [RequestCounter(metrics), *([] if log is None else [log])]

        async def close() -> None:
            metrics.publish()
            await store.close()
            if log is not None:
                log.close()

        listeners = self._public_listeners(service, number, logs)
        sweep: Callable[[], Awaitable[None]] | None = None
        if number == 0:
            keys = SigningKeys(store, self.sealer, key_policy(self.settings), self._announce, self.sources)
            admin = self._admin_app(service, keys, metrics, logs[1:])
            listeners.append(Listener(self.sockets.admin, admin))

            async def maintain() -> None:
                await keys.maintain()
                await service.forget_changes()

            sweep = maintain
            # What this worker's predecessor changed but could not announce, because it died, is announced now.
            self._announce()
        reload = partial(self._reload, self.door) if isinstance(self.door, Production) else None
        return Running(listeners, close, sweep, reload, [metrics.keep_publishing])

    async def _service(self, store: Store) -> Service:
        settings, door, clocks = self.settings, self.door, [self.sources.now]
        trusted = trust([*settings.bearer, *settings.teams], monotonic)  # An issuer of both has one key set.
        bearer, teams = trusted[: len(settings.bearer)], trusted[len(settings.bearer) :]
        clients_now = None
        if isinstance(door, Development):
            clients_now = system().now
            clocks.append(clients_now)
            bearer.append((TrustedIssuer(door.issuer.address, roles=(APPLICATION.role,)), door.issuer))
            teams.append((TeamsIssuer(door.issuer.address), door.issuer))

        def nows() -> Sequence[int]:
            return [clock() for clock in clocks]

        return await open_service(
            store,
            self.sealer,
            settings.signing_algorithm,
            self.issuer,
            self.sources,
            self.words,
            bearer=BearerVerifier(bearer, nows) if bearer else None,
            teams=BearerVerifier(teams, nows) if teams else None,
            development=isinstance(door, Development),
            clients_now=clients_now,
        )

    def _request_log(self) -> TerminalLog | ProductionLog | None:
        if self.settings.quiet:
            return None
        if isinstance(self.door, Production):
            return ProductionLog(2, self.sources, self.settings.log_format, self.door.proxies)
        if self.settings.log_format == "json":
            return ProductionLog(2, self.sources, "json")
        return TerminalLog(2, self.sources, colour=sys.stderr.isatty())

    def _public_listeners(self, service: Service, number: int, logs: Sequence[RequestLog]) -> list[Listener]:
        settings, door = self.settings, self.door
        limiter = None if self.cells is None else Limiter(parse_limits(settings.limits), self.cells, number)
        is_dev = isinstance(door, Development)
        public = build_public_app(
            service,
            self.sources,
            cors=Cors(any=is_dev, origins=frozenset(origin.encode() for origin in settings.cors_origins)),
            strict_versions=settings.strict_versions,
            limiter=limiter,
            faults=Faults(self.folder.path, self.words) if is_dev else None,
            sign_in=DevelopmentSignIn(door.issuer) if isinstance(door, Development) else None,
            logs=logs,
        )
        # A laptop that was asleep is not overloaded: in development all are answered.
        refuse_late = None if is_dev else public.refuse_late
        https = Listener(self.sockets.https, public, self.certificate, self.tls, refuse_late=refuse_late)
        http = Listener(self.sockets.http, public, refuse_late=refuse_late)
        return [listener for listener in (https, http) if listener.sockets]

    def _admin_app(self, service: Service, keys: SigningKeys, metrics: Metrics, logs: Sequence[RequestLog]) -> object:
        settings, door = self.settings, self.door
        administration = Administration(service, self.sealer, self._announce, self.sources)
        host_names = frozenset({"localhost", "127.0.0.1", "::1", settings.admin_host})
        controls = start = None
        guard: Local | Keyed
        if isinstance(door, Development):
            guard = Local(service, host_names)
            controls = DevelopmentControls(door.clock, Faults(self.folder.path, self.words))
            start = StartPage(door.endpoints, door.variables, settings, self.folder.path)
        else:
            guard = Keyed(service, door.admin_keys)
        pages = AdminPages(
            api=AdminApi(administration, self.endpoint, development=isinstance(door, Development)),
            signing_keys=SigningKeyApi(keys),
            contract=ContractPages(self.endpoint),
            metrics=MetricsPage(metrics, lambda: gauges(service, keys, settings.workers, self.sources.now())),
            probes=Probes(lambda: bool(self.words[STARTED])),
            controls=controls,
            start=start,
        )
        return build_admin_app(service, self.sources, pages, guard, logs)

    async def _reload(self, door: Production) -> None:
        """Reads secrets again, on SIGHUP; certificates are the worker's."""
        try:
            secrets = read_secrets(self.settings)
        except StartRefused as refused:
            _log.error("The secrets stay as they were: %s", refused.message)
            return
        self._take(secrets, door)
        _log.info("The keys were read again.")

    def _announce(self) -> None:
        self.words[REVISION] += 1


def open_store(
    settings: Settings, folder: DataFolder, on_commit: Callable[[int, float], None] | None = None
) -> "SqliteStore | PostgresStore":
    """The store that these settings ask for, its tables as they are; within an event loop.

    Raises:
        StartRefused: it cannot be opened.
    """
    if not settings.database:
        return SqliteStore(folder.database, on_commit=on_commit)
    try:
        from mintmark.store.postgres import PostgresStore
    except ImportError as error:
        raise postgres_address.driver_missing(error) from error
    address = postgres_address.parse_address(settings.database)
    postgres_address.check_files(address)
    return PostgresStore(address, on_commit=on_commit)


def unusable(settings: Settings, folder: DataFolder, error: StoreUnavailable) -> StartRefused:
    """The refusal of a store that these settings ask for."""
    if settings.database:
        return postgres_address.unusable(postgres_address.parse_address(settings.database), error.reason)
    if error.is_damaged:
        return damaged(folder.database, error.reason)
    return StartRefused(
        f"The data in {folder.path} cannot be read or written: {error.reason}.", "Make room, or check its rights."
    )


def key_policy(settings: Settings) -> KeyPolicy:
    """How signing keys live under these settings."""
    return KeyPolicy(settings.signing_algorithm, settings.signing_key_days * DAY)


def _revision(words: SharedWords, store: Store) -> Callable[[], int]:
    """Moves on when a process of this server has changed resources or keys, or another node has."""
    here, elsewhere = words.reader(REVISION), store.changes_elsewhere
    return here if elsewhere is None else lambda: here() + elsewhere()


async def open_service(
    store: Store,
    sealer: Sealer,
    algorithm: SigningAlgorithm,
    issuer: str,
    sources: Sources,
    words: SharedWords,
    *,
    bearer: BearerVerifier | None = None,
    teams: BearerVerifier | None = None,
    development: bool,
    clients_now: Callable[[], int] | None = None,
) -> Service:
    """A service over a store that was filled, its keys opened and parsed once; see `Service`.

    Raises:
        StartRefused: the keys cannot be opened.
    """
    revision = _revision(words, store)
    loader = DirectoryLoader(store, sealer, algorithm)
    return Service(
        store,
        loader,
        await loader.load(revision()),
        revision,
        issuer,
        sources,
        bearer=bearer,
        teams=teams,
        development=development,
        clients_now=clients_now,
    )
