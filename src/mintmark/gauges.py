"""How a server stands just now, for its metrics: what is not counted but asked."""

from collections.abc import Sequence

from mintmark.errors import StoreUnavailable
from mintmark.metrics import Gauge
from mintmark.service import Service
from mintmark.signing_keys import SigningKeys

_AGE = "How long ago the key began to sign, in seconds; negative until it does."


async def gauges(service: Service, keys: SigningKeys, workers: int, now: int) -> Sequence[Gauge]:
    """The state of store and signing keys; without those of the keys where the store does not answer."""
    is_ready = await service.store.is_ready()
    found = [
        Gauge("mintmark_store_ready", "Whether the store answers and can be written: 1 or 0.", float(is_ready)),
        Gauge("mintmark_workers", "How many processes serve.", workers),
    ]
    try:
        held = await keys.all()
    except StoreUnavailable:
        return found
    for key, state in held:
        labels = {"kid": key.kid, "algorithm": key.algorithm, "state": state}
        found.append(Gauge("mintmark_signing_key_age_seconds", _AGE, (now - key.signs_at) / 1000, labels))
    return found
