"""The only place where concrete classes meet: settings in, a running server out."""

import asyncio
import contextlib
import logging
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from socket import socket

import click
from msgspec import Struct

from mintmark.administration import Administration
from mintmark.data_folder import DataFolder
from mintmark.development import (
    DEVELOPMENT_RESOURCE,
    Endpoints,
    OwnRoots,
    TlsFiles,
    development_access_keys,
    make_tls_files,
    variables,
)
from mintmark.development_clock import DevelopmentClock
from mintmark.directory import load_directory, seal_access_key
from mintmark.errors import ResourceExists, StartRefused, StoreUnavailable
from mintmark.faults import Faults
from mintmark.jose import NONCE_BYTES, Sealer
from mintmark.keyring import Keyring, new_signing_key
from mintmark.model import Secret, SigningAlgorithm
from mintmark.service import Service
from mintmark.settings import Settings
from mintmark.shared import REVISION, SharedWords
from mintmark.sockets import listen, port_of, reachable_name
from mintmark.sources import Sources, system
from mintmark.store import Store
from mintmark.store.sqlite import SqliteStore
from mintmark.supervisor import Supervisor
from mintmark.web import build_admin_app, build_public_app
from mintmark.web.admin import AdminApi
from mintmark.web.dev import DevelopmentControls
from mintmark.web.openapi import ContractPages
from mintmark.web.request_log import TerminalLog
from mintmark.web.start_page import StartPage
from mintmark.worker import Listener, Running, run_worker


class Sockets(Struct, frozen=True):
    """The listening sockets of each listener, bound before anything else is made."""

    https: list[socket]
    http: list[socket]
    admin: list[socket]


class DevelopmentServer(Struct, frozen=True):
    """All that `mintmark dev` decides before its workers start; they inherit it."""

    settings: Settings
    folder: DataFolder
    sockets: Sockets
    tls: TlsFiles
    endpoints: Endpoints
    issuer: str
    variables: dict[str, str]
    words: SharedWords
    clock: DevelopmentClock
    sources: Sources

    def supervisor(self) -> Supervisor:
        """The parent of the workers, not started yet."""
        return Supervisor(self._worker_main, self.settings.workers)

    def _worker_main(self, number: int, parent: int, ready: int) -> None:
        run_worker(lambda: self._build(number), parent, ready)

    async def _build(self, number: int) -> Running:
        """One worker's parts. The first worker serves the admin listener too, and sweeps."""
        settings, sources = self.settings, self.sources
        store = SqliteStore(self.folder.database)
        sealer = Sealer(self.folder.key_encryption_key(sources.random))
        service = await open_service(
            store, sealer, settings.signing_algorithm, self.issuer, sources, self.words, system().now
        )
        log = None if settings.quiet else TerminalLog(2, sources, colour=sys.stderr.isatty())
        if settings.quiet:
            logging.getLogger("mintmark").setLevel(logging.ERROR)

        async def close() -> None:
            await store.close()
            if log is not None:
                log.close()

        faults = Faults(self.folder.path, self.words)
        public = build_public_app(
            service, sources, cors=True, strict_versions=settings.strict_versions, faults=faults, log=log
        )
        listeners = [
            Listener(self.sockets.https, public, (self.tls.certificate, self.tls.private_key)),
            Listener(self.sockets.http, public),
        ]
        if number != 0:
            return Running(listeners, close)
        administration = Administration(service, sealer, self._announce, sources)
        admin = build_admin_app(
            service,
            sources,
            AdminApi(administration, self.endpoints.https),
            DevelopmentControls(self.clock, faults),
            ContractPages(self.endpoints.https),
            StartPage(self.endpoints, self.variables, settings, self.folder.path),
            frozenset({"localhost", "127.0.0.1", "::1", settings.admin_host}),
            log,
        )
        # What this worker's predecessor changed but could not announce, because it died, is announced now.
        self._announce()
        return Running([*listeners, Listener(self.sockets.admin, admin)], close, service.forget_changes)

    def _announce(self) -> None:
        self.words[REVISION] += 1


def prepare_development_server(settings: Settings, folder: DataFolder) -> DevelopmentServer:
    """Binds the ports, brings the store up to date and makes what is missing: resource, keys, certificate.

    Raises:
        StartRefused: a port is taken, or the data cannot be used.
    """
    words = SharedWords()
    real = system()
    clock = DevelopmentClock(words, real.now)
    sources = Sources(now=clock, random=real.random)
    sockets = Sockets(
        listen(settings.host, settings.https_port, "--https-port"),
        listen(settings.host, settings.http_port, "--http-port"),
        listen(settings.admin_host, settings.admin_port, "--admin-port"),
    )
    public, admin = reachable_name(settings.host), reachable_name(settings.admin_host)
    endpoints = Endpoints(
        https=f"https://{public}:{port_of(sockets.https)}",
        http=f"http://{public}:{port_of(sockets.http)}",
        admin=f"http://{admin}:{port_of(sockets.admin)}",
    )
    names = (public, *settings.tls_names)
    own_roots = OwnRoots(
        replaced=_trusted_already(os.environ, "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"),
        added=_trusted_already(os.environ, "NODE_EXTRA_CA_CERTS"),
    )
    tls = make_tls_files(folder.certificates, _user_folder(), names, sources.now(), own_roots)
    access_key = asyncio.run(_fill(folder, settings, sources))
    return DevelopmentServer(
        settings=settings,
        folder=folder,
        sockets=sockets,
        tls=tls,
        endpoints=endpoints,
        issuer=settings.issuer or endpoints.https,
        variables=variables(endpoints, access_key, tls),
        words=words,
        clock=clock,
        sources=sources,
    )


def _user_folder() -> Path | None:
    """Where the user's own authority is kept; None for a user without a home, as in some containers."""
    folder = Path(click.get_app_dir("mintmark"))
    # XDG Base Directory specification: a variable that is empty or no absolute path counts as unset.
    try:
        return folder if folder.is_absolute() else Path("~/.config/mintmark").expanduser()
    except RuntimeError:
        return None


def _trusted_already(environ: Mapping[str, str], *names: str) -> list[Path]:
    """The files that these variables, which are about to be replaced, name now: such as a company's own authority."""
    named = [Path(environ[name]) for name in names if environ.get(name)]
    return [path for path in dict.fromkeys(named) if os.access(path, os.R_OK) and path.is_file()]


async def _fill(folder: DataFolder, settings: Settings, sources: Sources) -> Secret:
    """Answers the primary access key of the development resource: the published one until it is regenerated."""
    store = SqliteStore(folder.database)
    try:
        sealer = Sealer(folder.key_encryption_key(sources.random))
        await fill_store(store, sealer, settings.signing_algorithm, sources)
        keys = (await load_directory(store, sealer, 0)).keys.get(DEVELOPMENT_RESOURCE.id)
        if keys is None:
            raise StartRefused(
                f"The data in {folder.path} has a resource named {DEVELOPMENT_RESOURCE.name} with another id.",
                "Choose another folder with --data: that name belongs to the development resource.",
            )
        return keys[0].secret
    except StoreUnavailable as error:
        raise StartRefused(
            f"The data in {folder.path} cannot be written: {error.reason}.", "Make room, or choose another with --data."
        ) from error
    finally:
        await store.close()


async def fill_store(store: Store, sealer: Sealer, algorithm: SigningAlgorithm, sources: Sources) -> None:
    """Brings the tables up to date and makes what is missing: the development resource, a key that signs.

    Raises:
        StartRefused: a newer release made the tables.
    """
    now = sources.now()
    await store.migrate(now)
    primary, secondary = (seal_access_key(key, sealer, sources) for key in development_access_keys())
    with contextlib.suppress(ResourceExists):
        await store.add_resource(DEVELOPMENT_RESOURCE, (primary, secondary), now)
    if not any(key.algorithm == algorithm for key in await store.signing_keys()):
        await store.add_first_signing_key(new_signing_key(algorithm, now, sealer, sources.random(NONCE_BYTES)))


async def open_service(
    store: Store,
    sealer: Sealer,
    algorithm: SigningAlgorithm,
    issuer: str,
    sources: Sources,
    words: SharedWords,
    clients_now: Callable[[], int] | None = None,
) -> Service:
    """A service over a store that was filled, its keys opened and parsed once.

    Raises:
        StartRefused: the keys cannot be opened.
    """
    revision = words[REVISION]
    return Service(
        store,
        Keyring(await store.signing_keys(), algorithm, sealer),
        sealer,
        await load_directory(store, sealer, revision),
        lambda: words[REVISION],
        issuer,
        sources,
        explains_denials=True,
        clients_now=clients_now,
    )
