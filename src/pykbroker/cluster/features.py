"""The cluster's feature levels (KIP-584): what this release knows, what is finalized, which change is allowed.

One line of `FEATURES` a feature. Who depends on a level asks the image's `FinalizedFeatures`; nothing is stored here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

from pykbroker.protocol.errors import ErrorCode, KafkaError


class Feature(NamedTuple):
    """The levels of a feature that this release can be set to; a new cluster begins at the highest."""

    low: int
    high: int


TRANSACTION_VERSION = "transaction.version"
GROUP_VERSION = "group.version"
SHARE_VERSION = "share.version"

FEATURES: Mapping[str, Feature] = {
    GROUP_VERSION: Feature(0, 1),  # 1: consumer groups (KIP-848).
    SHARE_VERSION: Feature(0, 1),  # 1: share groups (KIP-932).
    TRANSACTION_VERSION: Feature(0, 2),  # 1: newer records (KIP-915); 2: an epoch per transaction (KIP-890).
}


class UpgradeType(IntEnum):
    """How a change may be meant."""

    UNKNOWN = 0
    UPGRADE = 1
    SAFE_DOWNGRADE = 2
    UNSAFE_DOWNGRADE = 3


class FeatureUpdate(NamedTuple):
    """One change that is asked for."""

    name: str
    level: int
    upgrade_type: int


class FinalizedFeatures(NamedTuple):
    """The levels in force, without those at 0; the epoch grows with every change, -1 before any is known."""

    levels: Mapping[str, int] = MappingProxyType({})
    epoch: int = -1

    def level(self, name: str) -> int:
        """A feature's level; 0 for one that isn't in use."""
        return self.levels.get(name, 0)


def first_levels() -> dict[str, int]:
    """What a new cluster begins with."""
    return {name: feature.high for name, feature in FEATURES.items()}


def plan_update(levels: Mapping[str, int], updates: Iterable[FeatureUpdate]) -> dict[str, int]:
    """The levels after all of these changes.

    Raises INVALID_UPDATE_VERSION for the first that isn't allowed; then none is made.
    """
    planned = dict(levels)
    for update in {one.name: one for one in updates}.values():
        reason = _reason_against(levels.get(update.name, 0), update)
        if reason is not None:
            raise KafkaError(
                ErrorCode.INVALID_UPDATE_VERSION,
                "The update failed for all features since the following feature had an error: "
                f"Invalid update version {update.level} for feature {update.name}. {reason}",
            )
        planned[update.name] = update.level
    return {name: level for name, level in planned.items() if level}


def _reason_against(current: int, update: FeatureUpdate) -> str | None:
    known = FEATURES.get(update.name, Feature(0, 0))
    if update.upgrade_type not in (*UpgradeType,) or update.upgrade_type == UpgradeType.UNKNOWN:
        return "The controller does not support the given upgrade type."
    if update.level < 0:
        return "A feature version cannot be less than 0."
    if not known.low <= update.level <= known.high:
        if known.high == 0:
            return "The controller does not support this feature."
        return f"The controller only supports versions {known.low}-{known.high}"
    if update.level < current and update.upgrade_type == UpgradeType.UPGRADE:
        return (
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe "
            "downgrade."
        )
    if update.level > current and update.upgrade_type != UpgradeType.UPGRADE:
        return "Can't downgrade to a newer version."
    return None
