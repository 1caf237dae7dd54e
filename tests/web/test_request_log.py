"""Where a request came from, as the log has it."""

import pytest

from mintmark.settings.files import trusted_networks
from mintmark.web.call import Call
from mintmark.web.request_log import client_address


def call(client: str, *forwarded: str) -> Call:
    scope = {
        "method": "GET",
        "path": "/",
        "raw_path": b"/",
        "query_string": b"",
        "headers": [(b"x-forwarded-for", each.encode()) for each in forwarded],
        "client": (client, 50000),
    }

    async def receive() -> dict[str, object]:
        return {}

    return Call(scope, receive)


@pytest.mark.parametrize(
    ("client", "forwarded", "expected"),
    [
        pytest.param("192.0.2.1", "203.0.113.7", "192.0.2.1", id="no proxy"),
        pytest.param("::ffff:192.0.2.1", "203.0.113.7", "192.0.2.1", id="no proxy, IPv4 in IPv6"),
        pytest.param("10.0.0.5", "203.0.113.7", "203.0.113.7", id="a proxy"),
        pytest.param("::ffff:10.0.0.5", "203.0.113.7", "203.0.113.7", id="a proxy, IPv4 in IPv6"),
        pytest.param("10.0.0.5", "::ffff:203.0.113.7", "203.0.113.7", id="behind a proxy, IPv4 in IPv6"),
        pytest.param("10.0.0.5", "203.0.113.7, ::ffff:10.0.0.6", "203.0.113.7", id="two proxies"),
        pytest.param("2001:db8::1", "203.0.113.7", "203.0.113.7", id="a proxy, IPv6"),
        pytest.param("2001:db9::1", "203.0.113.7", "2001:db9::1", id="no proxy, IPv6"),
        pytest.param("10.0.0.5", "nobody", "", id="no address"),
    ],
)
def test_an_ipv4_address_is_one_in_whichever_form(client: str, forwarded: str, expected: str) -> None:
    proxies = trusted_networks(["10.0.0.0/8", "2001:db8::/32"])

    assert expected == client_address(call(client, forwarded), proxies)
