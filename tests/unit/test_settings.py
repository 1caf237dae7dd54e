import pytest

from mintmark.errors import StartRefused
from mintmark.settings import Settings, load


def test_the_defaults_are_those_of_the_documentation() -> None:
    assert Settings() == load({}, {})
    assert ("localhost", 12443, 12080, 12090) == (
        Settings().host,
        Settings().https_port,
        Settings().http_port,
        Settings().admin_port,
    )


def test_flags_win_over_the_environment_and_that_over_defaults() -> None:
    environ = {"MINTMARK_HTTPS_PORT": "1", "MINTMARK_WORKERS": "3"}

    settings = load({"https_port": "2", "workers": None}, environ)

    assert (2, 3, 12080) == (settings.https_port, settings.workers, settings.http_port)


def test_every_kind_of_value_is_read_from_text() -> None:
    environ = {
        "MINTMARK_EPHEMERAL": "true",
        "MINTMARK_QUIET": "0",
        "MINTMARK_SIGNING_ALGORITHM": "RS256",
        "MINTMARK_TLS_NAMES": "mintmark, mint.test",
        "MINTMARK_ISSUER": "https://tokens.example/mint",
    }

    settings = load({}, environ)

    assert settings.ephemeral
    assert not settings.quiet
    assert ("RS256", ("mintmark", "mint.test")) == (settings.signing_algorithm, settings.tls_names)
    assert "https://tokens.example/mint" == settings.issuer


def test_an_empty_variable_is_none() -> None:
    assert Settings() == load({}, {"MINTMARK_HTTPS_PORT": "", "MINTMARK_DATA": ""})


def test_variables_that_are_no_settings_are_left_alone() -> None:
    assert Settings() == load({}, {"MINTMARK_HTTP_ENDPOINT": "http://localhost:1", "PATH": "/bin"})


def test_every_bad_value_is_reported_at_once_with_its_source_and_what_is_allowed() -> None:
    flags = {"https_port": "65536", "workers": "0"}
    environ = {"MINTMARK_HTTP_PORT": "http", "MINTMARK_SIGNING_ALGORITHM": "none", "MINTMARK_EPHEMERAL": "perhaps"}

    with pytest.raises(StartRefused) as refused:
        load(flags, environ)

    assert {
        "--https-port is '65536', but must be a port from 0 to 65535.",
        "MINTMARK_HTTP_PORT is 'http', but must be a port from 0 to 65535.",
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
        load({"issuer": issuer}, {})


def test_ports_must_differ_unless_any_will_do() -> None:
    assert (0, 0) == (load({"https_port": "0", "http_port": "0"}, {}).https_port, 0)
    with pytest.raises(StartRefused, match="must differ"):
        load({"https_port": "5000", "http_port": "5000"}, {})
