"""What `mintmark serve` logs; and that no secret of it or of its clients is found anywhere that is not meant for it."""

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from builders import signed_headers
from calls import Answer, ask
from mintmark.sources import system
from process.watching import children, eventually
from running import MINTMARK
from serving import OwnedResource, Serving, new_key, serving

VERSION = "2023-10-01"
SCOPES = {"scopes": ["chat"]}
SECONDS = 20
SHORTEST_PIECE = 12  # bytes of a secret that must not be found, from its beginning


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    with serving(
        tmp_path_factory.mktemp("serve"), "--trusted-proxy", "127.0.0.0/8", "--http-port", "0", tls=True
    ) as started:
        yield started


@pytest.fixture(scope="module")
def resource(server: Serving) -> OwnedResource:
    return server.add_resource("logged")


def send(
    server: Serving,
    method: str,
    path: str,
    body: object = None,
    *,
    key: bytes,
    query: str = f"api-version={VERSION}",
    headers: dict[str, str] | None = None,
    sent: list[str] | None = None,
) -> Answer:
    """A signed request; its signature is added to what was `sent`."""
    target, content = f"{path}?{query}", b"" if body is None else json.dumps(body).encode()
    host = server.http_endpoint.removeprefix("http://")
    signed = signed_headers(method, target, content, now=system().now(), host=host, key=key)
    given = {name.decode(): value.decode() for name, value in signed}
    if sent is not None:
        sent.append(given["authorization"].partition("Signature=")[2])
    return ask(server.http_endpoint, target, method=method, headers={**given, **(headers or {})}, body=content)


def line_of(server: Serving, answer: Answer) -> dict[str, Any]:
    """What is logged of a request; its line is written when the answer may be there already."""
    found: list[dict[str, Any]] = []

    def is_there() -> bool:
        found[:] = [line for line in server.lines() if line.get("id") == answer.headers["ms-cv"]]
        return bool(found)

    eventually("the request is logged", is_there)
    (line,) = found
    return line


def test_every_line_is_json_with_time_level_and_event(server: Serving, resource: OwnedResource) -> None:
    line_of(server, send(server, "POST", "/identities", {}, key=resource.keys[0]))
    subprocess.run(["kill", "-HUP", str(server.process.pid)], check=True)
    eventually("it is logged", lambda: any("read again" in line.get("message", "") for line in server.lines()))

    for line in server.lines():
        assert line["time"].endswith("Z")
        assert line["level"] in ("info", "warning", "error")
        assert line["event"]


def test_a_request_s_line_says_what_it_was_and_is_found_by_what_the_client_was_told(
    server: Serving, resource: OwnedResource
) -> None:
    user = send(server, "POST", "/identities", {}, key=resource.keys[0]).json["identity"]["id"]
    answer = send(server, "POST", f"/identities/{user}/:issueAccessToken", SCOPES, key=resource.keys[0])
    refused = send(server, "DELETE", f"/identities/{user}", key=b"another")
    lost = ask(server.http_endpoint, f"/nowhere/{user}")

    line = line_of(server, answer)
    assert line.pop("milliseconds") > 0
    assert line.pop("time")
    assert {
        "level": "info",
        "event": "request",
        "id": answer.headers["ms-cv"],
        "client": "127.0.0.1",
        "method": "POST",
        "route": "/identities/{id}/:issueAccessToken",
        "operation": "issue",
        "apiVersion": VERSION,
        "resource": resource.id,
        "identity": user,
        "status": 200,
    } == line
    line = line_of(server, refused)
    assert (401, "delete", "/identities/{id}") == (line["status"], line["operation"], line["route"])
    assert "Denied" in line["reason"]
    assert not {"resource", "identity"} & line.keys()
    line = line_of(server, lost)
    assert (404, None, None) == (line["status"], line.get("route"), line.get("operation"))


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("198.51.100.1, 203.0.113.7", "203.0.113.7"),
        ("203.0.113.7, 127.0.0.9", "203.0.113.7"),
        ("2001:db8::7", "2001:db8::7"),
        ("203.0.113.7, <script>", None),
    ],
)
def test_a_trusted_proxy_is_believed_where_a_request_came_from(
    server: Serving, forwarded: str, client: str | None
) -> None:
    answer = ask(server.http_endpoint, "/.well-known/jwks.json", headers={"x-forwarded-for": forwarded})

    assert client == line_of(server, answer).get("client")


def test_nobody_else_is_and_the_log_can_be_text(tmp_path: Path) -> None:
    with serving(tmp_path, "--trusted-proxy", "10.0.0.0/8", "--log-format", "text") as server:
        answer = ask(server.http_endpoint, "/.well-known/jwks.json", headers={"x-forwarded-for": "203.0.113.7"})
        eventually("it is logged", lambda: answer.headers["ms-cv"] in server.log.read_text())
        ready, line = server.log.read_text().splitlines()

    assert " INFO    Mintmark " in ready
    assert " INFO    request id=" in line
    assert " client=127.0.0.1 method=GET route=/.well-known/jwks.json status=200 " in line
    assert "203.0.113.7" not in line


class Secrets:
    """Everything that must not be found, by name."""

    def __init__(self, server: Serving, resource: OwnedResource) -> None:
        kek, admin_key = server.files.key_encryption_key.read_text().strip(), server.admin_key
        pem = server.files.private_key.read_text().splitlines()[1:-1]
        self.texts = {"key-encryption key": kek, "admin key": admin_key, "garbage": new_key()}
        self.texts |= {f"access key {n}": base64.b64encode(key).decode() for n, key in enumerate(resource.keys)}
        self.texts |= {f"line {n} of the TLS key": line for n, line in enumerate(pem) if len(line) > 20}
        self.raw = {name: base64.b64decode(text) for name, text in self.texts.items() if "TLS" not in name}
        self.signatures: list[str] = []
        self.tokens: list[str] = []

    def found_in(self, content: bytes) -> list[str]:
        """Names of those that are in some bytes, in whichever form, or a beginning of them."""
        folded = content.lower()
        wanted = {(name, text.encode()[: SHORTEST_PIECE * 2]) for name, text in self.texts.items()}
        wanted |= {
            (name, quote(text, safe=safe).encode()[: SHORTEST_PIECE * 2])
            for name, text in self.texts.items()
            for safe in ("", "/")
        }
        wanted |= {(name, raw[:SHORTEST_PIECE]) for name, raw in self.raw.items()}
        wanted |= {("a signature", text.encode()[:24]) for text in self.signatures}
        wanted |= {("a token", part.encode()[:40]) for token in self.tokens for part in token.split(".")[1:]}
        hexadecimal = {name for name, raw in self.raw.items() if raw.hex()[: SHORTEST_PIECE * 2].encode() in folded}
        return sorted({name for name, piece in wanted if piece in content} | hexadecimal)


@pytest.fixture
def secrets(server: Serving, resource: OwnedResource) -> Secrets:
    return Secrets(server, resource)


def use_rightly(server: Serving, resource: OwnedResource, secrets: Secrets) -> str:
    """Each operation once; answers the identity."""
    sent, key = secrets.signatures, resource.keys[0]
    made = send(server, "POST", "/identities", {"createTokenWithScopes": ["chat"]}, key=key, sent=sent).json
    user = made["identity"]["id"]
    issued = send(server, "POST", f"/identities/{user}/:issueAccessToken", SCOPES, key=key, sent=sent).json
    secrets.tokens += [made["accessToken"]["token"], issued["token"]]
    assert server.admin("POST", "introspect", {"token": issued["token"]}).json["active"]
    for method, path in (("POST", f"/identities/{user}/:revokeAccessTokens"), ("DELETE", f"/identities/{user}")):
        assert 204 == send(server, method, path, key=key, sent=sent).status
    return str(user)


def use_wrongly(server: Serving, resource: OwnedResource, secret: str, sent: list[str], user: str) -> None:
    """Sends a secret where it does not belong."""
    key, part = resource.keys[0], quote(secret, safe="")
    issue = f"/identities/{user}/:issueAccessToken"
    for path in (f"/{part}", f"/identities/{part}", f"/identities/{part}/:issueAccessToken", f"/_mintmark/{part}"):
        send(server, "POST", path, {}, key=key, sent=sent)
        send(server, "DELETE", path, key=key, sent=sent)
    for query in (f"api-version={part}", f"api-version={VERSION}&{part}", part, f"api-version={VERSION}&code={part}"):
        send(server, "POST", "/identities", {}, key=key, sent=sent, query=query)
    for body in ({"scopes": [secret]}, {"scopes": ["chat"], "expiresInMinutes": secret}, {secret: 1}, [secret], secret):
        send(server, "POST", issue, body, key=key, sent=sent)
        send(server, "POST", "/teamsUser/:exchangeAccessToken", body, key=key, sent=sent)
    exchange = {"token": secret, "appId": secret, "userId": secret}
    send(server, "POST", "/teamsUser/:exchangeAccessToken", exchange, key=key, sent=sent)
    for name in ("x-ms-client-request-id", "x-forwarded-for", "user-agent", "origin", "content-type", "x-api-key"):
        send(server, "POST", "/identities", {}, key=key, sent=sent, headers={name: secret})
    for value in (f"Bearer {secret}", secret, f"HMAC-SHA256 {secret}", f"Basic {secret}"):
        send(server, "POST", "/identities", {}, key=key, headers={"authorization": value})
        for path in ("/_mintmark/resources", f"/_mintmark/{part}"):
            ask(server.admin_endpoint, path, headers={"authorization": value})
    send(server, "POST", "/identities", {}, key=key, headers={"host": secret})
    ask(server.http_endpoint, f"/{part}", method="BREW")
    server.admin("GET", f"resources/{part}")
    server.admin("GET", f"identities?customId={quote_plus(secret)}&resource={part}&cursor={part}")
    server.admin("POST", "introspect", {"token": secret})
    server.admin("POST", "resources", {"name": secret, "hosts": [secret], "region": secret})


def test_no_secret_is_logged_stored_backed_up_or_shown_to_other_processes(
    server: Serving, resource: OwnedResource, secrets: Secrets
) -> None:
    user = use_rightly(server, resource, secrets)
    for secret in (*secrets.texts.values(), *secrets.tokens):
        use_wrongly(server, resource, secret, secrets.signatures, user)
    last = send(server, "POST", "/identities", {}, key=resource.keys[1], sent=secrets.signatures)
    line_of(server, last)
    backup = server.files.folder / "backup.db"
    subprocess.run(
        [*MINTMARK, "backup", str(backup), "--data", str(server.files.data)],
        check=True,
        capture_output=True,
        timeout=SECONDS,
    )
    pids = {server.process.pid, *children(server.process.pid)}

    files = [server.log, server.files.folder / "out", backup, *server.files.data.rglob("*")]
    files += [Path(f"/proc/{pid}/{name}") for pid in pids for name in ("cmdline", "environ")]
    searched = [path for path in files if path.is_file()]
    assert {"log", "mintmark.db", "mintmark.db-wal", "backup.db", "environ"} <= {path.name for path in searched}
    assert {} == {path: found for path in searched if (found := secrets.found_in(path.read_bytes()))}


def test_a_secret_given_as_a_custom_id_is_stored_as_asked_but_not_logged(
    server: Serving, resource: OwnedResource, secrets: Secrets
) -> None:
    body, query = {"customId": secrets.texts["garbage"]}, "api-version=2025-03-02-preview"
    answer = send(server, "POST", "/identities", body, key=resource.keys[0], query=query)

    assert 201 == answer.status
    line_of(server, answer)
    assert [] == secrets.found_in(server.log.read_bytes())


@pytest.mark.parametrize("form", ["{}", "…{}…", '"{}"'])
def test_the_search_itself_would_find_them(secrets: Secrets, form: str) -> None:
    secrets.signatures, secrets.tokens = [new_key()], [".".join(new_key() for _ in range(3))]
    for name, raw in secrets.raw.items():
        for text in (secrets.texts[name], raw.hex().upper(), quote(secrets.texts[name])):
            assert name in secrets.found_in(form.format(text).encode())
        assert name in secrets.found_in(b"\0" + raw)
