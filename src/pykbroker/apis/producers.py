"""InitProducerId: ids for idempotent producers."""

from __future__ import annotations

from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest, InitProducerIdResponse
from pykbroker.server.request import RequestContext, handles


@handles(InitProducerIdRequest, "0-5")
async def init_producer_id(request: InitProducerIdRequest, context: RequestContext) -> InitProducerIdResponse:
    """InitProducerId 0-5 for idempotent producers (KIP-98): a fresh id at epoch 0, never given before.

    A transactional id needs a transaction coordinator, which isn't there (see `apis.gaps`): UNSUPPORTED_VERSION, which
    no client retries. Version 6 is unstable in Kafka 4.3 and not advertised there either.
    """
    if (request.producer_id == -1) != (request.producer_epoch == -1) or request.transactional_id == "":
        return _refusal(ErrorCode.INVALID_REQUEST)
    if request.transactional_id is not None:
        return _refusal(ErrorCode.UNSUPPORTED_VERSION)
    return InitProducerIdResponse(producer_id=await context.services.producer_ids.next())


def _refusal(code: ErrorCode) -> InitProducerIdResponse:
    return InitProducerIdResponse(error_code=code, producer_id=-1, producer_epoch=-1)
