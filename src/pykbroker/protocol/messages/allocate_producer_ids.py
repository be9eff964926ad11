"""AllocateProducerIds: its request and its response."""

from pykbroker.protocol.message import Int16, Int32, Int64, Message


class AllocateProducerIdsRequest(Message, key=67, versions="0", flexible="0+"):
    """A broker asks the controller for a block of producer ids."""

    broker_id = Int32()
    broker_epoch = Int64(default=-1)


class AllocateProducerIdsResponse(Message, key=67, versions="0", flexible="0+"):
    """The block."""

    throttle_time_ms = Int32()
    error_code = Int16()
    producer_id_start = Int64()
    producer_id_len = Int32()
