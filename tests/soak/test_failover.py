"""The primary is killed, or frozen and thawed when another has taken over, again and again, under load.

Two nodes over a primary and its synchronous standby; in each round the standby takes over, and a new one is made.
MINTMARK_FAILOVER_ROUNDS sets how many rounds.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from time import monotonic, sleep

import pytest

from nodes.several import nodes
from postgres import Cluster, folder
from process.watching import eventually
from soak.load import Load
from soak.stored import in_postgres
from soak.tally import Tally, show

ROUNDS = int(os.environ.get("MINTMARK_FAILOVER_ROUNDS", "2"))
WARM, CALM = 1.0, 2.0  # seconds of load before the fault, and after all nodes write again
THAWED = 0.5  # seconds for which the old primary runs beside the new one
STANDBY = "standby"
SYNCHRONOUS = "select count(*) from pg_stat_replication where sync_state = 'sync' and state = 'streaming'"

pytestmark = pytest.mark.long


class Pair:
    """A primary and the standby that has to confirm each commit, on the same two ports for ever."""

    def __init__(self, parent: Path) -> None:
        self._parent, self._number = parent, count()
        self.primary = Cluster(self._folder())
        self.primary.initialise()
        self.primary.start()
        self.standby = Cluster(self._folder())
        self._follow()

    @property
    def address(self) -> str:
        """It names both."""
        return f"postgresql://mintmark@{self.primary.hosts},{self.standby.hosts}/postgres"

    def replace_standby(self) -> None:
        """Promoted, it is the primary; a new copy of it takes the place of the old one, which has been killed."""
        old, self.primary = self.primary, self.standby
        shutil.rmtree(old.folder)
        self.standby = Cluster(self._folder())
        self.standby.port = old.port
        self._follow()

    def remove(self) -> None:
        """Ends both, whatever they do."""
        for cluster in (self.primary, self.standby):
            if cluster._process is not None and cluster._process.poll() is None:
                cluster.kill()
            shutil.rmtree(cluster.folder, ignore_errors=True)

    def _folder(self) -> Path:
        return self._parent / f"server-{next(self._number)}"

    def _follow(self) -> None:
        self.primary.sql("checkpoint")  # Else the copy would wait minutes for one that takes its time.
        self.standby.follow(self.primary, STANDBY)
        self.standby.start()
        self.primary.set("synchronous_standby_names", STANDBY)
        eventually("the standby confirms commits", lambda: self.primary.sql(SYNCHRONOUS) == "1")


@contextmanager
def a_pair() -> Iterator[Pair]:
    with folder() as parent:
        pair = Pair(parent)
        try:
            yield pair
        finally:
            pair.remove()


def test_nothing_acknowledged_is_undone_when_the_primary_is_replaced_again_and_again(tmp_path: Path) -> None:
    tally = Tally()
    with a_pair() as pair, nodes(tmp_path, pair.address, 2) as several:
        resource = several[0].add_resource("shop")
        known = f"resources/{resource.id}"
        eventually("all know it", lambda: all(200 == at.admin("GET", known).status for at in several))
        for number in range(ROUNDS):
            way = ("primary killed", "primary frozen")[number % 2]
            load = Load(several, resource, f"round-{number}")
            fault = one_round(pair, load, is_frozen=way == "primary frozen")
            tally.add_gaps(f"{way}, first write", load.gaps_since(fault))
            tally.add_gaps(f"{way}, longest pause", load.pauses_since(fault))
            tally.add(load, in_postgres(pair.primary))
            assert [] == load.surprises
    show("failover", tally)
    tally.assert_clean()


def one_round(pair: Pair, load: Load, *, is_frozen: bool) -> float:
    """One failover under load, after which there is a standby again; answers when the fault was."""
    old = pair.primary
    with load.running():
        sleep(WARM)
        if is_frozen:
            old.freeze()
        else:
            old.kill()
        fault = monotonic()
        pair.standby.promote()
        load.await_writes(fault)
        sleep(CALM)
        if is_frozen:
            old.thaw()  # It believes that it is the primary still.
            sleep(THAWED)
            old.kill()
            sleep(THAWED)
    pair.replace_standby()
    load.ask_all_again()
    return fault
