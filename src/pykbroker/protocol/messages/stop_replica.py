"""StopReplica: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Int64, Message, String, Struct


class StopReplicaRequest(Message, key=5, versions="0-4", flexible="2+"):
    """The controller tells a broker to drop replicas; ZooKeeper mode alone."""

    class UngroupedPartition(Struct):
        topic_name = String("0")
        partition_index = Int32("0")

    class Topic(Struct):
        name = String("1-2")
        partition_indexes = Array(Int32, "1-2")

    class TopicState(Struct):
        class PartitionState(Struct):
            partition_index = Int32("3+")
            leader_epoch = Int32("3+", default=-1)
            delete_partition = Bool("3+")

        topic_name = String("3+")
        partition_states = Array(PartitionState, "3+")

    controller_id = Int32()
    is_k_raft_controller = Bool("4+")
    controller_epoch = Int32()
    broker_epoch = Int64("1+", default=-1, ignorable=True)
    delete_partitions = Bool("0-2")
    ungrouped_partitions = Array(UngroupedPartition, "0")
    topics = Array(Topic, "1-2")
    topic_states = Array(TopicState, "3+")


class StopReplicaResponse(Message, key=5, versions="0-4", flexible="2+"):
    """An error per partition."""

    class PartitionError(Struct):
        topic_name = String()
        partition_index = Int32()
        error_code = Int16()

    error_code = Int16()
    partition_errors = Array(PartitionError)
