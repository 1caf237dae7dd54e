"""The page on several nodes, and the files that it installs, say the same; and they work."""

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from azure.communication.identity import CommunicationIdentityClient
from azure.core.credentials import AzureKeyCredential

from docs.markdown import DOCS, blocks
from mintmark.settings.load import load
from nodes.fleet import COUNT, fleet_command
from nodes.several import node
from postgres import Cluster
from process.watching import free_port
from proxy.nginx import PACKAGING, changed, nginx_environ
from running import MINTMARK
from serving import Files, Serving, serving

PAGE = DOCS / "how-to" / "run-several-nodes.md"
CONFIGURATION = PACKAGING / "mintmark-node.toml"
UNIT = PACKAGING / "mintmark.service"
SANDBOXED = (sys.executable, str(Path(__file__).parents[1] / "proxy" / "sandboxed.py"), str(UNIT))
NODES = (PACKAGING / "nginx-nodes.conf").read_text()
CONNECTIONS = 8  # of a worker, as the page counts them


def test_the_page_shows_the_packaged_configuration() -> None:
    (shown,) = [block.text for block in blocks(PAGE) if block.noted("file") == "mintmark.toml"]

    assert tomllib.loads(CONFIGURATION.read_text()) == tomllib.loads(shown)


def test_the_packaged_configuration_is_good(tmp_path: Path) -> None:
    files = Files(tmp_path)
    keys = ("--key-encryption-key-file", str(files.key_encryption_key), "--admin-key-file", str(files.admin_key))
    files.write_certificate()
    packaged = load("serve", {}, {}, CONFIGURATION).settings.database
    address = re.sub("sslrootcert=[^&]*", f"sslrootcert={files.authority}", packaged)
    command = [*MINTMARK, "config", "check", "--config", str(CONFIGURATION), *keys, "--database", address]

    checked = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (0, "") == (checked.returncode, checked.stderr)


def test_the_packaged_configuration_has_several_servers_and_checks_their_certificate() -> None:
    address = urlsplit(load("serve", {}, {}, CONFIGURATION).settings.database)

    assert 2 == len(address.netloc.rpartition("@")[2].split(","))
    assert ["verify-full"] == parse_qs(address.query)["sslmode"]


def test_the_page_names_files_that_exist_and_what_is_in_them() -> None:
    page = PAGE.read_text()
    named = set(re.findall(r"packaging/([\w.-]+)", page))

    assert {"nginx-nodes.conf", "mintmark-node.toml", "mintmark.service"} == named
    assert all((PACKAGING / name).is_file() for name in named)
    assert f"http_port = {re.findall(r'server [0-9.]+:([0-9]+) ', NODES)[0]}\n" in page
    assert COUNT == len(re.findall(r"^ +server 10\.", NODES, re.MULTILINE))
    assert f"max_connections` | {CONNECTIONS} for each worker" in page


@pytest.mark.proxy
def test_nginx_takes_the_packaged_file(tmp_path: Path) -> None:
    command = fleet_command(tmp_path / "nginx", free_port(), [free_port() for _ in range(COUNT)], Files(tmp_path))

    tested = subprocess.run([*command, "-t"], env=nginx_environ(), capture_output=True, text=True, check=False)

    assert 0 == tested.returncode, tested.stderr
    assert "warn" not in tested.stderr


@contextmanager
def configured(folder: Path, database: str) -> Iterator[Serving]:
    """A node with the packaged configuration in the sandbox of the unit, with other paths and a server without TLS."""
    address = tomllib.loads(CONFIGURATION.read_text())["database"]
    (folder / "mintmark.toml").write_text(changed(CONFIGURATION.read_text(), {address: database}))
    flags = ("--config", str(folder / "mintmark.toml"), "--host", "localhost")
    with serving(folder, *flags, wrapped=SANDBOXED) as started:
        yield started


@pytest.mark.proxy
def test_a_node_does_all_of_it_in_the_sandbox_of_the_unit(tmp_path: Path, database: str) -> None:
    with configured(tmp_path, database) as at:
        at.add_resource("shop")
        assert 200 == at.admin("GET", "ready").status
        assert 0 == at.stop()


def a_client(at: Serving) -> CommunicationIdentityClient:
    """The official SDK, for a resource that is new."""
    key = at.add_resource("shop").connection_string.partition("accesskey=")[2]
    return CommunicationIdentityClient(at.endpoint, AzureKeyCredential(key))


@pytest.mark.long
def test_a_worker_holds_as_many_connections_as_the_page_says(tmp_path: Path, database: str, cluster: Cluster) -> None:
    with node(tmp_path, database, 0) as at:
        client = a_client(at)
        user, token = client.create_user_and_token(["chat"])
        client.get_token(user, ["chat"])
        assert 200 == at.admin("POST", "introspect", {"token": token.token}).status
        client.revoke_tokens(user)
        client.delete_user(user)
        assert 201 == at.admin("POST", "identities", {"customId": "anna"}).status
        held = cluster.sql("select count(*) from pg_stat_activity where application_name = 'mintmark'")

    assert str(CONNECTIONS) == held


@pytest.mark.long
def test_after_a_restore_generations_go_in_other_steps_and_the_feed_is_new(
    tmp_path: Path, database: str, cluster: Cluster
) -> None:
    (statement,) = [block.text for block in blocks(PAGE) if block.language == "sql"]
    query = "select epoch || ' ' || generation_step from revision"
    with node(tmp_path, database, 0):
        epoch, step = cluster.sql(query, "test").split()
    assert "1" == step

    cluster.sql(statement, "test")

    new_epoch, new_step = cluster.sql(query, "test").split()
    assert epoch != new_epoch
    assert len(epoch) == len(new_epoch)
    assert 1 < int(new_step) <= 1 << 32
    with node(tmp_path, database, 0) as at:
        client = a_client(at)
        client.revoke_tokens(client.create_user())
        assert new_step == cluster.sql("select generation from identity", "test")
