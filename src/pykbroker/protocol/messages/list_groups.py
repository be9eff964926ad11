"""ListGroups: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Message, String, Struct


class ListGroupsRequest(Message, key=16, versions="0-5", flexible="3+"):
    """Filters by state from version 4 (KIP-518), by type from version 5 (KIP-848)."""

    states_filter = Array(String, "4+")
    types_filter = Array(String, "5+")


class ListGroupsResponse(Message, key=16, versions="0-5", flexible="3+"):
    """The groups that this broker coordinates."""

    class Group(Struct):
        group_id = String()
        protocol_type = String()
        group_state = String("4+", ignorable=True)
        group_type = String("5+", ignorable=True)

    throttle_time_ms = Int32("1+", ignorable=True)
    error_code = Int16()
    groups = Array(Group)
