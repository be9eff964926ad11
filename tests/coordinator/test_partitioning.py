"""Groups fall to the partitions that Kafka's coordinators look for them in."""

import pytest

from pykbroker.coordinator.partitioning import partition_of


@pytest.mark.parametrize(
    ("name", "partition"),
    [
        ("foo", 24),
        ("my-group", 12),
        ("", 0),
        ("polygenelubricants", 0),  # its hash is the smallest integer, which has no absolute value
    ],
)
def test_the_hash_is_java_s(name: str, partition: int) -> None:
    assert partition_of(name, 50) == partition


def test_a_character_beyond_16_bits_counts_as_its_two_halves() -> None:
    halves = "\ud83d\ude00"
    assert partition_of("😀", 50) == partition_of(halves, 50)
