"""DescribeAcls: its request and its response."""

from pykbroker.protocol.message import Array, Int8, Int16, Int32, Message, String, Struct


class DescribeAclsRequest(Message, key=29, versions="0-3", flexible="2+"):
    """Which access rules to list; -1, 1 and null match any (KIP-140)."""

    resource_type_filter = Int8()
    resource_name_filter = String(nullable="0+")
    pattern_type_filter = Int8("1+", default=3)
    principal_filter = String(nullable="0+")
    host_filter = String(nullable="0+")
    operation = Int8()
    permission_type = Int8()


class DescribeAclsResponse(Message, key=29, versions="0-3", flexible="2+"):
    """The access rules by resource."""

    class Resource(Struct):
        class Acl(Struct):
            principal = String()
            host = String()
            operation = Int8()
            permission_type = Int8()

        resource_type = Int8()
        resource_name = String()
        pattern_type = Int8("1+", default=3)
        acls = Array(Acl)

    throttle_time_ms = Int32()
    error_code = Int16()
    error_message = String(nullable="0+")
    resources = Array(Resource)
