"""What only a server over a network does to a store: it ends connections, hangs, loses its standby, is replaced."""

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from builders import NOON, an_identity
from mintmark.errors import ResourceExists, StartRefused, StoreUnavailable
from mintmark.model import Identity, Resource, SealedSecret, StoredAccessKey
from mintmark.store import postgres_link
from mintmark.store.postgres import PostgresStore
from mintmark.store.postgres_address import check_files, parse_address
from postgres import Cluster, folder, running_cluster
from store.process import migrate, run_together

PATIENCE = 20  # seconds until something that hangs fails the test
STANDBY = "standby"

pytestmark = pytest.mark.anyio


@pytest.fixture
async def store(database: str) -> AsyncIterator[PostgresStore]:
    opened = PostgresStore(parse_address(database))
    await opened.migrate(NOON)
    yield opened
    await opened.close()


async def test_a_store_goes_on_when_its_connections_are_ended(store: PostgresStore, cluster: Cluster) -> None:
    for number in range(5):
        await store.create_identity(an_identity(number))
        cluster.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'mintmark'")
    await store.create_identity(an_identity(5))

    for number in range(6):
        assert await store.identity(an_identity(number).resource_id, an_identity(number).suffix) == an_identity(number)


@pytest.mark.long
async def test_a_server_that_hangs_is_given_up_and_found_again(database: str, cluster: Cluster) -> None:
    store = PostgresStore(parse_address(database))
    await store.migrate(NOON)
    cluster.freeze()
    try:
        with pytest.raises(StoreUnavailable):
            await asyncio.wait_for(store.create_identity(an_identity(1)), PATIENCE)
        assert not await store.is_ready()
    finally:
        cluster.thaw()
    await eventually_writes(store, 2)
    await store.close()


async def test_a_password_is_never_shown(cluster: Cluster) -> None:
    address = parse_address(
        cluster.address().replace("mintmark@", "mintmark:secret@") + "?sslmode=disable&password=secret"
    )

    assert address.has_password
    assert "secret" not in address.shown


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        (
            "postgresql://u@a:1,b:2/d?sslmode=require",
            ("postgresql://u@a:1/d?sslmode=require", "postgresql://u@b:2/d?sslmode=require"),
        ),
        (
            "postgresql:///d?host=/run/a,/run/b&port=1,2",
            ("postgresql:///d?host=/run/a&port=1", "postgresql:///d?host=/run/b&port=2"),
        ),
        ("postgres://localhost/d", ("postgres://localhost/d",)),
        ("postgresql://[::1]:5433/d", ("postgresql://[::1]:5433/d",)),
    ],
)
def test_an_address_names_one_server_or_several(text: str, hosts: tuple[str, ...]) -> None:
    assert hosts == parse_address(text).hosts


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sqlite:///x", "postgresql://"),
        ("postgresql:///d", "names no server"),
        ("postgresql://[::1/d", "malformed"),
        ("postgresql://127.0.0.1:99999/d", "malformed"),
        ("postgresql://u:SEC/RET@localhost/d", "malformed"),
        ("postgresql://u:p@SEC:RET@localhost/d", "malformed"),
        ("postgresql://u:SEC\uff1fRET@localhost/d", "malformed"),
        ("postgresql://u:SEC#RET@localhost/d", "malformed"),
        ("postgresql://u@db.example.com/d", "encrypted"),
        ("postgresql://localhost,db.example.com/d", "encrypted"),
        ("postgresql://localhost/d?sslmode=require&sslmode=disable", "twice"),
        ("postgresql:///d?host=/a,/b&port=1,2,3", "as many ports"),
        ("postgresql:///d?host=/a&port=99999", "malformed"),
        ("postgresql://a/d?host=b", "twice"),
        ("postgresql://u:12?34@SEC/d?x=RET", "malformed"),
        ("postgresql://localhost/d?PASSWORD=SECRET", "not known: PASSWORD"),
        ("postgresql://localhost/d?connect_timeout", "not known: connect_timeout"),
        ("postgresql://localhost/d?sslmode=always", "unknown sslmode: always"),
        ("postgresql://localhost/d?sslmode=verify-full", "no authority"),
    ],
)
def test_an_address_that_is_none_or_unsafe_is_refused(text: str, words: str) -> None:
    with pytest.raises(StartRefused, match=words) as refused:
        parse_address(text)
    assert "SEC" not in f"{refused.value.message} {refused.value.advice}"


@pytest.mark.parametrize(
    ("content", "words"), [(None, "not there: sslrootcert"), ("no PEM", "no certificate: sslrootcert")]
)
def test_a_file_in_an_address_that_cannot_be_used_is_named(content: str | None, words: str, tmp_path: Path) -> None:
    file = tmp_path / "authority.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(StartRefused, match=f"{words}={file}"):
        check_files(parse_address(f"postgresql://db.example.com/d?sslmode=verify-full&sslrootcert={file}"))


@pytest.fixture
def pair() -> Iterator[tuple[Cluster, Cluster]]:
    """A primary, and a standby that has to confirm each commit."""
    with folder() as parent:
        primary = Cluster(parent / "primary", {"max_wal_senders": "5"})
        primary.initialise()
        primary.start()
        standby = Cluster(parent / STANDBY)
        standby.follow(primary, STANDBY)
        standby.start()
        primary.set("synchronous_standby_names", STANDBY)
        try:
            yield primary, standby
        finally:
            for cluster in (primary, standby):
                with suppress(ProcessLookupError):
                    cluster.thaw()
                cluster.stop()
                shutil.rmtree(cluster.folder)


def address_of(*clusters: Cluster) -> str:
    return f"postgresql://mintmark@{','.join(cluster.hosts for cluster in clusters)}/postgres"


async def eventually_writes(store: PostgresStore, number: int) -> float:
    """Creates an identity, as soon as that succeeds; answers how many seconds that took."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        try:
            await store.create_identity(an_identity(number))
        except StoreUnavailable:
            assert loop.time() - began < PATIENCE
            await asyncio.sleep(0.05)
        else:
            return loop.time() - began


@pytest.mark.long
@pytest.mark.parametrize("way", ["kill", "freeze"])
async def test_a_standby_takes_over(pair: tuple[Cluster, Cluster], way: str) -> None:
    primary, standby = pair
    store, another = (PostgresStore(parse_address(address_of(primary, standby))) for _ in range(2))
    await store.migrate(NOON)
    await eventually_writes(another, 1)
    await store.create_identity(an_identity(2))
    revoked = an_identity(1)
    assert await store.revoke_tokens(revoked.resource_id, revoked.suffix, NOON)

    getattr(primary, way)()
    standby.promote()
    gap = await eventually_writes(store, 3)
    await eventually_writes(another, 4)
    if way == "freeze":
        primary.thaw()  # It believes that it is the primary still.
        for _ in range(20):
            found = await another.identity(revoked.resource_id, an_identity(3).suffix)
            assert found is not None
            await asyncio.sleep(0.1)

    for number in (1, 2, 3, 4):
        for each in (store, another):
            assert await each.identity(revoked.resource_id, an_identity(number).suffix) is not None
    found = await another.identity(revoked.resource_id, revoked.suffix)
    assert found is not None
    assert 1 == found.generation
    assert gap < PATIENCE
    await store.close()
    await another.close()


async def cut_off_while_committing(primary: Cluster, how: str) -> None:
    """Ends the wait of whoever waits for the standby; the commit then stands on the primary only."""
    await asyncio.sleep(0.5)
    primary.sql(f"select {how}(pid) from pg_stat_activity where wait_event = 'SyncRep'")


@pytest.mark.long
async def test_what_stands_on_the_primary_only_is_not_acknowledged_the_second_time_either(
    pair: tuple[Cluster, Cluster],
) -> None:
    """PostgreSQL waits for no standby where a statement finds nothing to do."""
    primary, standby = pair
    store, identity = PostgresStore(parse_address(address_of(primary, standby))), an_identity(1)
    await store.migrate(NOON)
    await store.create_identity(identity)
    standby.freeze()
    creating = asyncio.ensure_future(store.create_identity(an_identity(2)))
    deleting = asyncio.ensure_future(store.delete_identity(identity.resource_id, identity.suffix, NOON))
    await cut_off_while_committing(primary, "pg_terminate_backend")
    outcomes = await asyncio.wait_for(asyncio.gather(creating, deleting, return_exceptions=True), PATIENCE)
    assert [StoreUnavailable] * 2 == [type(outcome) for outcome in outcomes]

    standby.thaw()
    await eventually_writes(store, 3)
    await store.close()


@pytest.mark.long
async def test_what_had_to_wait_is_not_answered_by_a_server_that_nobody_confirms(pair: tuple[Cluster, Cluster]) -> None:
    primary, standby = pair
    store = PostgresStore(parse_address(address_of(primary)))  # It reaches the old primary only.
    await store.migrate(NOON)
    standby.freeze()  # It is about to take over.
    named = Identity(an_identity(1).resource_id, an_identity(1).suffix, NOON, custom_id="anna")
    waiting = [asyncio.ensure_future(store.create_or_get_identity(named)) for _ in range(3)]
    await asyncio.sleep(postgres_link.LEASE_SECONDS + 1)

    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(store.identities(named.resource_id, b"", b"\xff" * 17, 10), PATIENCE)
    outcomes = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), PATIENCE)
    assert [StoreUnavailable] * 3 == [type(outcome) for outcome in outcomes]
    standby.thaw()
    await store.close()


@pytest.mark.long
async def test_a_watch_that_fails_goes_on(database: str, cluster: Cluster) -> None:
    cluster.sql("drop role if exists weak; create role weak login; grant all on schema public to weak", "test")
    cluster.sql("revoke execute on function pg_try_advisory_lock_shared(bigint) from public", "test")
    store = PostgresStore(parse_address(database.replace("mintmark@", "weak@")))
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(store.migrate(NOON), PATIENCE)
    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(store.identity(an_identity(1).resource_id, an_identity(1).suffix), PATIENCE)

    cluster.sql("grant execute on function pg_try_advisory_lock_shared(bigint) to public", "test")
    await store.migrate(NOON)
    await eventually_writes(store, 1)
    await store.close()
    cluster.sql("drop owned by weak; drop role weak", "test")


async def test_a_resource_is_added_over_whatever_one_of_its_id_has_left(store: PostgresStore, cluster: Cluster) -> None:
    identity = an_identity(1)
    cluster.sql(
        "insert into identity (resource_id, suffix, created_at, generation) select "
        f"decode('{identity.resource_id.replace('-', '')}', 'hex'), decode(lpad(to_hex(n), 32, '0'), 'hex'), 1, 0 "
        "from generate_series(1, 2500) as n",
        "test",
    )
    keys = [
        StoredAccessKey(identity.resource_id, slot, 0, SealedSecret("k", b"s")) for slot in ("primary", "secondary")
    ]
    await store.add_resource(Resource(identity.resource_id, "shop", "local"), (keys[0], keys[1]), NOON)
    assert [] == await store.identities(identity.resource_id, b"", b"\xff" * 17, 10)

    await store.create_identity(identity)
    with pytest.raises(ResourceExists):
        await store.add_resource(Resource(identity.resource_id, "shop", "local"), (keys[0], keys[1]), NOON)
    assert await store.identity(identity.resource_id, identity.suffix) == identity


async def test_a_database_that_cannot_hold_all_text_is_refused(cluster: Cluster) -> None:
    cluster.sql("create database latin encoding 'LATIN1' locale 'C' template template0")
    store = PostgresStore(parse_address(cluster.address("latin")))
    with pytest.raises(StartRefused, match="LATIN1"):
        await store.migrate(NOON)
    await store.close()


@pytest.mark.long
async def test_a_commit_that_did_not_reach_the_standby_is_not_acknowledged(pair: tuple[Cluster, Cluster]) -> None:
    """PostgreSQL answers it as done when its wait is cancelled, with a warning and nothing else."""
    primary, standby = pair
    primary.sql("alter role mintmark set client_min_messages = error")  # It would hide that warning.
    store = PostgresStore(parse_address(address_of(primary)))
    await store.migrate(NOON)
    standby.freeze()
    writing = asyncio.ensure_future(store.create_identity(an_identity(1)))
    await asyncio.sleep(0.5)
    primary.sql("select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'")

    with pytest.raises(StoreUnavailable):
        await asyncio.wait_for(writing, PATIENCE)
    standby.thaw()
    await store.close()


async def test_a_weak_setting_of_the_database_is_made_up_for(cluster: Cluster) -> None:
    cluster.sql("create database weak")
    cluster.sql("alter database weak set synchronous_commit = off")
    cluster.sql("alter database weak set statement_timeout = '1ms'")
    store = PostgresStore(parse_address(cluster.address("weak")))
    await store.migrate(NOON)

    assert "on" == await store._ask_one("select current_setting('synchronous_commit')")
    assert "0" == await store._ask_one("select current_setting('statement_timeout')")
    await store.close()


async def test_a_server_that_does_not_sync_is_refused(store: PostgresStore) -> None:
    with pytest.raises(StartRefused, match="fsync = off"):
        await store.check_durability()


async def test_no_server_is_no_store(tmp_path: Path) -> None:
    del tmp_path
    store = PostgresStore(parse_address("postgresql://mintmark@127.0.0.1:1/none"))
    with pytest.raises(StoreUnavailable):
        await store.migrate(NOON)
    with pytest.raises(StoreUnavailable):
        await store.identity(an_identity(1).resource_id, an_identity(1).suffix)
    await store.close()


@pytest.mark.long
async def test_a_change_of_another_node_shows_within_a_second(store: PostgresStore, database: str) -> None:
    other = PostgresStore(parse_address(database))
    await other.migrate(NOON)
    before = other.changes_elsewhere()
    await store.remove_signing_key("none")  # It counts though it changes nothing.
    await asyncio.sleep(2 * postgres_link.BEAT_SECONDS)

    assert before != other.changes_elsewhere()
    await other.close()


async def test_a_process_that_stood_still_relies_on_nothing_that_it_knew(store: PostgresStore) -> None:
    await store.is_ready()
    before = store.changes_elsewhere()
    assert before == store.changes_elsewhere()
    time.sleep(postgres_link.FRESH_SECONDS + 0.1)  # noqa: ASYNC251  no beat meanwhile

    assert before != store.changes_elsewhere()


async def test_a_connection_that_ends_at_any_moment_is_no_error_of_another_kind(store: PostgresStore) -> None:
    for turns in range(40):
        creating = asyncio.ensure_future(store.create_identity(an_identity(turns + 1)))
        for _ in range(turns):
            await asyncio.sleep(0)
        store._primary.drop_all()
        with suppress(StoreUnavailable):
            await creating
    await eventually_writes(store, 100)


@pytest.mark.long
async def test_a_standby_that_is_not_there_is_named_at_once(cluster: Cluster, database: str) -> None:
    cluster.set("synchronous_standby_names", STANDBY)
    store = PostgresStore(parse_address(database))
    try:
        with pytest.raises(StoreUnavailable) as refused:
            await asyncio.wait_for(store.migrate(NOON), 2)
        assert "synchronous_standby_names" in refused.value.reason
    finally:
        cluster.set("synchronous_standby_names", "")
        await store.close()


@pytest.mark.long
async def test_servers_with_different_data_are_not_taken_for_one(cluster: Cluster) -> None:
    with running_cluster() as other:
        store = PostgresStore(parse_address(address_of(cluster, other)))
        with pytest.raises(StoreUnavailable) as refused:
            await store.migrate(NOON)
        assert "different data" in refused.value.reason
        await store.close()


@pytest.mark.long
@pytest.mark.parametrize("command", [["migrate"], ["create", "0", "2000"]])
async def test_processes_that_begin_at_once_lose_and_double_nothing(
    database: str, cluster: Cluster, command: list[str]
) -> None:
    processes = 3
    if command[0] == "create":
        await migrate(database)
    commands = [[command[0], *(str(number * 2000), "2000")] if command[1:] else command for number in range(processes)]

    acknowledged = [suffix for printed in run_together(database, commands) for suffix in printed]

    assert (processes * 2000 if command[1:] else 0) == len(acknowledged) == len(set(acknowledged))
    there = cluster.sql("select encode(suffix, 'hex') from identity", "test").split()
    assert sorted(acknowledged) == sorted(there)
