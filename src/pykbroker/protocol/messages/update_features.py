"""UpdateFeatures: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int8, Int16, Int32, Message, String, Struct


class UpdateFeaturesRequest(Message, key=57, versions="0-2", flexible="0+"):
    """Feature levels to finalize (KIP-584)."""

    class FeatureUpdate(Struct):
        feature = String()
        max_version_level = Int16()
        allow_downgrade = Bool("0")
        upgrade_type = Int8("1+", default=1)

    timeout_ms = Int32(default=60000)
    feature_updates = Array(FeatureUpdate)
    validate_only = Bool("1+")


class UpdateFeaturesResponse(Message, key=57, versions="0-2", flexible="0+"):
    """An error, until version 1 per feature."""

    class Result(Struct):
        feature = String()
        error_code = Int16()
        error_message = String(nullable="0+")

    throttle_time_ms = Int32()
    error_code = Int16()
    error_message = String(nullable="0+")
    results = Array(Result, "0-1", ignorable=True)
