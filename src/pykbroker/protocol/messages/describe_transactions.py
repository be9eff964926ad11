"""DescribeTransactions: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Int64, Message, String, Struct


class DescribeTransactionsRequest(Message, key=65, versions="0", flexible="0+"):
    """Transactions by id (KIP-664)."""

    transactional_ids = Array(String)


class DescribeTransactionsResponse(Message, key=65, versions="0", flexible="0+"):
    """State, producer and partitions of each."""

    class TransactionState(Struct):
        class Topic(Struct):
            topic = String()
            partitions = Array(Int32)

        error_code = Int16()
        transactional_id = String()
        transaction_state = String()
        transaction_timeout_ms = Int32()
        transaction_start_time_ms = Int64()
        producer_id = Int64()
        producer_epoch = Int16()
        topics = Array(Topic)

    throttle_time_ms = Int32()
    transaction_states = Array(TransactionState)
