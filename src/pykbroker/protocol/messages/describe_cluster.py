"""DescribeCluster: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int8, Int16, Int32, Message, String, Struct


class DescribeClusterRequest(Message, key=60, versions="0-2", flexible="0+"):
    """Asks for brokers, or from version 1 for controllers (KIP-919)."""

    include_cluster_authorized_operations = Bool()
    endpoint_type = Int8("1+", default=1)
    include_fenced_brokers = Bool("2+")


class DescribeClusterResponse(Message, key=60, versions="0-2", flexible="0+"):
    """The cluster id, the controller and the brokers."""

    class Broker(Struct):
        broker_id = Int32()
        host = String()
        port = Int32()
        rack = String(nullable="0+", default=None)
        is_fenced = Bool("2+")

    throttle_time_ms = Int32()
    error_code = Int16()
    error_message = String(nullable="0+", default=None)
    endpoint_type = Int8("1+", default=1)
    cluster_id = String()
    controller_id = Int32(default=-1)
    brokers = Array(Broker)
    cluster_authorized_operations = Int32(default=-(2**31))
