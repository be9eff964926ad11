"""AlterPartition: its request and its response."""

from pykbroker.protocol.message import Array, Int8, Int16, Int32, Int64, Message, String, Struct, Uuid


class AlterPartitionRequest(Message, key=56, versions="0-3", flexible="0+"):
    """A leader proposes a new ISR to the controller (KIP-497)."""

    class Topic(Struct):
        class Partition(Struct):
            class NewIsrWithEpoch(Struct):
                broker_id = Int32("3+")
                broker_epoch = Int64("3+", default=-1)

            partition_index = Int32()
            leader_epoch = Int32()
            new_isr = Array(Int32, "0-2")
            new_isr_with_epochs = Array(NewIsrWithEpoch, "3+")
            leader_recovery_state = Int8("1+")
            partition_epoch = Int32()

        topic_name = String("0-1", ignorable=True)
        topic_id = Uuid("2+", ignorable=True)
        partitions = Array(Partition)

    broker_id = Int32()
    broker_epoch = Int64(default=-1)
    topics = Array(Topic)


class AlterPartitionResponse(Message, key=56, versions="0-3", flexible="0+"):
    """The partition's state as the controller has it."""

    class Topic(Struct):
        class Partition(Struct):
            partition_index = Int32()
            error_code = Int16()
            leader_id = Int32()
            leader_epoch = Int32()
            isr = Array(Int32)
            leader_recovery_state = Int8("1+", ignorable=True)
            partition_epoch = Int32()

        topic_name = String("0-1", ignorable=True)
        topic_id = Uuid("2+", ignorable=True)
        partitions = Array(Partition)

    throttle_time_ms = Int32()
    error_code = Int16()
    topics = Array(Topic)
