"""ListPartitionReassignments: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Message, String, Struct


class ListPartitionReassignmentsRequest(Message, key=46, versions="0", flexible="0+"):
    """Null topics ask for all."""

    class Topic(Struct):
        name = String()
        partition_indexes = Array(Int32)

    timeout_ms = Int32(default=60000)
    topics = Array(Topic, nullable="0+", default=None)


class ListPartitionReassignmentsResponse(Message, key=46, versions="0", flexible="0+"):
    """The reassignments under way."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            replicas = Array(Int32)
            adding_replicas = Array(Int32)
            removing_replicas = Array(Int32)

        name = String()
        partitions = Array(Partition)

    throttle_time_ms = Int32()
    error_code = Int16()
    error_message = String(nullable="0+")
    topics = Array(Topic)
