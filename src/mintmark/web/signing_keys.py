"""The admin listener's JSON API for the product's own keys: those that sign tokens, those that seal secrets."""

from msgspec import Struct

from mintmark.keyring import KeyState
from mintmark.model import StoredSigningKey
from mintmark.service import Service
from mintmark.signing_keys import SigningKeys
from mintmark.web.answer import Answer, json_answer
from mintmark.web.call import Call
from mintmark.web.wire import moment, read_typed


class Rotation(Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """The body of `POST /_mintmark/signing-keys/:rotate`; see `SigningKeys.rotate`."""

    at_once: bool = False


class SigningKeyApi:
    """Handlers over the use cases of signing keys."""

    def __init__(self, keys: SigningKeys) -> None:
        self._keys = keys

    async def show(self, _service: Service, _call: Call) -> Answer:
        """`GET /_mintmark/signing-keys`: every published one and what it does."""
        return json_answer({"signingKeys": [_key(key, state) for key, state in await self._keys.all()]})

    async def rotate(self, _service: Service, call: Call) -> Answer:
        """`POST /_mintmark/signing-keys/:rotate`: publishes the next one, unless one waits already."""
        body = await call.body()
        asked = read_typed(body, call.headers.get(b"content-type", b""), Rotation) if body else Rotation()
        next_key, is_new = await self._keys.rotate(at_once=asked.at_once)
        states: dict[str, KeyState] = {key.kid: state for key, state in await self._keys.all()}
        # Somebody may have removed it already.
        return json_answer(_key(next_key, states.get(next_key.kid, "published")), 201 if is_new else 200)

    async def remove(self, _service: Service, call: Call) -> Answer:
        """`DELETE /_mintmark/signing-keys/{id}`: ends it and every token that it signed."""
        await self._keys.remove(call.path_parameter("id"))
        return Answer(204)

    async def show_key_encryption_keys(self, _service: Service, _call: Call) -> Answer:
        """`GET /_mintmark/key-encryption-keys`: how many secrets each seals, the one in use first."""
        sealed_by = await self._keys.sealed_by()
        return json_answer({"keyEncryptionKeys": [{"id": id_, "seals": count} for id_, count in sealed_by.items()]})


def _key(key: StoredSigningKey, state: KeyState) -> dict[str, object]:
    return {
        "kid": key.kid,
        "algorithm": key.algorithm,
        "state": state,
        "createdAt": moment(key.created_at),
        "signsAt": moment(key.signs_at),
    }
