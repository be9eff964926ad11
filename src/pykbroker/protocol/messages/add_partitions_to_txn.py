"""AddPartitionsToTxn: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int16, Int32, Int64, Message, String, Struct


class AddPartitionsToTxnTopic(Struct):
    """Stands in more than one place of AddPartitionsToTxnRequest, as `Topic`."""

    name = String()
    partitions = Array(Int32)


class AddPartitionsToTxnRequest(Message, key=24, versions="0-5", flexible="3+"):
    """Partitions that a transaction will write to; several transactions from version 4, for brokers (KIP-890)."""

    Topic = AddPartitionsToTxnTopic

    class Transaction(Struct):
        transactional_id = String("4+")
        producer_id = Int64("4+")
        producer_epoch = Int16("4+")
        verify_only = Bool("4+")
        topics = Array(AddPartitionsToTxnTopic, "4+")

    transactions = Array(Transaction, "4+")
    v3_and_below_transactional_id = String("0-3")
    v3_and_below_producer_id = Int64("0-3")
    v3_and_below_producer_epoch = Int16("0-3")
    v3_and_below_topics = Array(AddPartitionsToTxnTopic, "0-3")


class AddPartitionsToTxnPartitionResult(Struct):
    """Stands in more than one place of AddPartitionsToTxnResponse, as `ResultByPartition`."""

    partition_index = Int32()
    partition_error_code = Int16()


class AddPartitionsToTxnTopicResult(Struct):
    """Stands in more than one place of AddPartitionsToTxnResponse, as `TopicResult`."""

    name = String()
    results_by_partition = Array(AddPartitionsToTxnPartitionResult)


class AddPartitionsToTxnResponse(Message, key=24, versions="0-5", flexible="3+"):
    """An error per partition."""

    ResultByPartition = AddPartitionsToTxnPartitionResult
    TopicResult = AddPartitionsToTxnTopicResult

    class ResultByTransaction(Struct):
        transactional_id = String("4+")
        topic_results = Array(AddPartitionsToTxnTopicResult, "4+")

    throttle_time_ms = Int32()
    error_code = Int16("4+", ignorable=True)
    results_by_transaction = Array(ResultByTransaction, "4+")
    results_by_topic_v3_and_below = Array(AddPartitionsToTxnTopicResult, "0-3")
