"""Bearer tokens of other issuers; the attacks of RFC 8725, section 2, and those that libraries fell for."""

import hashlib
import hmac
import json
import sys
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from joserfc import jwe
from joserfc.jwk import RSAKey

from builders import NOON
from foreign import ISSUER, SECONDS, a_token, claims, jwk, private_key, signed_by_hand, written
from mintmark.bearer import TrustedIssuer, check_bearer, is_safe_address
from mintmark.development import DEVELOPMENT_RESOURCE
from mintmark.errors import Forbidden, InvalidToken
from mintmark.jose import FOREIGN_ALGORITHMS, b64url, generate_private_key, public_jwk, verify_foreign_signature

KEYS = [jwk("RS256", alg=None), jwk("ES256", alg=None)]
TRUSTED = TrustedIssuer(ISSUER)
HS256 = {"alg": "HS256", "kid": jwk()["kid"], "typ": "JWT"}
CURVES: dict[str, ec.EllipticCurve] = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1()}


def refusal(token: str, keys: list[dict[str, Any]] | None = None) -> str:
    with pytest.raises(InvalidToken) as refused:
        verify_foreign_signature(token, KEYS if keys is None else keys)
    return refused.value.message


class TestSignature:
    @pytest.mark.parametrize("algorithm", FOREIGN_ALGORITHMS)
    def test_a_token_answers_its_header_and_claims(self, algorithm: str) -> None:
        key: Any = ec.generate_private_key(CURVES[algorithm]) if algorithm in CURVES else private_key()
        maker = jwt.get_algorithm_by_name(algorithm)
        published = {**maker.to_jwk(key.public_key(), as_dict=True), "kid": jwk()["kid"]}

        header, said = verify_foreign_signature(
            jwt.encode(claims(), key, algorithm, {"kid": jwk()["kid"]}), [published]
        )

        assert (algorithm, claims()) == (header["alg"], said)

    @pytest.mark.parametrize(
        "header",
        [{}, {"typ": "at+jwt"}, {"typ": "jwt"}, {"typ": "AT+JWT"}, {"typ": "application/at+jwt"}, {"nonce": "x"}],
        ids=str,
    )
    def test_the_headers_of_usual_issuers_are_understood(self, header: dict[str, Any]) -> None:
        assert claims() == verify_foreign_signature(a_token(header=header), KEYS)[1]

    def test_a_long_header_is_read(self) -> None:
        assert claims() == verify_foreign_signature(a_token(header={"x5c": ["A" * 2000]}), KEYS)[1]

    def test_every_changed_character_is_noticed(self) -> None:
        token = a_token(algorithm="ES256")
        for place in range(0, len(token), 5):
            refusal(token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :])

    def test_the_key_of_another_is_noticed(self) -> None:
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)

        assert "signature does not fit" in refusal(a_token(key=other))


class TestAlgorithm:
    """RFC 8725, sections 2.1 and 3.1."""

    @pytest.mark.parametrize("name", ["none", "None", "NONE", "nOnE", "", None, 1, [], {"a": 1}], ids=repr)
    @pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
    def test_no_algorithm_is_no_signature(self, name: object, signed: bool) -> None:  # noqa: FBT001  a column
        signature = b"x" * 256 if signed else b""

        assert "algorithm" in refusal(
            written({"alg": name, "kid": jwk()["kid"]}, json.dumps(claims()).encode(), signature)
        )

    def test_a_header_without_algorithm_is_refused(self) -> None:
        assert "algorithm" in refusal(written({"kid": jwk()["kid"]}, json.dumps(claims()).encode(), b"x"))

    @pytest.mark.parametrize("name", ["HS256", "HS384", "HS512"])
    @pytest.mark.parametrize("key", ["RS256", "ES256"])
    def test_a_public_key_is_no_hmac_secret_in_whatever_form(self, name: str, key: str) -> None:
        public, maker = private_key(key).public_key(), getattr(hashlib, f"sha{name[2:]}")
        forms = [
            public.public_bytes(encoding, PublicFormat.SubjectPublicKeyInfo)
            for encoding in (Encoding.PEM, Encoding.DER)
        ]
        forms += [forms[0].strip(), json.dumps(jwk(key)).encode(), msgspec.json.encode(jwk(key))]
        forms += [str(jwk(key)[member]).encode() for member in ("n", "e", "x", "y") if member in jwk(key)]
        header = {**HS256, "alg": name, "kid": jwk(key)["kid"]}
        unsigned = written(header, json.dumps(claims()).encode(), b"").rpartition(".")[0]
        for secret in forms:
            signature = hmac.digest(secret, unsigned.encode(), maker)
            assert "algorithm" in refusal(f"{unsigned}.{b64url(signature).decode()}")

    def test_nor_is_a_secret_in_the_key_set_a_key(self) -> None:
        secret = {"kty": "oct", "k": b64url(b"s" * 32).decode(), "kid": "secret", "alg": "HS256"}
        token = jwt.encode(claims(), b"s" * 32, "HS256", {"kid": "secret"})

        assert "algorithm" in refusal(token, [secret])

    @pytest.mark.parametrize(
        ("algorithm", "published"),
        [
            ("RS384", jwk("RS256")),
            ("PS256", jwk("RS256")),
            ("RS256", jwk("RS256", alg="RSA-OAEP")),
            ("RS256", jwk("RS256", alg=[])),
            ("RS256", jwk("ES256", alg=None, kid=jwk("RS256")["kid"])),
            ("ES256", jwk("RS256", alg=None, kid=jwk("ES256")["kid"])),
            ("ES256", jwk("ES256", alg="ES384")),
            ("ES256", jwk("ES256", alg=None, crv="P-384")),
            ("ES256", jwk("ES256", alg=None, crv="secp256k1")),
            ("ES256", jwk("ES256", kty="OKP")),
            ("RS256", jwk("RS256", kty=None)),
        ],
    )
    def test_key_and_token_must_agree_on_it(self, algorithm: str, published: dict[str, Any]) -> None:
        assert "not for signatures" in refusal(a_token(algorithm=algorithm), [published])

    def test_it_cannot_be_swapped_in_a_signed_token(self) -> None:
        _, payload, signature = a_token().split(".")
        header = b64url(json.dumps({"alg": "PS256", "kid": jwk()["kid"]}).encode()).decode()

        assert "does not fit" in refusal(f"{header}.{payload}.{signature}")


class TestKey:
    @pytest.mark.parametrize(
        "changes",
        [{"use": "enc"}, {"use": 1}, {"key_ops": ["encrypt"]}, {"key_ops": []}, {"key_ops": "verify"}, {"key_ops": 1}],
        ids=str,
    )
    def test_a_key_that_is_for_something_else_is_not_used(self, changes: dict[str, Any]) -> None:
        assert "not for signatures" in refusal(a_token(), [jwk(**changes)])

    @pytest.mark.parametrize("bits", [1024, 2047])
    def test_a_short_rsa_key_is_not_used(self, bits: int) -> None:
        short = rsa.generate_private_key(public_exponent=65537, key_size=bits)
        published = json.loads(jwt.get_algorithm_by_name("RS256").to_jwk(short.public_key()))
        with pytest.warns(jwt.warnings.InsecureKeyLengthWarning):
            token = a_token(key=short)

        assert "too short" in refusal(token, [{**published, "kid": jwk()["kid"]}])
        assert "not in the key set" in refusal(jwt_without_kid(token), [published])

    @pytest.mark.parametrize(
        "changes",
        [{"n": "AQAB"}, {"n": ""}, {"n": None}, {"n": 1 << 2048}, {"n": "é"}, {"n": ["A" * 400]}, {"n": "A" * 400}],
        ids=str,
    )
    def test_a_damaged_modulus_is_not_used(self, changes: dict[str, Any]) -> None:
        assert refusal(a_token(), [jwk(**changes)])

    @pytest.mark.parametrize(
        "published",
        [
            jwk("RS256", e=None),
            jwk("RS256", e="AA"),
            jwk("RS256", e=3),
            jwk("RS256", e="AQ"),
            jwk("RS256", n="_" * 400 + "="),
        ],
    )
    def test_nor_are_other_damaged_numbers(self, published: dict[str, Any]) -> None:
        assert "does not fit" in refusal(a_token(), [published])

    @pytest.mark.parametrize("changes", [{"x": ""}, {"x": "AQAB"}, {"y": None}, {"x": ["a"]}, {"y": "é"}], ids=str)
    def test_a_point_off_the_curve_is_not_used(self, changes: dict[str, Any]) -> None:
        """RFC 8725, section 3.4."""
        assert "does not fit" in refusal(a_token(algorithm="ES256"), [jwk("ES256", **changes)])

    def test_a_name_that_two_keys_have_is_no_name(self) -> None:
        other = public_jwk(generate_private_key("RS256"), "RS256")

        assert "cannot be told" in refusal(a_token(), [jwk(), {**other, "kid": jwk()["kid"]}])
        assert "cannot be told" in refusal(a_token(), [jwk(), jwk(use="enc")])

    @pytest.mark.parametrize("kid", ["", "x", jwk()["kid"].upper(), jwk()["kid"] + " ", "../../etc/passwd", "' OR 1=1"])
    def test_a_name_is_compared_exactly(self, kid: str) -> None:
        assert "not in the key set" in refusal(a_token(header={"kid": kid}))

    @pytest.mark.parametrize("kid", [1, None, [], {"a": 1}, True], ids=str)
    def test_a_name_is_text(self, kid: object) -> None:
        assert "not text" in refusal(signed_by_hand({"kid": kid}, json.dumps(claims()).encode()))

    def test_without_a_name_the_only_key_that_fits_is_used(self) -> None:
        token = jwt_without_kid(a_token())
        unusable = [jwk("ES256"), jwk(use="enc"), jwk(alg="RS512")]

        assert claims() == verify_foreign_signature(token, [*unusable, jwk()])[1]
        assert "cannot be told" in refusal(token, [jwk(), jwk(alg=None)])
        assert "not in the key set" in refusal(token, unusable)

    def test_an_empty_key_set_checks_nothing(self) -> None:
        assert "not in the key set" in refusal(a_token(), [])

    @pytest.mark.parametrize("kid", [None, jwk()["kid"]], ids=["nameless", "named as ours"])
    def test_a_key_that_the_token_brings_or_points_to_is_not_used(self, kid: str | None) -> None:
        """CVE-2026-27962 of Authlib was that; RFC 8725, section 3.10."""
        other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        own = json.loads(jwt.get_algorithm_by_name("RS256").to_jwk(other.public_key()))
        for name, value in {
            "jwk": own,
            "jku": "http://127.0.0.1:9/keys",
            "x5u": "http://127.0.0.1:9/certificate",
            "x5c": ["MIIB"],
        }.items():
            token = jwt.encode(claims(), other, "RS256", {name: value, **({"kid": kid} if kid else {})})
            assert "does not fit" in refusal(token, [jwk()])


class TestHeader:
    @pytest.mark.parametrize("crit", [["exp"], ["b64"], ["x", "y"], [], "b64", None, {"b64": 1}], ids=json.dumps)
    def test_an_extension_that_must_be_understood_is_not(self, crit: object) -> None:
        """CVE-2026-32597 of PyJWT was that; RFC 7515, section 4.1.11."""
        token = signed_by_hand({"crit": crit, "exp": 1, "b64": True, "x": 1}, json.dumps(claims()).encode())

        assert "extension" in refusal(token)

    def test_an_unencoded_payload_is_refused(self) -> None:
        """RFC 7797."""
        assert refusal(signed_by_hand({"b64": False}, json.dumps(claims()).encode()))

    @pytest.mark.parametrize(
        "kind",
        ["dpop+jwt", "JOSE", "secevent+jwt", "logout+jwt", "at+jwt ", "", "text/jwt", None, 1, ["JWT"]],
        ids=repr,
    )
    def test_a_token_of_another_kind_is_refused(self, kind: object) -> None:
        """RFC 8725, section 3.11."""
        assert "another type" in refusal(signed_by_hand({"typ": kind}, json.dumps(claims()).encode()))

    @pytest.mark.parametrize("name", ["x5t", "cty", "x5u", "jwk"])
    def test_a_parameter_of_the_wrong_type_is_refused(self, name: str) -> None:
        assert refusal(signed_by_hand({name: 1}, json.dumps(claims()).encode()))


class TestForm:
    def test_an_encrypted_token_is_refused(self) -> None:
        header = {"alg": "RSA-OAEP", "enc": "A128GCM", "kid": jwk()["kid"]}
        encrypted = jwe.encrypt_compact(header, json.dumps(claims()), RSAKey.import_key(jwk(use=None, alg=None)))

        assert "three parts" in refusal(encrypted)

    @pytest.mark.parametrize(
        "token", ["", "a.b.c", "..", "a.b", "e30.e30.", "W10.W10.W10", "\x00", "\ud800.a.b", "é.é.é"]
    )
    def test_what_is_no_token_is_refused(self, token: str) -> None:
        assert refusal(token)

    @pytest.mark.parametrize("signature", ["é", "\ud800", "=", "A", " ", "A" * 15_000])
    def test_what_is_no_signature_is_refused(self, signature: str) -> None:
        assert refusal(f"{a_token(claims(), 'ES256').rpartition('.')[0]}.{signature}")

    def test_a_giant_token_is_not_read(self) -> None:
        assert "16 KiB" in refusal("." * 16_385)
        assert "16 KiB" in refusal(a_token(claims(groups=["g" * 36] * 1000)))
        assert claims(note="x" * 11_000) == verify_foreign_signature(a_token(claims(note="x" * 11_000)), KEYS)[1]

    @pytest.mark.parametrize(("opening", "closing"), ["[]", ('{"a":', "}")], ids=["arrays", "objects"])
    def test_deep_json_does_no_harm(self, opening: str, closing: str) -> None:
        """Two readers of JSON see the header, and each has its own depth where it gives up."""
        limit = sys.getrecursionlimit()
        plain = a_token(algorithm="ES256").partition(".")[0]
        for depth in (10, 500, *range(limit - 150, limit + 10), 5000):
            deep = opening * depth + "1" + closing * depth
            header = b64url(f'{{"alg":"ES256","kid":"{jwk("ES256")["kid"]}","a":{deep}}}'.encode()).decode()
            payload = b64url(f'{{"a":{deep}}}'.encode()).decode()
            for token in (f"{header}.e30.{'A' * 86}", f"{plain}.{payload}.{'A' * 86}", f"e30.{payload}.AAAA"):
                assert refusal(token)

    @pytest.mark.parametrize(
        "payload",
        [
            b"[]",
            b'"iss"',
            b"1",
            b"null",
            b"",
            b"{",
            b"\xff",
            b'{"exp":Infinity}',
            b'{"exp":NaN}',
            b'{"exp":1e999}',
            b"{}{}",
        ],
    )
    def test_claims_are_a_json_object(self, payload: bytes) -> None:
        assert "payload" in refusal(signed_by_hand({}, payload))


class TestClaims:
    def test_a_good_token_is_accepted(self) -> None:
        check_bearer(claims(), TRUSTED, [NOON])

    @pytest.mark.parametrize(
        "issuer",
        [None, "", ISSUER + "/", ISSUER.upper(), ISSUER.replace("tenant", "other"), "https://example.com", [ISSUER], 1],
        ids=repr,
    )
    def test_the_issuer_is_compared_exactly(self, issuer: object) -> None:
        with pytest.raises(InvalidToken, match="another issuer"):
            check_bearer(claims(iss=issuer), TRUSTED, [NOON])

    @pytest.mark.parametrize(
        "audience",
        [
            "https://communication.azure.com/",
            ["https://communication.azure.com"],
            ["x", "https://communication.azure.com/"],
            [{"a": 1}, 1, None, "https://communication.azure.com"],
        ],
        ids=repr,
    )
    def test_one_of_the_audiences_is_enough(self, audience: object) -> None:
        check_bearer(claims(aud=audience), TRUSTED, [NOON])

    @pytest.mark.parametrize(
        "audience",
        [
            *(None, "", [], "x", ["x"], 1, True, {}, {"https://communication.azure.com": 1}, [["x"]]),
            "https://communication.azure.com.example.com",
            "https://communication.azure.com https://graph.microsoft.com",
        ],
        ids=repr,
    )
    def test_a_token_for_somebody_else_is_refused(self, audience: object) -> None:
        """RFC 8725, sections 2.7 and 3.9."""
        with pytest.raises(InvalidToken, match="another audience"):
            check_bearer(claims(aud=audience), TRUSTED, [NOON])

    def test_the_audiences_are_a_setting(self) -> None:
        trusted = TrustedIssuer(ISSUER, audiences=("api://mintmark",))

        check_bearer(claims(aud="api://mintmark"), trusted, [NOON])
        with pytest.raises(InvalidToken, match="another audience"):
            check_bearer(claims(), trusted, [NOON])


class TestTimes:
    @pytest.mark.parametrize(
        "changes",
        [
            {"exp": SECONDS + 0.001},
            {"exp": SECONDS + 1},
            {"exp": 10**400},
            {"exp": 1e308},
            {"nbf": SECONDS + 60},
            {"iat": SECONDS + 60},
            {"nbf": None, "iat": None},
            {"nbf": -1, "iat": 0.5},
        ],
        ids=str,
    )
    def test_a_token_holds_within_its_time_give_or_take_a_minute(self, changes: dict[str, Any]) -> None:
        check_bearer(claims(**changes), TRUSTED, [NOON])

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"exp": SECONDS}, "has expired"),
            ({"exp": SECONDS - 0.001}, "has expired"),
            ({"exp": 0}, "has expired"),
            ({"exp": -(10**400)}, "has expired"),
            ({"exp": None}, "when it expires"),
            ({"nbf": SECONDS + 61}, "not valid yet"),
            ({"nbf": 60.001 + SECONDS}, "not valid yet"),
            ({"iat": SECONDS + 61}, "in the future"),
            ({"iat": 10**400}, "in the future"),
        ],
        ids=str,
    )
    def test_and_not_outside(self, changes: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidToken, match=words):
            check_bearer(claims(**changes), TRUSTED, [NOON])

    @pytest.mark.parametrize("name", ["exp", "nbf", "iat"])
    @pytest.mark.parametrize(
        "value", [True, False, str(SECONDS + 60), "never", float("inf"), float("-inf"), float("nan"), [], {}, [SECONDS]]
    )
    def test_a_time_is_a_number(self, name: str, value: object) -> None:
        with pytest.raises(InvalidToken, match="not all numbers"):
            check_bearer(claims(**{name: value}), TRUSTED, [NOON])

    def test_null_is_no_time(self) -> None:
        for name in ("exp", "nbf", "iat"):
            with pytest.raises(InvalidToken, match="not all numbers"):
                check_bearer({**claims(), name: None}, TRUSTED, [NOON])

    def test_one_of_two_clocks_is_enough(self) -> None:
        year = 365 * 24 * 3_600_000
        check_bearer(claims(), TRUSTED, [NOON + year, NOON])
        check_bearer(claims(), TRUSTED, [NOON, NOON - year])

        with pytest.raises(InvalidToken, match="has expired"):
            check_bearer(claims(), TRUSTED, [NOON + year, NOON - year])
        with pytest.raises(InvalidToken, match="not valid yet"):
            check_bearer(claims(), TRUSTED, [NOON - year, NOON + year])


class TestRights:
    ROLES, SCOPES = TrustedIssuer(ISSUER, roles=("a", "b")), TrustedIssuer(ISSUER, scopes=("read", "write"))
    EITHER = TrustedIssuer(ISSUER, roles=("a",), scopes=("read",))

    @pytest.mark.parametrize(
        ("trusted", "said"),
        [
            (TRUSTED, {}),
            (ROLES, {"roles": ["b", "c"]}),
            (ROLES, {"roles": "a"}),
            (SCOPES, {"scp": "x write"}),
            (EITHER, {"roles": ["a"]}),
            (EITHER, {"scp": "read"}),
        ],
    )
    def test_one_that_is_wanted_is_enough(self, trusted: TrustedIssuer, said: dict[str, Any]) -> None:
        check_bearer(claims(**said), trusted, [NOON])

    @pytest.mark.parametrize(
        ("trusted", "said"),
        [
            (ROLES, {}),
            (ROLES, {"roles": []}),
            (ROLES, {"roles": "a b"}),
            (ROLES, {"roles": ["A"]}),
            (ROLES, {"roles": {"a": 1}}),
            (ROLES, {"scp": "a"}),
            (SCOPES, {"scp": ""}),
            (SCOPES, {"scp": "readwrite"}),
            (SCOPES, {"scp": 1792}),
            (SCOPES, {"scp": ["read write"]}),
            (SCOPES, {"roles": ["read"]}),
            (EITHER, {"roles": ["read"], "scp": "a"}),
        ],
    )
    def test_without_any_it_is_valid_but_not_allowed(self, trusted: TrustedIssuer, said: dict[str, Any]) -> None:
        with pytest.raises(Forbidden) as refused:
            check_bearer(claims(**said), trusted, [NOON])

        assert all(each in refused.value.reason for each in (*trusted.roles, *trusted.scopes))

    def test_an_expired_token_is_not_asked_for_its_rights(self) -> None:
        with pytest.raises(InvalidToken):
            check_bearer(claims(exp=1), self.ROLES, [NOON])


class TestTrustedIssuer:
    def test_a_table_of_the_settings_makes_one(self) -> None:
        made = msgspec.convert({"issuer": ISSUER, "roles": ["a"], "resources": ["shop"]}, TrustedIssuer)

        assert TrustedIssuer(ISSUER, roles=("a",), resources=("shop",)) == made

    @pytest.mark.parametrize(
        "table",
        [
            {},
            {"issuer": "login.example.com"},
            {"issuer": "http://login.example.com"},
            {"issuer": ISSUER, "jwks_uri": "http://login.example.com/keys"},
            {"issuer": ISSUER, "jwks_uri": "file:///etc/keys.json"},
            {"issuer": ISSUER + "?a=b"},
            {"issuer": ISSUER + "#a"},
            {"issuer": ISSUER, "audiences": []},
            {"issuer": ISSUER, "audience": ["x"]},
            {"issuer": ISSUER, "roles": "a"},
        ],
        ids=str,
    )
    def test_one_that_could_not_be_used_safely_is_refused(self, table: dict[str, Any]) -> None:
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(table, TrustedIssuer)

    @pytest.mark.parametrize(
        "address",
        ["https://a.example", "https://a:8443/b?c=d", "http://localhost:1/a", "http://127.0.0.1", "http://[::1]:1"],
    )
    def test_keys_are_fetched_by_https_or_without_leaving_the_machine(self, address: str) -> None:
        assert is_safe_address(address)

    @pytest.mark.parametrize(
        "address",
        [
            *("", "a", "https://", "https:///a", "http://a", "http://10.0.0.1", "http://localhost.example.com"),
            *(
                "http://127.0.0.1@example.com",
                "https://user:password@a",
                "https://a:99999",
                "https://a:b",
                "ftp://localhost",
            ),
            *(
                "data:,{}",
                "file://localhost/etc/passwd",
                "https://a/\r\nx: y",
                "https://a b",
                "https://é",
                "https://[::1",
            ),
        ],
    )
    def test_and_in_no_other_way(self, address: str) -> None:
        assert not is_safe_address(address)

    @pytest.mark.parametrize(
        ("resources", "expected"),
        [
            ((), True),
            ((DEVELOPMENT_RESOURCE.id,), True),
            (("x", DEVELOPMENT_RESOURCE.name), True),
            (("x",), False),
            ((DEVELOPMENT_RESOURCE.name.upper(),), False),
        ],
    )
    def test_it_counts_for_the_resources_that_are_named(self, resources: tuple[str, ...], expected: bool) -> None:  # noqa: FBT001  a column
        assert expected == TrustedIssuer(ISSUER, resources=resources).counts_for(DEVELOPMENT_RESOURCE)


def jwt_without_kid(token: str) -> str:
    """The same claims, signed by the fixed key without naming it."""
    said = jwt.decode(token, options={"verify_signature": False})
    return jwt.encode(said, private_key(), "RS256")
