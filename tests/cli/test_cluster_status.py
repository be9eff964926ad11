"""`pykbroker cluster status`: a whole cluster, one with a follower away, one with partitions that nobody leads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from tests.cli.conftest import Command, Ran

from pykbroker.testing import KafkaCluster
from pykbroker.testing.broker import KafkaBroker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster(config={"auto.create.topics.enable": False}) as made:
        yield made


@pytest.fixture
def pykbroker(cluster: KafkaCluster, run: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("PYKBROKER_BOOTSTRAP", cluster.bootstrap_servers)
    return run


def until(command: Command, ready: Callable[[Ran], bool]) -> Ran:
    """Asks until the brokers have heard of it; each of them learns by itself."""
    deadline = time.monotonic() + 30
    while not ready(ran := command("cluster", "status", "--json")):
        assert time.monotonic() < deadline, ran
    return ran


def test_a_whole_cluster_then_one_with_a_broker_away_then_a_partition_offline(
    cluster: KafkaCluster, pykbroker: Command
) -> None:
    assert pykbroker("topics", "create", "wide", "--partitions", 3).status == 0
    document = until(pykbroker, lambda ran: bool(ran.document["partitions"])).document
    assert (document["under_replicated"], document["offline"]) == (0, 0)
    assert document["controller"] == cluster.controller
    assert [(one["broker"], one["leads"], one["follows"]) for one in document["brokers"]] == [
        (1, 1, 2),
        (2, 1, 2),
        (3, 1, 2),
    ]
    first = document["partitions"][0]
    assert (first["topic"], first["partition"], first["state"]) == ("wide", 0, "ok")
    assert first["leader"] == first["replicas"][0]
    assert set(first["lag"].values()) == {0}

    away, lone = cluster.controller, "alone"
    assert pykbroker("topics", "create", lone, "--replica-assignment", away).status == 0
    until(pykbroker, lambda ran: len(ran.document["partitions"]) == 4)
    cluster.kill(away)

    def settled(ran: Ran) -> bool:
        counts = (ran.document["under_replicated"], ran.document["offline"])
        return counts == (4, 1) and all(away not in one["isr"] for one in ran.document["partitions"][1:])

    document = until(pykbroker, settled).document
    assert away not in [one["broker"] for one in document["brokers"]]
    offline, *under = document["partitions"]
    assert (offline["topic"], offline["leader"], offline["state"]) == (lone, None, "offline")
    assert {one["state"] for one in under} == {"under-replicated"}
    assert all(one["lag"][str(away)] is None for one in under)
    table = pykbroker("cluster", "status")
    assert table.status == 0
    assert table.lines[0].endswith(": 2 brokers, 4 partitions, 4 under-replicated, 1 offline")
    assert f"{away}:?" in table.out

    cluster.restart(away)
    document = until(pykbroker, lambda ran: ran.document["under_replicated"] == 0).document
    states = {one["state"] for one in document["partitions"]}
    assert states == {"ok", "not led by preferred"}


def test_a_broker_alone_without_topics(run: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    with KafkaBroker() as broker:
        monkeypatch.setenv("PYKBROKER_BOOTSTRAP", broker.bootstrap_servers)
        ran = run("cluster", "status")
    assert ran.lines[0].endswith(": 1 brokers, 0 partitions, 0 under-replicated, 0 offline")
    assert ran.lines[2].split()[-3:] == ["yes", "0", "0"]
    assert len(ran.lines) == 3
