"""The classes by which chat and calling SDKs hold a token: they accept ours and read its expiry."""

import asyncio
from datetime import datetime
from typing import Any

import pytest
from azure.communication.identity._shared.user_credential import CommunicationTokenCredential
from azure.communication.identity._shared.user_credential_async import (
    CommunicationTokenCredential as AsyncCommunicationTokenCredential,
)

from calls import create
from compat.conftest import RunNode
from running import RunningServer


class Issued:
    """A token and when the service says that it expires, in seconds since 1970-01-01 00:00 UTC."""

    def __init__(self, access_token: dict[str, str]) -> None:
        self.token = access_token["token"]
        self.expires_at = datetime.fromisoformat(access_token["expiresOn"]).timestamp()


@pytest.fixture(scope="module")
def issued(server: RunningServer) -> Issued:
    return Issued(create(server).json["accessToken"])


@pytest.fixture(scope="module")
def in_node(run_node: RunNode, issued: Issued) -> Any:
    return run_node("credentials.mjs", issued.token)


# The SDKs share this class as source; what identity carries is what chat and calling export by this name.


def test_pythons_credential_reads_it(issued: Issued) -> None:
    with CommunicationTokenCredential(issued.token) as credential:
        read = credential.get_token()

    assert (issued.token, issued.expires_at) == (read.token, read.expires_on)


def test_pythons_asynchronous_credential_reads_it(issued: Issued) -> None:
    async def read_it() -> Any:
        async with AsyncCommunicationTokenCredential(issued.token) as credential:
            return await credential.get_token()

    read = asyncio.run(read_it())

    assert (issued.token, issued.expires_at) == (read.token, read.expires_on)


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # the SDK's, from Python 3.12
def test_python_takes_it_for_fresh(issued: Issued) -> None:
    def refresh() -> None:
        raise AssertionError("a fresh token was to be refreshed")

    with CommunicationTokenCredential(issued.token, token_refresher=refresh) as credential:
        assert issued.token == credential.get_token().token


@pytest.mark.parametrize("way", ["asGiven", "fresh", "fetched"])
def test_nodes_credential_reads_it(issued: Issued, in_node: Any, way: str) -> None:
    assert issued.token == in_node[way]["token"]
    assert issued.expires_at * 1000 == in_node[way]["expiresOnTimestamp"]


def test_node_takes_it_for_fresh(in_node: Any) -> None:
    assert 0 == in_node["refreshedWhileFresh"]
    assert 1 == in_node["refreshed"]
