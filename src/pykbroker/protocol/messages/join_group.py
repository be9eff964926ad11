"""JoinGroup: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Bytes, Int16, Int32, Message, String, Struct


class JoinGroupRequest(Message, key=11, versions="0-9", flexible="6+"):
    """A member of a classic group offers its protocols; its subscription travels in their metadata."""

    class Protocol(Struct):
        name = String()
        metadata = Bytes()

    group_id = String()
    session_timeout_ms = Int32()
    rebalance_timeout_ms = Int32("1+", default=-1, ignorable=True)
    member_id = String()
    group_instance_id = String("5+", nullable="5+", default=None)
    protocol_type = String()
    protocols = Array(Protocol)
    reason = String("8+", nullable="8+", default=None, ignorable=True)


class JoinGroupResponse(Message, key=11, versions="0-9", flexible="6+"):
    """The generation and the chosen protocol; the leader alone is told the members."""

    class Member(Struct):
        member_id = String()
        group_instance_id = String("5+", nullable="5+", default=None, ignorable=True)
        metadata = Bytes()

    throttle_time_ms = Int32("2+", ignorable=True)
    error_code = Int16()
    generation_id = Int32(default=-1)
    protocol_type = String("7+", nullable="7+", default=None, ignorable=True)
    protocol_name = String(nullable="7+")
    leader = String()
    skip_assignment = Bool("9+")
    member_id = String()
    members = Array(Member)
