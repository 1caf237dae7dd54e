import stat
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from mintmark.faults import OPERATIONS, Fault, Faults
from mintmark.shared import FAULTS, SharedWords


@pytest.fixture
def faults(tmp_path: Path, words: SharedWords) -> Faults:
    return Faults(tmp_path, words)


def test_without_faults_nothing_happens_and_nothing_is_read(faults: Faults, tmp_path: Path) -> None:
    assert all(faults.take(operation) is None for operation in OPERATIONS)
    assert [] == list(tmp_path.iterdir())
    assert [] == faults.all()


def test_a_fault_happens_as_often_as_it_counts(faults: Faults) -> None:
    fault = Fault(count=3, status=500)
    faults.add(fault)

    assert [3, 2, 1] == [taken.count for _ in range(3) if (taken := faults.take("create")) is not None]
    assert faults.take("create") is None
    assert [] == faults.all()


def test_it_befalls_its_operation_only(faults: Faults) -> None:
    faults.add(Fault(operation="revoke", status=500))

    assert [None] * (len(OPERATIONS) - 1) == [faults.take(each) for each in OPERATIONS if each != "revoke"]
    assert faults.take("revoke") == Fault(operation="revoke", status=500)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_a_star_befalls_any(faults: Faults, operation: str) -> None:
    faults.add(Fault(drop=True))

    assert Fault(drop=True) == faults.take(operation)


def test_they_happen_in_order(faults: Faults) -> None:
    first, second, third = Fault(status=500), Fault(operation="issue", status=429), Fault(status=503)
    for each in (first, second, third):
        faults.add(each)

    assert [first, third, None] == [faults.take("create") for _ in range(3)]
    assert [second] == faults.all()


def test_the_shared_number_is_what_is_left(faults: Faults, words: SharedWords) -> None:
    faults.add(Fault(count=5, status=500))
    faults.add(Fault(count=2, drop=True))
    faults.take("create")
    assert 6 == words[FAULTS]

    faults.clear()
    assert (0, []) == (words[FAULTS], faults.all())


def test_a_file_that_an_old_server_left_means_nothing(faults: Faults, tmp_path: Path) -> None:
    faults.add(Fault(count=9, status=500))
    fresh = Faults(tmp_path, SharedWords())

    assert (None, []) == (fresh.take("create"), fresh.all())
    fresh.add(Fault(drop=True))
    assert [Fault(drop=True)] == fresh.all()


def test_one_that_is_damaged_neither(tmp_path: Path, faults: Faults) -> None:
    (tmp_path / "faults.json").write_bytes(b"\xff{")

    assert faults.take("create") is None
    faults.add(Fault(status=500))
    assert [Fault(status=500)] == faults.all()


def test_however_many_take_at_once_each_is_taken_once(tmp_path: Path, words: SharedWords) -> None:
    """Each with a list of its own on one folder, as workers have."""
    Faults(tmp_path, words).add(Fault(status=500, count=60))
    Faults(tmp_path, words).add(Fault(operation="create", status=503, count=40))

    def take(_: int) -> list[int | None]:
        own = Faults(tmp_path, words)
        return [None if (fault := own.take("create")) is None else fault.status for _ in range(20)]

    with ThreadPoolExecutor(8) as threads:
        taken = Counter(status for each in threads.map(take, range(8)) for status in each)

    assert {500: 60, 503: 40, None: 60} == dict(taken)


def test_its_files_are_its_owner_s(faults: Faults, tmp_path: Path) -> None:
    faults.add(Fault(status=500))

    assert ["faults.json", "faults.lock"] == sorted(path.name for path in tmp_path.iterdir())
    assert 0o600 == stat.S_IMODE((tmp_path / "faults.lock").stat().st_mode)


def test_what_is_as_usual_is_left_out_of_its_json() -> None:
    assert b'{"status":503,"retryAfter":1}' == msgspec.json.encode(Fault(status=503, retry_after=1))
    assert Fault(status=503, retry_after=1) == msgspec.json.decode(b'{"status":503,"retryAfter":1}', type=Fault)


@pytest.mark.parametrize(
    "text",
    [
        b'{"operation":"shout"}',
        b'{"count":0}',
        b'{"count":1000001}',
        b'{"status":399}',
        b'{"status":600}',
        b'{"retryAfter":-1}',
        b'{"retryAfter":3601}',
        b'{"delay":-1}',
        b'{"delay":600001}',
        b'{"when":"never"}',
        b'{"drop":"yes"}',
        b'{"retry_after":1}',
    ],
)
def test_what_is_no_fault_is_refused(text: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(text, type=Fault)
