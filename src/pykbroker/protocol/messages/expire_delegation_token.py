"""ExpireDelegationToken: its request and its response."""

from pykbroker.protocol.message import Bytes, Int16, Int32, Int64, Message


class ExpireDelegationTokenRequest(Message, key=40, versions="0-2", flexible="2+"):
    """An earlier expiry for a token; negative means at once."""

    hmac = Bytes()
    expiry_time_period_ms = Int64()


class ExpireDelegationTokenResponse(Message, key=40, versions="0-2", flexible="2+"):
    """When it expires now."""

    error_code = Int16()
    expiry_timestamp_ms = Int64()
    throttle_time_ms = Int32()
