"""The files that settings name; and secrets in variables, which have the same forms."""

import base64
import ssl
from pathlib import Path

import pytest

from builders import NOON
from mintmark.certificates import alternative_name, new_authority, new_certificate
from mintmark.errors import StartRefused
from mintmark.model import Secret
from mintmark.settings import Settings
from mintmark.settings.files import check_files, load_certificate, read_secrets, trusted_networks

KEKS = (bytes(range(32)), bytes(range(32, 64)))
KEK_TEXTS = tuple(base64.b64encode(key).decode() for key in KEKS)
ADMIN_KEYS = ("first-admin-key-0123456789abcdefghij", "second-admin-key-0123456789abcdefghi")


def by_variables(kek: str = KEK_TEXTS[0], admin: str = ADMIN_KEYS[0]) -> Settings:
    return Settings(key_encryption_key=Secret(kek.encode()), admin_key=Secret(admin.encode()))


@pytest.fixture
def files(tmp_path: Path) -> Settings:
    """Two files with a key each, for their owner alone."""
    paths = tmp_path / "kek", tmp_path / "admin"
    for path, text in zip(paths, (KEK_TEXTS[0], ADMIN_KEYS[0]), strict=True):
        path.write_text(text + "\n")
        path.chmod(0o600)
    return Settings(key_encryption_key_file=str(paths[0]), admin_key_file=str(paths[1]))


def complaint(settings: Settings) -> str:
    with pytest.raises(StartRefused) as refused:
        read_secrets(settings)
    return refused.value.message


class TestSecrets:
    def test_one_of_each_in_variables(self) -> None:
        found = read_secrets(by_variables())

        assert ((KEKS[0],), (ADMIN_KEYS[0].encode(),)) == (found.key_encryption_keys, found.admin_keys)

    def test_several_in_variables_have_commas_between(self) -> None:
        found = read_secrets(by_variables(" , ".join(KEK_TEXTS), ",".join(ADMIN_KEYS) + ","))

        assert (KEKS, tuple(key.encode() for key in ADMIN_KEYS)) == (found.key_encryption_keys, found.admin_keys)

    @pytest.mark.parametrize(
        "text",
        ["{}\n{}\n", "{}\r\n{}", "\n\n  {}\t\n# the old one\n  # and more\n{}"],
        ids=["lines", "lines of Windows", "comments, blanks and no end"],
    )
    def test_several_in_a_file_are_one_a_line_in_their_order(self, files: Settings, text: str) -> None:
        Path(files.key_encryption_key_file).write_text(text.format(*KEK_TEXTS))
        Path(files.admin_key_file).write_text(text.format(*ADMIN_KEYS))

        found = read_secrets(files)

        assert (KEKS, tuple(key.encode() for key in ADMIN_KEYS)) == (found.key_encryption_keys, found.admin_keys)

    @pytest.mark.parametrize(
        "kek",
        ["", ",", "no base64", KEK_TEXTS[0][:-4], KEK_TEXTS[0] + "AAAA", KEK_TEXTS[0].rstrip("="), f"{KEK_TEXTS[0]},x"],
    )
    def test_a_key_encryption_key_has_32_bytes_in_base64(self, kek: str) -> None:
        said = complaint(by_variables(kek=kek))

        assert "MINTMARK_KEY_ENCRYPTION_KEY must be 32 bytes in base64, or several of them with commas between." == said

    @pytest.mark.parametrize("admin", ["", "x" * 31, "x" * 31 + " ", "é" * 40, "a b" * 20, f"{ADMIN_KEYS[0]},short"])
    def test_an_admin_key_has_at_least_32_characters_that_a_header_can_have(self, admin: str) -> None:
        said = complaint(by_variables(admin=admin))

        assert "MINTMARK_ADMIN_KEY must be at least 32 characters, or several such keys with commas between." == said

    def test_all_that_is_wrong_is_said_at_once_and_no_secret_with_it(self) -> None:
        said = complaint(by_variables("a-secret-in-no-base64", "another-secret"))

        assert ["MINTMARK_KEY_ENCRYPTION_KEY", "MINTMARK_ADMIN_KEY"] == [line.split()[0] for line in said.splitlines()]
        assert "secret" not in said

    @pytest.mark.parametrize(
        ("mode", "is_open"), [(0o644, True), (0o602, True), (0o640, False), (0o400, False)], ids=oct
    )
    def test_a_file_is_closed_to_others_than_its_owner_and_group(
        self, files: Settings, mode: int, *, is_open: bool
    ) -> None:
        path = files.admin_key_file
        Path(path).chmod(mode)

        if is_open:
            assert f"{path} can be read or written by everybody: chmod o= {path}" == complaint(files)
        else:
            read_secrets(files)

    def test_a_file_that_is_not_there_is_no_text_or_is_a_folder(self, files: Settings, tmp_path: Path) -> None:
        for path in (tmp_path / "none", tmp_path):
            given = Settings(key_encryption_key_file=files.key_encryption_key_file, admin_key_file=str(path))
            assert complaint(given).startswith(f"{path} cannot be read: ")
        Path(files.admin_key_file).write_bytes(b"\xff" * 40)
        assert f"{files.admin_key_file} cannot be read: it is no text." == complaint(files)

    def test_they_are_not_shown(self) -> None:
        settings = by_variables()
        shown = f"{settings!r} {read_secrets(settings)!r}"

        assert not [text for text in (KEK_TEXTS[0], ADMIN_KEYS[0]) if text in shown]
        assert str(KEKS[0])[2:-1] not in shown


class TestTheCertificate:
    @pytest.fixture
    def paths(self, tmp_path: Path) -> tuple[Path, Path]:
        made = new_certificate(new_authority(NOON), [alternative_name("localhost")], NOON)
        certificate, key = tmp_path / "tls.pem", tmp_path / "tls-key.pem"
        certificate.write_bytes(made.certificate)
        key.write_bytes(made.private_key)
        return certificate, key

    def test_one_that_fits_its_key_is_used(self, paths: tuple[Path, Path]) -> None:
        load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *paths)

    @pytest.mark.parametrize(
        "content", [b"", b"no PEM", new_authority(NOON).private_key], ids=["empty", "text", "other"]
    )
    def test_another_key_is_refused_and_not_shown(self, paths: tuple[Path, Path], content: bytes) -> None:
        paths[1].write_bytes(content)

        with pytest.raises(StartRefused) as refused:
            load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *paths)

        assert refused.value.message.startswith(f"The certificate {paths[0]} with the key {paths[1]} cannot be used: ")
        assert "PRIVATE KEY" not in refused.value.message

    def test_a_file_that_is_not_there_is_refused(self, paths: tuple[Path, Path]) -> None:
        paths[0].unlink()

        with pytest.raises(StartRefused, match="No such file"):
            load_certificate(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), *paths)


class TestProxies:
    def test_addresses_and_networks_of_both_kinds(self) -> None:
        found = [str(each) for each in trusted_networks(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "::1"])]

        assert ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32", "::1/128"] == found

    @pytest.mark.parametrize("text", ["proxy.example", "10.0.0.1/8", "10.0.0.0/33", "", "*"])
    def test_what_is_neither_is_refused(self, text: str) -> None:
        with pytest.raises(StartRefused, match="must be an address or a network"):
            trusted_networks(["10.0.0.0/8", text])


def test_the_faults_of_all_files_are_found_at_once(files: Settings, tmp_path: Path) -> None:
    given = Settings(
        key_encryption_key_file=str(tmp_path / "none"),
        admin_key_file=files.admin_key_file,
        tls_certificate=str(tmp_path / "no.pem"),
        tls_key=str(tmp_path / "no-key.pem"),
        trusted_proxies=("proxy.example",),
    )

    assert [str(tmp_path / "none"), "The", "--trusted-proxy"] == [text.split()[0] for text in check_files(given)]
    assert [] == check_files(files)
