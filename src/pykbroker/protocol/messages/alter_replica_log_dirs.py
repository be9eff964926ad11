"""AlterReplicaLogDirs: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Message, String, Struct


class AlterReplicaLogDirsRequest(Message, key=34, versions="0-2", flexible="2+"):
    """Directories that replicas shall move to (KIP-113)."""

    class Dir(Struct):
        class Topic(Struct):
            name = String()
            partitions = Array(Int32)

        path = String()
        topics = Array(Topic)

    dirs = Array(Dir)


class AlterReplicaLogDirsResponse(Message, key=34, versions="0-2", flexible="2+"):
    """An error per partition."""

    class Result(Struct):
        class Partition(Struct):
            partition_index = Int32()
            error_code = Int16()

        topic_name = String()
        partitions = Array(Partition)

    throttle_time_ms = Int32()
    results = Array(Result)
