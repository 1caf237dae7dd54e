from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mintmark.errors import StartRefused
from mintmark.settings import ABOUT, PREFIX, Settings, names
from mintmark.settings.load import DEFAULT, Loaded, load


def read(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """The settings of `mintmark dev`."""
    return load("dev", flags, environ).settings


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert Settings() == read({}, {})
    assert ("localhost", 12443, 12080, 12090) == (
        Settings().host,
        Settings().https_port,
        Settings().http_port,
        Settings().admin_port,
    )


def test_flags_win_over_the_environment_and_that_over_defaults() -> None:
    environ = {"MINTMARK_HTTPS_PORT": "1", "MINTMARK_WORKERS": "3"}

    settings = read({"https_port": "2", "workers": None}, environ)

    assert (2, 3, 12080) == (settings.https_port, settings.workers, settings.http_port)


def test_every_kind_of_value_is_read_from_text() -> None:
    environ = {
        "MINTMARK_EPHEMERAL": "true",
        "MINTMARK_QUIET": "0",
        "MINTMARK_SIGNING_ALGORITHM": "RS256",
        "MINTMARK_TLS_NAMES": "mintmark, mint.test",
        "MINTMARK_ISSUER": "https://tokens.example/mint",
    }

    settings = read({}, environ)

    assert settings.ephemeral
    assert not settings.quiet
    assert ("RS256", ("mintmark", "mint.test")) == (settings.signing_algorithm, settings.tls_names)
    assert "https://tokens.example/mint" == settings.issuer


def test_an_empty_variable_is_none() -> None:
    assert Settings() == read({}, {"MINTMARK_HTTPS_PORT": "", "MINTMARK_DATA": ""})


def test_variables_that_are_no_settings_are_left_alone() -> None:
    assert Settings() == read({}, {"MINTMARK_HTTP_ENDPOINT": "http://localhost:1", "PATH": "/bin"})


def test_every_bad_value_is_reported_at_once_with_its_source_and_what_is_allowed() -> None:
    flags = {"https_port": "65536", "workers": "0"}
    environ = {"MINTMARK_HTTP_PORT": "http", "MINTMARK_SIGNING_ALGORITHM": "none", "MINTMARK_EPHEMERAL": "perhaps"}

    with pytest.raises(StartRefused) as refused:
        read(flags, environ)

    assert {
        "--https-port is '65536', but must be a port from 0 to 65535, or off.",
        "MINTMARK_HTTP_PORT is 'http', but must be a port from 0 to 65535, or off.",
        "MINTMARK_EPHEMERAL is 'perhaps', but must be true or false.",
        "--workers is '0', but must be a number from 1 to 64.",
        "MINTMARK_SIGNING_ALGORITHM is 'none', but must be ES256 or RS256.",
    } == set(refused.value.message.splitlines())


@pytest.mark.parametrize(
    "issuer",
    ["localhost", "ftp://x", "https://", "https://x/?y", "https://x/", "https://x\n", "https://x/~y", "https://x y"],
)
def test_an_issuer_that_clients_could_not_read_is_refused(issuer: str) -> None:
    with pytest.raises(StartRefused, match="must be an address"):
        read({"issuer": issuer}, {})


def test_ports_must_differ_unless_any_will_do() -> None:
    assert (0, 0) == (read({"https_port": "0", "http_port": "0"}, {}).https_port, 0)
    with pytest.raises(StartRefused, match="must differ"):
        read({"https_port": "5000", "http_port": "5000"}, {})


NEEDED = {
    "data": "/var/lib/mintmark",
    "issuer": "https://identity.example.com",
    "key_encryption_key_file": "/run/kek",
    "admin_key_file": "/run/admin-key",
}
WITH_TLS = {**NEEDED, "tls_certificate": "/run/tls.pem", "tls_key": "/run/tls-key.pem"}


def serve(flags: Mapping[str, Any], environ: Mapping[str, str] | None = None, file: Path | None = None) -> Loaded:
    return load("serve", flags, environ or {}, file)


def refusal(flags: Mapping[str, Any], environ: Mapping[str, str] | None = None, file: Path | None = None) -> str:
    with pytest.raises(StartRefused) as refused:
        serve(flags, environ, file)
    return refused.value.message


class TestServe:
    def test_all_that_it_needs_is_asked_for_at_once(self) -> None:
        said = refusal({}).splitlines()

        assert ["--data", "--issuer", "A key-encryption", "An admin"] == [
            line.partition(" must")[0].removesuffix(" key") for line in said
        ]

    @pytest.mark.parametrize("missing", NEEDED)
    def test_each_of_them_is_asked_for(self, missing: str) -> None:
        assert 1 == len(refusal({name: value for name, value in NEEDED.items() if name != missing}).splitlines())

    @pytest.mark.parametrize(
        ("flags", "ports"),
        [
            (NEEDED, (None, 12080)),
            (WITH_TLS, (12443, None)),
            ({**WITH_TLS, "http_port": "80"}, (12443, 80)),
            ({**WITH_TLS, "https_port": "off", "http_port": "0"}, (None, 0)),
        ],
        ids=["no certificate", "a certificate", "both", "https off"],
    )
    def test_a_certificate_decides_which_listeners_there_are(
        self, flags: Mapping[str, str], ports: tuple[int | None, int | None]
    ) -> None:
        settings = serve(flags).settings

        assert ports == (settings.https_port, settings.http_port)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"https_port": "443"}, "--https-port needs a certificate"),
            ({"tls_key": "/run/tls-key.pem"}, "must be given together"),
            ({"tls_certificate": "/run/tls.pem"}, "must be given together"),
            ({"http_port": "off"}, "both off"),
            ({"host": "0.0.0.0"}, "Plain HTTP on 0.0.0.0"),
            ({"host": "identity.internal"}, "Plain HTTP on identity.internal"),
            ({"admin_port": "12080"}, "must differ"),
        ],
    )
    def test_what_contradicts_itself_or_is_unsafe_is_refused(self, change: Mapping[str, str], said: str) -> None:
        assert said in refusal({**NEEDED, **change})

    def test_plain_http_behind_a_proxy_or_on_loopback_is_safe(self) -> None:
        serve({**NEEDED, "host": "0.0.0.0", "trusted_proxies": ("10.0.0.1",)})
        serve({**NEEDED, "host": "127.0.0.2"})

    @pytest.mark.parametrize("name", ["key_encryption_key", "admin_key"])
    def test_a_secret_is_given_in_one_way_and_never_shown(self, name: str) -> None:
        environ = {PREFIX + name.upper(): "do-not-show-me-" + "0" * 32}

        assert "in one way" in refusal(NEEDED, environ)
        loaded = serve({each: value for each, value in NEEDED.items() if each != f"{name}_file"}, environ)
        assert PREFIX + name.upper() == loaded.origins[name]
        assert "do-not-show-me" not in repr(loaded)
        assert "do-not-show-me" not in refusal(NEEDED, {**environ, PREFIX + "WORKERS": "0"})
        assert "do-not-show-me" not in refusal({}, {PREFIX + name.upper(): "do-not-show-me\udcff"})

    def test_what_only_the_other_door_has_is_no_setting(self) -> None:
        assert not {"ephemeral", "tls_names"} & set(names("serve"))
        assert not {"admin_key", "tls_certificate", "trusted_proxies", "cors_origins"} & set(names("dev"))
        assert "json" == serve(NEEDED).settings.log_format

    def test_no_secret_has_a_flag_which_every_process_of_the_machine_could_read(self) -> None:
        assert {"key_encryption_key", "admin_key"} == {name for name, about in ABOUT.items() if about.is_secret}
        assert not [name for name, about in ABOUT.items() if about.is_secret and about.flag]


class TestTheFile:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        return tmp_path / "mintmark.toml"

    def test_flags_win_over_variables_over_the_file_over_defaults_and_each_says_where_it_is_from(
        self, file: Path
    ) -> None:
        file.write_text('workers = 2\nhttp_port = 1000\nadmin_port = 2000\nlog_format = "text"\n')

        loaded = serve({**NEEDED, "workers": "4"}, {"MINTMARK_WORKERS": "3", "MINTMARK_HTTP_PORT": "3000"}, file)

        settings, origins = loaded.settings, loaded.origins
        assert (4, 3000, 2000, "text") == (
            settings.workers,
            settings.http_port,
            settings.admin_port,
            settings.log_format,
        )
        assert ("--workers", "MINTMARK_HTTP_PORT", f"admin_port in {file}", DEFAULT) == (
            origins["workers"],
            origins["http_port"],
            origins["admin_port"],
            origins["connections"],
        )

    def test_its_values_have_types_of_their_own_and_lists_are_lists(self, file: Path) -> None:
        file.write_text(
            'https_port = "off"\nquiet = true\ncors_origins = ["https://a.example", "https://b.example"]\n'
            'limits = "create=100"\n[[bearer]]\nissuer = "https://login.example/tenant"\naudiences = ["api://x"]\n'
        )

        settings = serve(NEEDED, {}, file).settings

        assert (None, True, ("https://a.example", "https://b.example"), "create=100") == (
            settings.https_port,
            settings.quiet,
            settings.cors_origins,
            settings.limits,
        )
        assert ["https://login.example/tenant"] == [each.issuer for each in settings.bearer]

    def test_its_bad_values_are_named_with_all_others(self, file: Path) -> None:
        file.write_text('workers = "many"\nquiet = 7\nwokers = 1\nadmin_key = "do-not-show-me"\n')

        said = refusal({**NEEDED, "signing_key_days": "0"}, {"MINTMARK_HTTP_PORT": "x"}, file)

        assert f"workers in {file} is 'many', but must be a number from 1 to 64." in said
        assert f"quiet in {file} is '7', but must be true or false." in said
        assert f"There is no setting wokers, as in {file}. Is it workers?" in said
        assert "admin_key is a secret: put it into a file of its own and name that by admin_key_file." in said
        assert "--signing-key-days is '0'" in said
        assert "MINTMARK_HTTP_PORT is 'x'" in said
        assert "do-not-show-me" not in said

    @pytest.mark.parametrize("content", [b"workers =", b"\xff", b"workers = 1\nworkers = 2\n"])
    def test_one_that_is_no_toml_is_refused(self, file: Path, content: bytes) -> None:
        file.write_bytes(content)

        assert f"The configuration file {file} cannot be read" in refusal(NEEDED, {}, file)

    def test_one_that_is_not_there_is_refused(self, file: Path) -> None:
        assert f"The configuration file {file} cannot be read: No such file or directory." == refusal(NEEDED, {}, file)


class TestDatabase:
    ADDRESS = "postgresql://mintmark:hidden@db.example.com/mintmark?sslmode=require"

    def test_a_password_may_stand_in_the_variable_only(self, tmp_path: Path) -> None:
        file = tmp_path / "mintmark.toml"
        file.write_text(f'database = "{self.ADDRESS}"')

        assert self.ADDRESS == load("dev", {}, {"MINTMARK_DATABASE": self.ADDRESS}).settings.database
        for flags, toml in (({"database": self.ADDRESS}, None), ({}, file)):
            with pytest.raises(StartRefused, match="PGPASSFILE") as error:
                load("dev", flags, {}, toml)
            assert "hidden" not in error.value.message

    def test_data_that_last_are_not_for_an_ephemeral_server(self) -> None:
        with pytest.raises(StartRefused, match="--ephemeral is for data that are removed"):
            load("dev", {"ephemeral": True, "database": "postgresql://localhost/x"}, {})

    @pytest.mark.parametrize("address", ["mysql://hidden@x/y", "postgresql://u:hidden@db.example.com/y"])
    def test_a_bad_address_is_refused_and_not_repeated(self, address: str) -> None:
        with pytest.raises(StartRefused, match="MINTMARK_DATABASE: The address of the database") as error:
            load("dev", {}, {"MINTMARK_DATABASE": address})
        assert "hidden" not in error.value.message
