"""`pykbroker topics`: tables, documents, errors."""

import pytest
from tests.cli.conftest import Command


def test_create_list_delete(pykbroker: Command) -> None:
    created = pykbroker("topics", "create", "life", "death", "--partitions", 3)
    assert created == (0, "created topic life\ncreated topic death\n", "")
    listed = pykbroker("topics", "list")
    assert listed.rows == [
        ["TOPIC", "PARTITIONS", "REPLICATION-FACTOR"],
        ["death", "3", "1"],
        ["life", "3", "1"],
    ]
    assert pykbroker("topics", "list", "--json").document[1] == {
        "topic": "life",
        "partitions": 3,
        "replication_factor": 1,
        "internal": False,
    }
    deleted = pykbroker("topics", "delete", "life", "death", "--json")
    assert deleted.document == [{"topic": name, "changed": True, "error": None} for name in ("life", "death")]
    empty = pykbroker("topics", "list")
    assert empty == (0, "", "no topics yet: `pykbroker topics create NAME` makes one\n")
    assert pykbroker("topics", "describe") == empty


def test_describe(pykbroker: Command) -> None:
    pykbroker("topics", "create", "seen", "--partitions", 2, "--config", "retention.ms=1000")
    table, _, partitions = pykbroker("topics", "describe", "seen").out.partition("\n\n")
    heading, row = (line.split() for line in table.splitlines())
    assert heading == ["TOPIC", "TOPIC-ID", "PARTITIONS", "REPLICATION-FACTOR", "CONFIGS"]
    assert (row[0], len(row[1]), *row[2:]) == ("seen", 22, "2", "1", "retention.ms=1000")
    assert [line.split() for line in partitions.splitlines()] == [
        ["TOPIC", "PARTITION", "LEADER", "REPLICAS", "ISR", "OFFLINE"],
        ["seen", "0", "1", "1", "1", "-"],
        ["seen", "1", "1", "1", "1", "-"],
    ]
    (document,) = pykbroker("topics", "describe", "seen", "--json").document
    assert document["configs"] == {"retention.ms": "1000"}
    assert document["partition_states"][1] == {
        "topic": "seen",
        "partition": 1,
        "leader": 1,
        "leader_epoch": 0,
        "replicas": [1],
        "isr": [1],
        "offline": [],
    }


def test_filters_of_partitions(pykbroker: Command) -> None:
    pykbroker("topics", "create", "healthy")
    for option in ("--under-replicated", "--unavailable", "--under-min-isr"):
        assert pykbroker("topics", "describe", "healthy", option) == (0, "", "no such partitions\n")
    assert len(pykbroker("topics", "describe", "healthy", "--at-min-isr").rows) == 2
    assert pykbroker("topics", "describe", "healthy", "--with-overrides").out == ""
    pykbroker("topics", "create", "special", "--config", "cleanup.policy=compact")
    assert "special" in pykbroker("topics", "describe", "--with-overrides").out


def test_alter(pykbroker: Command) -> None:
    pykbroker("topics", "create", "growing")
    assert pykbroker("topics", "alter", "growing", "--partitions", 4).out == "added partitions to topic growing\n"
    assert pykbroker("topics", "describe", "growing", "--json").document[0]["partitions"] == 4
    ran = pykbroker("topics", "alter", "growing", "--partitions", 2)
    assert ran.status == 1
    assert ran.err.endswith("(INVALID_PARTITIONS); partitions can be added, never taken away\n")
    ran = pykbroker("topics", "alter", "growing", "--partitions", 6, "--validate-only")
    assert ran.out == "could add partitions to topic growing\n"


def test_one_of_several_fails(pykbroker: Command) -> None:
    pykbroker("topics", "create", "twice")
    ran = pykbroker("topics", "create", "twice", "once")
    assert (ran.status, ran.out) == (1, "created topic once\n")
    assert ran.err == (
        "pykbroker topics: twice: Topic 'twice' already exists. (TOPIC_ALREADY_EXISTS); "
        "--if-not-exists passes over topics that exist\n"
    ).replace("exists. (", "exists (")
    ran = pykbroker("topics", "create", "twice", "--if-not-exists")
    assert (ran.status, ran.out) == (0, "passed over topic twice\n")
    ran = pykbroker("topics", "delete", "nowhere")
    assert ran.status == 1
    assert ran.err.endswith("(UNKNOWN_TOPIC_OR_PARTITION); `pykbroker topics list` shows what is there\n")
    assert pykbroker("topics", "delete", "nowhere", "--if-exists").status == 0


def test_what_a_broker_refuses(pykbroker: Command) -> None:
    for words, code in (
        (["x/y"], "INVALID_TOPIC_EXCEPTION"),
        (["t", "--config", "retention.ms=soon"], "INVALID_CONFIG"),
        (["t", "--replication-factor", "3"], "INVALID_REPLICATION_FACTOR"),
    ):
        ran = pykbroker("topics", "create", *words)
        assert ran.status == 1
        assert f"({code}); " in ran.err
        assert ran.err.count("\n") == 1
    ran = pykbroker("topics", "describe", "nowhere")
    assert ran.err == (
        "pykbroker topics: topic nowhere: there is no such topic (UNKNOWN_TOPIC_OR_PARTITION); "
        "`pykbroker topics list` shows what is there\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["create"],
        ["create", "t", "--partitions", "0"],
        ["create", "t", "--config", "x"],
        ["create", "t", "--replica-assignment", "1,x"],
        ["create", "t", "--replica-assignment", "1,2", "--partitions", "2"],
        ["alter", "t"],
        ["describe", "--unavailable", "--under-replicated"],
        ["list", "--bootstrap", "host:port"],
        ["list", "--timeout", "never"],
        ["list", "--command-config", "/nowhere"],
        ["list", "--user", "alice"],
        ["list", "--sasl-mechanism", "PLAIN"],
    ],
)
def test_bad_usage_is_one_line_and_status_2(words: list[str], pykbroker: Command) -> None:
    ran = pykbroker("topics", *words)
    assert (ran.status, ran.out) == (2, "")
    assert ran.err.startswith("pykbroker topics")
    assert ran.err.count("\n") == 1
    assert ran.err.endswith("--help)\n")
