"""WriteTxnMarkers: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int8, Int16, Int32, Int64, Message, String, Struct


class WriteTxnMarkersRequest(Message, key=27, versions="0-2", flexible="1+"):
    """The coordinator's markers for the partitions of finished transactions, between brokers."""

    class Marker(Struct):
        class Topic(Struct):
            name = String()
            partition_indexes = Array(Int32)

        producer_id = Int64()
        producer_epoch = Int16()
        transaction_result = Bool()
        topics = Array(Topic)
        coordinator_epoch = Int32()
        transaction_version = Int8("2+", ignorable=True)

    markers = Array(Marker)


class WriteTxnMarkersResponse(Message, key=27, versions="0-2", flexible="1+"):
    """An error per partition and producer."""

    class Marker(Struct):
        class Topic(Struct):
            class Partition(Struct):
                partition_index = Int32()
                error_code = Int16()

            name = String()
            partitions = Array(Partition)

        producer_id = Int64()
        topics = Array(Topic)

    markers = Array(Marker)
