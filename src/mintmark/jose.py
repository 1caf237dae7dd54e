"""Signing and checking of tokens (RFC 7515, 7517, 7638) and sealing of secrets.

With `certificates` the only importers of the crypto library.
"""

import base64
import hashlib
from binascii import b2a_base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from mintmark.errors import InvalidToken, StartRefused
from mintmark.model import SealedSecret, Secret, SigningAlgorithm

if TYPE_CHECKING:
    from joserfc.jwk import ECKey, RSAKey

NONCE_BYTES = 12
RSA_BITS = 2048

# Of other issuers' tokens: the algorithms of RFC 7518, section 3.1, whose key is not a shared secret, each with the key
# type and curve that it takes; and how long a token may be, far beyond what identity providers issue.
FOREIGN_ALGORITHMS = {
    **{f"{scheme}{bits}": ("RSA", None) for scheme in ("RS", "PS") for bits in (256, 384, 512)},
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
}
MOST_FOREIGN_CHARACTERS = 16 * 1024

_P256_BYTES = 32
_TO_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_ECDSA = ec.ECDSA(hashes.SHA256())
_RSA_PADDING, _RSA_HASH = PKCS1v15(), hashes.SHA256()
_FOREIGN_TYPES = ("jwt", "at+jwt")  # RFC 7519, section 5.1, and RFC 9068, section 2.1


def b64url(data: bytes) -> bytes:
    """Base64url without padding (RFC 7515, section 2)."""
    return b2a_base64(data, newline=False).translate(_TO_URL_SAFE, b"=")


def generate_private_key(algorithm: SigningAlgorithm) -> Secret:
    """A new private key as PKCS #8 in DER: P-256 for ES256, 2048 bits for RS256."""
    key = (
        ec.generate_private_key(ec.SECP256R1())
        if algorithm == "ES256"
        else rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS)
    )
    return Secret(
        key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def public_jwk(private_key: bytes, algorithm: SigningAlgorithm) -> dict[str, Any]:
    """The public half of a private key as a JWK whose `kid` is its RFC 7638 thumbprint."""
    from joserfc.jwk import ECKey, RSAKey

    key = (ECKey if algorithm == "ES256" else RSAKey).import_key(
        serialization.load_der_private_key(private_key, password=None).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return {**key.as_dict(private=False), "kid": key.thumbprint(), "use": "sig", "alg": algorithm}


class Signer(Protocol):
    """Turns claims into a token, with a key that was parsed once (parsing an RSA key costs more than a signature)."""

    kid: str

    def sign(self, claims: bytes) -> str:
        """The JWS in compact form over `claims`, which are JSON already."""


class _Es256Signer:
    def __init__(self, kid: str, key: ec.EllipticCurvePrivateKey) -> None:
        self.kid = kid
        self._sign = key.sign
        self._header = _header("ES256", kid)

    def sign(self, claims: bytes) -> str:
        signed = self._header + b64url(claims)
        r, s = decode_dss_signature(self._sign(signed, _ECDSA))
        # RFC 7518, section 3.4: both numbers in full length, not the DER that the library answers.
        signature = r.to_bytes(_P256_BYTES, "big") + s.to_bytes(_P256_BYTES, "big")
        return (signed + b"." + b64url(signature)).decode("ascii")


class _Rs256Signer:
    def __init__(self, kid: str, key: rsa.RSAPrivateKey) -> None:
        self.kid = kid
        self._sign = key.sign
        self._header = _header("RS256", kid)

    def sign(self, claims: bytes) -> str:
        signed = self._header + b64url(claims)
        return (signed + b"." + b64url(self._sign(signed, _RSA_PADDING, _RSA_HASH))).decode("ascii")


def load_signer(kid: str, private_key: bytes) -> Signer:
    """A signer from a key that `generate_private_key` made."""
    key = serialization.load_der_private_key(private_key, password=None)
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return _Es256Signer(kid, key)
    if isinstance(key, rsa.RSAPrivateKey):
        return _Rs256Signer(kid, key)
    raise StartRefused(f"The signing key {kid} is of a kind that signs neither ES256 nor RS256.")


def _header(algorithm: SigningAlgorithm, kid: str) -> bytes:
    return b64url(msgspec.json.encode({"alg": algorithm, "kid": kid, "typ": "JWT"})) + b"."


def decode_unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token as they stand, for showing; nothing is checked.

    Raises:
        InvalidToken: it is not a JWT.
    """
    parts = token.split(".")
    if len(parts) != 3:  # noqa: PLR2004  header, payload, signature: RFC 7519, section 3
        raise InvalidToken("A token has three parts with a dot between; this has " + str(len(parts)) + ".")
    try:
        header, claims = (
            msgspec.json.decode(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
            for part in parts[:2]
        )
    except (ValueError, RecursionError) as error:  # msgspec's and base64's errors are ValueErrors
        raise InvalidToken("The token's header and payload are not JSON in base64url.") from error
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise InvalidToken("The token's header and payload are not JSON objects.")
    return header, claims


def verify_signature(token: str, jwks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The claims of a token signed by one of `jwks`; times and meaning are the caller's to check.

    The algorithm comes from the key and never from the token (RFC 8725, section 3.1).

    Raises:
        InvalidToken: not a JWT, an unknown key, or a signature that does not fit.
    """
    from joserfc import jws
    from joserfc.errors import JoseError
    from joserfc.jwk import KeySet

    header, claims = decode_unverified(token)
    jwk = next((jwk for jwk in jwks if jwk["kid"] == header.get("kid")), None)
    if jwk is None:
        raise InvalidToken("The token's key (its kid) is not in the key set.")
    try:
        jws.deserialize_compact(token, KeySet.import_key_set({"keys": [jwk]}), algorithms=[jwk["alg"]])
    except (JoseError, ValueError) as error:
        raise InvalidToken("The token's signature does not fit its key.") from error
    return claims


def read_foreign(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of another issuer's token; its form is checked, its signature is not.

    Raises:
        InvalidToken: it is too long or not a JWT, or its header asks for what is not accepted (RFC 8725, sections 3.1
            and 3.11; RFC 7515, section 4.1.11).
    """
    if len(token) > MOST_FOREIGN_CHARACTERS:
        raise InvalidToken("A token of more than 16 KiB is not read.")
    header, claims = decode_unverified(token)
    algorithm, kid, kind = header.get("alg"), header.get("kid", ""), header.get("typ", "JWT")
    if not isinstance(algorithm, str) or algorithm not in FOREIGN_ALGORITHMS:
        raise InvalidToken("The token's algorithm (its alg) is none that is accepted.")
    if not isinstance(kind, str) or kind.lower().removeprefix("application/") not in _FOREIGN_TYPES:
        raise InvalidToken("The token is of another type (its typ) than JWT or at+jwt.")
    if "crit" in header:
        raise InvalidToken("The token's header demands an extension (its crit), and none is understood.")
    if not isinstance(kid, str):
        raise InvalidToken("The token's key (its kid) is not text.")
    return header, claims


def verify_foreign_signature(token: str, jwks: Sequence[dict[str, Any]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token signed by one of another issuer's keys; times and meaning are the caller's to check.

    The token names an algorithm of the list, and its key has to agree (RFC 8725, section 3.1). Keys that the token
    brings or points to (jwk, jku, x5c, x5u) are not looked at.

    Raises:
        InvalidToken: as `read_foreign`; no key or more than one, a key that is not for this, or a signature that does
            not fit.
    """
    from joserfc import jws
    from joserfc.errors import JoseError

    header, claims = read_foreign(token)
    algorithm = header["alg"]
    # RFC 7515, section 4: header parameters that are not understood are ignored.
    registry = jws.JWSRegistry(algorithms=[algorithm], strict_check_header=False)
    registry.max_header_length = MOST_FOREIGN_CHARACTERS
    jwk = _one_key(jwks, header.get("kid"), algorithm)
    try:
        jws.deserialize_compact(token, _import_public(jwk), registry=registry)
    except (JoseError, ValueError, RecursionError) as error:
        raise InvalidToken("The token's signature does not fit its key.") from error
    return header, claims


def _one_key(jwks: Sequence[dict[str, Any]], kid: str | None, algorithm: str) -> dict[str, Any]:
    """The key of that name; without a name, the only one that the algorithm can use."""
    found = [jwk for jwk in jwks if (_fits(jwk, algorithm) if kid is None else jwk.get("kid") == kid)]
    if not found:
        raise InvalidToken("The token's key (its kid) is not in the key set.")
    if len(found) > 1:
        raise InvalidToken("The token's key (its kid) cannot be told from others in the key set.")
    if not _fits(found[0], algorithm):
        raise InvalidToken("The token's key is not for signatures of its algorithm, or too short.")
    return found[0]


def _fits(jwk: dict[str, Any], algorithm: str) -> bool:
    """Whether a key checks signatures of that algorithm (RFC 7517, section 4; RFC 7518, sections 3.3 and 3.4)."""
    kty, crv = FOREIGN_ALGORITHMS[algorithm]
    operations = jwk.get("key_ops", ["verify"])
    return (
        (jwk.get("kty"), jwk.get("crv")) == (kty, crv)
        and (jwk.get("use", "sig"), jwk.get("alg", algorithm)) == ("sig", algorithm)
        and isinstance(operations, list)
        and "verify" in operations
        and (kty != "RSA" or _modulus_bits(jwk.get("n")) >= RSA_BITS)
    )


def _modulus_bits(modulus: object) -> int:
    try:
        data = base64.b64decode(f"{modulus}==", altchars=b"-_")
    except ValueError:
        return 0
    return int.from_bytes(data, "big").bit_length()


def _import_public(jwk: dict[str, Any]) -> "ECKey | RSAKey":
    """The public numbers of a key and nothing else of it."""
    from joserfc.jwk import ECKey, RSAKey

    if jwk["kty"] == "EC":
        return ECKey.import_key({name: jwk[name] for name in ("kty", "crv", "x", "y") if name in jwk})
    return RSAKey.import_key({name: jwk[name] for name in ("kty", "n", "e") if name in jwk})


class Sealer:
    """Seals secrets for storage with AES-256-GCM, bound to the place where each is stored.

    It has one key-encryption key or several: the first seals, each opens what it sealed.
    """

    def __init__(self, *key_encryption_keys: bytes) -> None:
        """Takes key-encryption keys of 32 bytes."""
        self._ciphers: dict[str, AESGCM] = {}
        self.replace(key_encryption_keys)

    def replace(self, key_encryption_keys: Sequence[bytes]) -> None:
        """Goes on with other key-encryption keys; those that it had go on to open what they sealed."""
        ciphers = {_key_id(key): AESGCM(key) for key in key_encryption_keys}
        self.key_id = next(iter(ciphers))
        self._ciphers = {**self._ciphers, **ciphers}

    def seal(self, secret: bytes, place: str, nonce: bytes) -> SealedSecret:
        """Seals `secret` for `place`, such as `signing-key/{kid}`; `nonce` is 12 random bytes."""
        return SealedSecret(self.key_id, nonce + self._ciphers[self.key_id].encrypt(nonce, secret, place.encode()))

    def unseal(self, sealed: SealedSecret, place: str) -> Secret:
        """The secret that was sealed for `place`.

        Raises:
            StartRefused: another key-encryption key sealed it, or it was changed or moved.
        """
        nonce, ciphertext = sealed.ciphertext[:NONCE_BYTES], sealed.ciphertext[NONCE_BYTES:]
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise StartRefused(
                f"The stored {place} was sealed by the key-encryption key {sealed.key_id}, "
                f"not by {' or '.join(self._ciphers)}.",
                "Give the key-encryption key that this data was made with.",
            )
        try:
            return Secret(cipher.decrypt(nonce, ciphertext, place.encode()))
        except (InvalidTag, ValueError) as error:  # ValueError: too short to have a nonce
            raise StartRefused(
                f"The stored {place} cannot be opened: it was changed.", "Restore the data from a backup."
            ) from error


def _key_id(key_encryption_key: bytes) -> str:
    return hashlib.sha256(b"mintmark key-encryption key id" + key_encryption_key).hexdigest()[:16]
