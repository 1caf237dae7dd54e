"""Why a signed request was refused, in words: for `mintmark dev` only, where the access key is published anyway.

Wrong signatures are the commonest trouble of those who sign requests by hand, and a bare 401 says nothing. The usual
mistakes are tried one by one; the one that reproduces the signature is named. No key and no right signature is shown.
"""

import base64
import hashlib
from collections.abc import Iterator, Sequence
from itertools import zip_longest
from urllib.parse import quote, unquote_to_bytes

from mintmark.directory import Directory
from mintmark.errors import Denied
from mintmark.model import AccessKey
from mintmark.request_signature import (
    CONTENT_HASH,
    Proof,
    SignedRequest,
    content_hash,
    read_proof,
    readings,
    sign,
    string_to_sign,
)

MOST_KEYS = 8  # that the usual mistakes are tried with: each is some fifty signatures

_JAVA_AID = b"x-ms-hmac-string-to-sign-base64"


def explain(request: SignedRequest, reason: str, directory: Directory, now: str) -> list[tuple[str, str]]:
    """Named texts for a request that was refused with `reason`; `now` is the server's time as an RFC 1123 date."""
    headers = {name: value.decode("latin-1") for name, value in request.headers}
    texts = [
        ("Reason", reason),
        (
            "ContentHash",
            f"{content_hash(request.body).decode()} (SHA-256 of the {len(request.body)} bytes that arrived)",
        ),
        ("Host", headers.get(b"host", "(none)")),
        ("Date", f"{headers.get(b'x-ms-date') or headers.get(b'date') or '(none)'} (the server's clock: {now})"),
    ]
    try:
        proof = read_proof(request)
    except Denied:
        return texts
    expected = string_to_sign(request.method, request.target, proof.values)
    keys = directory.candidates(proof.host, any_resource=True)[:MOST_KEYS]
    texts[-1] = ("Date", f"{proof.date} (the server's clock: {now})")
    found = ("Differs", difference(proof, expected, keys))
    return [texts[0], found, *texts[1:], ("StringToSign", expected.decode("latin-1"))]


def difference(proof: Proof, expected: bytes, keys: Sequence[AccessKey]) -> str:
    """Which part of what was signed differs from what arrived, as far as it can be found out."""
    account = dict(proof.request.headers).get(_JAVA_AID)
    if account is not None:
        return _compare(account, expected, proof)
    secrets: list[bytes] = [key.secret for key in keys]
    if any(sign(text, secret) == proof.signature for text in readings(proof) for secret in secrets):
        return "Nothing: the signature fits what arrived; see Reason."
    for what, text in _usual_mistakes(proof):
        if any(sign(text, secret) == proof.signature for secret in secrets):
            return what
    if any(sign(expected, base64.b64encode(secret)) == proof.signature for secret in secrets):
        return "The key: the access key was used as text. Decode it from base64 first."
    return (
        "The access key is not one of this resource's, or the text that was signed differs: compare it with "
        "StringToSign, its two line breaks and its semicolons included."
    )


def _compare(account: bytes, expected: bytes, proof: Proof) -> str:
    """What the client says it signed against what arrived, part by part."""
    try:
        signed = base64.b64decode(account)
    except ValueError:
        return "The header x-ms-hmac-string-to-sign-base64 is not base64."
    if signed in readings(proof):
        return "The access key: the text that the client says it signed is the text that arrived."
    parts = ("method", "target", "signed headers")
    theirs, ours = (text.decode("latin-1").split("\n", 2) for text in (signed, expected))
    for part, signed_part, received in zip_longest(parts, theirs, ours, fillvalue=""):
        if signed_part != received:
            return f"The {part}: the client signed '{signed_part}', the server received '{received}'."
    raise AssertionError("texts that differ have a part that differs")


def _usual_mistakes(proof: Proof) -> Iterator[tuple[str, bytes]]:
    method, target, values, body = proof.request.method, proof.request.target, proof.values, proof.request.body
    path = target.partition(b"?")[0]
    for other in ("GET", "POST", "PUT", "PATCH", "DELETE", method.lower()):
        yield f"The method: '{other}' was signed, '{method}' arrived.", string_to_sign(other, target, values)
    for what, other_target in (
        ("without its query", path),
        ("percent-decoded", unquote_to_bytes(target)),
        ("percent-encoded", quote(path, safe="/").encode() + target[len(path) :]),
        ("as a whole address with https", b"https://" + proof.host + target),
        ("as a whole address with http", b"http://" + proof.host + target),
    ):
        yield (
            f"The target: it was signed {what}; sign path and query as sent, '{target.decode('latin-1')}'.",
            string_to_sign(method, other_target, values),
        )
    for host in _other_hosts(proof.host):
        changed = (*values[: proof.host_at], host, *values[proof.host_at + 1 :])
        yield (
            f"The host: '{host.decode('latin-1')}' was signed, '{proof.host.decode('latin-1')}' arrived.",
            string_to_sign(method, target, changed),
        )
    for date in [value for name, value in proof.request.headers if name in (b"date", b"x-ms-date")]:
        changed = tuple(date if value == proof.date.encode("latin-1") else value for value in values)
        yield "The date: another date header than the listed one was signed.", string_to_sign(method, target, changed)
    right_hash = content_hash(body)
    for what, wrong_hash in (
        ("the hash of an empty body", content_hash(b"")),
        ("a hash in hexadecimal", hashlib.sha256(body).hexdigest().encode()),
        ("a hash in base64url", base64.urlsafe_b64encode(hashlib.sha256(body).digest())),
    ):
        changed = tuple(wrong_hash if value == right_hash else value for value in values)
        yield f"The {CONTENT_HASH.decode()}: {what} was signed.", string_to_sign(method, target, changed)
    whole = string_to_sign(method, target, values)
    yield "The end: a line break follows the last value; there must be none.", whole + b"\n"
    yield (
        "The separators: the header values are to be joined by ';', not by line breaks.",
        b"\n".join((method.encode(), target, *values)),
    )


def _other_hosts(host: bytes) -> Iterator[bytes]:
    name, _, port = host.rpartition(b":") if b":" in host else (host, b"", b"")
    yield host.lower()
    for other in (b"localhost", b"127.0.0.1", b"[::1]", b"host.docker.internal", name):
        yield other + b":" + port if port else other
        yield other
        yield other + b":443"
        yield other + b":80"
