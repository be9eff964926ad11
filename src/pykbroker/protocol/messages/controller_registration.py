"""ControllerRegistration: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Message, String, Struct, UInt16, Uuid


class ControllerRegistrationRequest(Message, key=70, versions="0", flexible="0+"):
    """A controller tells the quorum's leader where it is (KIP-919)."""

    class Listener(Struct):
        name = String()
        host = String()
        port = UInt16()
        security_protocol = Int16()

    class Feature(Struct):
        name = String()
        min_supported_version = Int16()
        max_supported_version = Int16()

    controller_id = Int32()
    incarnation_id = Uuid()
    zk_migration_ready = Bool()
    listeners = Array(Listener)
    features = Array(Feature)


class ControllerRegistrationResponse(Message, key=70, versions="0", flexible="0+"):
    """Whether it was taken."""

    throttle_time_ms = Int32()
    error_code = Int16()
    error_message = String(nullable="0+")
