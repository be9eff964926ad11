"""What consumers of a group tell each other through the coordinator, which need not read it; a version comes first."""

from pykbroker.protocol.message import Array, Bytes, Int32, Message, String, Struct


class Subscription(Message, versions="0-3"):
    """What a consumer tells the others of its group, in the metadata of its protocols."""

    class OwnedPartition(Struct):
        topic = String("1+")
        partitions = Array(Int32, "1+")

    topics = Array(String)
    user_data = Bytes(nullable="0+", default=None)
    owned_partitions = Array(OwnedPartition, "1+", ignorable=True)
    generation_id = Int32("2+", default=-1, ignorable=True)
    rack_id = String("3+", nullable="3+", default=None, ignorable=True)


class Assignment(Message, versions="0-3"):
    """What the leader of a group tells each consumer."""

    class AssignedPartition(Struct):
        topic = String()
        partitions = Array(Int32)

    assigned_partitions = Array(AssignedPartition)
    user_data = Bytes(nullable="0+", default=None)
