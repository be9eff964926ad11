"""LeaderAndIsr: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int8, Int16, Int32, Int64, Message, String, Struct, Uuid


class LeaderAndIsrPartitionState(Struct):
    """Stands in more than one place of LeaderAndIsrRequest, as `PartitionState`."""

    topic_name = String("0-1", ignorable=True)
    partition_index = Int32()
    controller_epoch = Int32()
    leader = Int32()
    leader_epoch = Int32()
    isr = Array(Int32)
    partition_epoch = Int32()
    replicas = Array(Int32)
    adding_replicas = Array(Int32, "3+", ignorable=True)
    removing_replicas = Array(Int32, "3+", ignorable=True)
    is_new = Bool("1+", ignorable=True)
    leader_recovery_state = Int8("6+")


class LeaderAndIsrRequest(Message, key=4, versions="0-7", flexible="4+"):
    """The controller tells a broker which partitions it leads or follows; ZooKeeper mode alone."""

    PartitionState = LeaderAndIsrPartitionState

    class TopicState(Struct):
        topic_name = String("2+")
        topic_id = Uuid("5+", ignorable=True)
        partition_states = Array(LeaderAndIsrPartitionState, "2+")

    class LiveLeader(Struct):
        broker_id = Int32()
        host_name = String()
        port = Int32()

    controller_id = Int32()
    is_k_raft_controller = Bool("7+")
    controller_epoch = Int32()
    broker_epoch = Int64("2+", default=-1, ignorable=True)
    type = Int8("5+")
    ungrouped_partition_states = Array(LeaderAndIsrPartitionState, "0-1")
    topic_states = Array(TopicState, "2+")
    live_leaders = Array(LiveLeader)


class LeaderAndIsrPartitionError(Struct):
    """Stands in more than one place of LeaderAndIsrResponse, as `PartitionError`."""

    topic_name = String("0-4", ignorable=True)
    partition_index = Int32()
    error_code = Int16()


class LeaderAndIsrResponse(Message, key=4, versions="0-7", flexible="4+"):
    """An error per partition."""

    PartitionError = LeaderAndIsrPartitionError

    class Topic(Struct):
        topic_id = Uuid("5+")
        partition_errors = Array(LeaderAndIsrPartitionError, "5+")

    error_code = Int16()
    partition_errors = Array(LeaderAndIsrPartitionError, "0-4")
    topics = Array(Topic, "5+")
