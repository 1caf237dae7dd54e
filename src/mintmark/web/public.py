"""What relying parties read: the key set and the issuer's metadata."""

from mintmark.service import Service
from mintmark.web.answer import Answer
from mintmark.web.call import Call

# Verifiers may keep the key set so long.
KEY_SET_CACHE = b"public, max-age=600"  # seconds


async def key_set(service: Service, _: Call) -> Answer:
    """`GET /.well-known/jwks.json`: the public keys that tokens verify with (RFC 7517, section 5)."""
    return Answer(200, service.keyring.jwks_json, b"application/json", ((b"cache-control", KEY_SET_CACHE),))


async def discovery(service: Service, _: Call) -> Answer:
    """`GET /.well-known/openid-configuration`: who issues, and where the keys are."""
    return Answer(200, service.discovery(), b"application/json", ((b"cache-control", KEY_SET_CACHE),))
