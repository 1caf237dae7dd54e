import pytest

from mintmark.errors import ApiVersionUnspecified, InvalidRequest, UnsupportedApiVersion, UnsupportedMediaType
from mintmark.model import AccessToken, Identity
from mintmark.web.wire import (
    NEWEST,
    VERSIONS,
    CreateRequest,
    api_version,
    expires_on,
    read_create,
    read_introspect,
    write_created,
)

JSON = b"application/json"
GA_2023 = VERSIONS["2023-10-01"]


class TestApiVersion:
    @pytest.mark.parametrize("name", list(VERSIONS))
    def test_every_version_of_the_contract_is_served(self, name: str) -> None:
        assert name == api_version("create", "/identities", f"api-version={name}".encode()).name

    @pytest.mark.parametrize("name", ["2026-09-24", "2027-01-01", "2031-12-31-preview"])
    def test_a_later_version_is_served_as_the_newest(self, name: str) -> None:
        version = api_version("create", "/identities", f"api-version={name}".encode())

        assert (name, NEWEST.scopes) == (version.name, version.scopes)

    @pytest.mark.parametrize("query", [b"", b"x=1", b"api-version=", b"api-version", b"API-VERSION=2023-10-01"])
    def test_none_is_refused_with_the_list(self, query: bytes) -> None:
        with pytest.raises(ApiVersionUnspecified, match="2021-03-07, 2022-06-01, 2022-10-01, 2023-10-01"):
            api_version("create", "/identities", query)

    @pytest.mark.parametrize(
        "name",
        [
            "2020-07-20-preview2",
            "2021-03-08",
            "2023-08-01",
            "1",
            "latest",
            "2027-13-01",
            "9999-99-99",
            "2026-9-1",
            "2026-9-24",
            "2027-1-1",
            "2026-09-23-preview",
            "2027-01-01-beta",
            "%EF%BC%92027-01-01",
            "3",
            "%00",
            "%FF",
        ],
    )
    def test_any_other_is_refused_with_the_list(self, name: str) -> None:
        with pytest.raises(UnsupportedApiVersion, match="Supported: 2021-03-07"):
            api_version("create", "/identities", f"api-version={name}".encode())

    def test_two_different_ones_are_refused(self) -> None:
        with pytest.raises(UnsupportedApiVersion, match="2023-10-01, 2025-06-30"):
            api_version("create", "/identities", b"api-version=2023-10-01&api-version=2025-06-30")


class TestCreate:
    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"", b""),
            (b"", JSON),
            (b"", b"text/plain"),
            (b"{}", JSON),
            (b"{}", b""),
            (b'{"createTokenWithScopes": null, "expiresInMinutes": null}', JSON),
            (b'{"createTokenWithScopes": []}', JSON),
            (b'{"unknown": {"deep": [1, 2]}}', JSON),
        ],
    )
    def test_all_that_mean_an_identity_alone(self, body: bytes, content_type: bytes) -> None:
        assert CreateRequest() == read_create(body, content_type, GA_2023)

    @pytest.mark.parametrize("scope", GA_2023.scopes)
    def test_every_scope(self, scope: str) -> None:
        assert (scope,) == read_create(f'{{"createTokenWithScopes":["{scope}"]}}'.encode(), JSON, GA_2023).token.scopes

    def test_a_scope_named_twice_counts_once_at_its_first_place(self) -> None:
        body = b'{"createTokenWithScopes":["voip","chat","voip"]}'

        assert ("voip", "chat") == read_create(body, JSON, GA_2023).token.scopes

    @pytest.mark.parametrize("minutes", [60, 61, 1439, 1440])
    def test_minutes_within_the_interval(self, minutes: int) -> None:
        assert minutes == read_create(f'{{"expiresInMinutes":{minutes}}}'.encode(), JSON, GA_2023).token.minutes

    @pytest.mark.parametrize(
        "minutes",
        ["59", "1441", "0", "-60", "60.0", "60.5", "6e1", '"60"', "true", "[60]", "{}", "1e400", "9" * 5000, "-0"],
    )
    @pytest.mark.parametrize("scopes", ["", '"createTokenWithScopes":["chat"],'])
    def test_any_other_minutes_are_refused_with_the_text_of_acs(self, minutes: str, scopes: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            read_create(f'{{{scopes}"expiresInMinutes":{minutes}}}'.encode(), JSON, GA_2023)

        assert "ExpiresInMinutes" == refused.value.target
        assert refused.value.message.startswith(f"ExpiresInMinutes value {minutes[:100]}")
        assert refused.value.message.endswith("is invalid. Value must be within the [60, 1440] interval.")
        assert len(refused.value.message) < 250

    @pytest.mark.parametrize("name", ["2021-03-07", "2022-06-01"])
    def test_minutes_mean_nothing_before_they_existed(self, name: str) -> None:
        assert read_create(b'{"expiresInMinutes":1}', JSON, VERSIONS[name]).token.minutes is None

    @pytest.mark.parametrize(
        ("scopes", "named"),
        [
            ('["foo"]', "value 'foo'"),
            ('["chat","Chat"]', "value 'Chat'"),
            ('["chat voip"]', "value 'chat voip'"),
            ('[""]', "value ''"),
            ('"chat"', "must be a list"),
            ("[1]", "must be a list"),
            ("[null]", "must be a list"),
            ('{"chat":true}', "must be a list"),
            ("true", "must be a list"),
        ],
    )
    def test_unknown_scopes_are_refused_with_the_list(self, scopes: str, named: str) -> None:
        with pytest.raises(InvalidRequest) as refused:
            read_create(f'{{"createTokenWithScopes":{scopes}}}'.encode(), JSON, GA_2023)

        assert "createTokenWithScopes" == refused.value.target
        assert named in refused.value.message
        assert refused.value.message.endswith("chat, voip, chat.join, chat.join.limited, voip.join.")

    @pytest.mark.parametrize("name", ["2021-03-07", "2022-06-01", "2022-10-01"])
    def test_a_scope_of_a_newer_version_is_unknown_to_an_older(self, name: str) -> None:
        with pytest.raises(InvalidRequest, match=f"Allowed in api-version {name}: chat, voip\\."):
            read_create(b'{"createTokenWithScopes":["voip.join"]}', JSON, VERSIONS[name])

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b"{", "not JSON"),
            (b'{"a":1,}', "byte 7"),
            (b"{'a':1}", "byte 1"),
            (b"{}{}", "byte 3"),
            (b'{"expiresInMinutes":NaN}', "byte 20"),
            (b'{"createTokenWithScopes":["\\ud800"]}', "not JSON"),
            (b"[]", "JSON object"),
            (b"null", "JSON object"),
            (b'"{}"', "JSON object"),
            (b"1", "JSON object"),
            (b'{"a":"\xff"}', "not UTF-8: byte 6"),
            (b"\xef\xbb\xbf{}", "not JSON"),
            ('{"a":1}'.encode("utf-16"), "not UTF-8"),
            (b'{"a":' + b"[" * 20000 + b"]" * 20000 + b"}", "nested too deeply"),
            (b'{"createTokenWithScopes":' + b"[" * 20000 + b"]" * 20000 + b"}", "nested too deeply"),
            (b'{"expiresInMinutes":' + b'{"a":' * 9000 + b"1" + b"}" * 9000 + b"}", "nested too deeply"),
        ],
    )
    def test_what_is_no_json_object_is_refused_and_told_where(self, body: bytes, words: str) -> None:
        with pytest.raises(InvalidRequest, match=words):
            read_create(body, JSON, GA_2023)

    @pytest.mark.parametrize(
        "content_type",
        [
            b"application/json; charset=utf-8",
            b'Application/JSON;charset="UTF-8"',
            b"text/json",
            b"application/merge-patch+json",
            b" application/json ",
        ],
    )
    def test_json_by_any_of_its_names_is_read(self, content_type: bytes) -> None:
        assert CreateRequest() == read_create(b"{}", content_type, GA_2023)

    @pytest.mark.parametrize(
        "content_type",
        [
            b"text/plain",
            b"application/xml",
            b"application/x-www-form-urlencoded",
            b"json",
            b"application/json; charset=utf-16",
            b"application/json; a=1; charset=latin1",
            b"\xff",
        ],
    )
    def test_what_is_not_json_is_refused(self, content_type: bytes) -> None:
        with pytest.raises(UnsupportedMediaType, match="Send application/json"):
            read_create(b"{}", content_type, GA_2023)


class TestAnswers:
    IDENTITY = Identity("2dee53b4-368b-45b4-ab52-8493fb117652", bytes(range(16)), 0)

    def test_an_identity_alone_has_no_access_token_member(self) -> None:
        expected = (
            b'{"identity":{"id":"8:acs:2dee53b4-368b-45b4-ab52-8493fb117652_00010203-0405-0607-0809-0a0b0c0d0e0f"}}'
        )

        assert expected == write_created(self.IDENTITY, None)

    def test_a_token_stands_beside_its_identity_in_compact_json(self) -> None:
        expected = (
            b'{"identity":{"id":"8:acs:2dee53b4-368b-45b4-ab52-8493fb117652_00010203-0405-0607-0809-0a0b0c0d0e0f"},'
            b'"accessToken":{"token":"a.b.c","expiresOn":"2023-10-19T15:35:22.0000000+00:00"}}'
        )

        assert expected == write_created(self.IDENTITY, AccessToken("a.b.c", 1_697_729_722))

    def test_times_are_written_as_dotnet_writes_them(self) -> None:
        assert "1970-01-01T00:00:00.0000000+00:00" == expires_on(0)


class TestIntrospect:
    def test_the_token_is_read(self) -> None:
        assert "a.b.c" == read_introspect(b'{"token":"a.b.c"}', JSON)

    @pytest.mark.parametrize("body", [b"{}", b'{"token":null}', b'{"token":1}'])
    def test_no_token_is_refused(self, body: bytes) -> None:
        with pytest.raises(InvalidRequest, match="token is required"):
            read_introspect(body, JSON)
