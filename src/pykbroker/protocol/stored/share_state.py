"""The records of `__share_group_state` (KIP-932)."""

from pykbroker.protocol.message import Array, Int8, Int16, Int32, Int64, Message, String, Struct, Uuid


class ShareSnapshotKey(Message, key=0, versions="0"):
    """Which share partition the value is of."""

    group_id = String("0")
    topic_id = Uuid("0")
    partition = Int32("0")


class ShareSnapshotValue(Message, key=0, versions="0", flexible="0+"):
    """Its whole state."""

    class StateBatch(Struct):
        first_offset = Int64()
        last_offset = Int64()
        delivery_state = Int8()
        delivery_count = Int16()

    snapshot_epoch = Int32()
    state_epoch = Int32()
    leader_epoch = Int32()
    start_offset = Int64()
    delivery_complete_count = Int32(default=-1, tag=0)
    create_timestamp = Int64()
    write_timestamp = Int64()
    state_batches = Array(StateBatch)


class ShareUpdateKey(Message, key=1, versions="0"):
    """Which share partition the value is of."""

    group_id = String("0")
    topic_id = Uuid("0")
    partition = Int32("0")


class ShareUpdateValue(Message, key=1, versions="0", flexible="0+"):
    """What changed in its state since the snapshot."""

    class StateBatch(Struct):
        first_offset = Int64()
        last_offset = Int64()
        delivery_state = Int8()
        delivery_count = Int16()

    snapshot_epoch = Int32()
    leader_epoch = Int32()
    start_offset = Int64()
    delivery_complete_count = Int32(default=-1, tag=0)
    state_batches = Array(StateBatch)
