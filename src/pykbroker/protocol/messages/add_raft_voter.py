"""AddRaftVoter: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Message, String, Struct, UInt16, Uuid


class AddRaftVoterRequest(Message, key=80, versions="0-1", flexible="0+"):
    """A controller that shall have a vote (KIP-853)."""

    class Listener(Struct):
        name = String()
        host = String()
        port = UInt16()

    cluster_id = String(nullable="0+")
    timeout_ms = Int32()
    voter_id = Int32()
    voter_directory_id = Uuid()
    listeners = Array(Listener)
    ack_when_committed = Bool("1+", default=True)


class AddRaftVoterResponse(Message, key=80, versions="0-1", flexible="0+"):
    """Whether it has."""

    throttle_time_ms = Int32()
    error_code = Int16()
    error_message = String(nullable="0+", ignorable=True)
