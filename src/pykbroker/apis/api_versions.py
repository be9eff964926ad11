"""ApiVersions: what this broker speaks, exactly as far as its handlers go."""

from __future__ import annotations

import re
from functools import cache

from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from pykbroker.server.request import Handler, RequestContext, handles

FIRST_WITH_CLIENT_SOFTWARE = 3
SOFTWARE_NAME = re.compile(r"[a-zA-Z0-9](?:[a-zA-Z0-9\-.]*[a-zA-Z0-9])?")
"""What KIP-511 lets a client's software name and version be."""


@handles(ApiVersionsRequest, "0-4")
async def api_versions(request: ApiVersionsRequest, context: RequestContext) -> ApiVersionsResponse:
    """ApiVersions 0-4. A version above is answered by the dispatcher in version 0 (KIP-511)."""
    if context.api_version >= FIRST_WITH_CLIENT_SOFTWARE and not (
        SOFTWARE_NAME.fullmatch(request.client_software_name)
        and SOFTWARE_NAME.fullmatch(request.client_software_version)
    ):
        return ApiVersionsResponse(error_code=ErrorCode.INVALID_REQUEST)
    return ApiVersionsResponse(api_keys=list(_ranges()))


@cache
def _ranges() -> tuple[ApiVersionsResponse.ApiKey, ...]:
    from pykbroker.apis import HANDLERS  # This family is part of the table that it tells of.

    return tuple(_range(key, handler) for key, handler in sorted(HANDLERS.items()))


def _range(key: int, handler: Handler) -> ApiVersionsResponse.ApiKey:
    return ApiVersionsResponse.ApiKey(api_key=key, min_version=handler.versions.low, max_version=handler.versions.high)
