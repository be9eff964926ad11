"""LeaveGroup: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Message, String, Struct


class LeaveGroupRequest(Message, key=13, versions="0-5", flexible="4+"):
    """One member until version 2, any number from version 3 (KIP-345)."""

    class Member(Struct):
        member_id = String("3+")
        group_instance_id = String("3+", nullable="3+", default=None)
        reason = String("5+", nullable="5+", default=None, ignorable=True)

    group_id = String()
    member_id = String("0-2")
    members = Array(Member, "3+")


class LeaveGroupResponse(Message, key=13, versions="0-5", flexible="4+"):
    """From version 3 an error per member too."""

    class Member(Struct):
        member_id = String("3+")
        group_instance_id = String("3+", nullable="3+")
        error_code = Int16("3+")

    throttle_time_ms = Int32("1+", ignorable=True)
    error_code = Int16()
    members = Array(Member, "3+")
