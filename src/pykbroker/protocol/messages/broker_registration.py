"""BrokerRegistration: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Int64, Message, String, Struct, UInt16, Uuid


class BrokerRegistrationRequest(Message, key=62, versions="0-4", flexible="0+"):
    """A broker starts, and tells the controller who and where it is (KIP-631)."""

    class Listener(Struct):
        name = String()
        host = String()
        port = UInt16()
        security_protocol = Int16()

    class Feature(Struct):
        name = String()
        min_supported_version = Int16()
        max_supported_version = Int16()

    broker_id = Int32()
    cluster_id = String()
    incarnation_id = Uuid()
    listeners = Array(Listener)
    features = Array(Feature)
    rack = String(nullable="0+")
    is_migrating_zk_broker = Bool("1+")
    log_dirs = Array(Uuid, "2+", ignorable=True)
    previous_broker_epoch = Int64("3+", default=-1, ignorable=True)


class BrokerRegistrationResponse(Message, key=62, versions="0-4", flexible="0+"):
    """The epoch of its registration."""

    throttle_time_ms = Int32()
    error_code = Int16()
    broker_epoch = Int64(default=-1)
