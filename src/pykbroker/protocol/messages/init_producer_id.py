"""InitProducerId: its request and its response."""

from pykbroker.protocol.message import Bool, Int16, Int32, Int64, Message, String


class InitProducerIdRequest(Message, key=22, versions="0-6", flexible="2+"):
    """Null transactional id: a producer that is idempotent only."""

    transactional_id = String(nullable="0+")
    transaction_timeout_ms = Int32()
    producer_id = Int64("3+", default=-1)
    producer_epoch = Int16("3+", default=-1)
    enable_2pc = Bool("6+")
    keep_prepared_txn = Bool("6+")


class InitProducerIdResponse(Message, key=22, versions="0-6", flexible="2+"):
    """The producer's id and epoch."""

    throttle_time_ms = Int32(ignorable=True)
    error_code = Int16()
    producer_id = Int64(default=-1)
    producer_epoch = Int16()
    ongoing_txn_producer_id = Int64("6+", default=-1)
    ongoing_txn_producer_epoch = Int16("6+", default=-1)
