"""OffsetDelete: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Message, String, Struct


class OffsetDeleteRequest(Message, key=47, versions="0"):
    """Committed offsets to forget, of topics that the group doesn't read (KIP-496)."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()

        name = String()
        partitions = Array(Partition)

    group_id = String()
    topics = Array(Topic)


class OffsetDeleteResponse(Message, key=47, versions="0"):
    """An error per partition."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            error_code = Int16()

        name = String()
        partitions = Array(Partition)

    error_code = Int16()
    throttle_time_ms = Int32(ignorable=True)
    topics = Array(Topic)
