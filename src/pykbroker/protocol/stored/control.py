"""What control records hold, and the principal that a broker forwards."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Int64, Message, Nested, String, Struct, UInt16, Uuid


class ControlRecordTypeSchema(Message, versions="0"):
    """The key of a control record."""

    type = Int16()


class EndTxnMarker(Message, versions="0"):
    """The value of a commit or abort marker."""

    coordinator_epoch = Int32()


class Voter(Struct):
    """Stands in more than one place of LeaderChangeMessage, as `Voter`."""

    voter_id = Int32()
    voter_directory_id = Uuid("1+")


class LeaderChangeMessage(Message, versions="0-1", flexible="0+"):
    """A new leader of the controllers' quorum."""

    Voter = Voter

    version = Int16()
    leader_id = Int32()
    voters = Array(Voter)
    granting_voters = Array(Voter)


class SnapshotHeaderRecord(Message, versions="0", flexible="0+"):
    """The beginning of a metadata snapshot."""

    version = Int16()
    last_contained_log_timestamp = Int64()


class SnapshotFooterRecord(Message, versions="0", flexible="0+"):
    """The end of a metadata snapshot."""

    version = Int16()


class KRaftVersionRecord(Message, versions="0", flexible="0+"):
    """The version of the quorum's protocol."""

    version = Int16()
    k_raft_version = Int16()


class VotersRecord(Message, versions="0", flexible="0+"):
    """The voters of the controllers' quorum."""

    class Voter(Struct):
        class Endpoint(Struct):
            name = String()
            host = String()
            port = UInt16()

        class KRaftVersionFeature(Struct):
            min_supported_version = Int16()
            max_supported_version = Int16()

        voter_id = Int32()
        voter_directory_id = Uuid()
        endpoints = Array(Endpoint)
        k_raft_version_feature = Nested(KRaftVersionFeature)

    version = Int16()
    voters = Array(Voter)


class DefaultPrincipalData(Message, versions="0", flexible="0+"):
    """The principal of a request that a broker forwards to the controller."""

    type = String()
    name = String()
    token_authenticated = Bool()
