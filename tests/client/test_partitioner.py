"""The hash of Kafka's own tests (org.apache.kafka.common.utils.UtilsTest), signed there."""

import pytest

from pykbroker.client.partitioner import murmur2, partition_of_key


@pytest.mark.parametrize(
    ("data", "signed"),
    [
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2(data: bytes, signed: int) -> None:
    assert murmur2(data) == signed & 0xFFFFFFFF
    assert partition_of_key(data, 7) == (signed & 0x7FFFFFFF) % 7
