"""DescribeGroups: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Bytes, Int16, Int32, Message, String, Struct


class DescribeGroupsRequest(Message, key=15, versions="0-6", flexible="5+"):
    """Classic groups by id."""

    groups = Array(String)
    include_authorized_operations = Bool("3+")


class DescribeGroupsResponse(Message, key=15, versions="0-6", flexible="5+"):
    """State, protocol and members of each group; version 6 can say GROUP_ID_NOT_FOUND (KIP-1043)."""

    class Group(Struct):
        class Member(Struct):
            member_id = String()
            group_instance_id = String("4+", nullable="4+", default=None, ignorable=True)
            client_id = String()
            client_host = String()
            member_metadata = Bytes()
            member_assignment = Bytes()

        error_code = Int16()
        error_message = String("6+", nullable="6+", default=None)
        group_id = String()
        group_state = String()
        protocol_type = String()
        protocol_data = String()
        members = Array(Member)
        authorized_operations = Int32("3+", default=-(2**31))

    throttle_time_ms = Int32("1+", ignorable=True)
    groups = Array(Group)
