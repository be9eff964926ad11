"""AlterPartitionReassignments: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Message, String, Struct


class AlterPartitionReassignmentsRequest(Message, key=45, versions="0-1", flexible="0+"):
    """New replicas per partition; null cancels a reassignment (KIP-455)."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            replicas = Array(Int32, nullable="0+", default=None)

        name = String()
        partitions = Array(Partition)

    timeout_ms = Int32(default=60000)
    allow_replication_factor_change = Bool("1+", default=True)
    topics = Array(Topic)


class AlterPartitionReassignmentsResponse(Message, key=45, versions="0-1", flexible="0+"):
    """An error per partition."""

    class Response(Struct):
        class Partition(Struct):
            partition_index = Int32()
            error_code = Int16()
            error_message = String(nullable="0+")

        name = String()
        partitions = Array(Partition)

    throttle_time_ms = Int32()
    allow_replication_factor_change = Bool("1+", default=True, ignorable=True)
    error_code = Int16()
    error_message = String(nullable="0+")
    responses = Array(Response)
