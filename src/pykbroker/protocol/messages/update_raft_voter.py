"""UpdateRaftVoter: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Message, Nested, String, Struct, UInt16, Uuid


class UpdateRaftVoterRequest(Message, key=82, versions="0", flexible="0+"):
    """A voter's new endpoints and protocol versions (KIP-853)."""

    class Listener(Struct):
        name = String()
        host = String()
        port = UInt16()

    class KRaftVersionFeature(Struct):
        min_supported_version = Int16()
        max_supported_version = Int16()

    cluster_id = String(nullable="0+")
    current_leader_epoch = Int32()
    voter_id = Int32()
    voter_directory_id = Uuid()
    listeners = Array(Listener)
    k_raft_version_feature = Nested(KRaftVersionFeature)


class UpdateRaftVoterResponse(Message, key=82, versions="0", flexible="0+"):
    """The quorum's leader."""

    class CurrentLeader(Struct):
        leader_id = Int32(default=-1)
        leader_epoch = Int32(default=-1)
        host = String()
        port = Int32()

    throttle_time_ms = Int32()
    error_code = Int16()
    current_leader = Nested(CurrentLeader, tag=0)
