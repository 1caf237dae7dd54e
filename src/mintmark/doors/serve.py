"""`mintmark serve`: checks that nothing is left to chance, and starts only then."""

import asyncio
import hmac
import os
import resource
from pathlib import Path

from mintmark.admin_keys import AdminKeys
from mintmark.compose import Production, Server, Sockets, key_policy, open_store, unusable
from mintmark.data_folder import DataFolder, require_private
from mintmark.development import DEVELOPMENT_KEYS, DEVELOPMENT_RESOURCE
from mintmark.directory import open_access_key
from mintmark.errors import StartRefused, StoreUnavailable
from mintmark.jose import Sealer
from mintmark.keyring import Keyring
from mintmark.limits import parse_limits, shared_cells
from mintmark.metrics import new_snapshots
from mintmark.settings import Settings
from mintmark.settings.files import open_certificate, read_secrets, trusted_networks
from mintmark.shared import SharedWords
from mintmark.signing_keys import SigningKeys
from mintmark.sockets import listen
from mintmark.sources import Sources, system
from mintmark.store import Store
from mintmark.store.postgres_address import parse_address
from mintmark.store.sqlite import was_moved

MAX_CLOCK_BEHIND = 5 * 60 * 1000  # milliseconds


def prepare_production_server(settings: Settings, folder: DataFolder) -> Server:
    """Checks data and clock, binds the ports, brings the store up to date and makes the first signing key.

    Raises:
        StartRefused: something must be changed first; the message says what.
    """
    require_private(folder.path)
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # A core dump would have every key in it.
    secrets = read_secrets(settings)
    words, sources = SharedWords(), system()
    sealer = Sealer(*secrets.key_encryption_keys)
    sockets = Sockets(
        [] if settings.https_port is None else listen(settings.host, settings.https_port, "--https-port"),
        [] if settings.http_port is None else listen(settings.host, settings.http_port, "--http-port"),
        listen(settings.admin_host, settings.admin_port, "--admin-port"),
    )
    if settings.database:
        _refuse_data_left_behind(folder, settings)
    asyncio.run(_check_and_fill(folder, sealer, settings, sources))
    certificate = (Path(settings.tls_certificate), Path(settings.tls_key)) if settings.tls_certificate else None
    return Server(
        settings=settings,
        folder=folder,
        sockets=sockets,
        certificate=certificate,
        tls=None if certificate is None else open_certificate(*certificate),
        endpoint=settings.issuer,
        issuer=settings.issuer,
        sealer=sealer,
        words=words,
        snapshots=new_snapshots(settings.workers),
        cells=shared_cells(settings.workers) if parse_limits(settings.limits) else None,
        sources=sources,
        door=Production(AdminKeys(secrets.admin_keys), trusted_networks(settings.trusted_proxies)),
    )


def _refuse_data_left_behind(folder: DataFolder, settings: Settings) -> None:
    """Data in the folder would seem to be served, and backed up, and are not."""
    if folder.database.exists() and not was_moved(folder.database):
        raise StartRefused(
            f"The folder {folder.path} has data of its own, which are not in PostgreSQL.",
            f"Move them: mintmark migrate --from {folder.path} --to {parse_address(settings.database).shown}. "
            f"Or remove {folder.database.name} and what begins like it.",
        )


async def _check_and_fill(folder: DataFolder, sealer: Sealer, settings: Settings, sources: Sources) -> None:
    store = open_store(settings, folder)
    try:
        await store.migrate(sources.now())
        await store.check_durability()
        _check_clock(await store.newest_record_at(), sources.now())
        if any(each.id == DEVELOPMENT_RESOURCE.id for each in await store.resources()):
            raise _development_data()  # Before anything of it is opened: its key-encryption key is another one.
        await _refuse_published_keys(store, sealer, settings)  # Every secret is opened before anything is added.
        await SigningKeys(store, sealer, key_policy(settings), lambda: None, sources).maintain()
    except StoreUnavailable as error:
        raise unusable(settings, folder, error) from error
    finally:
        await store.close()


def _check_clock(newest: int, now: int) -> None:
    if now < newest - MAX_CLOCK_BEHIND:
        minutes = (newest - now) // 60_000
        raise StartRefused(
            f"The clock is {minutes} minutes behind the newest record of the data: tokens would expire too late.",
            "Set the clock right; timedatectl shows it.",
        )


async def _refuse_published_keys(store: Store, sealer: Sealer, settings: Settings) -> None:
    """A resource whose key everybody knows belongs to everybody."""
    access_keys = [open_access_key(stored, sealer) for stored in await store.access_keys()]
    signing_keys = await store.signing_keys()
    if signing_keys:
        Keyring(signing_keys, settings.signing_algorithm, sealer)
    if any(hmac.compare_digest(key.secret, each) for key in access_keys for each in DEVELOPMENT_KEYS):
        raise _development_data()


def _development_data() -> StartRefused:
    return StartRefused(
        "The data was made by mintmark dev: its access key is published.",
        "Choose another folder with --data, and make resources with `mintmark resource add`.",
    )
