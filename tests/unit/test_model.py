from builders import NOON
from mintmark.model import SUFFIX_EPOCH, AccessKey, Identity, Secret, guid, new_suffix

RESOURCE = "2dee53b4-368b-45b4-ab52-8493fb117652"


def test_an_identity_id_is_the_resource_and_a_guid() -> None:
    identity = Identity(RESOURCE, bytes(range(16)), 0)

    assert f"8:acs:{RESOURCE}_00010203-0405-0607-0809-0a0b0c0d0e0f" == identity.id


def test_a_suffix_begins_with_the_milliseconds_since_2020() -> None:
    """As in ACS (contract section 2): 2020-01-01 08:00:00 UTC."""
    assert bytes(8) + b"chance!!" == new_suffix(SUFFIX_EPOCH, b"chance!!")
    assert NOON - SUFFIX_EPOCH == int.from_bytes(new_suffix(NOON, bytes(8))[:8], "big")


def test_suffixes_sort_by_time() -> None:
    assert new_suffix(NOON, b"\xff" * 8) < new_suffix(NOON + 1, bytes(8))


def test_a_clock_before_2020_makes_a_suffix_all_the_same() -> None:
    assert bytes(16) == new_suffix(0, bytes(8))


def test_a_guid_is_written_in_its_five_groups() -> None:
    assert "ffffffff-ffff-ffff-ffff-ffffffffffff" == guid(b"\xff" * 16)


def test_a_key_is_named_by_slot_and_generation() -> None:
    assert "p3" == AccessKey(RESOURCE, "primary", 3, Secret(b"")).label
    assert "s0" == AccessKey(RESOURCE, "secondary", 0, Secret(b"")).label
