"""The listeners of a running server: names and addresses, the request log, and who may ask the admin listener."""

import re
import shlex
import socket
import ssl
from html import unescape
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from calls import CREATE, Answer, ask, create, create_headers
from running import RunningServer, running_server


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


LOOPBACK = ("127.0.0.1", "[::1]") if has_ipv6() else ("127.0.0.1",)


def greet(server: RunningServer, name: str) -> None:
    """A TLS handshake that takes the server for `name`, and trusts the printed authority alone."""
    trusting = ssl.create_default_context(cafile=server.ca)
    port = urlsplit(server.https_endpoint).port
    with (
        socket.create_connection(("127.0.0.1", port or 0), timeout=20) as plain,
        trusting.wrap_socket(plain, server_hostname=name) as secure,
    ):
        assert secure.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1", "host.docker.internal"])
def test_the_certificate_is_for_the_usual_names(server: RunningServer, name: str) -> None:
    greet(server, name)


def test_the_certificate_is_for_no_other_name(server: RunningServer) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        greet(server, "mintmark.test")


@pytest.mark.parametrize(
    "names", [["mintmark.test", "10.1.2.3"], ["acs", "chat.example.com", "192.0.2.7"]], ids=",".join
)
def test_the_certificate_is_for_the_names_given(names: list[str]) -> None:
    flags = [part for name in names for part in ("--tls-name", name)]
    with running_server("--ephemeral", *flags) as server:
        for name in [*names, "localhost"]:
            greet(server, name)


def test_names_can_be_given_by_variable_too() -> None:
    with running_server("--ephemeral", environ={"MINTMARK_TLS_NAMES": "one.test, two.test"}) as server:
        greet(server, "one.test")
        greet(server, "two.test")


@pytest.mark.parametrize("host", LOOPBACK)
def test_every_listener_answers_on_each_loopback_address(server: RunningServer, host: str) -> None:
    https, http, admin = (
        endpoint.replace("localhost", host)
        for endpoint in (server.https_endpoint, server.http_endpoint, server.admin_endpoint)
    )

    assert 201 == create(server, https).status
    assert 201 == create(server, http).status
    assert 200 == ask(admin, "/_mintmark/ready").status


def test_the_log_has_one_readable_line_for_each_request_and_no_secret(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running_server("--ephemeral", stderr=log) as server:
        created = create(server)
        headers = create_headers(server.http_endpoint, b"", key=b"the key of somebody else")
        denied = ask(server.http_endpoint, CREATE, method="POST", headers=headers)
        lost = ask(server.https_endpoint, "/no/such/path?at=all", ca=server.ca)
        server.stop()
    text = log.read_text()
    lines = text.splitlines()

    assert (201, 401, 404) == (created.status, denied.status, lost.status)
    assert 3 == len(lines), text
    start = r"\d\d:\d\d:\d\d  "
    end = r" +\d+\.\d ms"
    assert re.fullmatch(rf"{start}POST +{re.escape(CREATE)} +201{end}", lines[0])
    assert re.fullmatch(rf"{start}POST +{re.escape(CREATE)} +401{end}  Denied: The signature is not .*", lines[1])
    assert re.fullmatch(rf"{start}GET +/no/such/path\?at=all +404{end}  NotFound: .*", lines[2])
    assert created.json["accessToken"]["token"] not in text
    assert "eyJ" not in text  # as every token begins
    assert headers["authorization"].partition("Signature=")[2] not in text
    assert server.access_key not in text


def test_quiet_leaves_the_lines_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running_server("--ephemeral", "--quiet", stderr=log) as server:
        assert 201 == create(server).status
        server.stop()

    assert "" == log.read_text()


def admin_answer(server: RunningServer, target: str, **headers: str) -> Answer:
    return ask(server.admin_endpoint, target, headers=headers)


def test_the_start_page_says_what_runs_and_how_to_connect(server: RunningServer) -> None:
    answer = admin_answer(server, "/")
    page = unescape(answer.body.decode())

    assert 200 == answer.status
    assert "text/html; charset=utf-8" == answer.headers["content-type"]
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    for name, value in server.variables.items():
        assert f"export {name}={shlex.quote(value)}" in page
    assert server.https_endpoint in page
    assert "src=" not in page


@pytest.mark.parametrize("target", ["/", "/_mintmark/ready", "/_mintmark/live"])
@pytest.mark.parametrize("origin", ["https://page.example", "http://localhost:1", "null"])
def test_a_page_from_elsewhere_may_not_ask_the_admin_listener(server: RunningServer, target: str, origin: str) -> None:
    answer = admin_answer(server, target, origin=origin)

    assert 403 == answer.status
    assert "Forbidden" == answer.json["error"]["code"]
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "host", ["rebound.example", "rebound.example:12090", "localhost.example", "169.254.169.254", ""]
)
def test_an_unknown_host_is_refused_by_the_admin_listener(server: RunningServer, host: str) -> None:
    answer = admin_answer(server, "/", host=host)

    assert 403 == answer.status
    assert "Forbidden" == answer.json["error"]["code"]


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "[::1]"])
def test_pages_and_programs_of_this_machine_may_ask(server: RunningServer, name: str) -> None:
    host = f"{name}:{urlsplit(server.admin_endpoint).port}"

    assert 200 == admin_answer(server, "/_mintmark/ready", host=host).status
    assert 200 == admin_answer(server, "/_mintmark/ready", host=host, origin=f"http://{host}").status


@pytest.mark.parametrize("path", ["/_mintmark/ready", "/_mintmark/live", "/_mintmark/identities", "/"])
def test_the_public_listeners_have_nothing_of_the_admin_one(server: RunningServer, path: str) -> None:
    assert 404 == ask(server.http_endpoint, path).status
    assert 404 == ask(server.https_endpoint, path, ca=server.ca).status
