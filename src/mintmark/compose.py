"""The only place where concrete classes meet: settings in, a running server out."""

import asyncio
import sys
from pathlib import Path
from socket import socket

import click
from msgspec import Struct

from mintmark.data_folder import DataFolder
from mintmark.development import (
    DEVELOPMENT_RESOURCE,
    Endpoints,
    TlsFiles,
    development_access_keys,
    make_tls_files,
    variables,
)
from mintmark.jose import NONCE_BYTES, Sealer
from mintmark.keyring import Keyring, new_signing_key
from mintmark.model import AccessKey, SigningAlgorithm, StoredAccessKey
from mintmark.service import Service
from mintmark.settings import Settings
from mintmark.sockets import listen, port_of, reachable_name
from mintmark.sources import Sources, system
from mintmark.store import Store
from mintmark.store.sqlite import SqliteStore
from mintmark.supervisor import Supervisor
from mintmark.web import build_admin_app, build_public_app
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
    sources: Sources

    def supervisor(self) -> Supervisor:
        """The parent of the workers, not started yet."""
        return Supervisor(self._worker_main, self.settings.workers)

    def _worker_main(self, number: int, parent: int, ready: int) -> None:
        run_worker(lambda: self._build(number), parent, ready)

    async def _build(self, number: int) -> Running:
        """One worker's parts. The first worker serves the admin listener too."""
        settings, sources = self.settings, self.sources
        store = SqliteStore(self.folder.database)
        sealer = Sealer(self.folder.key_encryption_key(sources.random))
        service = await open_service(store, sealer, settings.signing_algorithm, self.issuer, sources)
        log = None if settings.quiet else TerminalLog(2, sources, colour=sys.stderr.isatty())
        public = build_public_app(service, sources, cors=True, log=log)
        listeners = [
            Listener(self.sockets.https, public, (self.tls.certificate, self.tls.private_key)),
            Listener(self.sockets.http, public),
        ]
        if number == 0:
            names = frozenset({"localhost", "127.0.0.1", "::1", settings.admin_host})
            page = StartPage(self.endpoints, self.variables, settings, self.folder.path)
            listeners.append(Listener(self.sockets.admin, build_admin_app(service, sources, page, names, log)))
        return Running(listeners, store.close)


def prepare_development_server(settings: Settings, folder: DataFolder) -> DevelopmentServer:
    """Binds the ports, brings the store up to date and makes what is missing: resource, keys, certificate.

    Raises:
        StartRefused: a port is taken, or the data cannot be used.
    """
    sources = system()
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
    tls = make_tls_files(folder.certificates, _user_folder(), (public, *settings.tls_names), sources.now())
    asyncio.run(_fill(folder, settings, sources))
    return DevelopmentServer(
        settings=settings,
        folder=folder,
        sockets=sockets,
        tls=tls,
        endpoints=endpoints,
        issuer=settings.issuer or endpoints.https,
        variables=variables(endpoints, tls),
        sources=sources,
    )


def _user_folder() -> Path:
    folder = Path(click.get_app_dir("mintmark"))
    # XDG Base Directory specification: a variable that is empty or no absolute path counts as unset.
    return folder if folder.is_absolute() else Path("~/.config/mintmark").expanduser()


async def _fill(folder: DataFolder, settings: Settings, sources: Sources) -> None:
    store = SqliteStore(folder.database)
    try:
        sealer = Sealer(folder.key_encryption_key(sources.random))
        await fill_store(store, sealer, settings.signing_algorithm, sources)
    finally:
        await store.close()


async def fill_store(store: Store, sealer: Sealer, algorithm: SigningAlgorithm, sources: Sources) -> None:
    """Brings the tables up to date and makes what is missing: the development resource, a key that signs.

    Raises:
        StartRefused: a newer release made the tables.
    """
    now = sources.now()
    await store.migrate(now)
    primary, secondary = (_sealed(key, sealer, sources) for key in development_access_keys())
    await store.add_resource(DEVELOPMENT_RESOURCE, (primary, secondary), now)
    if not any(key.algorithm == algorithm for key in await store.signing_keys()):
        await store.add_first_signing_key(new_signing_key(algorithm, now, sealer, sources.random(NONCE_BYTES)))


def _sealed(key: AccessKey, sealer: Sealer, sources: Sources) -> StoredAccessKey:
    place = _access_key_place(key.resource_id, key.slot)
    return StoredAccessKey(
        key.resource_id, key.slot, key.generation, sealer.seal(key.secret, place, sources.random(NONCE_BYTES))
    )


def _access_key_place(resource_id: str, slot: str) -> str:
    return f"access-key/{resource_id}/{slot}"


async def open_service(
    store: Store, sealer: Sealer, algorithm: SigningAlgorithm, issuer: str, sources: Sources
) -> Service:
    """A service over a store that was filled, its keys opened and parsed once.

    Raises:
        StartRefused: the keys cannot be opened.
    """
    access_keys = [
        AccessKey(
            key.resource_id,
            key.slot,
            key.generation,
            sealer.unseal(key.sealed, _access_key_place(key.resource_id, key.slot)),
        )
        for key in await store.access_keys()
    ]
    return Service(
        store,
        Keyring(await store.signing_keys(), algorithm, sealer),
        await store.resources(),
        access_keys,
        issuer,
        sources,
        explains_denials=True,
    )
