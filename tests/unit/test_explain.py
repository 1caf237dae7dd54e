import base64
import hashlib
import hmac
from typing import Any

import pytest

from builders import NOON, SEALER, signed_headers, signed_request
from mintmark.directory import Directory
from mintmark.explain import explain
from mintmark.keyring import Keyring, new_signing_key
from mintmark.model import AccessKey, Secret
from mintmark.request_signature import SignedRequest, content_hash

TARGET = "/identities?api-version=2023-10-01"
KEY = base64.b64decode("cHdwd3B3cHdwd3B3cHdwd3B3cHdwd3B3cHdwd3B3cHc=")
KEYRING = Keyring([new_signing_key("ES256", NOON, SEALER, bytes(12))], "ES256", SEALER)
KEYS = [AccessKey("2dee53b4-368b-45b4-ab52-8493fb117652", "primary", 0, Secret(KEY))]
DATE, HOST, BODY = "Mon, 23 Nov 2026 12:00:00 GMT", "localhost:12080", b"{}"
HASH = content_hash(BODY).decode()


def request_signed_over(text: str, key: bytes = KEY, **extra: str) -> SignedRequest:
    headers = dict(signed_headers("POST", TARGET, BODY, now=NOON, host=HOST))
    signature = base64.b64encode(hmac.digest(key, text.encode(), "sha256")).decode()
    headers[b"authorization"] = (
        f"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature={signature}".encode()
    )
    headers.update({name.replace("_", "-").encode(): value.encode() for name, value in extra.items()})
    return signed_request("POST", TARGET.encode(), list(headers.items()), BODY)


def explained(request: SignedRequest) -> dict[str, str]:
    directory = Directory(0, {}, None, {}, {}, KEYS, KEYRING)
    return dict(explain(request, "The signature is wrong.", directory, DATE))


def text(**changes: Any) -> str:
    parts = {"method": "POST", "target": TARGET, "date": DATE, "host": HOST, "hash": HASH, **changes}
    return "{method}\n{target}\n{date};{host};{hash}".format(**parts)


def test_it_shows_what_the_server_saw() -> None:
    shown = explained(request_signed_over("nonsense"))

    assert text() == shown["StringToSign"]
    assert "The signature is wrong." == shown["Reason"]
    assert HASH in shown["ContentHash"]
    assert HOST == shown["Host"]
    assert DATE in shown["Date"]


@pytest.mark.parametrize(
    ("signed", "part", "named"),
    [
        (text(method="GET"), "The method", "'GET' was signed"),
        (text(method="post"), "The method", "'post' was signed"),
        (text(target="/identities"), "The target", "without its query"),
        (text(target=f"http://{HOST}{TARGET}"), "The target", "whole address"),
        (text(host="127.0.0.1:12080"), "The host", "'127.0.0.1:12080' was signed"),
        (text(host="localhost:443"), "The host", "'localhost:443' was signed"),
        (text(hash=content_hash(b"").decode()), "The x-ms-content-sha256", "an empty body"),
        (text(hash=hashlib.sha256(BODY).hexdigest()), "The x-ms-content-sha256", "hexadecimal"),
        (text() + "\n", "The end", "line break"),
        (text().replace(";", "\n"), "The separators", "';'"),
    ],
)
def test_usual_mistakes_are_named(signed: str, part: str, named: str) -> None:
    differs = explained(request_signed_over(signed))["Differs"]

    assert differs.startswith(part)
    assert named in differs


def test_a_right_signature_is_not_blamed() -> None:
    assert explained(request_signed_over(text()))["Differs"].startswith("Nothing: the signature fits")


def test_a_key_that_was_not_decoded_is_named() -> None:
    differs = explained(request_signed_over(text(), base64.b64encode(KEY)))["Differs"]

    assert differs.startswith("The key: the access key was used as text.")


def test_the_other_date_header_is_named() -> None:
    other = "Mon, 23 Nov 2026 12:00:05 GMT"

    assert explained(request_signed_over(text(date=other), date=other))["Differs"].startswith("The date")


def test_an_unknown_key_is_told_from_a_known_mistake() -> None:
    assert "not one of this resource's" in explained(request_signed_over(text(), b"another"))["Differs"]


def test_javas_own_account_is_compared_part_by_part() -> None:
    claimed = base64.b64encode(text(host="elsewhere").encode()).decode()
    shown = explained(request_signed_over(text(host="x"), x_ms_hmac_string_to_sign_base64=claimed))

    assert f"The signed headers: the client signed '{DATE};elsewhere;{HASH}'" in shown["Differs"]


def test_an_account_that_ends_early_is_not_taken_for_one_that_fits() -> None:
    claimed = base64.b64encode(text().rpartition("\n")[0].encode()).decode()
    shown = explained(request_signed_over("x", x_ms_hmac_string_to_sign_base64=claimed))

    assert "The signed headers: the client signed ''" in shown["Differs"]


@pytest.mark.parametrize("host", [HOST, "localhost", f"{HOST}/"])
def test_an_account_that_is_accepted_leaves_the_key(host: str) -> None:
    """Java signs the host without its port, which is a reading like any other."""
    claimed = base64.b64encode(text(host=host).encode()).decode()
    shown = explained(request_signed_over(text(host=host), b"another", x_ms_hmac_string_to_sign_base64=claimed))

    assert shown["Differs"].startswith("The access key")


def test_javas_account_that_fits_leaves_the_key() -> None:
    claimed = base64.b64encode(text().encode()).decode()
    shown = explained(request_signed_over(text(), b"another", x_ms_hmac_string_to_sign_base64=claimed))

    assert shown["Differs"].startswith("The access key")


def test_neither_key_nor_right_signature_is_shown() -> None:
    right = base64.b64encode(hmac.digest(KEY, text().encode(), "sha256")).decode()
    shown = str(explained(request_signed_over("nonsense")))

    assert right not in shown
    assert base64.b64encode(KEY).decode() not in shown


def test_a_request_without_a_signature_is_explained_too() -> None:
    shown = explained(signed_request("GET", b"/", [(b"host", b"x")], b""))

    assert "(none)" in shown["Date"]
    assert "StringToSign" not in shown
