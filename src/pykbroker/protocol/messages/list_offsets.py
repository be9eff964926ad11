"""ListOffsets: its request and its response."""

from pykbroker.protocol.message import Array, Int8, Int16, Int32, Int64, Message, String, Struct


class ListOffsetsRequest(Message, key=2, versions="0-11", flexible="6+"):
    """A timestamp per partition; negative ones have meanings: -1 latest, -2 earliest, -3 the highest timestamp."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            current_leader_epoch = Int32("4+", default=-1, ignorable=True)
            timestamp = Int64()
            max_num_offsets = Int32("0", default=1)

        name = String()
        partitions = Array(Partition)

    replica_id = Int32()
    isolation_level = Int8("2+")
    topics = Array(Topic)
    timeout_ms = Int32("10+", ignorable=True)


class ListOffsetsResponse(Message, key=2, versions="0-11", flexible="6+"):
    """The first offset whose timestamp is not before the one asked for; version 0 lists segment offsets."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            error_code = Int16()
            old_style_offsets = Array(Int64, "0")
            timestamp = Int64("1+", default=-1)
            offset = Int64("1+", default=-1)
            leader_epoch = Int32("4+", default=-1)

        name = String()
        partitions = Array(Partition)

    throttle_time_ms = Int32("2+", ignorable=True)
    topics = Array(Topic)
