"""The commands about brokers, partitions and features."""

import json
from pathlib import Path

import pytest
from tests.cli.conftest import Command

from pykbroker.testing import KafkaBroker


@pytest.fixture
def topic(pykbroker: Command, request: pytest.FixtureRequest) -> str:
    """A topic with five records."""
    name = request.node.name.replace("[", ".").replace("]", "")
    pykbroker("topics", "create", name)
    for number in range(5):
        pykbroker("produce", name, "--value", number, "--timestamp", 1000 * (number + 1))
    return name


def test_info(pykbroker: Command, broker: KafkaBroker) -> None:
    first, heading, row = pykbroker("cluster", "info").rows
    assert first == ["cluster", broker.ready.cluster_id]
    assert heading == ["BROKER", "HOST", "PORT", "RACK", "CONTROLLER", "FENCED"]
    assert row == ["1", "127.0.0.1", str(broker.port), "-", "yes", "no"]
    assert pykbroker("cluster", "info", "--json").document == {
        "cluster_id": broker.ready.cluster_id,
        "controller": 1,
        "brokers": [
            {
                "broker": 1,
                "host": "127.0.0.1",
                "port": broker.port,
                "rack": None,
                "controller": True,
                "fenced": False,
            }
        ],
    }


def test_what_a_broker_does_not_serve(pykbroker: Command, broker: KafkaBroker) -> None:
    assert pykbroker("cluster", "quorum") == (
        1,
        "",
        f"pykbroker cluster: the broker at {broker.bootstrap_servers} doesn't serve DescribeQuorum; "
        "`pykbroker api-versions` shows what it serves\n",
    )


def test_api_versions(pykbroker: Command) -> None:
    ran = pykbroker("api-versions")
    assert ran.rows[0] == ["BROKER", "KEY", "API", "VERSIONS", "USABLE"]
    assert ["1", "3", "Metadata", "0-13", "13"] in ran.rows
    assert pykbroker("api-versions", "--broker", 7).err.startswith("pykbroker api-versions: there is no broker 7")


def test_features(pykbroker: Command) -> None:
    (found,) = [
        row for row in pykbroker("features", "describe", "--json").document if row["feature"] == "transaction.version"
    ]
    assert found == {
        "feature": "transaction.version",
        "supported_min": 0,
        "supported_max": 2,
        "finalized": 2,
        "epoch": found["epoch"],
    }
    ran = pykbroker("features", "downgrade", "transaction.version=1", "--dry-run")
    assert ran.out == "could set feature transaction.version to level 1\n"
    ran = pykbroker("features", "upgrade", "transaction.version=9")
    assert (ran.status, "(INVALID_UPDATE_VERSION)" in ran.err) == (1, True)
    assert pykbroker("features", "upgrade", "transaction.version=x").status == 2


def test_offsets(pykbroker: Command, topic: str) -> None:
    assert pykbroker("offsets", topic).rows == [["TOPIC", "PARTITION", "EARLIEST", "LATEST"], [topic, "0", "0", "5"]]
    for moment, offset in (("earliest", 0), ("latest", 5), ("max-timestamp", 4), ("2500", 2), ("1970-01-01", 0)):
        (row,) = pykbroker("offsets", f"{topic}:0", "--time", moment, "--json").document
        assert (row["topic"], row["partition"], row["offset"]) == (topic, 0, offset)
    assert pykbroker("offsets", topic, "--time", "1h").rows[1] == [topic, "0", "-", "-"]
    ran = pykbroker("offsets", f"{topic}:0,3")
    assert (ran.status, ran.rows[1:]) == (1, [[topic, "0", "0", "5"]])
    assert f"{topic}-3: topic {topic} has no partition 3 (UNKNOWN_TOPIC_OR_PARTITION)" in ran.err
    assert pykbroker("offsets", "nowhere").status == 1
    assert pykbroker("offsets", topic, "--time", "noon").status == 2
    microseconds = 1_764_060_000_000_000
    pykbroker("topics", "create", "in-microseconds", "--config", f"message.timestamp.after.max.ms={microseconds}")
    pykbroker("produce", "in-microseconds", "--value", "x", "--timestamp", microseconds)
    ran = pykbroker("offsets", "in-microseconds", "--time", "max-timestamp")
    assert ran.rows[1] == ["in-microseconds", "0", "0", str(microseconds)]


def test_delete_records(pykbroker: Command, topic: str, tmp_path: Path) -> None:
    ran = pykbroker("delete-records", f"{topic}:0:2")
    assert (ran.status, "records of 1 partitions would be deleted: --yes says so" in ran.err) == (2, True)
    ran = pykbroker("delete-records", f"{topic}:0:2", "--yes")
    assert ran.rows == [["TOPIC", "PARTITION", "LOW-WATERMARK"], [topic, "0", "2"]]
    assert pykbroker("consume", topic).lines == ["2", "3", "4"]
    file = tmp_path / "offsets.json"
    file.write_text(json.dumps({"partitions": [{"topic": topic, "partition": 0, "offset": -1}], "version": 1}))
    ran = pykbroker("delete-records", "--offset-json-file", file, "--yes", "--json")
    assert ran.document == [{"topic": topic, "partition": 0, "low_watermark": 5}]
    ran = pykbroker("delete-records", f"{topic}:0:{10**20}", "--yes")
    assert (ran.status, f"offset can't be {10**20}" in ran.err, "api-versions" in ran.err) == (1, True, False)
    ran = pykbroker("delete-records", f"{topic}:0:99", "--yes")
    assert (ran.status, "(OFFSET_OUT_OF_RANGE); `pykbroker offsets TOPIC` shows" in ran.err) == (1, True)
    file.write_text("{}")
    for words in (["--offset-json-file", file, "--yes"], ["--yes"], ["t:0"], ["t:x:1"]):
        assert pykbroker("delete-records", *words).status == 2


def test_reassign(pykbroker: Command, topic: str, tmp_path: Path) -> None:
    generated = pykbroker("reassign", "generate", topic, "--brokers", 1)
    assert json.loads(generated.out) == {
        "version": 1,
        "partitions": [{"topic": topic, "partition": 0, "replicas": [1], "log_dirs": ["any"]}],
    }
    plan = tmp_path / "plan.json"
    plan.write_text(generated.out)
    ran = pykbroker("reassign", "execute", plan, "--wait")
    assert (ran.status, ran.out, ran.err) == (0, generated.out, "moved 1 partition; to undo it:\n")
    assert pykbroker("reassign", "verify", plan).rows[1] == [topic, "0", "1", "1", "done"]
    assert pykbroker("reassign", "list") == (0, "", "no reassignments under way\n")
    ran = pykbroker("reassign", "cancel", "-", stdin=generated.out.encode())
    assert (ran.status, "(NO_REASSIGNMENT_IN_PROGRESS); `pykbroker reassign list`" in ran.err) == (1, True)
    plan.write_text(generated.out.replace("[1]", "[1, 9]").replace('["any"]', '["any", "any"]'))
    ran = pykbroker("reassign", "execute", plan)
    assert (ran.status, "(INVALID_REPLICA_ASSIGNMENT); `pykbroker cluster info`" in ran.err) == (1, True)
    ran = pykbroker("reassign", "verify", plan)
    assert (ran.status, ran.rows[1]) == (1, [topic, "0", "1,9", "1", "elsewhere"])
    ran = pykbroker("reassign", "generate", topic, "--replication-factor", 2)
    assert (ran.status, "which 1 brokers can't hold (INVALID_REPLICATION_FACTOR)" in ran.err) == (1, True)
    for text in ("{}", "[", '{"partitions": [{"topic": "t", "partition": 0, "replicas": [1, 1]}]}'):
        plan.write_text(text)
        assert pykbroker("reassign", "verify", plan).status == 2


def test_elect_leaders(pykbroker: Command, topic: str, tmp_path: Path) -> None:
    assert pykbroker("elect-leaders", topic).out == f"{topic}-0 has its leader already\n"
    assert pykbroker("elect-leaders", "--all").err == "no partition had to elect\n"
    file = tmp_path / "partitions.json"
    file.write_text(json.dumps({"partitions": [{"topic": topic, "partition": 0}]}))
    ran = pykbroker("elect-leaders", "--path-to-json-file", file, "--json")
    assert ran.document == [{"partition": f"{topic}-0", "elected": False, "error": None}]
    ran = pykbroker("elect-leaders", f"{topic}:5")
    assert (ran.status, "(UNKNOWN_TOPIC_OR_PARTITION)" in ran.err) == (1, True)
    for words in ([], [topic, "--all"], [topic, "--type", "wild"]):
        assert pykbroker("elect-leaders", *words).status == 2


def test_unregister(pykbroker: Command) -> None:
    ran = pykbroker("cluster", "unregister", 77)
    assert (ran.status, ran.err.startswith("pykbroker cluster: 77: ")) == (1, True)
