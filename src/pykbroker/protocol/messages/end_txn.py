"""EndTxn: its request and its response."""

from pykbroker.protocol.message import Bool, Int16, Int32, Int64, Message, String


class EndTxnRequest(Message, key=26, versions="0-5", flexible="3+"):
    """Commit or abort a transaction; from version 5 the epoch is bumped by it (KIP-890)."""

    transactional_id = String()
    producer_id = Int64()
    producer_epoch = Int16()
    committed = Bool()


class EndTxnResponse(Message, key=26, versions="0-5", flexible="3+"):
    """The producer's id and epoch for its next transaction."""

    throttle_time_ms = Int32()
    error_code = Int16()
    producer_id = Int64("5+", default=-1, ignorable=True)
    producer_epoch = Int16("5+", default=-1, ignorable=True)
