"""ListTransactions: its request and its response."""

from pykbroker.protocol.message import Array, Int16, Int32, Int64, Message, String, Struct


class ListTransactionsRequest(Message, key=66, versions="0-2", flexible="0+"):
    """Filters by state, producer, duration and pattern (KIP-664, KIP-994, KIP-1152)."""

    state_filters = Array(String)
    producer_id_filters = Array(Int64)
    duration_filter = Int64("1+", default=-1)
    transactional_id_pattern = String("2+", nullable="2+", default=None)


class ListTransactionsResponse(Message, key=66, versions="0-2", flexible="0+"):
    """The transactions that this broker coordinates."""

    class TransactionState(Struct):
        transactional_id = String()
        producer_id = Int64()
        transaction_state = String()

    throttle_time_ms = Int32()
    error_code = Int16()
    unknown_state_filters = Array(String)
    transaction_states = Array(TransactionState)
