"""AlterShareGroupOffsets: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Int64, Message, String, Struct, Uuid


class AlterShareGroupOffsetsRequest(Message, key=91, versions="0", flexible="0+"):
    """New start offsets of an empty share group (KIP-932)."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            start_offset = Int64()

        topic_name = String()
        partitions = Array(Partition)

    group_id = String()
    topics = Array(Topic)


class AlterShareGroupOffsetsResponse(Message, key=91, versions="0", flexible="0+"):
    """An error per partition."""

    class Response(Struct):
        class Partition(Struct):
            partition_index = Int32()
            error_code = Int16()
            error_message = String(nullable="0+", default=None)

        topic_name = String()
        topic_id = Uuid()
        partitions = Array(Partition)

    throttle_time_ms = Int32()
    error_code = Int16()
    error_message = String(nullable="0+", default=None)
    responses = Array(Response)
