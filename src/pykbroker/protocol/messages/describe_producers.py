"""DescribeProducers: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Int64, Message, String, Struct


class DescribeProducersRequest(Message, key=61, versions="0", flexible="0+"):
    """Partitions of which to list the producers (KIP-664)."""

    class Topic(Struct):
        name = String()
        partition_indexes = Array(Int32)

    topics = Array(Topic)


class DescribeProducersResponse(Message, key=61, versions="0", flexible="0+"):
    """Their ids, epochs, sequences and open transactions."""

    class Topic(Struct):
        class Partition(Struct):
            class ActiveProducer(Struct):
                producer_id = Int64()
                producer_epoch = Int32()
                last_sequence = Int32(default=-1)
                last_timestamp = Int64(default=-1)
                coordinator_epoch = Int32()
                current_txn_start_offset = Int64(default=-1)

            partition_index = Int32()
            error_code = Int16()
            error_message = String(nullable="0+", default=None)
            active_producers = Array(ActiveProducer)

        name = String()
        partitions = Array(Partition)

    throttle_time_ms = Int32()
    topics = Array(Topic)
