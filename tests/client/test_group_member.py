"""The range assignment of a leader; membership itself stands in tests/cli, with a broker."""

from pykbroker.client.group_member import range_assignment
from pykbroker.protocol.topic_partition import TopicPartition


def test_even_ranges_per_topic() -> None:
    subscriptions = {"m2": ["a", "b"], "m1": ["a"], "m3": ["a"]}
    assert range_assignment(subscriptions, {"a": 4, "b": 2, "c": 1}) == {
        "m1": [TopicPartition("a", 0), TopicPartition("a", 1)],
        "m2": [TopicPartition("a", 2), TopicPartition("b", 0), TopicPartition("b", 1)],
        "m3": [TopicPartition("a", 3)],
    }


def test_more_members_than_partitions() -> None:
    assert range_assignment({"a": ["t"], "b": ["t"]}, {"t": 1}) == {"a": [TopicPartition("t", 0)], "b": []}
