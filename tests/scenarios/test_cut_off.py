"""The rows of the failure matrix in which a network is cut: brokers, ZooKeeper and clients on machines of their own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.scenarios.network import Network, why_not
from tests.scenarios.real_cluster import RealCluster, eventually

from pykbroker.metadata.zookeeper_server import ZooKeeperServer, find_server

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("PYKBROKER_MATRIX" not in os.environ, reason="make matrix runs it"),
    pytest.mark.skipif(find_server() is None, reason="no ZooKeeper is installed"),
]
NAMES = ("broker-1", "broker-2", "broker-3")


class CutCluster(RealCluster):
    """Every broker on a machine of its own."""

    def __init__(self, network: Network, folder: Path, zookeeper: str, **config: str) -> None:
        self.network = network
        super().__init__(folder, zookeeper, 0, **config)

    def host(self, number: int) -> str:
        return self.network.address(f"broker-{number}")

    def at(self, machine: str) -> AbstractContextManager[None]:
        return self.network.inside(machine)

    def isr(self, number: int) -> set[int]:
        return set(self.partition(number, "t").isr_nodes)


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[CutCluster]:
    if (reason := why_not()) is not None:
        pytest.skip(reason)
    with Network("client", "zookeeper", *NAMES) as network:
        host = network.address("zookeeper")
        with network.inside("zookeeper"):
            server = ZooKeeperServer(tmp_path / "zookeeper", host=host, port=2181).start()
        made = CutCluster(network, tmp_path, server.address, replica_lag_time_max_ms="3000")
        try:
            for number in (1, 2, 3):
                made.start(number)
            yield made
        finally:
            made.close()
            server.kill()


@pytest.mark.parametrize("also", [(), NAMES], ids=["cut from ZooKeeper alone", "cut from everybody but clients"])
def test_a_leader_and_controller_that_is_cut_off(cluster: CutCluster, also: tuple[str, ...]) -> None:
    stale = cluster.controller(1)
    others = [one for one in (1, 2, 3) if one != stale]
    cluster.create("t", [stale, *others], min_insync_replicas="2")
    assert cluster.produce("t", b"before") == 0
    machine = f"broker-{stale}"
    for other in ("zookeeper", *also):
        if other != machine:
            cluster.network.cut(machine, other)
    eventually("another leads", lambda: cluster.partition(others[0], "t").leader_id in others)
    assert cluster.controller(others[0]) in others
    assert cluster.append(stale, "t", b"of nobody's").error_code != 0, "no acks=all without the ISR"
    process = cluster.brokers.pop(stale)
    assert cluster.produce("t", b"after") == 1
    cluster.brokers[stale] = process
    cluster.network.heal()
    eventually("it is in sync again", lambda: cluster.isr(others[0]) == {1, 2, 3})
    eventually("it knows who leads", lambda: cluster.partition(stale, "t").leader_id in others)
    assert cluster.controller(stale) in others
    assert cluster.produce("t", b"at last") == 2
    values = cluster.values("t")
    assert b"before" in values
    assert b"after" in values
    assert b"of nobody's" not in values


def test_a_leader_that_is_cut_from_one_follower(cluster: CutCluster) -> None:
    cluster.create("t", [1, 2, 3])
    assert cluster.produce("t", b"before") == 0
    cluster.network.cut("broker-1", "broker-2")
    assert cluster.produce("t", b"meanwhile") == 1
    eventually("all know that it is out", lambda: cluster.isr(1) == cluster.isr(3) == {1, 3})
    assert cluster.leader("t") == 1
    cluster.network.heal()
    eventually("it is in sync again", lambda: cluster.isr(1) == {1, 2, 3})
    assert cluster.segment(2, "t").read_bytes() == cluster.segment(1, "t").read_bytes()


def test_clients_that_reach_no_leader(cluster: CutCluster) -> None:
    """Cut from everybody, clients too: nobody can write there, and whoever asks another broker goes on."""
    cluster.create("t", [1, 2, 3], min_insync_replicas="2")
    assert cluster.produce("t", b"before") == 0
    for other in ("client", "zookeeper", "broker-2", "broker-3"):
        cluster.network.cut("broker-1", other)
    process = cluster.brokers.pop(1)
    assert cluster.produce("t", b"after") == 1
    cluster.brokers[1] = process
    cluster.network.heal()
    eventually("it is in sync again", lambda: cluster.isr(1) == {1, 2, 3})
    assert cluster.produce("t", b"at last") == 2
