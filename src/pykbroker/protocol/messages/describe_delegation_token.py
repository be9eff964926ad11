"""DescribeDelegationToken: its request and its response."""

from pykbroker.protocol.message import Array, Bytes, Int16, Int32, Int64, Message, String, Struct


class DescribeDelegationTokenRequest(Message, key=41, versions="0-3", flexible="2+"):
    """Null owners ask for all tokens that may be seen."""

    class Owner(Struct):
        principal_type = String()
        principal_name = String()

    owners = Array(Owner, nullable="0+")


class DescribeDelegationTokenResponse(Message, key=41, versions="0-3", flexible="2+"):
    """Tokens with owners and renewers."""

    class Token(Struct):
        class Renewer(Struct):
            principal_type = String()
            principal_name = String()

        principal_type = String()
        principal_name = String()
        token_requester_principal_type = String("3+")
        token_requester_principal_name = String("3+")
        issue_timestamp = Int64()
        expiry_timestamp = Int64()
        max_timestamp = Int64()
        token_id = String()
        hmac = Bytes()
        renewers = Array(Renewer)

    error_code = Int16()
    tokens = Array(Token)
    throttle_time_ms = Int32()
