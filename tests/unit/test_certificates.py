import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from builders import NOON
from mintmark.certificates import (
    USUAL_NAMES,
    Issued,
    alternative_name,
    is_local,
    is_usable,
    new_authority,
    new_certificate,
)
from mintmark.development import OwnRoots, make_tls_files
from mintmark.errors import StartRefused
from mintmark.model import Secret

YEAR = 365 * 24 * 3600 * 1000


def is_trusted(authority: Issued, server: Issued, name: str) -> bool:
    """What a strict verifier of certificates says."""
    from datetime import UTC, datetime

    subject = alternative_name(name)
    verifier = (
        PolicyBuilder()
        .store(Store([x509.load_pem_x509_certificate(authority.certificate)]))
        .time(datetime.fromtimestamp(NOON / 1000, tz=UTC))
        .build_server_verifier(subject)
    )
    try:
        verifier.verify(x509.load_pem_x509_certificate(server.certificate), [])
    except VerificationError:
        return False
    return True


@pytest.mark.parametrize("name", [*USUAL_NAMES, "mint.test", "192.168.1.7"])
def test_the_usual_authority_vouches_for_local_names(name: str) -> None:
    authority = new_authority(NOON)

    assert is_trusted(authority, new_certificate(authority, [alternative_name(name)], NOON), name)


@pytest.mark.parametrize("name", ["example.com", "mintmark", "8.8.8.8", "test.example.com", "localhost.example.com"])
def test_and_its_constraints_keep_it_from_any_other(name: str) -> None:
    authority = new_authority(NOON)

    assert not is_local(alternative_name(name))
    assert not is_trusted(authority, new_certificate(authority, [alternative_name(name)], NOON), name)


@pytest.mark.parametrize("name", ["mintmark", "10.99.0.1", "mint.example.com", "8.8.8.8"])
def test_a_name_of_ones_own_gets_an_authority_that_may(name: str) -> None:
    authority = new_authority(NOON, [alternative_name(name)])

    assert is_trusted(authority, new_certificate(authority, [alternative_name(name)], NOON), name)
    assert not is_trusted(
        authority, new_certificate(authority, [alternative_name("other.example")], NOON), "other.example"
    )


@pytest.mark.parametrize("name", ["", "a b", "x" * 300, "é" * 80])
def test_what_is_no_host_name_is_refused(name: str) -> None:
    with pytest.raises(StartRefused, match="is not a host name"):
        alternative_name(name)


def test_an_authority_that_does_not_hold_or_is_damaged_is_replaced() -> None:
    authority = new_authority(NOON)

    assert is_usable(authority, NOON)
    assert not is_usable(authority, NOON + 9 * YEAR)
    assert not is_usable(authority, NOON - YEAR)
    assert not is_usable(Issued(authority.certificate, new_authority(NOON).private_key), NOON)
    assert not is_usable(Issued(b"", authority.private_key), NOON)
    assert not is_usable(Issued(authority.certificate, Secret(b"x")), NOON)


class TestFiles:
    def test_one_authority_serves_all_servers_of_a_user(self, tmp_path: Path) -> None:
        first = make_tls_files(tmp_path / "a", tmp_path / "user", [], NOON)
        second = make_tls_files(tmp_path / "b", tmp_path / "user", [], NOON)

        assert first.authority.read_bytes() == second.authority.read_bytes()
        assert first.certificate.read_bytes() != second.certificate.read_bytes()
        assert 0o600 == (tmp_path / "user" / "ca-key.pem").stat().st_mode & 0o777
        assert 0o600 == first.private_key.stat().st_mode & 0o777

    def test_foreign_names_leave_the_users_authority_alone(self, tmp_path: Path) -> None:
        usual = make_tls_files(tmp_path / "a", tmp_path / "user", [], NOON)
        foreign = make_tls_files(tmp_path / "b", tmp_path / "user", ["mintmark"], NOON)
        again = make_tls_files(tmp_path / "c", tmp_path / "user", [], NOON)

        assert usual.authority.read_bytes() == again.authority.read_bytes() != foreign.authority.read_bytes()

    def test_without_a_home_there_is_an_authority_all_the_same(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("not a folder")

        files = make_tls_files(tmp_path / "a", tmp_path / "file" / "user", [], NOON)

        assert b"BEGIN CERTIFICATE" in files.authority.read_bytes()

    def test_what_programs_trust_already_stays_trusted(self, tmp_path: Path) -> None:
        (tmp_path / "company.pem").write_bytes(b"company")
        (tmp_path / "node.pem").write_bytes(b"node")
        own = OwnRoots([tmp_path / "company.pem"], [tmp_path / "node.pem"])

        files = make_tls_files(tmp_path / "a", tmp_path / "user", [], NOON, own)

        assert b"company" in files.bundle.read_bytes()
        assert files.authority.read_bytes().startswith(b"-----BEGIN CERTIFICATE")
        assert files.authority.read_bytes().endswith(b"\nnode")

    def test_the_bundle_has_the_usual_roots_and_ours(self, tmp_path: Path) -> None:
        files = make_tls_files(tmp_path / "a", tmp_path / "user", [], NOON)
        context = ssl.create_default_context(cafile=files.bundle)

        subjects = [str(root["subject"]) for root in context.get_ca_certs()]
        assert 50 < len(subjects)
        assert 1 == sum("Mintmark development CA" in subject for subject in subjects)
