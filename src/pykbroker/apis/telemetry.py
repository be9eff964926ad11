"""GetTelemetrySubscriptions and PushTelemetry: clients' own metrics (KIP-714)."""

from __future__ import annotations

from pykbroker.cluster.client_telemetry import COMPRESSIONS, Push
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.get_telemetry_subscriptions import (
    GetTelemetrySubscriptionsRequest,
    GetTelemetrySubscriptionsResponse,
)
from pykbroker.protocol.messages.push_telemetry import PushTelemetryRequest, PushTelemetryResponse
from pykbroker.server.request import RequestContext, handles
from pykbroker.server.telemetry import Telemetry


@handles(GetTelemetrySubscriptionsRequest, "0")
async def get_telemetry_subscriptions(
    request: GetTelemetrySubscriptionsRequest, context: RequestContext
) -> GetTelemetrySubscriptionsResponse:
    """GetTelemetrySubscriptions 0: what the `client-metrics` configs that match the client ask it for.

    No metrics where none matches; the client asks again after the interval all the same.
    """
    telemetry = _telemetry(context)
    found = telemetry.asked(request.client_instance_id, context)
    return GetTelemetrySubscriptionsResponse(
        client_instance_id=found.id,
        subscription_id=found.subscription_id,
        accepted_compression_types=list(COMPRESSIONS),
        push_interval_ms=found.interval_ms,
        telemetry_max_bytes=telemetry.max_bytes,
        delta_temporality=True,
        requested_metrics=list(found.metrics),
    )


@handles(PushTelemetryRequest, "0")
async def push_telemetry(request: PushTelemetryRequest, context: RequestContext) -> PushTelemetryResponse:
    """PushTelemetry 0: hands a client's metrics to the broker's receiver."""
    push = Push(
        request.client_instance_id,
        request.subscription_id,
        request.terminating,
        request.compression_type,
        len(request.metrics),
    )
    _telemetry(context).pushed(push, request.metrics, context)
    return PushTelemetryResponse()


def _telemetry(context: RequestContext) -> Telemetry:
    telemetry = context.services.telemetry
    if telemetry is None:
        raise KafkaError(ErrorCode.UNSUPPORTED_VERSION)
    return telemetry
