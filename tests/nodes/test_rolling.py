"""Nodes behind nginx are replaced one by one, and the programs that use them see nothing of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mintmark.store.schema import MIGRATIONS
from nodes.fleet import COUNT, Fleet, Load, fleet
from postgres import Cluster
from process.watching import eventually

pytestmark = [pytest.mark.proxy, pytest.mark.long]


@pytest.fixture
def nodes(tmp_path: Path, database: str) -> Iterator[Fleet]:
    with fleet(tmp_path, database) as started:
        yield started


def identities(cluster: Cluster) -> int:
    """How many were made, with those that were deleted."""
    return int(cluster.sql("select count(*) from identity", "test"))


def migrations(cluster: Cluster) -> int:
    return int(cluster.sql("select count(*) from migration", "test"))


def check(nodes: Fleet, load: Load, cluster: Cluster, replaced: int) -> None:
    """Nothing failed, and nothing was done twice."""
    refused, log = nodes.refused(), nodes.nginx.log()
    passed_on, longest = sum("," in line["upstream"] for line in log), max(line["seconds"] for line in log)
    print(f"\n{len(log)} requests, {len(refused)} of them 503, {passed_on} passed on; the longest took {longest} s")  # noqa: T201
    assert [] == load.failures
    assert len(load.made) == identities(cluster)
    # nginx does not send a POST twice: one that was on its way when a node closed its connection is a 503.
    assert len(refused) <= replaced, refused


def test_an_identity_made_through_one_node_is_served_by_the_others_at_once(nodes: Fleet) -> None:
    client = nodes.client(nodes.add_resource())
    for _ in range(COUNT):
        before = len(nodes.nginx.log())
        user, _ = client.create_user_and_token(["chat"])
        for _ in range(COUNT - 1):
            assert client.get_token(user, ["voip"]).token
        client.revoke_tokens(user)
        client.delete_user(user)
        eventually("each has answered", lambda before=before: COUNT == len(nodes.answering(before)))  # type: ignore[misc]
    assert [] == nodes.refused()


def test_a_rolling_restart_fails_no_request(nodes: Fleet, cluster: Cluster) -> None:
    load = Load(nodes, nodes.add_resource())
    with load.running():
        for number in range(COUNT):
            nodes.replace(number)
            load.reach_all()

    check(nodes, load, cluster, COUNT)


def test_a_rolling_upgrade_fails_no_request_and_an_old_node_can_come_back(nodes: Fleet, cluster: Cluster) -> None:
    load = Load(nodes, nodes.add_resource())
    assert len(MIGRATIONS) == migrations(cluster)
    with load.running():
        nodes.replace(0, newer=True)
        assert len(MIGRATIONS) + 1 == migrations(cluster)
        load.reach_all()
        nodes.replace(1)
        load.reach_all()
        nodes.replace(1, newer=True)
        nodes.replace(2, newer=True)
        load.reach_all()

    check(nodes, load, cluster, COUNT + 1)
    assert len(MIGRATIONS) + 1 == migrations(cluster)
