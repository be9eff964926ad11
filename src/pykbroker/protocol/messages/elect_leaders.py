"""ElectLeaders: its request and its response."""

from pykbroker.protocol.message import Array, Int8, Int16, Int32, Message, String, Struct


class ElectLeadersRequest(Message, key=43, versions="0-2", flexible="2+"):
    """Null topics ask for all; preferred replicas only in version 0 (KIP-183, KIP-460)."""

    class TopicPartition(Struct):
        topic = String()
        partitions = Array(Int32)

    election_type = Int8("1+")
    topic_partitions = Array(TopicPartition, nullable="0+")
    timeout_ms = Int32(default=60000)


class ElectLeadersResponse(Message, key=43, versions="0-2", flexible="2+"):
    """An error per partition."""

    class ReplicaElectionResult(Struct):
        class PartitionResult(Struct):
            partition_id = Int32()
            error_code = Int16()
            error_message = String(nullable="0+")

        topic = String()
        partition_result = Array(PartitionResult)

    throttle_time_ms = Int32()
    error_code = Int16("1+")
    replica_election_results = Array(ReplicaElectionResult)
