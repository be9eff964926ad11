"""DeleteGroups: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Message, String, Struct


class DeleteGroupsRequest(Message, key=42, versions="0-2", flexible="2+"):
    """Groups without members, by id."""

    groups_names = Array(String)


class DeleteGroupsResponse(Message, key=42, versions="0-2", flexible="2+"):
    """An error per group."""

    class Result(Struct):
        group_id = String()
        error_code = Int16()

    throttle_time_ms = Int32()
    results = Array(Result)
