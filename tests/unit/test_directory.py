import pytest

from builders import NOON, SEALER, FakeClock, counted_sources
from mintmark.directory import ACCESS_KEY_BYTES, Directory, new_access_keys, open_access_key, seal_access_key
from mintmark.errors import StartRefused
from mintmark.keyring import Keyring, new_signing_key
from mintmark.model import AccessKey, KeySlot, Resource, SealedSecret, Secret, StoredAccessKey

ONE = Resource("11111111-0000-4000-8000-000000000000", "one", "local", ("one.test", "also-one.test"))
TWO = Resource("22222222-0000-4000-8000-000000000000", "two", "local")
# Somebody may call a resource by the id of another.
NAMED_AS_ONE = Resource("33333333-0000-4000-8000-000000000000", ONE.id, "local", ("three.test",))
RESOURCES = (ONE, TWO, NAMED_AS_ONE)


def a_key(resource: Resource, slot: KeySlot, generation: int = 0) -> AccessKey:
    return AccessKey(resource.id, slot, generation, Secret(f"{resource.name} {slot}".encode()))


KEYS = {resource.id: [a_key(resource, "primary", 3), a_key(resource, "secondary")] for resource in RESOURCES}


@pytest.fixture
def directory() -> Directory:
    return Directory(
        revision=7,
        resources={resource.id: resource for resource in RESOURCES},
        default=RESOURCES[0],
        keys=KEYS,
        by_host={host: resource for resource in RESOURCES for host in resource.hosts},
        every_key=[key for keys in KEYS.values() for key in keys],
        keyring=Keyring([new_signing_key("ES256", NOON, SEALER, bytes(12))], "ES256", SEALER),
    )


@pytest.mark.parametrize(
    ("host", "owner"), [("one.test", ONE), ("also-one.test", ONE), ("three.test", NAMED_AS_ONE), ("ONE.test.:443", ONE)]
)
def test_under_a_host_name_of_its_own_only_a_resource_s_keys_sign(
    directory: Directory, host: str, owner: Resource
) -> None:
    assert KEYS[owner.id] == list(directory.candidates(host.encode(), any_resource=True))


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "", "two.test", "www.one.test"])
def test_under_any_other_the_keys_of_all_do(directory: Directory, host: str) -> None:
    assert [key for keys in KEYS.values() for key in keys] == list(
        directory.candidates(host.encode(), any_resource=True)
    )


def test_a_resource_is_found_by_id_and_by_name(directory: Directory) -> None:
    assert TWO == directory.find(TWO.id)
    assert TWO == directory.find("two")
    assert directory.find("three") is None
    assert directory.find("") is None


def test_an_id_goes_before_a_name_that_looks_like_it(directory: Directory) -> None:
    assert ONE == directory.find(ONE.id)


def test_a_key_is_found_by_its_slot(directory: Directory) -> None:
    assert a_key(TWO, "primary", 3) == directory.key(TWO.id, "primary")
    assert a_key(TWO, "secondary") == directory.key(TWO.id, "secondary")
    assert directory.key("44444444-0000-4000-8000-000000000000", "primary") is None


@pytest.mark.parametrize(
    ("label", "holds"), [("p3", True), ("s0", True), ("p2", False), ("p4", False), ("s1", False), ("", False)]
)
def test_a_label_is_current_until_its_key_is_regenerated(
    directory: Directory,
    label: str,
    holds: bool,  # noqa: FBT001  a column
) -> None:
    assert holds == directory.is_current(ONE.id, label)


def test_a_label_of_no_resource_is_not_current(directory: Directory) -> None:
    assert not directory.is_current("44444444-0000-4000-8000-000000000000", "p3")


def test_new_keys_are_two_and_as_long_as_acs_has_them() -> None:
    primary, secondary = new_access_keys(ONE.id, counted_sources(FakeClock()))

    assert [("primary", "p0"), ("secondary", "s0")] == [(key.slot, key.label) for key in (primary, secondary)]
    assert {ONE.id} == {primary.resource_id, secondary.resource_id}
    assert primary.secret != secondary.secret
    assert {64} == {ACCESS_KEY_BYTES, len(primary.secret), len(secondary.secret)}


def test_a_key_is_sealed_and_opened_again() -> None:
    key = a_key(ONE, "primary", 5)
    stored = seal_access_key(key, SEALER, counted_sources(FakeClock()))

    assert key == open_access_key(stored, SEALER)
    assert -1 == stored.sealed.ciphertext.find(key.secret)
    assert (ONE.id, "primary", 5) == (stored.resource_id, stored.slot, stored.generation)


@pytest.mark.parametrize(("resource", "slot"), [(ONE, "secondary"), (TWO, "primary")])
def test_a_sealed_key_opens_in_its_own_place_only(resource: Resource, slot: KeySlot) -> None:
    """Somebody who can write to the store must not be able to swap keys."""
    stored = seal_access_key(a_key(ONE, "primary"), SEALER, counted_sources(FakeClock()))

    with pytest.raises(StartRefused):
        open_access_key(StoredAccessKey(resource.id, slot, 0, stored.sealed), SEALER)


def test_a_sealed_key_that_was_changed_does_not_open() -> None:
    stored = seal_access_key(a_key(ONE, "primary"), SEALER, counted_sources(FakeClock()))
    last = stored.sealed.ciphertext[-1] ^ 1
    changed = SealedSecret(stored.sealed.key_id, stored.sealed.ciphertext[:-1] + bytes([last]))

    with pytest.raises(StartRefused):
        open_access_key(StoredAccessKey(ONE.id, "primary", 0, changed), SEALER)
