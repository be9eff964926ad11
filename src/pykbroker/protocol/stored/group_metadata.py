"""The records of classic groups in `__consumer_offsets`; a key starts with its type, a value with its version."""

from pykbroker.protocol.message import Array, Bytes, Int32, Int64, Message, String, Struct


class GroupMetadataKey(Message, key=2, versions="0"):
    """Which classic group the value is of."""

    group = String("0")


class GroupMetadataValue(Message, key=2, versions="0-4", flexible="4+"):
    """A classic group after a rebalance: generation, leader, members with their subscriptions and assignments."""

    class Member(Struct):
        member_id = String()
        group_instance_id = String("3+", nullable="3+", default=None, ignorable=True)
        client_id = String()
        client_host = String()
        rebalance_timeout = Int32("1+", default=-1, ignorable=True)
        session_timeout = Int32()
        subscription = Bytes()
        assignment = Bytes()

    protocol_type = String()
    generation = Int32()
    protocol = String(nullable="0+")
    leader = String(nullable="0+")
    current_state_timestamp = Int64("2+", default=-1, ignorable=True)
    members = Array(Member)
