"""InitProducerId: ids for idempotent producers."""

from __future__ import annotations

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from pykbroker.server.request import RequestContext, handles


@handles(InitProducerIdRequest, "0-5")
async def init_producer_id(request: InitProducerIdRequest, context: RequestContext) -> InitProducerIdResponse:
    """InitProducerId 0-5 for idempotent producers (KIP-98): a fresh id at epoch 0, never given before.

    A transactional id needs a transaction coordinator, which isn't there (see `apis.gaps`): UNSUPPORTED_VERSION, which
    no client retries. Version 6 is unstable in Kafka 4.3 and not advertised there either.
    """
    if request.transactional_id is not None:
        if not request.transactional_id:
            raise KafkaError(ErrorCode.INVALID_REQUEST)
        raise KafkaError(ErrorCode.UNSUPPORTED_VERSION)
    if request.producer_id < -1 or (request.producer_id == -1) != (request.producer_epoch == -1):
        raise KafkaError(ErrorCode.INVALID_REQUEST)
    return InitProducerIdResponse(producer_id=await context.services.producer_ids.next())
