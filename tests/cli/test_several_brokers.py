"""What takes more than one broker: partitions that move, and leaders that are elected again."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import Command

from pykbroker.cli.output import Progress
from pykbroker.testing import KafkaBroker, KafkaCluster


@pytest.fixture(scope="module")
def cluster() -> Iterator[KafkaCluster]:
    with KafkaCluster(brokers=3) as cluster:
        yield cluster


@pytest.fixture
def pykbroker(cluster: KafkaCluster, run: Command, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.setenv("PYKBROKER_BOOTSTRAP", cluster.bootstrap_servers)
    return run


@pytest.mark.slow
def test_moved(pykbroker: Command, tmp_path: Path) -> None:
    pykbroker("topics", "create", "moving", "--replica-assignment", "1:2,2:3")
    pykbroker("produce", "moving", "--value", "kept")
    generated = pykbroker("reassign", "generate", "moving", "--brokers", "1,3", "--replication-factor", 2)
    plan = tmp_path / "plan.json"
    plan.write_text(generated.out.replace("[3, 1]", "[1, 3]"))
    ran = pykbroker("reassign", "execute", plan, "--wait")
    assert (ran.status, ran.err) == (0, "moved 2 partitions; to undo it:\n")
    undo = json.loads(ran.out)
    assert [one["replicas"] for one in undo["partitions"]] == [[1, 2], [2, 3]]
    assert [row[-1] for row in pykbroker("reassign", "verify", plan).rows[1:]] == ["done", "done"]
    states = pykbroker("topics", "describe", "moving", "--json").document[0]["partition_states"]
    assert [sorted(one["replicas"]) for one in states] == [[1, 3], [1, 3]]
    assert pykbroker("consume", "moving").lines == ["kept"]
    ran = pykbroker("reassign", "execute", "-", "--wait", "--json", stdin=json.dumps(undo).encode())
    assert ran.document["failed"] == []
    assert [
        row["leader"] for row in pykbroker("topics", "describe", "moving", "--json").document[0]["partition_states"]
    ]


@pytest.mark.slow
def test_leaders(pykbroker: Command, cluster: KafkaCluster) -> None:
    pykbroker("topics", "create", "led", "--replica-assignment", "2:1", "--config", "min.insync.replicas=2")
    cluster.stop(2)
    (state,) = pykbroker("topics", "describe", "led", "--json").document[0]["partition_states"]
    assert (state["leader"], state["isr"]) == (1, [1])
    assert ["led", "0", "1", "2,1", "1", "2"] in pykbroker("topics", "describe", "led", "--under-replicated").rows
    ran = pykbroker("elect-leaders", "led")
    assert (ran.status, "led-0: " in ran.err, "(PREFERRED_LEADER_NOT_AVAILABLE)" in ran.err) == (1, True, True)
    cluster.restart(2)
    assert pykbroker("produce", "led", "--value", "when two are in sync").status == 0
    assert pykbroker("elect-leaders", "led").out == "led-0 has elected its leader\n"
    while cluster.leader("led") != 2:
        pass  # Brokers learn of it one after the other.
    assert [row[0] for row in pykbroker("cluster", "info").rows[2:]] == ["1", "2", "3"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_for_terminals() -> None:
    screen, file = Terminal(), io.StringIO()
    for stream in (screen, file):
        progress = Progress("moved partitions", 3, stream)
        progress(1)
        progress(1)
        progress(2, "of topic t")
        progress.end()
    assert file.getvalue() == ""
    assert screen.getvalue() == ("\r\x1b[Kmoved partitions: 1 of 3\r\x1b[Kmoved partitions: 2 of 3 of topic t\r\x1b[K")


@pytest.mark.slow
def test_moved_to_another_directory(run: Command, tmp_path: Path) -> None:
    """AlterReplicaLogDirs, where a plan names directories (KIP-113)."""
    first, second = (tmp_path / name for name in ("first", "second"))
    first.mkdir()
    second.mkdir()
    with KafkaBroker(data_dir=first, config={"log.dirs": f"{first},{second}"}) as broker:
        there = ("--bootstrap", broker.bootstrap_servers)
        run("topics", "create", "moving", *there)
        run("produce", "moving", "--value", "kept", *there)

        def place() -> str:
            listed = run("log-dirs", "describe", "--topic", "moving", "--json", *there).document
            (found,) = [one["log_dir"] for one in listed if one["replicas"]]
            return str(found)

        other = str(second) if place() == str(first) else str(first)
        plan = json.dumps(
            {"partitions": [{"topic": "moving", "partition": 0, "replicas": [1], "log_dirs": [other]}]}
        ).encode()
        ran = run("reassign", "verify", "-", *there, stdin=plan)
        assert (ran.status, ran.rows[1][-1]) == (1, "elsewhere")
        ran = run("reassign", "execute", "-", "--wait", *there, stdin=plan)
        assert (ran.status, ran.err) == (0, "moved 1 partition; to undo it:\n")
        assert place() == other
        assert run("reassign", "verify", "-", *there, stdin=plan).rows[1][-1] == "done"
        assert run("consume", "moving", *there).lines == ["kept"]
        ran = run("reassign", "execute", "-", *there, stdin=plan.replace(other.encode(), b"/nowhere"))
        assert (ran.status, "(LOG_DIR_NOT_FOUND)" in ran.err) == (1, True)
