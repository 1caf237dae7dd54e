"""What a worker reads again after every change, and what it keeps."""

import pytest

from builders import NOON, SEALER
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.directory import DirectoryLoader, seal_access_key
from mintmark.doors.dev import fill_store
from mintmark.errors import StartRefused
from mintmark.model import AccessKey, SealedSecret, Secret
from mintmark.sources import Sources
from mintmark.store.sqlite import SqliteStore

pytestmark = pytest.mark.anyio


async def test_only_access_keys_that_changed_are_opened_again(store: SqliteStore, sources: Sources) -> None:
    await fill_store(store, SEALER, "ES256", sources)
    loader = DirectoryLoader(store, SEALER, "ES256")
    before = await loader.load(1)
    new = AccessKey(DEVELOPMENT_RESOURCE.id, "secondary", 1, Secret(b"new"))
    sealed = seal_access_key(new, SEALER, sources).sealed
    await store.replace_access_key(DEVELOPMENT_RESOURCE.id, "secondary", sealed, NOON)

    after = await loader.load(2, before)

    kept = before.key(DEVELOPMENT_RESOURCE.id, "primary")
    assert kept is not None
    assert after.key(DEVELOPMENT_RESOURCE.id, "primary") is kept
    assert new == after.key(DEVELOPMENT_RESOURCE.id, "secondary")
    assert [kept, new] == after.every_key


async def test_a_key_that_was_changed_by_hand_is_opened_and_so_refused(store: SqliteStore, sources: Sources) -> None:
    await fill_store(store, SEALER, "ES256", sources)
    loader = DirectoryLoader(store, SEALER, "ES256")
    before = await loader.load(1)
    forged = SealedSecret(SEALER.key_id, bytes(40))
    await store.replace_access_key(DEVELOPMENT_RESOURCE.id, "secondary", forged, NOON)

    for revision in (2, 3):
        with pytest.raises(StartRefused):
            await loader.load(revision, before)
