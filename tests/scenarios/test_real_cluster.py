"""Rows of the failure matrix on real processes and a real ZooKeeper; `make matrix` runs them all."""

import os
import socket
import time
from functools import partial
from pathlib import Path

import pytest
from tests.scenarios.real_cluster import SESSION_SECONDS, RealCluster, eventually, real_cluster

from pykbroker.metadata.zookeeper_server import ZooKeeperServer, find_server
from pykbroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.testing.client import WireClient

pytestmark = pytest.mark.slow
whole = pytest.mark.skipif("PYKBROKER_MATRIX" not in os.environ, reason="make matrix runs it")


def isr(cluster: RealCluster, at: int, topic: str) -> set[int]:
    return set(cluster.partition(at, topic).isr_nodes)


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def in_sync(cluster: RealCluster, at: int) -> bool:
    return isr(cluster, at, "t") == {1, 2, 3}


def test_the_leader_and_controller_is_killed_and_comes_back(tmp_path: Path, zookeeper_chroot: str) -> None:
    with real_cluster(tmp_path, zookeeper_chroot) as cluster:
        first = cluster.controller(1)
        others = [one for one in (1, 2, 3) if one != first]
        cluster.create("t", [first, *others])
        assert cluster.produce("t", b"before") == 0
        began = time.monotonic()
        cluster.kill(first)
        assert cluster.produce("t", b"after") == 1
        assert time.monotonic() - began < SESSION_SECONDS + 10
        assert cluster.controller(others[0]) in others
        assert cluster.partition(others[0], "t").leader_epoch >= 1
        assert isr(cluster, others[0], "t") == set(others)
        cluster.start(first)
        eventually("the killed one is in sync again", lambda: isr(cluster, first, "t") == {1, 2, 3})
        values = cluster.values("t")
        assert b"before" in values
        assert b"after" in values


@whole
def test_zookeeper_restarts_and_a_broker_stops_cleanly(tmp_path: Path) -> None:
    if find_server() is None:
        pytest.skip("no ZooKeeper is installed")
    server = ZooKeeperServer(tmp_path / "zookeeper").start()
    try:
        with real_cluster(tmp_path, server.address) as cluster:
            cluster.create("t", [1, 2, 3])
            cluster.produce("t", b"one")
            server.kill()
            assert cluster.produce("t", b"two") == 1, "the data plane goes on"
            server.start()
            cluster.create("u", [2, 3, 1])
            cluster.produce("u", b"three")
            cluster.stop(2)
            left = next(iter(cluster.brokers))
            eventually("it has left", lambda: isr(cluster, left, "u") == {1, 3})
            assert cluster.leader("u") == 3
            cluster.produce("u", b"four")
    finally:
        server.kill()


@whole
def test_listeners_are_added_on_all_brokers_while_they_run(tmp_path: Path, zookeeper_chroot: str) -> None:
    protocols = "PLAINTEXT:PLAINTEXT,SECOND:PLAINTEXT"
    with real_cluster(tmp_path, zookeeper_chroot, listener_security_protocol_map=protocols) as cluster:
        cluster.create("t", [1, 2, 3])
        second = {number: free_port() for number in cluster.brokers}
        change = IncrementalAlterConfigsRequest.Resource.Config
        for number, port in second.items():
            listeners = f"PLAINTEXT://127.0.0.1:{cluster.ports[number]},SECOND://127.0.0.1:{port}"
            one = IncrementalAlterConfigsRequest.Resource(
                resource_type=4, resource_name=str(number), configs=[change(name="listeners", value=listeners)]
            )
            (answer,) = cluster.ask(number, IncrementalAlterConfigsRequest(resources=[one]), 1).responses
            assert answer.error_code == 0, answer.error_message

        def told() -> list[dict[int, int]]:
            found = []
            for port in second.values():
                with WireClient("127.0.0.1", port) as client:
                    brokers = client.request(MetadataRequest(topics=[]), 12).brokers
                found.append({broker.node_id: broker.port for broker in brokers})
            return found

        eventually("every broker tells of the new listeners of all", lambda: told() == [second] * 3)
        assert cluster.produce("t", b"after") == 0
        controller = cluster.controller(1)
        cluster.kill(controller)
        cluster.start(controller)
        eventually("they are there after a restart", lambda: told() == [second] * 3)


@whole
def test_a_broker_stands_still_for_longer_than_its_session(tmp_path: Path, zookeeper_chroot: str) -> None:
    with real_cluster(tmp_path, zookeeper_chroot, replica_lag_time_max_ms="4000") as cluster:
        controller = cluster.controller(1)
        others = [one for one in (1, 2, 3) if one != controller]
        cluster.create("t", [controller, *others])
        cluster.produce("t", b"before")
        cluster.pause(controller)
        broker = cluster.brokers.pop(controller)
        cluster.produce("t", b"meanwhile")
        cluster.brokers[controller] = broker
        cluster.resume(controller)
        eventually("it is in sync again", lambda: isr(cluster, others[0], "t") == {1, 2, 3})
        assert cluster.controller(others[0]) in others
        assert cluster.produce("t", b"after") == 2


@whole
def test_a_follower_is_killed(tmp_path: Path, zookeeper_chroot: str) -> None:
    with real_cluster(tmp_path, zookeeper_chroot) as cluster:
        cluster.create("t", [1, 2, 3], min_insync_replicas="2")
        cluster.produce("t", b"1")
        cluster.kill(2)
        cluster.produce("t", b"2")
        eventually("it is out of the ISR", lambda: isr(cluster, 1, "t") == {1, 3})
        cluster.start(2)
        eventually("it is in sync again", lambda: isr(cluster, 1, "t") == {1, 2, 3})


@whole
def test_a_restart_within_the_session_timeout(tmp_path: Path, zookeeper_chroot: str) -> None:
    with real_cluster(tmp_path, zookeeper_chroot) as cluster:
        cluster.create("t", [1, 2, 3])
        cluster.produce("t", b"1")
        cluster.kill(1)
        cluster.start(1)
        eventually("it is in sync again", lambda: isr(cluster, 1, "t") == {1, 2, 3})
        assert cluster.produce("t", b"2") == 1


@whole
def test_all_brokers_die_and_return(tmp_path: Path, zookeeper_chroot: str) -> None:
    with real_cluster(tmp_path, zookeeper_chroot) as cluster:
        cluster.create("t", [1, 2, 3])
        cluster.produce("t", b"1")
        for number in (1, 2, 3):
            cluster.kill(number)
        for number in (1, 2, 3):
            cluster.start(number)
        eventually("all are in sync", lambda: isr(cluster, 1, "t") == {1, 2, 3})
        assert cluster.produce("t", b"2") == 1


@whole
def test_the_last_of_the_isr_dies(tmp_path: Path, zookeeper_chroot: str) -> None:
    with real_cluster(tmp_path, zookeeper_chroot) as cluster:
        cluster.create("t", [1, 2])
        cluster.produce("t", b"1")
        cluster.kill(2)
        eventually("2 is out", lambda: isr(cluster, 1, "t") == {1})
        cluster.produce("t", b"2")
        cluster.kill(1)
        eventually("nobody leads", lambda: cluster.partition(3, "t").leader_id == -1)
        assert isr(cluster, 3, "t") == {1}
        cluster.start(2)
        assert cluster.partition(2, "t").leader_id == -1, "it was not in sync"
        cluster.start(1)
        assert cluster.produce("t", b"3") == 2


@whole
def test_a_rolling_restart(tmp_path: Path, zookeeper_chroot: str) -> None:
    with real_cluster(tmp_path, zookeeper_chroot) as cluster:
        cluster.create("t", [1, 2, 3])
        for count, number in enumerate((1, 2, 3)):
            cluster.stop(number)
            assert cluster.produce("t", b"%d" % count) == count
            cluster.start(number)
            eventually("it is in sync", partial(in_sync, cluster, number))


@whole
def test_a_slow_follower(tmp_path: Path, zookeeper_chroot: str) -> None:
    slow = {"zookeeper_session_timeout_ms": "20000", "replica_lag_time_max_ms": "1000"}
    with real_cluster(tmp_path, zookeeper_chroot, **slow) as cluster:
        cluster.create("t", [1, 2, 3])
        cluster.produce("t", b"1")
        cluster.pause(2)
        broker = cluster.brokers.pop(2)
        assert cluster.produce("t", b"2") == 1, "acknowledged once it is out of the ISR"
        eventually("all know that it is out", lambda: isr(cluster, 1, "t") == {1, 3})
        cluster.brokers[2] = broker
        cluster.resume(2)
        eventually("it is in sync again", lambda: in_sync(cluster, 1))


@whole
def test_a_crash_leaves_a_torn_tail(tmp_path: Path, zookeeper_chroot: str) -> None:
    with real_cluster(tmp_path, zookeeper_chroot) as cluster:
        cluster.create("t", [1, 2, 3])
        for number in range(5):
            cluster.produce("t", b"record %d" % number)
        cluster.kill(2)
        segment = cluster.segment(2, "t")
        data = segment.read_bytes()
        segment.write_bytes(data[: len(data) * 2 // 3] + b"torn")
        cluster.start(2)
        eventually("it is in sync again", lambda: in_sync(cluster, 1))
        assert segment.read_bytes() == data, "fetched anew"


@whole
def test_a_leader_comes_back_with_less_than_its_followers(tmp_path: Path, zookeeper_chroot: str) -> None:
    with real_cluster(tmp_path, zookeeper_chroot) as cluster:
        cluster.create("t", [1, 2])
        cluster.produce("t", b"kept")
        kept = cluster.segment(1, "t").read_bytes()
        cluster.produce("t", b"lost by the leader")
        eventually("both have both", lambda: cluster.segment(2, "t").stat().st_size > len(kept))
        cluster.kill(2)
        eventually("2 is out", lambda: isr(cluster, 1, "t") == {1})
        cluster.kill(1)
        eventually("nobody leads", lambda: cluster.partition(3, "t").leader_id == -1)
        cluster.segment(1, "t").write_bytes(kept)
        cluster.start(1)
        eventually("it leads", lambda: cluster.leader("t") == 1)
        assert cluster.produce("t", b"in its place") == 1
        cluster.start(2)
        eventually("2 follows", lambda: isr(cluster, 1, "t") == {1, 2})
        assert b"lost" not in cluster.values("t")
        assert cluster.segment(2, "t").read_bytes() == cluster.segment(1, "t").read_bytes()
