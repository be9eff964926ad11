"""Administration as off-the-shelf admin clients do it, beside what tests/compat asks of all of them."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import confluent_kafka
import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from pykbroker.testing import KafkaBroker

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from kafka import KafkaAdminClient, TopicPartitionReplica
    from kafka.admin import NewTopic as PythonTopic

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    folder = tmp_path_factory.mktemp("data")
    with KafkaBroker(data_dir=folder / "a", config={"log.dirs": f"{folder / 'a'},{folder / 'b'}"}) as made:
        yield made


@pytest.fixture
def python(broker: KafkaBroker) -> Iterator[Any]:
    client = KafkaAdminClient(bootstrap_servers=broker.bootstrap_servers)
    yield client
    client.close()


def outcomes(futures: dict[str, Any]) -> dict[str, str]:
    """librdkafka's results, as Kafka's names of errors."""
    found = {}
    for name, future in futures.items():
        try:
            future.result(30)
            found[name] = "NONE"
        except confluent_kafka.KafkaException as error:
            found[name] = error.args[0].name()
    return found


def wait_for(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_topics_with_confluent_kafka(broker: KafkaBroker) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    asked = {
        "by-hand": NewTopic("by-hand", num_partitions=3, replica_assignment=[[1], [1], [1]]),
        "elsewhere": NewTopic("elsewhere", num_partitions=1, replica_assignment=[[9]]),
        "too-many": NewTopic("too-many", num_partitions=1, replication_factor=2),
        "no name?": NewTopic("no name?", num_partitions=1),
        "wrong": NewTopic("wrong", num_partitions=1, config={"no.such.config": "1"}),
    }
    expected = {
        "by-hand": "NONE",
        "elsewhere": "INVALID_REPLICA_ASSIGNMENT",
        "too-many": "INVALID_REPLICATION_FACTOR",
        "no name?": "TOPIC_EXCEPTION",
        "wrong": "INVALID_CONFIG",
    }
    assert outcomes(admin.create_topics(list(asked.values()), validate_only=True)) == expected
    assert "by-hand" not in admin.list_topics(timeout=30).topics
    assert outcomes(admin.create_topics(list(asked.values()))) == expected
    topics = admin.list_topics(timeout=30).topics
    assert len(topics["by-hand"].partitions) == 3
    assert not topics.keys() & (asked.keys() - {"by-hand"})


def test_topics_with_kafka_python(python: Any) -> None:
    topic = PythonTopic("python", replica_assignments={0: [1], 1: [1]})
    for validate_only, there in ((True, False), (False, True)):
        python.create_topics([topic], validate_only=validate_only)
        assert ("python" in python.list_topics()) is there


def test_config_resources_with_kafka_python(python: Any) -> None:
    python.create_topics([PythonTopic("listed", num_partitions=1, replication_factor=1)])
    assert "listed" in str(python.list_config_resources())


def directories(python: Any, topic: str) -> dict[str, bool]:
    """Where a topic's only partition is, and whether it is only on its way there."""
    found = {}
    for broker in python.describe_log_dirs({topic: [0]}):
        for directory in broker["log_dirs"]:
            for one in directory["topics"]:
                found[directory["log_dir"]] = one["partitions"][0]["is_future_key"]
    return found


def test_directories_with_kafka_python(broker: KafkaBroker, python: Any) -> None:
    python.create_topics([PythonTopic("moved", num_partitions=1, replication_factor=1)])
    (home,) = directories(python, "moved")
    other = next(str(path) for path in Path(home).parent.iterdir() if str(path) != home)
    python.alter_replica_log_dirs({TopicPartitionReplica("moved", 0, 1): other})
    wait_for(lambda: directories(python, "moved") == {other: False})
