"""From bytes that anybody may send: errors that a person can read, and nothing allocated that isn't there."""

import struct
import tracemalloc

import pytest

from pykbroker.protocol.codec import COMPILED_AT, Codec
from pykbroker.protocol.errors import MalformedMessage
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.describe_topic_partitions import DescribeTopicPartitionsRequest
from pykbroker.protocol.messages.fetch import FetchRequest, FetchResponse
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.protocol.messages.produce import ProduceRequest


@pytest.fixture(params=["plain", "compiled"])
def decode(request):
    """Decoding by a codec of its own, compiled or not."""

    def decode(cls, raw, version):
        codec = Codec(cls, version)
        if request.param == "compiled":
            codec.compile()
        return codec.decode(raw)[0]

    return decode


def refused(decode, cls, raw, version):
    with pytest.raises(MalformedMessage) as caught:
        decode(cls, raw, version)
    return str(caught.value)


def test_error_names_field_and_byte(decode):
    partition = FetchRequest.Topic.Partition
    topic = FetchRequest.Topic(topic="topic", partitions=[partition(), partition(), partition(fetch_offset=1)])
    raw = FetchRequest(topics=[topic]).encode(12)
    start = raw.rindex(struct.pack(">q", 1))
    assert refused(decode, FetchRequest, raw[: start + 3], 12) == (
        f"Fetch v12 request: topics[0].partitions[2].fetch_offset at byte {start}: needs 8 bytes, 3 left"
    )


@pytest.mark.parametrize(
    ("raw", "version", "text"),
    [
        (b"", 0, "topics at byte 0: needs 4 bytes, 0 left"),
        (struct.pack(">i", 2**31 - 1), 0, "topics at byte 0: 2147483647 elements need 4294967294 bytes, 0 left"),
        (struct.pack(">i", -1), 0, "topics at byte 0: null where this version has none"),
        (struct.pack(">ih", 1, -1), 0, "topics[0].name at byte 4: null where this version has none"),
        (struct.pack(">ih", 1, 7) + b"abc", 0, "topics[0].name at byte 6: needs 7 bytes, 3 left"),
        (struct.pack(">ih", 1, 3) + b"a\xffc", 0, "topics[0].name at byte 7: not UTF-8: invalid start byte"),
        (b"\xff\xff\xff\xff\x0f", 9, "topics at byte 0: 4294967294 elements need 8589934588 bytes, 0 left"),
        (b"\xff\xff\xff\xff\x1f", 9, "topics at byte 0: unsigned varint of more than 32 bits"),
        (b"\x02\x81\x80", 9, "topics[0].name at byte 1: needs 3 bytes, 2 left"),
        (b"\x02\x82\x80\x02" + b"a" * 40000, 9, "topics[0].name at byte 1: length 32769 is more than 32767"),
        (b"\x00\x01\x00\x00\x01", 9, " at byte 5: needs 1 bytes, 0 left"),
        (b"\x00\x01\x00\x00\xff\xff\xff\xff\x0f", 9, " at byte 9: needs 1 bytes, 0 left"),
        (b"\x00\x01\x00\x00\x01\x09\x05ab", 9, " at byte 7: needs 5 bytes, 2 left"),
    ],
)
def test_malformed(decode, raw, version, text):
    assert refused(decode, MetadataRequest, raw, version) == f"Metadata v{version} request: {text}"


def test_negative_lengths_are_null_where_null_is_allowed(decode):
    assert decode(MetadataRequest, struct.pack(">i", -1), 1).topics is None
    assert decode(MetadataRequest, struct.pack(">i", -7), 1).topics is None


def test_a_known_tag_must_have_its_size(decode):
    raw = FetchRequest(cluster_id="abc").encode(12)
    at = raw.index(b"\x00\x04\x04abc")
    wrong = raw[: at + 1] + b"\x05" + raw[at + 2 :] + b"x"
    assert "cluster_id" in refused(decode, FetchRequest, wrong, 12)


def test_nullable_struct(decode):
    request = DescribeTopicPartitionsRequest(cursor=DescribeTopicPartitionsRequest.Cursor(topic_name="t"))
    assert decode(DescribeTopicPartitionsRequest, request.encode(0), 0) == request
    assert decode(DescribeTopicPartitionsRequest, DescribeTopicPartitionsRequest().encode(0), 0).cursor is None


def test_bytes_after_the_message_are_ignored_as_kafka_does(decode):
    assert decode(HeartbeatRequest, HeartbeatRequest(group_id="g").encode(4) + b"more", 4).group_id == "g"


@pytest.mark.parametrize(
    ("cls", "version", "raw"),
    [
        (MetadataRequest, 8, struct.pack(">i", 2**31 - 1) + b"\0" * 36),
        (MetadataRequest, 12, b"\xff\xff\xff\xff\x07" + b"\0" * 35),
        (CreateTopicsRequest, 5, b"\x02\x02a\0\0\0\1\0\1\xff\xff\xff\xff\x07" + b"\0" * 26),
        (ProduceRequest, 7, struct.pack(">hhii", -1, 1, 1, 2**31 - 1) + b"\0" * 28),
        (FetchResponse, 4, struct.pack(">ii", 0, 2**30) + b"\0" * 32),
        (FetchRequest, 12, b"\0" * 25 + b"\xff\xff\xff\xff\x07" + b"\0" * 10),
    ],
)
def test_counts_cost_nothing_until_they_are_there(decode, cls, version, raw):
    refused(decode, cls, raw, version)
    tracemalloc.start()
    try:
        with pytest.raises(MalformedMessage):
            cls.codec(version).decode(raw)
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()


def test_compiled_when_it_is_used_again():
    codec = Codec(HeartbeatRequest, 3)
    raw = HeartbeatRequest(group_id="g", generation_id=3).encode(3)
    for use in range(1, COMPILED_AT + 2):
        assert codec.decode(raw)[0].generation_id == 3
        assert (codec.source is not None) == (use >= COMPILED_AT)


def test_unknown_version():
    with pytest.raises(ValueError, match=r"HeartbeatRequest has versions 0-4, not 5"):
        HeartbeatRequest.decode(b"", 5)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer(decode, kind):
    raw = HeartbeatRequest(group_id="g", member_id="m").encode(4)
    assert decode(HeartbeatRequest, kind(raw), 4).member_id == "m"
    records = ProduceRequest.TopicData.PartitionData(records=b"abc")
    request = ProduceRequest(topic_data=[ProduceRequest.TopicData(name="t", partition_data=[records])])
    assert decode(ProduceRequest, kind(request.encode(9)), 9) == request


def test_a_large_malformed_message_is_refused_without_a_second_look() -> None:
    """Parsing a hundred megabytes again, to name a byte, would hold every other connection up."""
    codec = MetadataRequest.codec(1)
    small, large = (b"\0\0\x01\0" + b"\0\x01a" * 255, (1 << 19).to_bytes(4, "big") + b"\0\x01a" * (1 << 19))
    with pytest.raises(MalformedMessage, match=r"topics\[255\].name at byte 769: needs 2 bytes, 0 left"):
        codec.decode(small)
    with pytest.raises(MalformedMessage, match="1572866 bytes that don't parse, too many to say where"):
        codec.decode(large[:-2])
