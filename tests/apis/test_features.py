"""UpdateFeatures, and the levels as ApiVersions tells of them; the outcomes are Apache Kafka 4.3's."""

from pathlib import Path
from typing import Any

import pytest

from pykbroker.cluster.features import FEATURES, TRANSACTION_VERSION
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from pykbroker.protocol.messages.update_features import UpdateFeaturesRequest
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient

UPGRADE, SAFE_DOWNGRADE = 1, 2


def update(level: int, kind: int = UPGRADE, *, name: str = TRANSACTION_VERSION, **fields: Any) -> UpdateFeaturesRequest:
    wanted = UpdateFeaturesRequest.FeatureUpdate(feature=name, max_version_level=level, upgrade_type=kind)
    return UpdateFeaturesRequest(timeout_ms=1000, feature_updates=[wanted], **fields)


def features(wire: WireClient, version: int = 4) -> ApiVersionsResponse:
    request = ApiVersionsRequest(client_software_name="test", client_software_version="1")
    return wire.request(request, version)


def levels(wire: WireClient) -> dict[str, int]:
    return {one.name: one.max_version_level for one in features(wire).finalized_features}


@pytest.mark.parametrize("version", [3, 4])
def test_api_versions_tells_of_features(wire: Any, version: int) -> None:
    answer = features(wire, version)
    supported = {one.name: (one.min_version, one.max_version) for one in answer.supported_features}
    assert supported == ({} if version == 3 else {name: tuple(feature) for name, feature in FEATURES.items()})
    assert levels(wire)[TRANSACTION_VERSION] == 2
    assert all(one.min_version_level == one.max_version_level for one in answer.finalized_features)
    assert answer.finalized_features_epoch >= 0


@pytest.mark.parametrize("version", [0, 1, 2])
def test_a_level_is_changed_for_all_and_back(wire: Any, version: int) -> None:
    down = update(1, SAFE_DOWNGRADE)
    down.feature_updates[0].allow_downgrade = version == 0
    if version == 0:
        down.feature_updates[0].upgrade_type = UPGRADE
    before = features(wire).finalized_features_epoch
    answer = wire.request(down, version)
    assert answer.error_code == E.NONE
    assert [(one.feature, one.error_code) for one in answer.results] == (
        [(TRANSACTION_VERSION, E.NONE)] if version < 2 else []
    )
    assert (levels(wire)[TRANSACTION_VERSION], features(wire).finalized_features_epoch) == (1, before + 1)
    assert wire.request(update(2), version).error_code == E.NONE
    assert levels(wire)[TRANSACTION_VERSION] == 2


def test_validate_only_changes_nothing(wire: Any) -> None:
    assert wire.request(update(0, SAFE_DOWNGRADE, validate_only=True), 2).error_code == E.NONE
    assert levels(wire)[TRANSACTION_VERSION] == 2


def test_a_refusal_is_the_whole_requests(wire: Any) -> None:
    answer = wire.request(update(1, name="no.such.version"), 1)
    assert (answer.error_code, answer.results) == (E.INVALID_UPDATE_VERSION, [])
    assert "no.such.version" in answer.error_message


def test_levels_outlive_the_broker(tmp_path: Path) -> None:
    for expected in (2, 0):
        with KafkaBroker(data_dir=tmp_path) as broker, WireClient(broker.host, broker.port) as client:
            assert levels(client).get(TRANSACTION_VERSION, 0) == expected
            assert client.request(update(0, SAFE_DOWNGRADE), 2).error_code == E.NONE
