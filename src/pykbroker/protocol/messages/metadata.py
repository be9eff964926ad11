"""Metadata: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Message, String, Struct, Uuid


class MetadataRequest(Message, key=3, versions="0-13", flexible="9+"):
    """Null topics ask for all of them; version 0 has no null and asks with an empty array."""

    class Topic(Struct):
        topic_id = Uuid("10+", ignorable=True)
        name = String(nullable="10+")

    topics = Array(Topic, nullable="1+")
    allow_auto_topic_creation = Bool("4+", default=True)
    include_cluster_authorized_operations = Bool("8-10")
    include_topic_authorized_operations = Bool("8+")


class MetadataResponse(Message, key=3, versions="0-13", flexible="9+"):
    """Brokers, the controller, and topics with the state of their partitions."""

    class Broker(Struct):
        node_id = Int32()
        host = String()
        port = Int32()
        rack = String("1+", nullable="1+", default=None, ignorable=True)

    class Topic(Struct):
        class Partition(Struct):
            error_code = Int16()
            partition_index = Int32()
            leader_id = Int32()
            leader_epoch = Int32("7+", default=-1, ignorable=True)
            replica_nodes = Array(Int32)
            isr_nodes = Array(Int32)
            offline_replicas = Array(Int32, "5+", ignorable=True)

        error_code = Int16()
        name = String(nullable="12+")
        topic_id = Uuid("10+", ignorable=True)
        is_internal = Bool("1+", ignorable=True)
        partitions = Array(Partition)
        topic_authorized_operations = Int32("8+", default=-(2**31))

    throttle_time_ms = Int32("3+", ignorable=True)
    brokers = Array(Broker)
    cluster_id = String("2+", nullable="2+", default=None, ignorable=True)
    controller_id = Int32("1+", default=-1, ignorable=True)
    topics = Array(Topic)
    cluster_authorized_operations = Int32("8-10", default=-(2**31))
    error_code = Int16("13+", ignorable=True)
