"""What `mintmark serve` reads again on SIGHUP, while requests go on; and that its workers all know it."""

import asyncio
import itertools
import json
import os
import signal
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from mintmark.certificates import new_authority
from mintmark.data_folder import write_private
from mintmark.sources import system
from process.connections import Connection
from process.watching import children, eventually
from serving import OwnedResource, Serving, new_key, serving

pytestmark = pytest.mark.anyio

WORKERS = 2
SECONDS = 20
READ_AGAIN = ("The keys were read again.", "The certificate was read again.")
CHAT = {"createTokenWithScopes": ["chat"]}
TRIES = 12  # connections, of which each worker gets some with near certainty


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(tmp_path_factory.mktemp("serve"), "--workers", str(WORKERS), "--http-port", "0", tls=True) as started:
        yield started


@pytest.fixture(scope="module")
def resource(server: Serving) -> OwnedResource:
    return server.add_resource("loaded")


def shown_certificate(server: Serving) -> bytes:
    """What a new connection is shown, PEM."""
    parts = urlsplit(server.https_endpoint)
    return ssl.get_server_certificate((str(parts.hostname), parts.port or 0), timeout=SECONDS).encode()


def all_show(server: Serving, certificate: bytes) -> bool:
    """Whether so many new connections are shown a certificate that each worker has answered one with near certainty."""
    return all(certificate == shown_certificate(server) for _ in range(8))


def is_gone(server: Serving, worker: int) -> bool:
    return worker not in children(server.process.pid)


def a_foreign_key() -> bytes:
    return new_authority(system().now()).private_key


def errors(server: Serving) -> list[str]:
    lines = server.log.read_text().splitlines()  # Many more are of requests.
    return [json.loads(line)["message"] for line in lines if '"level":"error"' in line]


def times(server: Serving, message: str) -> int:
    """How often it was logged."""
    return server.log.read_text().count(message)


def reload(server: Serving) -> None:
    """Returns when each worker has read all of it again."""
    before = [times(server, each) for each in READ_AGAIN]
    server.process.send_signal(signal.SIGHUP)
    after = [count + WORKERS for count in before]
    eventually("each worker has read all again", lambda: after == [times(server, each) for each in READ_AGAIN])


@asynccontextmanager
async def secure(server: Serving, host: str = "") -> AsyncIterator[Connection]:
    """A connection over TLS that stays open, whatever certificate it was shown; `host` instead of the listener's."""
    parts = urlsplit(server.https_endpoint)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, ssl=context)
    try:
        yield Connection(host or parts.netloc, reader, writer)
    finally:
        writer.transport.abort()
        with suppress(OSError):
            await writer.wait_closed()


@asynccontextmanager
async def load(server: Serving, resource: OwnedResource, *, may_be_cut: bool = False) -> AsyncIterator[list[int]]:
    """Creates meanwhile, on a connection that stays and on new ones; answers the statuses, filled in the end.

    Where workers are killed, connections `may_be_cut`: others take their place.
    """
    statuses: list[int] = []
    enough, began, end = asyncio.Event(), asyncio.Event(), time.monotonic() + SECONDS

    async def create(connection: Connection) -> None:
        statuses.append((await connection.sign("POST", "/identities", CHAT, key=resource.keys[0])).status)
        began.set()

    async def keep_creating(requests: Callable[[], Iterable[object]]) -> None:
        """Opens a new connection after so many requests."""
        while not enough.is_set():
            assert time.monotonic() < end, "nobody answers"
            with suppress(*((OSError, EOFError) if may_be_cut else ())):
                async with secure(server) as connection:
                    for _ in requests():
                        await create(connection)
                        if enough.is_set():
                            break

    tasks = [asyncio.ensure_future(keep_creating(requests)) for requests in (lambda: [1], itertools.count)]
    await asyncio.wait_for(began.wait(), SECONDS)
    try:
        yield statuses
    finally:
        count = len(statuses)
        await until("more requests", lambda: len(statuses) > count + len(tasks) or any(each.done() for each in tasks))
        enough.set()
        await asyncio.gather(*tasks)


async def until(what: str, condition: Callable[[], object]) -> None:
    """As `eventually`, but the requests go on."""
    await asyncio.to_thread(eventually, what, condition)


async def test_a_new_certificate_is_shown_to_new_connections_and_no_request_fails(
    server: Serving, resource: OwnedResource
) -> None:
    async with load(server, resource) as statuses:
        for _ in range(2):
            fresh = server.files.write_certificate()
            server.process.send_signal(signal.SIGHUP)
            await until("each worker shows it", partial(all_show, server, fresh))

    assert {201} == set(statuses)
    assert [] == errors(server)


def write_rsa_certificate(server: Serving) -> bytes:
    """Writes a new certificate for localhost with an RSA key, signed by itself; answers it, PEM."""
    key = rsa.generate_private_key(65537, 2048)
    name, now = (
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")]),
        datetime.fromtimestamp(system().now() / 1000, tz=UTC),
    )
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    write_private(server.files.private_key, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    write_private(server.files.certificate, certificate)
    return certificate


def shown(server: Serving, name: str | None, version: ssl.TLSVersion, ciphers: str = "DEFAULT") -> bytes:
    """The certificate that a client of that TLS version is shown that asks for that name."""
    context, parts = ssl.create_default_context(), urlsplit(server.https_endpoint)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = context.maximum_version = version
    context.set_ciphers(ciphers)
    with (
        socket.create_connection((parts.hostname, parts.port), timeout=SECONDS) as plain,
        context.wrap_socket(plain, server_hostname=name) as connected,
    ):
        return ssl.DER_cert_to_PEM_cert(connected.getpeercert(binary_form=True) or b"").encode()


@pytest.mark.long
def test_a_certificate_of_another_type_of_key_takes_the_place_of_the_one_before(server: Serving) -> None:
    clients = list(itertools.product([None, "localhost"], [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]))
    for write in (server.files.write_certificate, partial(write_rsa_certificate, server)) * 2:
        fresh = write()
        reload(server)
        assert {fresh} == {shown(server, *client) for client in clients for _ in range(TRIES // 2)}

    for _ in range(TRIES // 2):
        with pytest.raises(ssl.SSLError):
            shown(server, None, ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES256-GCM-SHA384")
    worker = min(children(server.process.pid))
    os.kill(worker, signal.SIGKILL)
    eventually("it is replaced", lambda: is_gone(server, worker) and len(children(server.process.pid)) == WORKERS)
    assert all_show(server, fresh)
    server.files.write_certificate()
    reload(server)


@pytest.mark.parametrize(
    "spoil",
    [
        pytest.param(lambda files: write_private(files.certificate, b"no certificate\n"), id="no certificate"),
        pytest.param(lambda files: files.private_key.unlink(), id="no private key"),
        pytest.param(lambda files: write_private(files.private_key, a_foreign_key()), id="another private key"),
    ],
)
async def test_a_broken_certificate_leaves_the_one_that_was_and_is_logged(
    server: Serving, resource: OwnedResource, spoil: Callable[..., None]
) -> None:
    before, logged = server.files.write_certificate(), len(errors(server))
    server.process.send_signal(signal.SIGHUP)
    await until("it is shown", lambda: before == shown_certificate(server))
    spoil(server.files)

    async with load(server, resource) as statuses:
        server.process.send_signal(signal.SIGHUP)
        await until("it is logged", lambda: len(errors(server)) > logged)

    assert {201} == set(statuses)
    assert before == shown_certificate(server)
    assert ["Keys and certificate stay as they were"] == [each.partition(":")[0] for each in errors(server)[logged:]]
    server.files.write_certificate()


def accepted(server: Serving, *keys: str) -> list[bool]:
    """Which of the admin keys the server accepts."""
    return [200 == server.admin("GET", "resources", key=key).status for key in keys]


def test_an_admin_key_follows_another(server: Serving) -> None:
    path, old, new = server.files.admin_key, server.admin_key, new_key()

    write_private(path, f"{new}\n# going\n{old}\n".encode())
    assert [True, False] == accepted(server, old, new)
    server.process.send_signal(signal.SIGHUP)
    eventually("both are accepted", lambda: [True, True] == accepted(server, old, new))
    write_private(path, new.encode())
    server.process.send_signal(signal.SIGHUP)
    eventually("only the new one is accepted", lambda: [False, True] == accepted(server, old, new))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("admin_key", "short"),
        ("key_encryption_key", "not base64"),
    ],
)
def test_a_wrong_file_of_keys_leaves_those_that_were_and_is_logged(server: Serving, name: str, content: str) -> None:
    path, key, logged = getattr(server.files, name), server.admin_key, len(errors(server))
    before = path.read_text()
    write_private(path, content.encode())

    server.process.send_signal(signal.SIGHUP)
    eventually("it is logged", lambda: len(errors(server)) > logged)
    write_private(path, before.encode())

    assert ["Keys and certificate stay as they were"] == [each.partition(":")[0] for each in errors(server)[logged:]]
    assert [True] == accepted(server, key)
    assert 200 == server.admin("GET", "ready").status


async def test_a_key_encryption_key_follows_another_and_no_request_fails(
    server: Serving, resource: OwnedResource
) -> None:
    path, new, (first,) = server.files.key_encryption_key, new_key(), listed(server)
    write_private(path, f"{new}\n{path.read_text()}\n".encode())

    async with load(server, resource) as statuses:
        await asyncio.to_thread(reload, server)
        fresh = await asyncio.to_thread(server.add_resource, "fresh", "fresh.test")
        for _ in range(TRIES):
            async with secure(server, "fresh.test") as connection:
                statuses.append((await connection.sign("POST", "/identities", CHAT, key=fresh.keys[0])).status)

    assert {201} == set(statuses)
    second, still = listed(server)
    assert (2, first) == (second["seals"], still)


def test_a_key_encryption_key_that_stands_alone_takes_over_too(server: Serving) -> None:
    write_private(server.files.key_encryption_key, new_key().encode())

    reload(server)

    assert 0 == listed(server)[0]["seals"]
    assert 200 == server.admin("GET", "ready").status
    assert 201 == server.admin("POST", "resources", {"name": "sealed-by-the-new-one"}).status
    assert 2 == listed(server)[0]["seals"]


async def test_a_worker_that_replaces_another_goes_on_with_what_was_read_last(
    server: Serving, resource: OwnedResource
) -> None:
    old, new = server.admin_key, new_key()
    write_private(server.files.admin_key, new.encode())
    write_private(
        server.files.key_encryption_key, f"{new_key()}\n{server.files.key_encryption_key.read_text()}".encode()
    )
    certificate = server.files.write_certificate()
    reload(server)
    sealed_anew = server.add_resource("anew", "anew.test")

    async with load(server, resource, may_be_cut=True) as statuses:
        for worker in sorted(children(server.process.pid)):
            os.kill(worker, signal.SIGKILL)
            await until("it is replaced", partial(is_gone, server, worker))
            await until("by another", lambda: len(children(server.process.pid)) == WORKERS)
    async with secure(server, "anew.test") as connection:
        statuses.append((await connection.sign("POST", "/identities", CHAT, key=sealed_anew.keys[0])).status)

    assert {201} == set(statuses)
    assert [False, True] == accepted(server, old, new)
    assert all_show(server, certificate)


def test_workers_that_are_being_replaced_hear_of_it_too(server: Serving) -> None:
    before, key = children(server.process.pid), new_key()
    certificate = server.files.write_certificate()
    write_private(server.files.admin_key, key.encode())

    for worker in before:
        os.kill(worker, signal.SIGKILL)
    server.process.send_signal(signal.SIGHUP)

    eventually("all are replaced", lambda: len(children(server.process.pid) - before) == WORKERS)
    eventually("the new key is accepted", lambda: [True] == accepted(server, key))
    eventually("each shows the new certificate", partial(all_show, server, certificate))


def test_a_broken_certificate_does_not_keep_a_worker_from_being_replaced(server: Serving) -> None:
    before, good = children(server.process.pid), shown_certificate(server)
    write_private(server.files.certificate, b"no certificate\n")

    for worker in before:
        os.kill(worker, signal.SIGKILL)

    eventually("all are replaced", lambda: len(children(server.process.pid) - before) == WORKERS)
    assert all_show(server, good)
    server.files.write_certificate()


def test_a_reload_that_is_asked_for_during_the_start_does_not_end_it(tmp_path: Path) -> None:
    with serving(tmp_path, hang_up=True) as server:
        assert 200 == server.admin("GET", "ready").status


def listed(server: Serving) -> list[dict[str, object]]:
    """What `mintmark key-encryption-key list` asks for."""
    keys: list[dict[str, object]] = server.admin("GET", "key-encryption-keys").json["keyEncryptionKeys"]
    return keys
