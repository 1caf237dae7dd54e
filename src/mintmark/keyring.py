"""The signing keys of a server, as a worker holds them: parsed once, the public halves ready to be published."""

from collections.abc import Sequence
from typing import Any

import msgspec

from mintmark.errors import StartRefused
from mintmark.jose import Sealer, Signer, generate_private_key, load_signer, public_jwk
from mintmark.model import SigningAlgorithm, StoredSigningKey


class Keyring:
    """Signs with the newest key of the chosen algorithm; publishes all, so that older tokens go on being verified."""

    def __init__(self, keys: Sequence[StoredSigningKey], algorithm: SigningAlgorithm, sealer: Sealer) -> None:
        """Opens the key that signs.

        Raises:
            StartRefused: there is no key of that algorithm, or it cannot be unsealed.
        """
        newest_first = sorted(keys, key=lambda key: key.created_at, reverse=True)
        current = next((key for key in newest_first if key.algorithm == algorithm), None)
        if current is None:
            raise StartRefused(f"There is no {algorithm} signing key in the store.")
        self.algorithms = list(dict.fromkeys((algorithm, *(key.algorithm for key in newest_first))))
        self.signer: Signer = load_signer(current.kid, sealer.unseal(current.sealed, seal_place(current.kid)))
        self.public_jwks: list[dict[str, Any]] = [msgspec.json.decode(key.public_jwk) for key in newest_first]
        self.jwks_json = msgspec.json.encode({"keys": self.public_jwks})


def seal_place(kid: str) -> str:
    """The place that a signing key's private half is sealed for."""
    return f"signing-key/{kid}"


def new_signing_key(algorithm: SigningAlgorithm, now: int, sealer: Sealer, nonce: bytes) -> StoredSigningKey:
    """A new signing key, sealed and ready to be stored."""
    private_key = generate_private_key(algorithm)
    jwk = public_jwk(private_key, algorithm)
    kid = str(jwk["kid"])
    return StoredSigningKey(
        kid=kid,
        algorithm=algorithm,
        public_jwk=msgspec.json.encode(jwk).decode(),
        created_at=now,
        sealed=sealer.seal(private_key, seal_place(kid), nonce),
    )
