"""What relying parties read: the key set and the issuer's metadata."""

from mintmark.keyring import KEY_SET_CACHE
from mintmark.service import Service
from mintmark.web.answer import Answer
from mintmark.web.call import Call

_KEPT = ((b"cache-control", b"public, max-age=%d" % KEY_SET_CACHE),)


async def key_set(service: Service, _: Call) -> Answer:
    """`GET /.well-known/jwks.json`: the public keys that tokens verify with (RFC 7517, section 5)."""
    return Answer(200, (await service.keyring()).jwks_json, b"application/json", _KEPT)


async def discovery(service: Service, _: Call) -> Answer:
    """`GET /.well-known/openid-configuration`: who issues, and where the keys are."""
    return Answer(200, await service.discovery(), b"application/json", _KEPT)
