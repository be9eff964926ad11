"""ApiVersions: what this broker speaks, exactly as far as its handlers go."""

from __future__ import annotations

import re
from functools import cache

from pykbroker.cluster.features import FEATURES
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from pykbroker.protocol.versions import Versions
from pykbroker.server.request import RequestContext, handles

FIRST_WITH_CLIENT_SOFTWARE = 3
FIRST_WITH_LEVEL_0 = 4
SOFTWARE_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")
"""What KIP-511 lets a client's software name and version be."""


@handles(ApiVersionsRequest, "0-4")
async def api_versions(request: ApiVersionsRequest, context: RequestContext) -> ApiVersionsResponse:
    """ApiVersions 0-4. A version above is answered by the dispatcher in version 0 (KIP-511).

    From 3 on with the cluster's features (KIP-584).
    """
    if context.api_version >= FIRST_WITH_CLIENT_SOFTWARE and not (
        SOFTWARE_NAME.fullmatch(request.client_software_name)
        and SOFTWARE_NAME.fullmatch(request.client_software_version)
    ):
        return ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST)
    telemetry = context.services.telemetry
    if telemetry is not None and context.api_version >= FIRST_WITH_CLIENT_SOFTWARE:
        telemetry.identified(context.connection_id, request.client_software_name, request.client_software_version)
    finalized = context.services.metadata.image.features
    return ApiVersionsResponse(
        api_keys=list(_ranges(context.services.metadata.clustered, telemetry is not None)),
        supported_features=[
            ApiVersionsResponse.SupportedFeature(name=name, min_version=feature.low, max_version=feature.high)
            for name, feature in FEATURES.items()
            # Older clients can't read a feature that begins at 0 (KAFKA-17492).
            if feature.low or context.api_version >= FIRST_WITH_LEVEL_0
        ],
        finalized_features=[
            ApiVersionsResponse.FinalizedFeature(name=name, max_version_level=level, min_version_level=level)
            for name, level in finalized.levels.items()
        ],
        finalized_features_epoch=finalized.epoch,
    )


@cache
def _ranges(clustered: bool, telemetry: bool) -> tuple[ApiVersionsResponse.ApiKey, ...]:
    from pykbroker.apis import served  # This family is part of the table that it tells of.

    handlers = served(clustered=clustered, telemetry=telemetry)
    return tuple(_range(key, handlers.versions(key)) for key in handlers)


def _range(key: int, versions: Versions) -> ApiVersionsResponse.ApiKey:
    return ApiVersionsResponse.ApiKey(api_key=key, min_version=versions.low, max_version=versions.high)
