"""DescribeUserScramCredentials: its request and its response."""

from pykbroker.protocol.message import Array, Int8, Int16, Int32, Message, String, Struct


class DescribeUserScramCredentialsRequest(Message, key=50, versions="0", flexible="0+"):
    """Null users ask for all (KIP-554)."""

    class User(Struct):
        name = String()

    users = Array(User, nullable="0+")


class DescribeUserScramCredentialsResponse(Message, key=50, versions="0", flexible="0+"):
    """Mechanisms and iterations, never a secret."""

    class Result(Struct):
        class CredentialInfo(Struct):
            mechanism = Int8()
            iterations = Int32()

        user = String()
        error_code = Int16()
        error_message = String(nullable="0+")
        credential_infos = Array(CredentialInfo)

    throttle_time_ms = Int32()
    error_code = Int16()
    error_message = String(nullable="0+")
    results = Array(Result)
