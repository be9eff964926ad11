"""The APIs: one function each, named after it, one file a family. This table is what ApiVersions advertises.

A family never imports another; what two of them need stands in `server`. What is left out: `gaps`.
"""

from collections.abc import Mapping

from pykbroker.apis import (
    acls,
    api_versions,
    cluster,
    configs,
    delegation_tokens,
    features,
    fetch,
    groups,
    inter_broker,
    list_offsets,
    metadata,
    offsets,
    produce,
    producers,
    reassignments,
    records,
    sasl,
    scram_users,
    share_fetch,
    share_state,
    topics,
    transactions,
)
from pykbroker.server.request import Handler

_FAMILIES = (
    acls,
    api_versions,
    cluster,
    configs,
    delegation_tokens,
    features,
    fetch,
    groups,
    inter_broker,
    list_offsets,
    metadata,
    offsets,
    produce,
    producers,
    reassignments,
    records,
    share_fetch,
    share_state,
    sasl,
    scram_users,
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
