import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench import answers
from bench.server import Answer, Place, Server
from bench.subject import AnswerError

ALICE = "8:acs:alice"
KEY = ec.derive_private_key(1_000_003, ec.SECP256R1())
OTHER_KEY = ec.derive_private_key(1_000_033, ec.SECP256R1())
IN_THE_YEAR_2286 = 9_999_999_999


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One whose public key is in its folder; its process does nothing."""
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "public.pem").write_bytes(KEY.public_key().public_bytes(serialization.Encoding.PEM, spki))
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        yield Server(Place(tmp_path, 1, 1), process)


def a_token(sub: str = ALICE, key: ec.EllipticCurvePrivateKey = KEY) -> str:
    return jwt.encode({"sub": sub, "exp": IN_THE_YEAR_2286}, key, algorithm="ES256")


def an_answer(token: str, identity: str = ALICE, status: int = 201) -> Answer:
    made = {"identity": {"id": identity}, "accessToken": {"token": token, "expiresOn": "…"}}
    return Answer(status, json.dumps(made).encode(), keeps_open=True)


def test_an_answer_passes_whose_token_verifies_and_is_for_the_identity(server: Server) -> None:
    verify = answers.by_file("ES256", answers.created, server)

    assert ALICE == verify(an_answer(a_token()))


def test_a_token_that_another_key_signed_does_not_pass(server: Server) -> None:
    verify = answers.by_file("ES256", answers.created, server)

    with pytest.raises(jwt.InvalidSignatureError):
        verify(an_answer(a_token(key=OTHER_KEY)))


@pytest.mark.parametrize(
    "answer", [an_answer(a_token("8:acs:bob")), an_answer(a_token(), status=200)], ids=["for another", "status"]
)
def test_an_answer_for_somebody_else_or_with_another_status_does_not_pass(server: Server, answer: Answer) -> None:
    verify = answers.by_file("ES256", answers.created, server)

    with pytest.raises(AnswerError):
        verify(answer)


def test_an_issued_token_has_to_be_for_one_who_was_asked_for(server: Server) -> None:
    verify = answers.for_some({ALICE}, answers.by_file("ES256", answers.issued, server))

    def answer(sub: str) -> Answer:
        return Answer(200, json.dumps({"token": a_token(sub)}).encode(), keeps_open=True)

    assert ALICE == verify(answer(ALICE))
    with pytest.raises(AnswerError):
        verify(answer("8:acs:bob"))


def an_account(header: dict[str, str], claims: dict[str, str], signature: str = "") -> Answer:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims)]
    made = {"idToken": ".".join((*parts, signature)), "localId": "alice"}
    return Answer(200, json.dumps(made).encode(), keeps_open=True)


def test_an_unsigned_token_is_well_formed_and_for_the_account() -> None:
    assert "alice" == answers.unsigned(an_account({"alg": "none"}, {"sub": "alice"}))


@pytest.mark.parametrize(
    "answer",
    [
        an_account({"alg": "none"}, {"sub": "bob"}),
        an_account({"alg": "none"}, {"sub": "alice"}, "c2lnbmVk"),
        an_account({"alg": "RS256"}, {"sub": "alice"}),
    ],
    ids=["for another", "signature", "algorithm"],
)
def test_what_is_no_unsigned_token_of_the_account_does_not_pass(answer: Answer) -> None:
    with pytest.raises(AnswerError):
        answers.unsigned(answer)


def test_an_example_has_only_to_look_like_one() -> None:
    assert ALICE == answers.example(an_answer("a.b.c"))
    with pytest.raises(AnswerError):
        answers.example(an_answer("a"))
