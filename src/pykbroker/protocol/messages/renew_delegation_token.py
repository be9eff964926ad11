"""RenewDelegationToken: its request and its response."""

from pykbroker.protocol.message import Bytes, Int16, Int32, Int64, Message


class RenewDelegationTokenRequest(Message, key=39, versions="0-2", flexible="2+"):
    """A later expiry for a token."""

    hmac = Bytes()
    renew_period_ms = Int64()


class RenewDelegationTokenResponse(Message, key=39, versions="0-2", flexible="2+"):
    """When it expires now."""

    error_code = Int16()
    expiry_timestamp_ms = Int64()
    throttle_time_ms = Int32()
