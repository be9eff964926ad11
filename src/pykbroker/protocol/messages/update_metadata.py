"""UpdateMetadata: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int8, Int16, Int32, Int64, Message, String, Struct, Uuid


class UpdateMetadataPartitionState(Struct):
    """Stands in more than one place of UpdateMetadataRequest, as `PartitionState`."""

    topic_name = String("0-4", ignorable=True)
    partition_index = Int32()
    controller_epoch = Int32()
    leader = Int32()
    leader_epoch = Int32()
    isr = Array(Int32)
    zk_version = Int32()
    replicas = Array(Int32)
    offline_replicas = Array(Int32, "4+", ignorable=True)


class UpdateMetadataRequest(Message, key=6, versions="0-8", flexible="6+"):
    """The controller tells a broker about brokers and partitions; ZooKeeper mode alone."""

    PartitionState = UpdateMetadataPartitionState

    class TopicState(Struct):
        topic_name = String("5+")
        topic_id = Uuid("7+", ignorable=True)
        partition_states = Array(UpdateMetadataPartitionState, "5+")

    class LiveBroker(Struct):
        class Endpoint(Struct):
            port = Int32("1+")
            host = String("1+")
            listener = String("3+", ignorable=True)
            security_protocol = Int16("1+")

        id = Int32()
        v0_host = String("0", ignorable=True)
        v0_port = Int32("0", ignorable=True)
        endpoints = Array(Endpoint, "1+", ignorable=True)
        rack = String("2+", nullable="0+", ignorable=True)

    controller_id = Int32()
    is_k_raft_controller = Bool("8+")
    type = Int8("8+", tag=0)
    controller_epoch = Int32()
    broker_epoch = Int64("5+", default=-1, ignorable=True)
    ungrouped_partition_states = Array(UpdateMetadataPartitionState, "0-4")
    topic_states = Array(TopicState, "5+")
    live_brokers = Array(LiveBroker)


class UpdateMetadataResponse(Message, key=6, versions="0-8", flexible="6+"):
    """Whether the broker took it."""

    error_code = Int16()
