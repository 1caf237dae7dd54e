"""The life of a signing key: published first, then signing, then published until its last token has expired.

Each key signs from its `signs_at` on until a newer one does, of whatever algorithm: so it is known of each when it
signed last. Pure: which key does what follows from the stored keys and the time, so that every worker and node comes to
the same answer.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Literal

import msgspec

from mintmark.errors import StartRefused
from mintmark.jose import Sealer, Signer, generate_private_key, load_signer, public_jwk
from mintmark.model import LONGEST_LIFE, SigningAlgorithm, StoredSigningKey

KEY_SET_CACHE = 600  # seconds for which verifiers may keep the key set
CLOCK_DIFFERENCE = 60_000  # milliseconds by which clocks, and the news of a key, may lag behind
PUBLISHED_AHEAD = KEY_SET_CACHE * 1000 + CLOCK_DIFFERENCE  # milliseconds
KEPT_AFTERWARDS = LONGEST_LIFE + CLOCK_DIFFERENCE  # milliseconds

KeyState = Literal["published", "signing", "retired"]


class Keyring:
    """The signing keys of a server at one moment, as a worker holds them: each private half parsed once.

    Attributes:
        keys: as they are stored, the last to sign first.
        signers: their private halves, by kid.
        public_jwks: their public halves, to verify with.
        jwks_json: the same as they are published (RFC 7517, section 5).
        algorithms: those of the keys, the chosen one first.
    """

    def __init__(
        self,
        keys: Sequence[StoredSigningKey],
        algorithm: SigningAlgorithm,
        sealer: Sealer,
        previous: "Keyring | None" = None,
    ) -> None:
        """Opens every key but those that `previous` has open.

        Raises:
            StartRefused: there is no key, or one cannot be unsealed.
        """
        if not keys:
            raise StartRefused("There is no signing key in the store.")
        self.keys = sorted(keys, key=_order, reverse=True)
        known = {} if previous is None else previous.signers
        self.signers: dict[str, Signer] = {
            key.kid: known.get(key.kid) or load_signer(key.kid, sealer.unseal(key.sealed, seal_place(key.kid)))
            for key in self.keys
        }
        self.algorithms = list(dict.fromkeys((algorithm, *(key.algorithm for key in self.keys))))
        self.public_jwks: list[dict[str, Any]] = [msgspec.json.decode(key.public_jwk) for key in self.keys]
        self.jwks_json = msgspec.json.encode({"keys": self.public_jwks})

    def signer(self, now: int) -> Signer:
        """The key that signs at `now`, in milliseconds."""
        newest_key = self.keys[0]
        if newest_key.signs_at <= now:  # nearly always
            return self.signers[newest_key.kid]
        return self.signers[signing_key_at(self.keys, now).kid]


def _order(key: StoredSigningKey) -> tuple[int, int, str]:
    return key.signs_at, key.created_at, key.kid


def _order_made(key: StoredSigningKey) -> tuple[int, str]:
    return key.created_at, key.kid


def newest(keys: Sequence[StoredSigningKey], algorithm: SigningAlgorithm) -> StoredSigningKey | None:
    """The key of an algorithm that was made last; None where there is none."""
    return max((key for key in keys if key.algorithm == algorithm), key=_order_made, default=None)


def signing_key_at(keys: Sequence[StoredSigningKey], now: int) -> StoredSigningKey:
    """The key that signs at `now`: the last whose time has come.

    Before the time of all of them, for a clock can be set back, it is the first.
    """
    ready = [key for key in keys if key.signs_at <= now]
    return max(ready, key=_order) if ready else min(keys, key=_order)


def is_due(keys: Sequence[StoredSigningKey], algorithm: SigningAlgorithm, now: int, longest_use: int) -> bool:
    """Whether it is time to publish the next key, which is of `algorithm`, each being used for `longest_use` ms.

    One of another algorithm is replaced when it signs, not before: so two nodes that are told different ones, as while
    a setting is changed on one after the other, do not outdo each other.
    """
    last = max(keys, key=_order, default=None)
    if last is None or last.signs_at + longest_use - PUBLISHED_AHEAD <= now:
        return True
    return last.algorithm != algorithm and last.signs_at <= now


def expired(keys: Sequence[StoredSigningKey], now: int) -> list[StoredSigningKey]:
    """The keys that no living token needs: another took over so long ago."""
    in_order = sorted(keys, key=_order)
    return [key for key, successor in pairwise(in_order) if successor.signs_at + KEPT_AFTERWARDS <= now]


def state(key: StoredSigningKey, keys: Sequence[StoredSigningKey], now: int) -> KeyState:
    """What a key does at `now`: it waits to sign, signs, or waits for its last token to expire."""
    if key == signing_key_at(keys, now):
        return "signing"
    return "published" if key.signs_at > now else "retired"


def seal_place(kid: str) -> str:
    """The place that a signing key's private half is sealed for."""
    return f"signing-key/{kid}"


def new_signing_key(
    algorithm: SigningAlgorithm,
    now: int,
    sealer: Sealer,
    nonce: bytes,
    *,
    ahead: int = 0,
    keys: Sequence[StoredSigningKey] = (),
) -> StoredSigningKey:
    """A new signing key, sealed and ready to be stored, which signs `ahead` milliseconds after `now`.

    It counts as made after all `keys`, also where the clock stands still or went back.
    """
    kid = "-"
    while kid.startswith("-"):  # A command line would take it for a flag.
        private_key = generate_private_key(algorithm)
        jwk = public_jwk(private_key, algorithm)
        kid = str(jwk["kid"])
    return StoredSigningKey(
        kid=kid,
        algorithm=algorithm,
        public_jwk=msgspec.json.encode(jwk).decode(),
        created_at=max([now, *(key.created_at + 1 for key in keys)]),
        signs_at=now + ahead,
        sealed=sealer.seal(private_key, seal_place(kid), nonce),
    )
