"""ControlledShutdown: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Int64, Message, String, Struct


class ControlledShutdownRequest(Message, key=7, versions="0-3", flexible="3+"):
    """A broker asks the controller to move its leaders before it stops; ZooKeeper mode alone."""

    broker_id = Int32()
    broker_epoch = Int64("2+", default=-1, ignorable=True)


class ControlledShutdownResponse(Message, key=7, versions="0-3", flexible="3+"):
    """The partitions that it still leads."""

    class RemainingPartition(Struct):
        topic_name = String()
        partition_index = Int32()

    error_code = Int16()
    remaining_partitions = Array(RemainingPartition)
