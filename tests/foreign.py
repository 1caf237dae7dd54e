"""An issuer of bearer tokens that is not Mintmark: its keys, and tokens made by hand so that any can be wrong."""

import base64
import json
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.serialization import load_der_private_key

from builders import NOON
from mintmark.bearer import COMMUNICATION_AUDIENCES
from mintmark.jose import b64url

ISSUER = "https://login.example.com/tenant/v2.0"
SECONDS = NOON // 1000
VECTORS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "vectors" / "signing-keys.json").read_text())


def private_key(algorithm: str = "RS256") -> Any:
    """The private half of a fixed key."""
    return load_der_private_key(base64.b64decode(VECTORS[algorithm]["privateKey"]), password=None)


def jwk(algorithm: str = "RS256", **changes: Any) -> dict[str, Any]:
    """The public half as issuers publish it, with members changed, or left out for None."""
    members = {**VECTORS[algorithm]["jwk"], **changes}
    return {name: value for name, value in members.items() if value is not None}


def claims(**changes: Any) -> dict[str, Any]:
    """What a good token says, with claims changed, or left out for None."""
    usual = {
        "iss": ISSUER,
        "aud": COMMUNICATION_AUDIENCES[0],
        "sub": "a program",
        "iat": SECONDS,
        "nbf": SECONDS,
        "exp": SECONDS + 3600,
        **changes,
    }
    return {name: value for name, value in usual.items() if value is not None}


def a_token(
    said: dict[str, Any] | None = None, algorithm: str = "RS256", key: Any = None, header: dict[str, Any] | None = None
) -> str:
    """A token signed by the fixed key of that algorithm, or by another; `header` changes or adds parameters."""
    named = {"kid": VECTORS["ES256" if algorithm.startswith("ES") else "RS256"]["jwk"]["kid"], **(header or {})}
    signing = key or private_key("ES256" if algorithm.startswith("ES") else "RS256")
    return jwt.encode(claims() if said is None else said, signing, algorithm, named)


def written(header: dict[str, Any], payload: bytes, signature: bytes) -> str:
    """Three parts put together as they are."""
    return b".".join(b64url(part) for part in (json.dumps(header).encode(), payload, signature)).decode()


def signed_by_hand(header: dict[str, Any], payload: bytes) -> str:
    """A rightly signed ES256 token over header and payload that no library would write."""
    signer = jwt.get_algorithm_by_name("ES256")
    named = {"alg": "ES256", "kid": VECTORS["ES256"]["jwk"]["kid"], **header}
    unsigned = written(named, payload, b"").rpartition(".")[0]
    return f"{unsigned}.{b64url(signer.sign(unsigned.encode(), private_key('ES256'))).decode()}"
