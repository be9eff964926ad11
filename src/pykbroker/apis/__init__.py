"""The APIs: one function each, named after it, one file a family. This table is what ApiVersions advertises.

A family never imports another; what two of them need stands in `server`. What is left out: `gaps`.
"""

from collections.abc import Mapping

from pykbroker.apis import (
    acls,
    api_versions,
    cluster,
    configs,
    consumer_groups,
    delegation_tokens,
    features,
    fetch,
    groups,
    inter_broker,
    list_offsets,
    log_dirs,
    metadata,
    offsets,
    produce,
    producers,
    quotas,
    reassignments,
    records,
    sasl,
    scram_users,
    share_fetch,
    share_groups,
    share_state,
    telemetry,
    topics,
    transactions,
)
from pykbroker.server.request import Handler

_FAMILIES = (
    acls,
    api_versions,
    cluster,
    configs,
    consumer_groups,
    delegation_tokens,
    features,
    fetch,
    groups,
    inter_broker,
    list_offsets,
    log_dirs,
    metadata,
    offsets,
    produce,
    producers,
    quotas,
    reassignments,
    records,
    share_fetch,
    share_groups,
    share_state,
    sasl,
    scram_users,
    telemetry,
    topics,
    transactions,
)

HANDLERS: Mapping[int, Handler] = {
    handler.request.key: handler
    for family in _FAMILIES
    for handler in vars(family).values()
    if isinstance(handler, Handler)
}
"""Every API that is served, by its key."""

CLUSTER_ALONE: frozenset[int] = frozenset(
    handler.request.key for handler in vars(inter_broker).values() if isinstance(handler, Handler)
)
"""Those that a broker alone, with a metadata store of its own, doesn't serve: nobody may tell it what it leads."""

TELEMETRY_ALONE: frozenset[int] = frozenset(
    handler.request.key for handler in vars(telemetry).values() if isinstance(handler, Handler)
)
"""Those that are served where somebody takes clients' metrics."""


def served(*, clustered: bool, telemetry: bool = False) -> Mapping[int, Handler]:
    """The table of a broker that has others beside it, or has none; and takes clients' metrics, or doesn't."""
    unserved = (frozenset() if clustered else CLUSTER_ALONE) | (frozenset() if telemetry else TELEMETRY_ALONE)
    return {key: handler for key, handler in HANDLERS.items() if key not in unserved}
