"""The records of committed offsets in `__consumer_offsets`; a key starts with its type, a value with its version."""

from pykbroker.protocol.message import Int32, Int64, Message, String, Uuid


class OffsetCommitKey(Message, key=1, versions="0"):
    """Which group, topic and partition an offset is of."""

    group = String("0")
    topic = String("0")
    partition = Int32("0")


class OffsetCommitValue(Message, key=1, versions="0-4", flexible="4+"):
    """A committed offset."""

    offset = Int64()
    leader_epoch = Int32("3+", default=-1, ignorable=True)
    metadata = String()
    commit_timestamp = Int64()
    expire_timestamp = Int64("1", default=-1, ignorable=True)
    topic_id = Uuid("4+", ignorable=True, tag=0)


class LegacyOffsetCommitKey(Message, key=0, versions="0"):
    """The key of brokers before 0.9; read, never written."""

    group = String("0")
    topic = String("0")
    partition = Int32("0")


class LegacyOffsetCommitValue(Message, key=0, versions="0"):
    """The value of brokers before 0.9; read, never written."""

    offset = Int64("0")
    metadata = String("0")
    commit_timestamp = Int64("0")
