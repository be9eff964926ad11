"""AssignReplicasToDirs: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Int64, Message, Struct, Uuid


class AssignReplicasToDirsRequest(Message, key=73, versions="0", flexible="0+"):
    """A broker tells the controller in which directories replicas are (KIP-858)."""

    class Directory(Struct):
        class Topic(Struct):
            class Partition(Struct):
                partition_index = Int32()

            topic_id = Uuid()
            partitions = Array(Partition)

        id = Uuid()
        topics = Array(Topic)

    broker_id = Int32()
    broker_epoch = Int64(default=-1)
    directories = Array(Directory)


class AssignReplicasToDirsResponse(Message, key=73, versions="0", flexible="0+"):
    """An error per partition."""

    class Directory(Struct):
        class Topic(Struct):
            class Partition(Struct):
                partition_index = Int32()
                error_code = Int16()

            topic_id = Uuid()
            partitions = Array(Partition)

        id = Uuid()
        topics = Array(Topic)

    throttle_time_ms = Int32()
    error_code = Int16()
    directories = Array(Directory)
