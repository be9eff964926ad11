"""Feature levels: what may become of them."""

import pytest

from pykbroker.cluster.features import (
    FEATURES,
    TRANSACTION_VERSION,
    FeatureUpdate,
    FinalizedFeatures,
    UpgradeType,
    first_levels,
    plan_update,
)
from pykbroker.protocol.errors import ErrorCode, KafkaError

UPGRADE, SAFE, UNSAFE = UpgradeType.UPGRADE, UpgradeType.SAFE_DOWNGRADE, UpgradeType.UNSAFE_DOWNGRADE


def test_a_new_cluster_begins_at_the_highest_levels() -> None:
    assert first_levels() == {name: feature.high for name, feature in FEATURES.items()}
    assert all(feature.low <= feature.high for feature in FEATURES.values())


def test_a_level_that_is_not_finalized_is_0() -> None:
    assert FinalizedFeatures().level(TRANSACTION_VERSION) == 0
    assert FinalizedFeatures({TRANSACTION_VERSION: 2}, 3).level(TRANSACTION_VERSION) == 2


@pytest.mark.parametrize(
    ("before", "level", "kind"),
    [(0, 2, UPGRADE), (1, 2, UPGRADE), (2, 2, UPGRADE), (2, 2, SAFE), (2, 1, SAFE), (2, 1, UNSAFE), (2, 0, SAFE)],
)
def test_what_is_allowed(before: int, level: int, kind: UpgradeType) -> None:
    planned = plan_update({TRANSACTION_VERSION: before}, [FeatureUpdate(TRANSACTION_VERSION, level, kind)])
    assert planned == ({TRANSACTION_VERSION: level} if level else {})


@pytest.mark.parametrize(
    ("name", "level", "kind", "reason"),
    [
        (TRANSACTION_VERSION, 0, UPGRADE, "Can't downgrade the version"),
        (TRANSACTION_VERSION, 2, SAFE, "Can't downgrade to a newer version"),
        (TRANSACTION_VERSION, 3, UPGRADE, "only supports versions 0-2"),
        (TRANSACTION_VERSION, -1, SAFE, "cannot be less than 0"),
        (TRANSACTION_VERSION, 2, 0, "upgrade type"),
        (TRANSACTION_VERSION, 2, 4, "upgrade type"),
        ("no.such.version", 1, UPGRADE, "does not support this feature"),
    ],
)
def test_what_is_refused(name: str, level: int, kind: int, reason: str) -> None:
    allowed = FeatureUpdate(TRANSACTION_VERSION, 1, UPGRADE)
    with pytest.raises(KafkaError) as refused:
        plan_update({TRANSACTION_VERSION: 1}, [allowed, FeatureUpdate(name, level, kind)])
    assert refused.value.code is ErrorCode.INVALID_UPDATE_VERSION
    assert reason in (refused.value.message or "")
