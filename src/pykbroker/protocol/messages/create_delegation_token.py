"""CreateDelegationToken: its request and its response."""

from pykbroker.protocol.message import Array, Bytes, Int16, Int32, Int64, Message, String, Struct


class CreateDelegationTokenRequest(Message, key=38, versions="0-3", flexible="2+"):
    """A token that stands for the user who asks (KIP-48)."""

    class Renewer(Struct):
        principal_type = String()
        principal_name = String()

    owner_principal_type = String("3+", nullable="3+")
    owner_principal_name = String("3+", nullable="3+")
    renewers = Array(Renewer)
    max_lifetime_ms = Int64()


class CreateDelegationTokenResponse(Message, key=38, versions="0-3", flexible="2+"):
    """The token and its secret."""

    error_code = Int16()
    principal_type = String()
    principal_name = String()
    token_requester_principal_type = String("3+")
    token_requester_principal_name = String("3+")
    issue_timestamp_ms = Int64()
    expiry_timestamp_ms = Int64()
    max_timestamp_ms = Int64()
    token_id = String()
    hmac = Bytes()
    throttle_time_ms = Int32()
