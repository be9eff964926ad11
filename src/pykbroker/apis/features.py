"""UpdateFeatures: the cluster's feature levels."""

from __future__ import annotations

from pykbroker.cluster.features import FeatureUpdate, UpgradeType
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.messages.update_features import UpdateFeaturesRequest, UpdateFeaturesResponse
from pykbroker.server.request import RequestContext, handles

FIRST_WITH_UPGRADE_TYPE = 1
LAST_WITH_RESULTS = 1


@handles(UpdateFeaturesRequest, "0-2")
async def update_features(request: UpdateFeaturesRequest, context: RequestContext) -> UpdateFeaturesResponse:
    """UpdateFeatures 0-2 (KIP-584): all changes or none; INVALID_UPDATE_VERSION names the first that isn't allowed.

    From 1 on with upgrade types and `validate_only` (KIP-778); 2 has no answer for single features any more.
    """
    wanted = request.feature_updates
    updates = [FeatureUpdate(one.feature, one.max_version_level, _kind(one, context)) for one in wanted]
    try:
        await context.services.controller.update_features(updates, validate_only=request.validate_only)
    except KafkaError as error:
        return UpdateFeaturesResponse(error_code=error.code, error_message=error.message)
    response = UpdateFeaturesResponse(error_message=None)
    if context.api_version <= LAST_WITH_RESULTS:
        response.results = [
            UpdateFeaturesResponse.Result(feature=name, error_message=None)
            for name in dict.fromkeys(one.name for one in updates)
        ]
    return response


def _kind(update: UpdateFeaturesRequest.FeatureUpdate, context: RequestContext) -> int:
    if context.api_version >= FIRST_WITH_UPGRADE_TYPE:
        return update.upgrade_type
    return UpgradeType.SAFE_DOWNGRADE if update.allow_downgrade else UpgradeType.UPGRADE
