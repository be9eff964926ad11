"""DescribeLogDirs: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Int64, Message, String, Struct


class DescribeLogDirsRequest(Message, key=35, versions="0-5", flexible="2+"):
    """Null topics ask for all (KIP-113)."""

    class Topic(Struct):
        topic = String()
        partitions = Array(Int32)

    topics = Array(Topic, nullable="0+")


class DescribeLogDirsResponse(Message, key=35, versions="0-5", flexible="2+"):
    """The size and the lag of every replica, by directory."""

    class Result(Struct):
        class Topic(Struct):
            class Partition(Struct):
                partition_index = Int32()
                partition_size = Int64()
                offset_lag = Int64()
                is_future_key = Bool()

            name = String()
            partitions = Array(Partition)

        error_code = Int16()
        log_dir = String()
        topics = Array(Topic)
        total_bytes = Int64("4+", default=-1, ignorable=True)
        usable_bytes = Int64("4+", default=-1, ignorable=True)
        is_cordoned = Bool("5+", ignorable=True)

    throttle_time_ms = Int32()
    error_code = Int16("3+", ignorable=True)
    results = Array(Result)
