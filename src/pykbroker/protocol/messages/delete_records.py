"""DeleteRecords: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Int64, Message, String, Struct


class DeleteRecordsRequest(Message, key=21, versions="0-2", flexible="2+"):
    """The offset before which each partition shall forget its records (KIP-107)."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            offset = Int64()

        name = String()
        partitions = Array(Partition)

    topics = Array(Topic)
    timeout_ms = Int32()


class DeleteRecordsResponse(Message, key=21, versions="0-2", flexible="2+"):
    """The new low watermark of each partition."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            low_watermark = Int64()
            error_code = Int16()

        name = String()
        partitions = Array(Partition)

    throttle_time_ms = Int32()
    topics = Array(Topic)
