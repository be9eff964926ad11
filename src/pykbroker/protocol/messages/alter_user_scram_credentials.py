"""AlterUserScramCredentials: its request and its response."""

from pykbroker.protocol.message import Array, Bytes, Int8, Int16, Int32, Message, String, Struct


class AlterUserScramCredentialsRequest(Message, key=51, versions="0", flexible="0+"):
    """Credentials to remove, and salted passwords to store."""

    class Deletion(Struct):
        name = String()
        mechanism = Int8()

    class Upsertion(Struct):
        name = String()
        mechanism = Int8()
        iterations = Int32()
        salt = Bytes()
        salted_password = Bytes()

    deletions = Array(Deletion)
    upsertions = Array(Upsertion)


class AlterUserScramCredentialsResponse(Message, key=51, versions="0", flexible="0+"):
    """An error per user."""

    class Result(Struct):
        user = String()
        error_code = Int16()
        error_message = String(nullable="0+")

    throttle_time_ms = Int32()
    results = Array(Result)
