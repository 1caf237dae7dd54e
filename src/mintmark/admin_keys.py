"""The keys that open the admin listener of `mintmark serve`."""

import hmac
from collections.abc import Sequence


class AdminKeys:
    """One key or several, any of which is accepted, so that one can follow another."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self.replace(keys)

    def replace(self, keys: Sequence[bytes]) -> None:
        """Goes on with other keys."""
        self._keys = tuple(keys)

    def accept(self, key: bytes) -> bool:
        """Whether `key` is one of them; compared in constant time, with each of them."""
        return any([hmac.compare_digest(key, each) for each in self._keys])  # noqa: C419  a generator would stop early
