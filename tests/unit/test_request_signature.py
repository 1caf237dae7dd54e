import base64
import json
from pathlib import Path
from typing import Any

import pytest

from builders import NOON, as_header_list, signed_headers, signed_request
from mintmark.errors import Denied, InvalidRequest
from mintmark.model import AccessKey, Secret
from mintmark.request_signature import (
    HASH_DIFFERS,
    MAX_CLOCK_SKEW,
    Proof,
    SignedRequest,
    _read_list,
    check_date,
    content_hash,
    find_key,
    parse_date,
    read_proof,
    sign,
    string_to_sign,
)

VECTORS = Path(__file__).parent.parent / "vectors"
REQUESTS: list[dict[str, Any]] = [json.loads(line) for line in (VECTORS / "requests.jsonl").read_text().splitlines()]
KNOWN_ANSWERS: list[dict[str, str]] = json.loads((VECTORS / "known-answers.json").read_text())


def decoded(key: str) -> bytes:
    return base64.b64decode(key)


def access_key(secret: bytes, slot: Any = "primary") -> AccessKey:
    return AccessKey("2dee53b4-368b-45b4-ab52-8493fb117652", slot, 0, Secret(secret))


def as_request(vector: dict[str, Any], **changes: Any) -> SignedRequest:
    vector = {**vector, **changes}
    return signed_request(
        vector["method"], vector["target"].encode(), as_header_list(vector["headers"]), vector["body"].encode()
    )


def with_header(vector: dict[str, Any], name: str, change: Any) -> list[list[str]]:
    return [[key, change(value) if key == name else value] for key, value in vector["headers"]]


def another_second(date: str) -> str:
    return date.replace(":29 ", ":30 ") if ":29 " in date else date[:-6] + "29 GMT"


def another_character(text: str) -> str:
    return ("B" if text[0] == "A" else "A") + text[1:]


def another_signature(authorization: str) -> str:
    head, name, signature = authorization.partition("&Signature=")
    return head + name + another_character(signature)


def signed_date(vector: dict[str, Any]) -> str:
    return "x-ms-date" if "SignedHeaders=x-ms-date" in dict(vector["headers"])["authorization"] else "date"


def is_accepted(request: SignedRequest, vector: dict[str, Any]) -> bool:
    now = parse_date(dict(vector["headers"])[signed_date(vector)])
    assert now is not None
    try:
        proof = read_proof(request)
        check_date(proof, now)
    except Denied:
        return False
    return find_key(proof, [access_key(decoded(vector["accessKey"]))]) is not None


def vector_id(vector: dict[str, Any]) -> str:
    scheme = "https" if vector["tls"] else "http"
    return f"{vector['client']} {scheme} {vector['method']} {vector['target'].partition('?')[0][-24:]}"


class TestRequestsOfRealSdks:
    def test_there_are_as_many_as_were_captured(self) -> None:
        assert 116 == len(REQUESTS)

    @pytest.mark.parametrize("vector", REQUESTS, ids=vector_id)
    def test_every_one_authenticates_at_its_date(self, vector: dict[str, Any]) -> None:
        assert is_accepted(as_request(vector), vector)

    @pytest.mark.parametrize("vector", REQUESTS, ids=vector_id)
    def test_a_change_to_any_signed_part_is_refused(self, vector: dict[str, Any]) -> None:
        changes: dict[str, dict[str, Any]] = {
            "method": {"method": "PUT"},
            "path": {"target": vector["target"][:-1].replace("?", "x?", 1) + vector["target"][-1]},
            "query": {"target": vector["target"] + "1"},
            "body": {"body": vector["body"] + " "},
            "host": {"headers": with_header(vector, "host", lambda value: "x" + value)},
            "date": {"headers": with_header(vector, signed_date(vector), another_second)},
            "hash": {"headers": with_header(vector, "x-ms-content-sha256", another_character)},
            "signature": {"headers": with_header(vector, "authorization", another_signature)},
        }

        accepted = [part for part, change in changes.items() if is_accepted(as_request(vector, **change), vector)]

        assert [] == accepted

    def test_unused_bits_of_the_base64_text_count_too(self) -> None:
        vector = REQUESTS[0]
        alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

        def same_bytes(authorization: str) -> str:
            last = authorization[-2]
            return authorization[:-2] + alphabet[alphabet.index(last) ^ 1] + "="

        changed = with_header(vector, "authorization", same_bytes)

        assert not is_accepted(as_request(vector, headers=changed), vector)

    def test_another_key_is_refused(self) -> None:
        vector = REQUESTS[0]

        assert find_key(read_proof(as_request(vector)), [access_key(b"another key")]) is None

    def test_both_keys_of_a_resource_are_tried(self) -> None:
        vector = REQUESTS[0]
        keys = [access_key(b"another key"), access_key(decoded(vector["accessKey"]), "secondary")]

        found = find_key(read_proof(as_request(vector)), keys)

        assert keys[1] == found


@pytest.mark.parametrize("answer", KNOWN_ANSWERS, ids=lambda answer: f"{answer['target']} {answer['host']}")
def test_known_answers(answer: dict[str, str]) -> None:
    values = (answer["date"].encode(), answer["host"].encode(), content_hash(answer["body"].encode()))
    text = string_to_sign(answer["method"], answer["target"].encode(), values)

    assert answer["signature"].encode() == sign(text, decoded(answer["accessKey"]))


def a_request(**changes: Any) -> SignedRequest:
    headers = dict(signed_headers("POST", "/identities?api-version=2023-10-01", b"{}"))
    headers.update({name.encode(): value for name, value in changes.items() if value is not None})
    kept = [(name, value) for name, value in headers.items() if changes.get(name.decode(), b"") is not None]
    return signed_request("POST", b"/identities?api-version=2023-10-01", kept, b"{}")


AUTHORIZATION = dict(signed_headers("POST", "/identities?api-version=2023-10-01", b"{}"))[b"authorization"]


class TestReading:
    @pytest.mark.parametrize(
        "authorization",
        [
            b"",
            b"Bearer eyJ",
            b"HMAC-SHA256",
            b"HMAC-SHA256 Signature=abc=",
            b"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256",
            b"HMAC-SHA256 Credential=x&SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=abc=",
            b"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=",
            b"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=a b",
            b"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=\xff\xfe",
            b"HMAC-SHA512 SignedHeaders=x-ms-date;host;x-ms-content-sha256&Signature=abc=",
            b"HMAC-SHA256 SignedHeaders=host;x-ms-content-sha256&Signature=abc=",
            b"HMAC-SHA256 SignedHeaders=x-ms-date;x-ms-content-sha256&Signature=abc=",
            b"HMAC-SHA256 SignedHeaders=x-ms-date;host&Signature=abc=",
            b"HMAC-SHA256 SignedHeaders=x-ms-date;host;host;x-ms-content-sha256&Signature=abc=",
            b"HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256;x-absent&Signature=abc=",
            b"HMAC-SHA256 SignedHeaders=;;&Signature=abc=",
        ],
    )
    def test_what_does_not_cover_enough_is_refused(self, authorization: bytes) -> None:
        with pytest.raises(Denied):
            read_proof(a_request(authorization=authorization))

    @pytest.mark.parametrize("name", ["authorization", "x-ms-date", "x-ms-content-sha256", "host"])
    def test_a_needed_header_that_is_missing_is_refused(self, name: str) -> None:
        with pytest.raises(Denied):
            read_proof(a_request(**{name: None}))

    @pytest.mark.parametrize("name", ["authorization", "x-ms-date", "x-ms-content-sha256", "date"])
    def test_a_security_header_sent_twice_is_refused(self, name: str) -> None:
        request = a_request(date=b"Mon, 23 Nov 2026 12:00:00 GMT")
        doubled = [*request.headers, (name.encode(), dict(request.headers)[name.encode()])]

        with pytest.raises(Denied, match="Denied") as refused:
            read_proof(signed_request(request.method, request.target, doubled, request.body))

        assert f"The header {name} was sent more than once." == refused.value.reason

    def test_a_doubled_host_is_no_valid_request_at_all(self) -> None:
        request = a_request()

        with pytest.raises(InvalidRequest):
            read_proof(signed_request("POST", request.target, [*request.headers, (b"host", b"x")], request.body))

    def test_a_date_beside_x_ms_date_is_fine_and_the_one_in_the_list_counts(self) -> None:
        proof = read_proof(a_request(date=b"Thu, 01 Jan 1970 00:00:00 GMT"))

        assert "Mon, 23 Nov 2026 12:00:00 GMT" == proof.date

    def test_names_of_scheme_and_headers_are_not_case_sensitive(self) -> None:
        shouted = AUTHORIZATION.replace(b"HMAC-SHA256", b"hmac-sha256").replace(b"x-ms-date;host", b"X-Ms-Date;Host")

        assert b"localhost:12080" == read_proof(a_request(authorization=shouted)).host

    def test_a_wrong_body_hash_has_the_text_of_acs(self) -> None:
        request = a_request()

        with pytest.raises(Denied, match="x-ms-content-sha256") as refused:
            read_proof(signed_request("POST", request.target, request.headers, b"{ }"))

        assert HASH_DIFFERS == refused.value.message


def dated(text: str) -> Proof:
    return read_proof(a_request(**{"x-ms-date": text.encode("latin-1")}))


class TestDates:
    @pytest.mark.parametrize("skew", [0, MAX_CLOCK_SKEW, -MAX_CLOCK_SKEW])
    def test_fifteen_minutes_off_are_allowed(self, skew: int) -> None:
        check_date(dated("Mon, 23 Nov 2026 12:00:00 GMT"), NOON + skew)

    @pytest.mark.parametrize(
        ("skew", "words"),
        [(MAX_CLOCK_SKEW + 1000, "901 seconds behind"), (-MAX_CLOCK_SKEW - 1000, "901 seconds ahead of")],
    )
    def test_more_is_refused_and_the_message_says_by_how_much(self, skew: int, words: str) -> None:
        with pytest.raises(Denied, match=words):
            check_date(dated("Mon, 23 Nov 2026 12:00:00 GMT"), NOON + skew)

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "2026-11-23T12:00:00Z",
            "Mon, 23 Nov 2026 12:00:00",
            "Mon, 23 Nov 2026 12:00:00 CET",
            "Mon, 3 Nov 2026 12:00:00 GMT",
            "Mon, 23 Nov 2026 25:00:00 GMT",
            "Mon, 31 Feb 2026 12:00:00 GMT",
            "Mon, 23 Nov 2026 12:00:00 GMT ",
            "Mon, 23 Nov 0000 12:00:00 GMT",
            "Mon, ٢٣ Nov 2026 12:00:00 GMT",
        ],
    )
    def test_what_is_no_rfc_1123_date_is_none(self, text: str) -> None:
        assert parse_date(text) is None

    def test_what_a_stranger_sends_is_not_kept_however_long_it_is(self) -> None:
        parse_date.cache_clear()
        _read_list.cache_clear()
        for number in range(3):
            with pytest.raises(Denied):
                check_date(dated(f"{number}" + "x" * 30_000), NOON)
            with pytest.raises(Denied):
                read_proof(
                    a_request(authorization=AUTHORIZATION.replace(b"=x-ms", b"=a;" * 5_000 + b"%d;x-ms" % number))
                )

        # The one list is that of the requests with a date.
        assert (0, 1) == (parse_date.cache_info().currsize, _read_list.cache_info().currsize)

    def test_an_unreadable_date_is_refused(self) -> None:
        with pytest.raises(Denied):
            check_date(dated("yesterday"), NOON)


def test_secrets_print_as_dots() -> None:
    shown = f"{access_key(b'open sesame')!r} {access_key(b'open sesame').secret} {Secret(b'open sesame')!r}"

    assert "sesame" not in shown
