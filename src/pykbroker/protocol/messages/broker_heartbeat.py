"""BrokerHeartbeat: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Int64, Message, Uuid


class BrokerHeartbeatRequest(Message, key=63, versions="0-2", flexible="0+"):
    """A broker is alive, and says how far it is with the metadata."""

    broker_id = Int32()
    broker_epoch = Int64(default=-1)
    current_metadata_offset = Int64()
    want_fence = Bool()
    want_shut_down = Bool()
    offline_log_dirs = Array(Uuid, "1+", tag=0)
    cordoned_log_dirs = Array(Uuid, "2+", nullable="2+", default=None, tag=1)


class BrokerHeartbeatResponse(Message, key=63, versions="0-2", flexible="0+"):
    """Whether it is fenced, and whether it may stop."""

    throttle_time_ms = Int32()
    error_code = Int16()
    is_caught_up = Bool()
    is_fenced = Bool(default=True)
    should_shut_down = Bool()
