"""What a browser asks of a server before a page of another origin may use the SDK (the CORS protocol of Fetch)."""

import pytest

from calls import CREATE, WITH_TOKEN, Answer, ask, create_headers
from running import RunningServer

PAGE = "http://page.example:3000"
# The headers that the JavaScript SDK sets, as a browser announces them: in lower case, sorted, without blanks.
SDK_HEADERS = "authorization,content-type,x-ms-client-request-id,x-ms-content-sha256,x-ms-date,x-ms-useragent"
PREFLIGHT = {
    "origin": PAGE,
    "access-control-request-method": "POST",
    "access-control-request-headers": SDK_HEADERS,
}


@pytest.fixture(params=["https", "http"])
def address(request: pytest.FixtureRequest, server: RunningServer) -> str:
    return server.https_endpoint if request.param == "https" else server.http_endpoint


def listed(answer: Answer, name: str) -> set[str]:
    return {part.strip().lower() for part in answer.headers[name].split(",")}


def test_the_preflight_allows_what_the_sdk_sends(server: RunningServer, address: str) -> None:
    answer = ask(address, CREATE, method="OPTIONS", headers=PREFLIGHT, ca=server.ca)

    assert 204 == answer.status
    assert b"" == answer.body
    assert answer.headers["access-control-allow-origin"] in ("*", PAGE)
    assert "post" in listed(answer, "access-control-allow-methods")
    assert listed(answer, "access-control-allow-headers") >= set(SDK_HEADERS.split(","))
    assert int(answer.headers["access-control-max-age"]) > 0
    assert "access-control-allow-private-network" not in answer.headers


def test_the_preflight_of_a_public_page_is_told_that_private_networks_are_meant(server: RunningServer) -> None:
    asked = {**PREFLIGHT, "access-control-request-private-network": "true"}
    answer = ask(server.http_endpoint, CREATE, method="OPTIONS", headers=asked)

    assert "true" == answer.headers["access-control-allow-private-network"]


def test_the_page_may_read_the_answer(server: RunningServer, address: str) -> None:
    headers = {**create_headers(address), "origin": PAGE, "x-ms-client-request-id": "4711"}
    answer = ask(address, CREATE, method="POST", headers=headers, body=WITH_TOKEN, ca=server.ca)

    assert 201 == answer.status
    assert answer.json["accessToken"]["token"]
    assert answer.headers["access-control-allow-origin"] in ("*", PAGE)
    assert {"ms-cv", "x-ms-client-request-id"} <= listed(answer, "access-control-expose-headers")
    assert "4711" == answer.headers["x-ms-client-request-id"]


def test_the_page_may_read_why_it_was_refused(address: str, server: RunningServer) -> None:
    headers = {**create_headers(address, key=b"the key of somebody else"), "origin": PAGE}
    answer = ask(address, CREATE, method="POST", headers=headers, body=WITH_TOKEN, ca=server.ca)

    assert 401 == answer.status
    assert "Denied" == answer.json["error"]["code"]
    assert answer.headers["access-control-allow-origin"] in ("*", PAGE)


@pytest.mark.parametrize("path", ["/.well-known/jwks.json", "/.well-known/openid-configuration"])
def test_the_page_may_read_what_relying_parties_read(server: RunningServer, path: str) -> None:
    answer = ask(server.http_endpoint, path, headers={"origin": PAGE})

    assert 200 == answer.status
    assert answer.headers["access-control-allow-origin"] in ("*", PAGE)


def test_the_admin_listener_allows_no_page(server: RunningServer) -> None:
    answer = ask(server.admin_endpoint, "/_mintmark/identities", method="OPTIONS", headers=PREFLIGHT)

    assert answer.status >= 400
    assert not [name for name in answer.headers if name.startswith("access-control")]
