"""AddOffsetsToTxn: its request and its response."""

from pykbroker.protocol.message import Int16, Int32, Int64, Message, String


class AddOffsetsToTxnRequest(Message, key=25, versions="0-4", flexible="3+"):
    """The group of which a transaction will commit offsets (KIP-98)."""

    transactional_id = String()
    producer_id = Int64()
    producer_epoch = Int16()
    group_id = String()


class AddOffsetsToTxnResponse(Message, key=25, versions="0-4", flexible="3+"):
    """Whether the coordinator took it."""

    throttle_time_ms = Int32()
    error_code = Int16()
