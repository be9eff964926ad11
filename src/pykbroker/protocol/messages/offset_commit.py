"""OffsetCommit: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Int64, Message, String, Struct, Uuid


class OffsetCommitRequest(Message, key=8, versions="0-10", flexible="8+"):
    """Offsets of a group; from version 10 a topic goes by its id."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            committed_offset = Int64()
            committed_leader_epoch = Int32("6+", default=-1, ignorable=True)
            commit_timestamp = Int64("1", default=-1)
            committed_metadata = String(nullable="0+")

        name = String("0-9", ignorable=True)
        topic_id = Uuid("10+", ignorable=True)
        partitions = Array(Partition)

    group_id = String()
    generation_id_or_member_epoch = Int32("1+", default=-1, ignorable=True)
    member_id = String("1+", ignorable=True)
    group_instance_id = String("7+", nullable="7+", default=None)
    retention_time_ms = Int64("2-4", default=-1, ignorable=True)
    topics = Array(Topic)


class OffsetCommitResponse(Message, key=8, versions="0-10", flexible="8+"):
    """An error per partition."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            error_code = Int16()

        name = String("0-9", ignorable=True)
        topic_id = Uuid("10+", ignorable=True)
        partitions = Array(Partition)

    throttle_time_ms = Int32("3+", ignorable=True)
    topics = Array(Topic)
