"""OffsetForLeaderEpoch: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Int64, Message, String, Struct


class OffsetForLeaderEpochRequest(Message, key=23, versions="0-4", flexible="4+"):
    """The last offset of a leader epoch, asked for by consumers and by followers (KIP-320)."""

    class Topic(Struct):
        class Partition(Struct):
            partition = Int32()
            current_leader_epoch = Int32("2+", default=-1, ignorable=True)
            leader_epoch = Int32()

        topic = String()
        partitions = Array(Partition)

    replica_id = Int32("3+", default=-2, ignorable=True)
    topics = Array(Topic)


class OffsetForLeaderEpochResponse(Message, key=23, versions="0-4", flexible="4+"):
    """Epoch -1 and offset -1 where the epoch is not known."""

    class Topic(Struct):
        class Partition(Struct):
            error_code = Int16()
            partition = Int32()
            leader_epoch = Int32("1+", default=-1, ignorable=True)
            end_offset = Int64(default=-1)

        topic = String()
        partitions = Array(Partition)

    throttle_time_ms = Int32("2+", ignorable=True)
    topics = Array(Topic)
