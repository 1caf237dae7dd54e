"""What is measured: a subject is told by how its server starts, which request it gets, and what the answer must be.

To add one, write these three functions and put a line into `SUBJECTS`.
"""

import base64
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from bench import served
from bench.environment import CHECKOUT, packages
from bench.server import Answer, Command, Place, Request, Server, exchange

ACCESS_KEY = base64.b64encode(b"only to measure, on this machine").decode()
BODY = b'{"createTokenWithScopes":["chat","voip"]}'
TARGET = "/identities?api-version=2023-10-01"


class AnswerError(Exception):
    """The server's answer is not what it should be."""


@dataclass(frozen=True)
class Subject:
    """One server to measure.

    `start` puts what the server needs into its folder and returns the command. `request` may raise NotReadyError; it is
    called anew before each load, so a signature made there has to live for one load only. `check` raises AnswerError,
    or what the reading of a wrong answer raises (LookupError, ValueError, a PyJWT error).
    """

    name: str
    start: Callable[[Place], Command]
    request: Callable[[Server], Request]
    check: Callable[[Server, Answer], None]


def _created(answer: Answer) -> tuple[str, str]:
    """The identity's id and its token."""
    if answer.status != 201:
        raise AnswerError(f"status {answer.status}: {answer.body[:300].decode(errors='replace')}")
    made = json.loads(answer.body)
    return made["identity"]["id"], made["accessToken"]["token"]


def _verify(identity: str, token: str, key: jwt.PyJWK | bytes, algorithm: str) -> None:
    claims = jwt.decode(token, key, algorithms=[algorithm], options={"verify_aud": False, "require": ["exp", "sub"]})
    if claims["sub"] != identity:
        raise AnswerError(f"the token is for {claims['sub']}, the identity is {identity}")


def _check_by_file(algorithm: str, server: Server, answer: Answer) -> None:
    """Against the key that was written for the server."""
    _verify(*_created(answer), (server.place.folder / "public.pem").read_bytes(), algorithm)


def _write_key(place: Place, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    pem, clear = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, clear)
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    (place.folder / "key.pem").write_bytes(private)
    (place.folder / "public.pem").write_bytes(public)


def _uvicorn(app: str, place: Place, environment: dict[str, str]) -> Command:
    """`app` is a module of this folder and a name in it."""
    listen = ["--host", "127.0.0.1", "--port", str(place.port), "--workers", str(place.workers)]
    quiet = ["--no-access-log", "--log-level", "warning"]
    arguments = [sys.executable, "-m", "uvicorn", app, "--app-dir", str(CHECKOUT / "bench"), *listen, *quiet]
    return Command(arguments, {"DATA": str(place.folder)} | environment)


def _start_mintmark(module: str, place: Place) -> Command:
    return served.start(place, module=module)


def _ask_mintmark(server: Server) -> Request:
    return served.signed(server.place.port, served.resource(server).key, "POST", TARGET, BODY)


def _check_mintmark(server: Server, answer: Answer) -> None:
    """Against the key set that the server publishes."""
    identity, token = _created(answer)
    wanted = Request(_ask_mintmark(server).port, "GET", "/.well-known/jwks.json", {}, b"")
    keys = jwt.PyJWKSet.from_json(exchange(wanted).body.decode())
    _verify(identity, token, keys[jwt.get_unverified_header(token)["kid"]], "ES256")


def _start_bare(place: Place) -> Command:
    _write_key(place, ec.generate_private_key(ec.SECP256R1()))
    return _uvicorn("bare:app", place, {"ACCESS_KEY": ACCESS_KEY})


def _ask_bare(server: Server) -> Request:
    return served.signed(server.place.port, ACCESS_KEY, "POST", TARGET, BODY)


def _start_usual(place: Place) -> Command:
    _write_key(place, rsa.generate_private_key(65537, 2048))
    return _uvicorn("usual:app", place, {"PYTHONPATH": str(packages())})


def _ask_usual(server: Server) -> Request:
    return Request(server.place.port, "POST", "/identities", {"Content-Type": "application/json"}, BODY)


SUBJECTS = (
    Subject("mintmark", partial(_start_mintmark, "mintmark"), _ask_mintmark, _check_mintmark),
    Subject("bare", _start_bare, _ask_bare, partial(_check_by_file, "ES256")),
    Subject("usual", _start_usual, _ask_usual, partial(_check_by_file, "RS256")),
)
# Measured only when they are named.
VARIANTS = (Subject("uncounted", partial(_start_mintmark, "bench.uncounted"), _ask_mintmark, _check_mintmark),)
