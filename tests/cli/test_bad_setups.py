"""Brokers that can't join a cluster as they are set up: one line that says what is wrong, and what to do."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.cli.conftest import Command

from pykbroker.testing.process import BrokerProcess

pytestmark = pytest.mark.slow


def start(run: Command, folder: Path, zookeeper: str, *words: object, **config: str) -> str:
    """What a broker that doesn't start says last."""
    overrides = [f"--override={key.replace('_', '.')}={value}" for key, value in config.items()]
    ran = run("start", "--port", 0, "--zookeeper", zookeeper, "--data-dir", folder, *overrides, *words)
    assert (ran.status, ran.out) == (1, "")
    assert "Traceback" not in ran.err
    return ran.err.splitlines()[-1]


def test_nobody_answers_at_the_address(run: Command, tmp_path: Path) -> None:
    said = start(run, tmp_path, "127.0.0.1:1", zookeeper_connection_timeout_ms="200")
    reason = "no ZooKeeper answers at this address within 0.2 s (zookeeper.connect; one broker needs none)"
    assert said == f"pykbroker: 127.0.0.1:1: {reason}"


@pytest.mark.parametrize("address", ["127.0.0.1:port", "127.0.0.1:99999999"])
def test_what_is_no_address(run: Command, tmp_path: Path, address: str) -> None:
    assert "can't be used as zookeeper.connect" in start(run, tmp_path, address, zookeeper_connection_timeout_ms="200")


def test_somebody_else_is_there(run: Command, tmp_path: Path, zookeeper_chroot: str) -> None:
    config = {"zookeeper.connect": zookeeper_chroot, "zookeeper.session.timeout.ms": "1000", "node.id": "7"}
    with BrokerProcess(data_dir=tmp_path / "first", config=config) as broker:
        words = {"zookeeper_session_timeout_ms": "1000"}
        said = start(run, tmp_path / "second", zookeeper_chroot, "--node-id", 7, **words)
        there = f"another broker with node id 7 is running at {broker.bootstrap_servers}"
        assert said.endswith(f"{there}: start with another --node-id")
        address = {**words, "advertised_listeners": f"PLAINTEXT://{broker.bootstrap_servers}"}
        said = start(run, tmp_path / "third", zookeeper_chroot, "--node-id", 8, **address)
        assert said.endswith(f"broker 7 advertises the same address, {broker.bootstrap_servers}")


def test_data_of_another_cluster(run: Command, tmp_path: Path, zookeeper: object, zookeeper_chroot: str) -> None:
    with BrokerProcess(data_dir=tmp_path):
        pass
    known = next(
        line.partition("=")[2]
        for line in (tmp_path / "meta.properties").read_text().splitlines()
        if line.startswith("cluster.id=")
    )
    said = start(run, tmp_path, zookeeper_chroot)
    assert said.startswith(
        f"pykbroker: the data directory {tmp_path} belongs to cluster {known}, and the metadata store is"
    )
    assert said.endswith("give the right zookeeper.connect or another data directory")


def test_data_of_another_broker(run: Command, tmp_path: Path) -> None:
    (tmp_path / "meta.properties").write_text("version=0\nbroker.id=3\ncluster.id=abc\n")
    said = start(run, tmp_path, "127.0.0.1:1", "--node-id", 1)
    assert said == (f"pykbroker: the data directory {tmp_path} belongs to node 3, not 1: start with --node-id 3")
