import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key

from mintmark.errors import InvalidToken, StartRefused
from mintmark.jose import (
    Sealer,
    b64url,
    decode_unverified,
    generate_private_key,
    load_signer,
    public_jwk,
    verify_signature,
)
from mintmark.model import SealedSecret, SigningAlgorithm

VECTORS: dict[str, dict[str, Any]] = json.loads(
    (Path(__file__).parent.parent / "vectors" / "signing-keys.json").read_text()
)
CLAIMS = {"sub": "somebody", "exp": 4_000_000_000}
ALGORITHMS = pytest.mark.parametrize("algorithm", ["ES256", "RS256"])


def private_key(algorithm: str) -> bytes:
    return base64.b64decode(VECTORS[algorithm]["privateKey"])


def jwk(algorithm: str) -> dict[str, Any]:
    return dict(VECTORS[algorithm]["jwk"])


def a_token(algorithm: str = "ES256") -> str:
    return load_signer(jwk(algorithm)["kid"], private_key(algorithm)).sign(json.dumps(CLAIMS).encode())


def forged(header: dict[str, Any], signature: bytes = b"") -> str:
    parts = (json.dumps(header).encode(), json.dumps(CLAIMS).encode(), signature)
    return b".".join(b64url(part) for part in parts).decode()


def parsed(key: bytes) -> Any:
    return load_der_private_key(key, password=None)


class TestSigning:
    @ALGORITHMS
    def test_another_library_verifies_the_token(self, algorithm: str) -> None:
        assert CLAIMS == jwt.decode(a_token(algorithm), jwt.PyJWK(jwk(algorithm)), algorithms=[algorithm])

    @ALGORITHMS
    def test_the_header_names_algorithm_key_and_type_and_nothing_else(self, algorithm: str) -> None:
        header, _ = decode_unverified(a_token(algorithm))

        assert {"alg": algorithm, "kid": jwk(algorithm)["kid"], "typ": "JWT"} == header

    @ALGORITHMS
    def test_the_public_half_is_a_jwk_with_its_thumbprint_and_no_private_member(
        self, algorithm: SigningAlgorithm
    ) -> None:
        public = public_jwk(private_key(algorithm), algorithm)

        assert jwk(algorithm) == public
        assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & set(public)
        assert ("sig", algorithm) == (public["use"], public["alg"])

    def test_the_thumbprint_is_that_of_rfc_7638(self) -> None:
        members = {name: jwk("ES256")[name] for name in ("crv", "kty", "x", "y")}
        canonical = json.dumps(members, separators=(",", ":"), sort_keys=True).encode()

        assert b64url(hashlib.sha256(canonical).digest()).decode() == jwk("ES256")["kid"]

    def test_new_keys_are_all_different(self) -> None:
        assert generate_private_key("ES256") != generate_private_key("ES256")

    def test_a_key_of_another_kind_is_refused(self) -> None:
        key = Ed25519PrivateKey.generate().private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())

        with pytest.raises(StartRefused):
            load_signer("kid", key)


class TestVerifying:
    @ALGORITHMS
    def test_a_token_of_ours_answers_its_claims(self, algorithm: str) -> None:
        assert CLAIMS == verify_signature(a_token(algorithm), [jwk("ES256"), jwk("RS256")])

    def test_every_changed_character_is_noticed(self) -> None:
        token = a_token()
        for place in range(0, len(token), 7):
            changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
            with pytest.raises(InvalidToken):
                verify_signature(changed, [jwk("ES256")])

    @pytest.mark.parametrize(
        "token",
        ["", "a", "a.b", "a.b.c.d", "..", "e30.e30", "e30.e30.", "W10.W10.", "\x00.\x00.\x00", "é.é.é", "e30=.e30=."],
    )
    def test_what_is_no_token_is_refused(self, token: str) -> None:
        with pytest.raises(InvalidToken):
            verify_signature(token, [jwk("ES256")])

    @pytest.mark.parametrize(
        "header",
        [
            {"alg": "none"},
            {"alg": "HS256"},
            {"alg": "RS256"},
            {"alg": "ES384"},
            {"alg": None},
            {},
            {"alg": "ES256", "crit": ["x"], "x": 1},
        ],
        ids=str,
    )
    def test_the_algorithm_comes_from_the_key_and_not_from_the_token(self, header: dict[str, Any]) -> None:
        """RFC 8725, sections 2.1 and 3.1."""
        signature = base64.urlsafe_b64decode(a_token().split(".")[2] + "==")
        for made in (b"", signature):
            with pytest.raises(InvalidToken):
                verify_signature(forged({"kid": jwk("ES256")["kid"], "typ": "JWT", **header}, made), [jwk("ES256")])

    def test_a_public_key_is_no_hmac_secret(self) -> None:
        kid = jwk("ES256")["kid"]
        unsigned = forged({"alg": "HS256", "kid": kid}).rpartition(".")[0]
        for secret in (json.dumps(jwk("ES256")), jwk("ES256")["x"]):
            signature = hmac.digest(secret.encode(), unsigned.encode(), hashlib.sha256)
            with pytest.raises(InvalidToken):
                verify_signature(f"{unsigned}.{b64url(signature).decode()}", [jwk("ES256")])

    def test_a_key_inside_the_token_is_not_used(self) -> None:
        other = generate_private_key("ES256")
        header = {"kid": jwk("ES256")["kid"], "jwk": public_jwk(other, "ES256")}
        signed = jwt.encode(CLAIMS, parsed(other), "ES256", header)

        assert CLAIMS == jwt.decode(signed, jwt.PyJWK(header["jwk"]), algorithms=["ES256"])
        with pytest.raises(InvalidToken):
            verify_signature(signed, [jwk("ES256")])

    def test_an_unknown_key_is_refused(self) -> None:
        with pytest.raises(InvalidToken, match="not in the key set"):
            verify_signature(a_token("RS256"), [jwk("ES256")])


class TestSealing:
    KEY, NONCE = bytes(range(32)), bytes(12)

    def test_what_was_sealed_comes_back(self) -> None:
        sealer = Sealer(self.KEY)

        assert b"secret" == sealer.unseal(sealer.seal(b"secret", "place", self.NONCE), "place")

    def test_the_sealed_form_does_not_show_the_secret_nor_the_key(self) -> None:
        sealed = Sealer(self.KEY).seal(b"open sesame", "place", self.NONCE)

        assert b"sesame" not in sealed.ciphertext
        assert self.KEY.hex()[:16] not in sealed.key_id

    def test_another_key_is_refused_by_name(self) -> None:
        sealed = Sealer(self.KEY).seal(b"secret", "place", self.NONCE)

        with pytest.raises(StartRefused, match=sealed.key_id):
            Sealer(bytes(32)).unseal(sealed, "place")

    def test_a_secret_moved_or_changed_is_refused(self) -> None:
        sealer = Sealer(self.KEY)
        sealed = sealer.seal(b"secret", "place", self.NONCE)
        changed = SealedSecret(sealed.key_id, sealed.ciphertext[:-1] + bytes([sealed.ciphertext[-1] ^ 1]))

        with pytest.raises(StartRefused):
            sealer.unseal(sealed, "another place")
        with pytest.raises(StartRefused):
            sealer.unseal(changed, "place")
        with pytest.raises(StartRefused):
            sealer.unseal(SealedSecret(sealed.key_id, b""), "place")
