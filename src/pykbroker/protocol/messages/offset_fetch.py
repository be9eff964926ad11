"""OffsetFetch: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Int64, Message, String, Struct, Uuid


class OffsetFetchRequest(Message, key=9, versions="0-10", flexible="6+"):
    """Null topics ask for all that the group committed; any number of groups from version 8 (KIP-709)."""

    class Topic(Struct):
        name = String("0-7")
        partition_indexes = Array(Int32, "0-7")

    class Group(Struct):
        class Topic(Struct):
            name = String("8-9", ignorable=True)
            topic_id = Uuid("10+", ignorable=True)
            partition_indexes = Array(Int32, "8+")

        group_id = String("8+")
        member_id = String("9+", nullable="9+", default=None, ignorable=True)
        member_epoch = Int32("9+", default=-1, ignorable=True)
        topics = Array(Topic, "8+", nullable="8+")

    group_id = String("0-7")
    topics = Array(Topic, "0-7", nullable="2-7")
    groups = Array(Group, "8+")
    require_stable = Bool("7+")


class OffsetFetchResponse(Message, key=9, versions="0-10", flexible="6+"):
    """Offset -1 where nothing was committed."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32("0-7")
            committed_offset = Int64("0-7")
            committed_leader_epoch = Int32("5-7", default=-1, ignorable=True)
            metadata = String("0-7", nullable="0-7")
            error_code = Int16("0-7")

        name = String("0-7")
        partitions = Array(Partition, "0-7")

    class Group(Struct):
        class Topic(Struct):
            class Partition(Struct):
                partition_index = Int32("8+")
                committed_offset = Int64("8+")
                committed_leader_epoch = Int32("8+", default=-1, ignorable=True)
                metadata = String("8+", nullable="8+")
                error_code = Int16("8+")

            name = String("8-9", ignorable=True)
            topic_id = Uuid("10+", ignorable=True)
            partitions = Array(Partition, "8+")

        group_id = String("8+")
        topics = Array(Topic, "8+")
        error_code = Int16("8+")

    throttle_time_ms = Int32("3+", ignorable=True)
    topics = Array(Topic, "0-7")
    error_code = Int16("2-7", ignorable=True)
    groups = Array(Group, "8+")
