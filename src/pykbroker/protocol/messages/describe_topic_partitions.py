"""DescribeTopicPartitions: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Message, Nested, String, Struct, Uuid


class DescribeTopicPartitionsRequest(Message, key=75, versions="0", flexible="0+"):
    """Topics in pages: the cursor says where the page starts (KIP-966)."""

    class Topic(Struct):
        name = String()

    class Cursor(Struct):
        topic_name = String()
        partition_index = Int32()

    topics = Array(Topic)
    response_partition_limit = Int32(default=2000)
    cursor = Nested(Cursor, nullable="0+", default=None)


class DescribeTopicPartitionsResponse(Message, key=75, versions="0", flexible="0+"):
    """Partitions with their eligible leader replicas; a cursor where there is more."""

    class Topic(Struct):
        class Partition(Struct):
            error_code = Int16()
            partition_index = Int32()
            leader_id = Int32()
            leader_epoch = Int32(default=-1, ignorable=True)
            replica_nodes = Array(Int32)
            isr_nodes = Array(Int32)
            eligible_leader_replicas = Array(Int32, nullable="0+", default=None)
            last_known_elr = Array(Int32, nullable="0+", default=None)
            offline_replicas = Array(Int32, ignorable=True)

        error_code = Int16()
        name = String(nullable="0+")
        topic_id = Uuid(ignorable=True)
        is_internal = Bool(ignorable=True)
        partitions = Array(Partition)
        topic_authorized_operations = Int32(default=-(2**31))

    class NextCursor(Struct):
        topic_name = String()
        partition_index = Int32()

    throttle_time_ms = Int32(ignorable=True)
    topics = Array(Topic)
    next_cursor = Nested(NextCursor, nullable="0+", default=None)
