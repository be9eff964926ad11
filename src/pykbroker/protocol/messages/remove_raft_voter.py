"""RemoveRaftVoter: its request and its response."""

from pykbroker.protocol.message import Int16, Int32, Message, String, Uuid


class RemoveRaftVoterRequest(Message, key=81, versions="0", flexible="0+"):
    """A controller that shall have no vote any more (KIP-853)."""

    cluster_id = String(nullable="0+")
    voter_id = Int32()
    voter_directory_id = Uuid()


class RemoveRaftVoterResponse(Message, key=81, versions="0", flexible="0+"):
    """Whether it has none."""

    throttle_time_ms = Int32()
    error_code = Int16()
    error_message = String(nullable="0+", ignorable=True)
