"""`mintmark serve` at work: the official SDK over TLS, the two listeners, names of hosts, web pages, how it ends."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from azure.communication.identity import CommunicationIdentityClient, CommunicationTokenScope

from builders import signed_headers
from calls import CREATE, WITH_TOKEN, Answer, ask
from mintmark.data_folder import write_private
from mintmark.sources import system
from mintmark.web import build_admin_app
from process.test_stopping import begin_create, receive_answer
from process.watching import children, eventually
from running import MINTMARK
from serving import ISSUER, Files, OwnedResource, Serving, new_key, serving

ORIGIN = "https://app.example.com"
SECONDS = 20
PREFLIGHT = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
WITHOUT_KEY = {"live", "ready", "startup"}
ADMIN_ROUTES = [
    ("GET", "metrics"),
    ("GET", "identities"),
    ("POST", "identities"),
    ("GET", "identities/x"),
    ("DELETE", "identities/x"),
    ("POST", "identities/x/:issueAccessToken"),
    ("POST", "identities/x/:revokeAccessTokens"),
    ("GET", "openapi.json"),
    ("GET", "openapi"),
    ("POST", "introspect"),
    ("GET", "resources"),
    ("POST", "resources"),
    ("GET", "resources/x"),
    ("DELETE", "resources/x"),
    ("GET", "resources/x/access-keys"),
    ("POST", "resources/x/access-keys/primary/:regenerate"),
    ("GET", "signing-keys"),
    ("POST", "signing-keys/:rotate"),
    ("DELETE", "signing-keys/x"),
    ("GET", "key-encryption-keys"),
]


@pytest.fixture(scope="module")
def second_key() -> str:
    return new_key()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, second_key: str) -> Iterator[Serving]:
    """With TLS and plain HTTP, two admin keys, and one web page that may call."""
    files = Files(tmp_path_factory.mktemp("serve"))
    write_private(files.admin_key, f"{files.admin_key.read_text()}\n{second_key}\n".encode())
    with serving(files.folder, "--http-port", "0", "--cors-origin", ORIGIN, tls=True) as started:
        yield started


@pytest.fixture(scope="module")
def default(server: Serving) -> OwnedResource:
    """The oldest resource, made as its operator makes it."""
    added = json.loads(mintmark(server, "resource", "add", "oldest", "--json"))
    primary, secondary = added["accessKeys"]
    assert primary["connectionString"].startswith(f"endpoint={ISSUER}/;")
    here = primary["connectionString"].replace(ISSUER, server.https_endpoint)
    return OwnedResource(added["id"], (base64.b64decode(primary["key"]), base64.b64decode(secondary["key"])), here)


@pytest.fixture(scope="module")
def named(server: Serving, default: OwnedResource) -> OwnedResource:
    """A later one, with a host name of its own."""
    assert default.id
    return server.add_resource("named", "named.test")


def mintmark(server: Serving, *words: str) -> str:
    """What a command prints that is told of the server by its data folder and the file of the admin key."""
    where = ["--data", str(server.files.data), "--admin-key-file", str(server.files.admin_key)]
    done = subprocess.run([*MINTMARK, *words, *where], capture_output=True, text=True, timeout=SECONDS, check=False)
    assert 0 == done.returncode, done
    return done.stdout


def create(server: Serving, key: bytes, host: str = "") -> Answer:
    """A Create for a host, signed with a key."""
    host = host or server.http_endpoint.removeprefix("http://")
    signed = signed_headers("POST", CREATE, WITH_TOKEN, now=system().now(), host=host, key=key)
    headers = {name.decode(): value.decode() for name, value in signed}
    return ask(server.http_endpoint, CREATE, method="POST", headers=headers, body=WITH_TOKEN)


def test_the_official_sdk_does_everything_over_tls_with_a_key_from_the_command_line(
    server: Serving, default: OwnedResource
) -> None:
    client = CommunicationIdentityClient.from_connection_string(default.connection_string, connection_verify=server.ca)
    user = client.create_user()
    other, token = client.create_user_and_token([CommunicationTokenScope.CHAT, CommunicationTokenScope.VOIP])
    again = client.get_token(user, [CommunicationTokenScope.CHAT])
    assert [True, True] == [active(server, each.token) for each in (token, again)]
    client.revoke_tokens(user)
    client.delete_user(other)
    assert [False, False] == [active(server, each.token) for each in (token, again)]

    claims = jwt.decode(token.token, options={"verify_signature": False})
    assert (ISSUER, default.id) == (claims["iss"], claims["aud"])


def active(server: Serving, token: str) -> bool:
    answer: bool = server.admin("POST", "introspect", {"token": token}).json["active"]
    return answer


def test_discovery_names_the_issuer_and_where_its_keys_are(server: Serving, default: OwnedResource) -> None:
    found = ask(server.https_endpoint, "/.well-known/openid-configuration", ca=server.ca).json
    token = create(server, default.keys[0]).json["accessToken"]["token"]

    assert (ISSUER, f"{ISSUER}/.well-known/jwks.json") == (found["issuer"], found["jwks_uri"])
    keys = ask(server.https_endpoint, "/.well-known/jwks.json", ca=server.ca).json["keys"]
    assert jwt.get_unverified_header(token)["kid"] in [key["kid"] for key in keys]


class TestTheAdminListener:
    def test_the_list_of_routes_here_is_complete(self) -> None:
        source = Path(build_admin_app.__code__.co_filename).read_text().partition("def build_admin_app")[2]
        paths = set(re.findall(r'"/_mintmark/([a-z-]+(?:\.json)?)', source)) | {
            "identities",
            "resources",
            "signing-keys",
        }

        assert paths == {path.partition("/")[0] for _, path in ADMIN_ROUTES} | WITHOUT_KEY | {"clock", "faults"}

    @pytest.mark.parametrize(("method", "path"), ADMIN_ROUTES, ids=lambda part: part)
    def test_a_route_asks_for_an_admin_key(self, server: Serving, method: str, path: str) -> None:
        key = server.admin_key
        for wrong in ("", new_key(), key[:-1], key + "x", f"{key} x", "é"):
            answer = server.admin(method, path, key=wrong)
            assert (401, "Unauthorized") == (answer.status, answer.json["error"]["code"])
        assert "Bearer" == answer.headers["www-authenticate"]
        basic = {"authorization": "Basic " + base64.b64encode(f":{key}".encode()).decode()}
        for headers in (basic, {"x-api-key": key}, {"cookie": f"key={key}"}):
            assert 401 == ask(server.admin_endpoint, f"/_mintmark/{path}", method=method, headers=headers).status
        assert 401 == ask(server.admin_endpoint, f"/_mintmark/{path}?access_token={key}", method=method).status

    def test_either_key_opens_it(self, server: Serving, second_key: str) -> None:
        assert server.admin_key != second_key
        assert [200, 200] == [server.admin("GET", "resources", key=key).status for key in (None, second_key)]

    @pytest.mark.parametrize("probe", sorted(WITHOUT_KEY))
    def test_probes_ask_for_none(self, server: Serving, probe: str) -> None:
        assert 200 == server.admin("GET", probe, key="").status

    @pytest.mark.parametrize("path", ["/", "/_mintmark/clock", "/_mintmark/faults", "/identities"])
    def test_what_is_for_development_or_for_the_public_is_not_there(self, server: Serving, path: str) -> None:
        headers = {"authorization": f"Bearer {server.admin_key}"}

        assert [404, 404] == [
            ask(server.admin_endpoint, path, method=method, headers=headers).status for method in ("GET", "POST")
        ]


@pytest.mark.parametrize(
    "path",
    ["/", "/adfs/oauth2/token", "/adfs/.well-known/openid-configuration", "/adfs/msi/token", "/_mintmark/resources"],
)
def test_the_public_listener_has_nothing_for_development_and_nothing_of_the_admin_s(server: Serving, path: str) -> None:
    answers = [ask(server.http_endpoint, path, method=method) for method in ("GET", "POST")]

    assert [404, 404] == [answer.status for answer in answers]


class TestHostNames:
    def test_an_unknown_one_is_for_the_default_resource_only(
        self, server: Serving, default: OwnedResource, named: OwnedResource
    ) -> None:
        assert [201, 201, 401, 401] == [create(server, key).status for key in (*default.keys, *named.keys)]
        assert 401 == create(server, named.keys[0], "unknown.test").status
        assert default.id in create(server, default.keys[0], "unknown.test").json["identity"]["id"]

    def test_its_own_is_for_its_resource_only(
        self, server: Serving, default: OwnedResource, named: OwnedResource
    ) -> None:
        answers = [create(server, key, "named.test") for key in (*named.keys, *default.keys)]

        assert [201, 201, 401, 401] == [answer.status for answer in answers]
        assert named.id in answers[0].json["identity"]["id"]


class TestWebPages:
    def test_the_one_that_was_named_may_call(self, server: Serving) -> None:
        preflight = ask(server.http_endpoint, CREATE, method="OPTIONS", headers={"origin": ORIGIN, **PREFLIGHT})
        answer = ask(server.http_endpoint, "/.well-known/jwks.json", headers={"origin": ORIGIN})

        assert (204, 200) == (preflight.status, answer.status)
        for each in (preflight, answer):
            assert ORIGIN == each.headers["access-control-allow-origin"]
            assert "origin" in each.headers["vary"].lower()

    @pytest.mark.parametrize("origin", ["https://evil.example", f"{ORIGIN}.evil.example", "null", ORIGIN.upper()])
    def test_no_other_may(self, server: Serving, origin: str) -> None:
        preflight = ask(server.http_endpoint, CREATE, method="OPTIONS", headers={"origin": origin, **PREFLIGHT})
        answer = ask(server.http_endpoint, "/.well-known/jwks.json", headers={"origin": origin})

        assert (405, 200) == (preflight.status, answer.status)
        for each in (preflight, answer):
            assert not [name for name in each.headers if name.startswith("access-control")]

    def test_answers_that_differ_by_origin_say_so_to_caches(self, server: Serving) -> None:
        for headers in ({}, {"origin": "https://evil.example"}):
            answer = ask(server.http_endpoint, "/.well-known/jwks.json", headers=headers)
            assert "origin" == answer.headers.get("vary", "").lower()

    def test_none_may_reach_the_admin_listener(self, server: Serving) -> None:
        answer = ask(server.admin_endpoint, "/_mintmark/ready", headers={"origin": ORIGIN})

        assert not [name for name in answer.headers if name.startswith("access-control")]


def test_it_tells_the_service_manager_when_it_is_ready_and_as_soon_as_it_stops_and_finishes_what_was_asked(
    tmp_path: Path,
) -> None:
    address = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(address)
        manager.settimeout(SECONDS)
        with serving(tmp_path, "--workers", "2", environ={"NOTIFY_SOCKET": address}) as server:
            assert b"READY=1" == manager.recv(100)
            assert 200 == server.admin("GET", "startup", key="").status
            server.add_resource("default")
            (host, port) = server.http_endpoint.removeprefix("http://").split(":")
            with socket.create_connection((host, int(port)), SECONDS) as connection:
                rest = begin_create(connection, server.http_endpoint)
                server.process.send_signal(signal.SIGTERM)
                assert b"STOPPING=1" == manager.recv(100)
                connection.sendall(rest)
                answer = receive_answer(connection)
            status = server.process.wait(SECONDS)

    assert answer.startswith(b"HTTP/1.1 401"), "it was signed with the published key"
    assert 0 == status
    assert "" == (tmp_path / "out").read_text()
    assert not (server.files.data / "server.json").exists()


def test_a_killed_worker_is_replaced_and_that_is_logged(tmp_path: Path) -> None:
    with serving(tmp_path, wrapped=("sh", "-c", 'ulimit -S -c $(ulimit -H -c); exec "$@"', "sh")) as server:
        (worker,) = children(server.process.pid)
        for pid in (worker, server.process.pid):
            assert re.search(r"^Max core file size +0 ", Path(f"/proc/{pid}/limits").read_text(), re.MULTILINE)

        os.kill(worker, signal.SIGKILL)
        eventually("another is there", lambda: children(server.process.pid) - {worker})
        eventually("it serves", lambda: 200 == server.admin("GET", "ready").status)
        said = [line for line in server.lines() if line["event"] == "mintmark.supervisor"]

        server.files.database.rename(server.files.folder / "away")
        answer = server.admin("GET", "ready", key="")
        assert (503, b"not ready") == (answer.status, answer.body[:9])
        assert 200 == server.admin("GET", "live", key="").status
        assert 0 == server.stop()

    assert [("error", "Worker 0 ended (SIGKILL); starting another.")] == [
        (line["level"], line["message"]) for line in said
    ]
