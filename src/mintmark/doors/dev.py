"""`mintmark dev`: binds ports, brings the store up to date and makes all that is missing."""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import click

from mintmark.compose import Development, Server, Sockets, open_store, unusable
from mintmark.data_folder import DataFolder
from mintmark.development import (
    DEVELOPMENT_RESOURCE,
    Endpoints,
    OwnRoots,
    development_access_keys,
    make_tls_files,
    variables,
)
from mintmark.development_clock import DevelopmentClock
from mintmark.development_issuer import DevelopmentIssuer
from mintmark.directory import DirectoryLoader, seal_access_key
from mintmark.errors import ResourceExists, StartRefused, StoreUnavailable
from mintmark.jose import NONCE_BYTES, Sealer
from mintmark.keyring import new_signing_key, newest, signing_key_at
from mintmark.limits import parse_limits, shared_cells
from mintmark.metrics import new_snapshots
from mintmark.model import Secret, SigningAlgorithm
from mintmark.settings import Settings
from mintmark.shared import SharedWords
from mintmark.sockets import listen, port_of, reachable_name
from mintmark.sources import Sources, system
from mintmark.store import Store


def prepare_development_server(settings: Settings, folder: DataFolder) -> Server:
    """Binds the ports, brings the store up to date and makes what is missing: resource, keys, certificate.

    Raises:
        StartRefused: a port is taken, or the data cannot be used.
    """
    words = SharedWords()
    real = system()
    sealer = Sealer(folder.key_encryption_key(real.random))  # First of all: of data of `serve` nothing is touched.
    clock = DevelopmentClock(words, real.now)
    sources = Sources(now=clock, random=real.random)
    sockets = Sockets(
        listen(settings.host, settings.https_port or 0, "--https-port"),
        listen(settings.host, settings.http_port or 0, "--http-port"),
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
    access_key = asyncio.run(_fill(folder, sealer, settings, sources))
    issuer = DevelopmentIssuer(endpoints.https, endpoints.http, sources)
    return Server(
        settings=settings,
        folder=folder,
        sockets=sockets,
        certificate=(tls.certificate, tls.private_key),
        endpoint=endpoints.https,
        issuer=settings.issuer or endpoints.https,
        sealer=sealer,
        words=words,
        snapshots=new_snapshots(settings.workers),
        cells=shared_cells(settings.workers) if parse_limits(settings.limits) else None,
        sources=sources,
        door=Development(clock, endpoints, issuer, variables(endpoints, access_key, tls) | issuer.variables()),
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


async def _fill(folder: DataFolder, sealer: Sealer, settings: Settings, sources: Sources) -> Secret:
    """Answers the primary access key of the development resource: the published one until it is regenerated."""
    store = open_store(settings, folder)
    try:
        await fill_store(store, sealer, settings.signing_algorithm, sources)
        directory = await DirectoryLoader(store, sealer, settings.signing_algorithm).load(0)
        keys = directory.keys.get(DEVELOPMENT_RESOURCE.id)
        if keys is None:
            raise StartRefused(
                f"The data in {folder.path} has a resource named {DEVELOPMENT_RESOURCE.name} with another id.",
                "Choose another folder with --data: that name belongs to the development resource.",
            )
        return keys[0].secret
    except StoreUnavailable as error:
        raise unusable(settings, folder, error) from error
    finally:
        await store.close()


async def fill_store(store: Store, sealer: Sealer, algorithm: SigningAlgorithm, sources: Sources) -> None:
    """Brings the tables up to date and makes what is missing: the development resource, a key that signs.

    Raises:
        StartRefused: a newer release made the tables, or another key-encryption key sealed what is in them.
    """
    now = sources.now()
    await store.migrate(now)
    if await store.signing_keys():  # Every secret is opened before anything is added: the data may be somebody else's.
        await DirectoryLoader(store, sealer, algorithm).load(0)
    primary, secondary = (seal_access_key(key, sealer, sources) for key in development_access_keys())
    with contextlib.suppress(ResourceExists):
        await store.add_resource(DEVELOPMENT_RESOURCE, (primary, secondary), now)
    keys = await store.signing_keys()
    if not keys or signing_key_at(keys, now).algorithm != algorithm:
        # At once, also where the algorithm changes: whoever develops will not wait for caches.
        last = newest(keys, algorithm)
        key = new_signing_key(algorithm, now, sealer, sources.random(NONCE_BYTES), keys=keys)
        await store.add_signing_key(key, None if last is None else last.kid)
