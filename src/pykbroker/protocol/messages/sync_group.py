"""SyncGroup: its request and its response."""

from pykbroker.protocol.message import Array, Bytes, Int16, Int32, Message, String, Struct


class SyncGroupRequest(Message, key=14, versions="0-5", flexible="4+"):
    """The leader hands over everybody's assignment; the others send none."""

    class Assignment(Struct):
        member_id = String()
        assignment = Bytes()

    group_id = String()
    generation_id = Int32()
    member_id = String()
    group_instance_id = String("3+", nullable="3+", default=None)
    protocol_type = String("5+", nullable="5+", default=None, ignorable=True)
    protocol_name = String("5+", nullable="5+", default=None, ignorable=True)
    assignments = Array(Assignment)


class SyncGroupResponse(Message, key=14, versions="0-5", flexible="4+"):
    """The member's own assignment."""

    throttle_time_ms = Int32("1+", ignorable=True)
    error_code = Int16()
    protocol_type = String("5+", nullable="5+", default=None, ignorable=True)
    protocol_name = String("5+", nullable="5+", default=None, ignorable=True)
    assignment = Bytes()
