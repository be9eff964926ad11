"""Heartbeat: its request and its response."""

from pykbroker.protocol.message import Int16, Int32, Message, String


class HeartbeatRequest(Message, key=12, versions="0-4", flexible="4+"):
    """A member of a classic group is alive."""

    group_id = String()
    generation_id = Int32()
    member_id = String()
    group_instance_id = String("3+", nullable="3+", default=None)


class HeartbeatResponse(Message, key=12, versions="0-4", flexible="4+"):
    """REBALANCE_IN_PROGRESS asks the member to join again."""

    throttle_time_ms = Int32("1+", ignorable=True)
    error_code = Int16()
