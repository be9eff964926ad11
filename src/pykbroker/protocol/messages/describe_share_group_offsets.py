"""DescribeShareGroupOffsets: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Int64, Message, String, Struct, Uuid


class DescribeShareGroupOffsetsRequest(Message, key=90, versions="0-1", flexible="0+"):
    """Share groups, all topics where null (KIP-932)."""

    class Group(Struct):
        class Topic(Struct):
            topic_name = String()
            partitions = Array(Int32)

        group_id = String()
        topics = Array(Topic, nullable="0+")

    groups = Array(Group)


class DescribeShareGroupOffsetsResponse(Message, key=90, versions="0-1", flexible="0+"):
    """Start offsets per partition."""

    class Group(Struct):
        class Topic(Struct):
            class Partition(Struct):
                partition_index = Int32()
                start_offset = Int64()
                leader_epoch = Int32()
                lag = Int64("1+", default=-1)
                error_code = Int16()
                error_message = String(nullable="0+", default=None)

            topic_name = String()
            topic_id = Uuid()
            partitions = Array(Partition)

        group_id = String()
        topics = Array(Topic)
        error_code = Int16()
        error_message = String(nullable="0+", default=None)

    throttle_time_ms = Int32()
    groups = Array(Group)
