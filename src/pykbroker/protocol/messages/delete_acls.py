"""DeleteAcls: its request and its response."""

from pykbroker.protocol.message import Array, Int8, Int16, Int32, Message, String, Struct


class DeleteAclsRequest(Message, key=31, versions="0-3", flexible="2+"):
    """Filters of access rules to remove."""

    class Filter(Struct):
        resource_type_filter = Int8()
        resource_name_filter = String(nullable="0+")
        pattern_type_filter = Int8("1+", default=3)
        principal_filter = String(nullable="0+")
        host_filter = String(nullable="0+")
        operation = Int8()
        permission_type = Int8()

    filters = Array(Filter)


class DeleteAclsResponse(Message, key=31, versions="0-3", flexible="2+"):
    """The rules removed by each filter."""

    class FilterResult(Struct):
        class MatchingAcl(Struct):
            error_code = Int16()
            error_message = String(nullable="0+")
            resource_type = Int8()
            resource_name = String()
            pattern_type = Int8("1+", default=3)
            principal = String()
            host = String()
            operation = Int8()
            permission_type = Int8()

        error_code = Int16()
        error_message = String(nullable="0+")
        matching_acls = Array(MatchingAcl)

    throttle_time_ms = Int32()
    filter_results = Array(FilterResult)
