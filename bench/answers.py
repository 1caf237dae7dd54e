"""Whether an answer holds a token that verifies, and for whom."""

import base64
import json
from collections.abc import Callable, Collection
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from bench.server import Answer, Request, Server, exchange
from bench.subject import AnswerError

Verifier = Callable[[Answer], str]
Reader = Callable[[Answer], tuple[str | None, str]]
"""Takes an answer apart into whom it says its token is for, None where it does not say, and the token."""


def body_of(answer: Answer, status: int) -> dict[str, Any]:
    """The JSON object of an answer that has this status. Raises AnswerError where it has another."""
    if answer.status != status:
        raise AnswerError(f"status {answer.status}: {answer.body[:300].decode(errors='replace')}")
    read: dict[str, Any] = json.loads(answer.body)
    return read


def created(answer: Answer) -> tuple[str, str]:
    """The identity and its token, as ACS answers Create."""
    made = body_of(answer, 201)
    return made["identity"]["id"], made["accessToken"]["token"]


def issued(answer: Answer) -> tuple[None, str]:
    """The token, as ACS answers Issue."""
    return None, body_of(answer, 200)["token"]


def granted(answer: Answer) -> tuple[None, str]:
    """The token, as an OAuth 2.0 token endpoint answers."""
    return None, body_of(answer, 200)["access_token"]


def by_file(algorithm: str, read: Reader, server: Server) -> Verifier:
    """Against the key that was written for the server."""
    key = load_pem_public_key((server.place.folder / "public.pem").read_bytes())
    return lambda answer: _verify(*read(answer), key, algorithm)


def by_key_set(algorithm: str, path: str, read: Reader, server: Server) -> Verifier:
    """Against the key set that the server publishes at `path`."""
    answer = exchange(Request(server.place.port, "GET", path, {}, b""))
    keys = {key.key_id: key.key for key in jwt.PyJWKSet.from_json(answer.body.decode()).keys}

    def verify(answer: Answer) -> str:
        said, token = read(answer)
        return _verify(said, token, keys[jwt.get_unverified_header(token)["kid"]], algorithm)

    return verify


def for_some(identities: Collection[str], verifier: Verifier) -> Verifier:
    """Each token has to be for one of these."""

    def verify(answer: Answer) -> str:
        if (found := verifier(answer)) not in identities:
            raise AnswerError(f"nobody asked for a token for {found}")
        return found

    return verify


def _verify(said: str | None, token: str, key: object, algorithm: str) -> str:
    options = {"verify_aud": False, "require": ["exp", "sub"]}
    claims = jwt.decode(token, key, algorithms=[algorithm], options=options)  # type: ignore[arg-type]
    if said not in (None, claims["sub"]):
        raise AnswerError(f"the token is for {claims['sub']}, the answer says {said}")
    return str(claims["sub"])


def unsigned(answer: Answer) -> str:
    """Firebase's emulator signs nothing: the token has to be well-formed, and for the account that was made."""
    made = body_of(answer, 200)
    header, claims, signature = (_decode(part) for part in made["idToken"].split("."))
    if signature or json.loads(header)["alg"] != "none":
        raise AnswerError("the token is signed")
    if json.loads(claims)["sub"] != made["localId"]:
        raise AnswerError(f"the token is not for {made['localId']}")
    return str(made["localId"])


def example(answer: Answer) -> str:
    """A stub's answer has the shape, and nothing to verify."""
    identity, token = created(answer)
    if token.count(".") != 2:
        raise AnswerError("the token is not three parts with dots between")
    return identity


def _decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
