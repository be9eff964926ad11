"""`pykbroker features`: the levels of features that a cluster has agreed on; what kafka-features.sh does."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pykbroker.cli.options import UsageError, add_verb, add_verbs, command, pair
from pykbroker.cli.output import Change, Report, Table, changes

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster

COLUMNS = ("feature", "supported_min", "supported_max", "finalized", "epoch")
UPGRADE, SAFE_DOWNGRADE, UNSAFE_DOWNGRADE = 1, 2, 3


def parser() -> Parser:
    """The command's options."""
    made = command("features", "Features of a cluster, and the levels that are in force.")
    verbs = add_verbs(made)
    add_verb(verbs, "describe", describe, "Show features, the levels a broker supports, and those in force.")
    verb = add_verb(verbs, "upgrade", alter, "Raise the levels of features.")
    _levels(verb, UPGRADE)
    verb = add_verb(verbs, "downgrade", alter, "Lower the levels of features.")
    _levels(verb, SAFE_DOWNGRADE)
    verb.add_argument("--unsafe", action="store_true", help="even where that loses metadata")
    return made


def _levels(verb: Parser, kind: int) -> None:
    verb.set_defaults(kind=kind, unsafe=False)
    verb.add_argument("features", metavar="FEATURE=LEVEL", nargs="+", type=pair, help="level 0 turns a feature off")
    verb.add_argument("--validate-only", "--dry-run", action="store_true", help="only say whether it could be done")


async def describe(cluster: Cluster, options: argparse.Namespace) -> Report:
    """What ApiVersions says of them (KIP-584)."""
    answer = (await cluster.any_connection()).api_versions
    levels = {one.name: one.max_version_level for one in answer.finalized_features}
    epoch = answer.finalized_features_epoch
    rows = [
        {
            "feature": one.name,
            "supported_min": one.min_version,
            "supported_max": one.max_version,
            "finalized": levels.get(one.name, 0),
            "epoch": epoch if epoch >= 0 else None,
        }
        for one in sorted(answer.supported_features, key=lambda one: one.name)
    ]
    return Report(rows, [Table(COLUMNS, rows)] if rows else [], notes=[] if rows else ["the broker names no features"])


async def alter(cluster: Cluster, options: argparse.Namespace) -> Report:
    """UpdateFeatures; from version 2 all or none."""
    from pykbroker.client.cluster import error_of
    from pykbroker.client.connection import Versioned
    from pykbroker.protocol.api_keys import ApiKey
    from pykbroker.protocol.message import Message
    from pykbroker.protocol.messages.update_features import UpdateFeaturesRequest

    kind = UNSAFE_DOWNGRADE if options.unsafe else options.kind
    levels: dict[str, int] = {}
    for name, text in options.features:
        if not text.isdecimal():
            raise UsageError(f"{name}={text}: expected a level, a number from 0 on")
        levels[name] = int(text)

    def build(version: int) -> Message:
        request = UpdateFeaturesRequest(validate_only=options.validate_only)
        for name, level in levels.items():
            update = UpdateFeaturesRequest.FeatureUpdate(feature=name, max_version_level=level)
            if version:
                update.upgrade_type = kind
            else:
                update.allow_downgrade = kind != UPGRADE
            request.feature_updates.append(update)
        return request

    answer = await cluster.controller(Versioned(ApiKey.UPDATE_FEATURES, build))
    said = "could set" if options.validate_only else "set"
    overall = error_of(answer.error_code, answer.error_message) if answer.error_code else None
    errors = {one.feature: error_of(one.error_code, one.error_message) for one in answer.results if one.error_code}
    return changes(
        "feature",
        (
            Change(name, f"{said} feature {name} to level {level}", errors.get(name, overall), {"level": level})
            for name, level in levels.items()
        ),
    )
