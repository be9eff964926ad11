"""ApiVersions: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Int64, Message, String, Struct


class ApiVersionsRequest(Message, key=18, versions="0-4", flexible="3+"):
    """The first request of most clients; an unknown version of it is answered as version 0 (KIP-511)."""

    client_software_name = String("3+", ignorable=True)
    client_software_version = String("3+", ignorable=True)


class ApiVersionsResponse(Message, key=18, versions="0-4", flexible="3+"):
    """Its header is always version 0, so that a client can read it before it knows the versions."""

    class ApiKey(Struct):
        api_key = Int16()
        min_version = Int16()
        max_version = Int16()

    class SupportedFeature(Struct):
        name = String("3+")
        min_version = Int16("3+")
        max_version = Int16("3+")

    class FinalizedFeature(Struct):
        name = String("3+")
        max_version_level = Int16("3+")
        min_version_level = Int16("3+")

    error_code = Int16()
    api_keys = Array(ApiKey)
    throttle_time_ms = Int32("1+", ignorable=True)
    supported_features = Array(SupportedFeature, "3+", ignorable=True, tag=0)
    finalized_features_epoch = Int64("3+", default=-1, ignorable=True, tag=1)
    finalized_features = Array(FinalizedFeature, "3+", ignorable=True, tag=2)
    zk_migration_ready = Bool("3+", ignorable=True, tag=3)
