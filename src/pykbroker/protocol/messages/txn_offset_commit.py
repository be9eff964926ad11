"""TxnOffsetCommit: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Int64, Message, String, Struct


class TxnOffsetCommitRequest(Message, key=28, versions="0-5", flexible="3+"):
    """Offsets that a transaction commits with it."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            committed_offset = Int64()
            committed_leader_epoch = Int32("2+", default=-1, ignorable=True)
            committed_metadata = String(nullable="0+")

        name = String()
        partitions = Array(Partition)

    transactional_id = String()
    group_id = String()
    producer_id = Int64()
    producer_epoch = Int16()
    generation_id = Int32("3+", default=-1)
    member_id = String("3+")
    group_instance_id = String("3+", nullable="3+", default=None)
    topics = Array(Topic)


class TxnOffsetCommitResponse(Message, key=28, versions="0-5", flexible="3+"):
    """An error per partition."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            error_code = Int16()

        name = String()
        partitions = Array(Partition)

    throttle_time_ms = Int32()
    topics = Array(Topic)
