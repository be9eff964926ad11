"""The records of `__transaction_state`."""

from pykbroker.protocol.message import Array, Int8, Int16, Int32, Int64, Message, String, Struct


class TransactionLogKey(Message, key=0, versions="0"):
    """Which transactional id the value is of."""

    transactional_id = String("0")


class TransactionLogValue(Message, key=0, versions="0-1", flexible="1+"):
    """Its producer, its state and the partitions of its transaction."""

    class TransactionPartition(Struct):
        topic = String()
        partition_ids = Array(Int32)

    producer_id = Int64()
    previous_producer_id = Int64("1+", default=-1, tag=0)
    next_producer_id = Int64("1+", default=-1, tag=1)
    producer_epoch = Int16()
    transaction_timeout_ms = Int32()
    transaction_status = Int8()
    transaction_partitions = Array(TransactionPartition, nullable="0+")
    transaction_last_update_timestamp_ms = Int64()
    transaction_start_timestamp_ms = Int64()
    client_transaction_version = Int16("1+", tag=2)
    next_producer_epoch = Int16("1+", default=-1, tag=3)
