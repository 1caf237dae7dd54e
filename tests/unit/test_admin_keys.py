import pytest

from mintmark.admin_keys import AdminKeys

OLD, NEW = b"the-admin-key-that-goes-0123456789", b"the-admin-key-that-comes-0123456789"


@pytest.mark.parametrize("key", [OLD, NEW], ids=["the first", "the last"])
def test_any_of_several_keys_is_accepted(key: bytes) -> None:
    assert AdminKeys([OLD, NEW]).accept(key)


@pytest.mark.parametrize(
    "key",
    [b"", OLD[:-1], OLD + b"0", OLD.upper(), OLD + NEW, OLD + b"," + NEW, "é".encode(), b"\xff\x00"],
    ids=["none", "shorter", "longer", "upper case", "both", "the variable", "another alphabet", "no text"],
)
def test_nothing_else_is(key: bytes) -> None:
    assert not AdminKeys([OLD, NEW]).accept(key)


def test_without_keys_none_is_accepted() -> None:
    assert not AdminKeys([]).accept(b"")


def test_a_key_that_was_replaced_is_accepted_no_more() -> None:
    keys = AdminKeys([OLD])

    keys.replace([NEW])

    assert (False, True) == (keys.accept(OLD), keys.accept(NEW))


def test_they_are_not_shown() -> None:
    assert OLD.decode() not in repr(AdminKeys([OLD])) + str(vars(AdminKeys([])))
