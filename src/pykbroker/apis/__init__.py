"""The APIs: one function each, named after it, one file a family. This table is what ApiVersions advertises.

A family never imports another; what two of them need stands in `server`. It is imported when one of its APIs is asked
for first: start-up doesn't pay for what most brokers are never asked. What is left out: `gaps`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from importlib import import_module

from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.versions import Versions
from pykbroker.server.request import Handler

FAMILIES: Mapping[str, Mapping[ApiKey, str]] = {
    "acls": {ApiKey.DESCRIBE_ACLS: "0-3", ApiKey.CREATE_ACLS: "0-3", ApiKey.DELETE_ACLS: "0-3"},
    "api_versions": {ApiKey.API_VERSIONS: "0-4"},
    "cluster": {ApiKey.DESCRIBE_CLUSTER: "0-2"},
    "configs": {
        ApiKey.DESCRIBE_CONFIGS: "0-4",
        ApiKey.ALTER_CONFIGS: "0-2",
        ApiKey.INCREMENTAL_ALTER_CONFIGS: "0-1",
        ApiKey.LIST_CONFIG_RESOURCES: "0-1",
    },
    "consumer_groups": {ApiKey.CONSUMER_GROUP_HEARTBEAT: "0-1", ApiKey.CONSUMER_GROUP_DESCRIBE: "0-1"},
    "delegation_tokens": {
        ApiKey.CREATE_DELEGATION_TOKEN: "0-3",
        ApiKey.RENEW_DELEGATION_TOKEN: "0-2",
        ApiKey.EXPIRE_DELEGATION_TOKEN: "0-2",
        ApiKey.DESCRIBE_DELEGATION_TOKEN: "0-3",
    },
    "features": {ApiKey.UPDATE_FEATURES: "0-2"},
    "fetch": {ApiKey.FETCH: "0-18"},
    "groups": {
        ApiKey.FIND_COORDINATOR: "0-6",
        ApiKey.JOIN_GROUP: "0-9",
        ApiKey.SYNC_GROUP: "0-5",
        ApiKey.HEARTBEAT: "0-4",
        ApiKey.LEAVE_GROUP: "0-5",
        ApiKey.DESCRIBE_GROUPS: "0-6",
        ApiKey.LIST_GROUPS: "0-5",
        ApiKey.DELETE_GROUPS: "0-2",
    },
    "inter_broker": {
        ApiKey.LEADER_AND_ISR: "0-7",
        ApiKey.UPDATE_METADATA: "0-8",
        ApiKey.STOP_REPLICA: "0-4",
        ApiKey.CONTROLLED_SHUTDOWN: "0-3",
    },
    "list_offsets": {ApiKey.LIST_OFFSETS: "0-11", ApiKey.OFFSET_FOR_LEADER_EPOCH: "0-4"},
    "log_dirs": {ApiKey.ALTER_REPLICA_LOG_DIRS: "0-2", ApiKey.DESCRIBE_LOG_DIRS: "0-5"},
    "metadata": {ApiKey.METADATA: "0-13", ApiKey.DESCRIBE_TOPIC_PARTITIONS: "0"},
    "offsets": {ApiKey.OFFSET_COMMIT: "0-10", ApiKey.OFFSET_FETCH: "0-10", ApiKey.OFFSET_DELETE: "0"},
    "produce": {ApiKey.PRODUCE: "0-13"},
    "producers": {ApiKey.INIT_PRODUCER_ID: "0-5", ApiKey.DESCRIBE_PRODUCERS: "0"},
    "quotas": {ApiKey.DESCRIBE_CLIENT_QUOTAS: "0-1", ApiKey.ALTER_CLIENT_QUOTAS: "0-1"},
    "reassignments": {
        ApiKey.ELECT_LEADERS: "0-2",
        ApiKey.ALTER_PARTITION_REASSIGNMENTS: "0-1",
        ApiKey.LIST_PARTITION_REASSIGNMENTS: "0",
        ApiKey.UNREGISTER_BROKER: "0",
    },
    "records": {ApiKey.DELETE_RECORDS: "0-2"},
    "sasl": {ApiKey.SASL_HANDSHAKE: "0-1", ApiKey.SASL_AUTHENTICATE: "0-2"},
    "scram_users": {ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS: "0", ApiKey.ALTER_USER_SCRAM_CREDENTIALS: "0"},
    "share_fetch": {ApiKey.SHARE_FETCH: "1-2", ApiKey.SHARE_ACKNOWLEDGE: "1-2"},
    "share_groups": {
        ApiKey.SHARE_GROUP_HEARTBEAT: "1",
        ApiKey.SHARE_GROUP_DESCRIBE: "1",
        ApiKey.DESCRIBE_SHARE_GROUP_OFFSETS: "0-1",
        ApiKey.ALTER_SHARE_GROUP_OFFSETS: "0",
        ApiKey.DELETE_SHARE_GROUP_OFFSETS: "0",
    },
    "share_state": {
        ApiKey.INITIALIZE_SHARE_GROUP_STATE: "0",
        ApiKey.READ_SHARE_GROUP_STATE: "0",
        ApiKey.READ_SHARE_GROUP_STATE_SUMMARY: "0-1",
        ApiKey.WRITE_SHARE_GROUP_STATE: "0-1",
        ApiKey.DELETE_SHARE_GROUP_STATE: "0",
    },
    "telemetry": {ApiKey.GET_TELEMETRY_SUBSCRIPTIONS: "0", ApiKey.PUSH_TELEMETRY: "0"},
    "topics": {ApiKey.CREATE_TOPICS: "0-7", ApiKey.DELETE_TOPICS: "0-6", ApiKey.CREATE_PARTITIONS: "0-3"},
    "transactions": {
        ApiKey.ADD_PARTITIONS_TO_TXN: "0-5",
        ApiKey.ADD_OFFSETS_TO_TXN: "0-4",
        ApiKey.END_TXN: "0-5",
        ApiKey.WRITE_TXN_MARKERS: "0-2",
        ApiKey.TXN_OFFSET_COMMIT: "0-5",
        ApiKey.DESCRIBE_TRANSACTIONS: "0",
        ApiKey.LIST_TRANSACTIONS: "0-2",
    },
}
"""Each family's APIs and their versions, told before it is imported: a test compares what the handlers say."""

CLUSTER_ALONE = frozenset(FAMILIES["inter_broker"])
"""Those that a broker alone, with a metadata store of its own, doesn't serve: nobody may tell it what it leads."""

TELEMETRY_ALONE = frozenset(FAMILIES["telemetry"])
"""Those that are served where somebody takes clients' metrics."""


class Handlers(Mapping[int, Handler]):
    """Handlers by API key."""

    def __init__(self, keys: Iterable[int]) -> None:
        self._families: dict[int, str] = {key: family for family, apis in FAMILIES.items() for key in apis}
        self._found: dict[int, Handler | None] = dict.fromkeys(sorted(keys))

    def versions(self, key: int) -> Versions:
        """The versions of an API that are served."""
        return Versions(FAMILIES[self._families[key]][ApiKey(key)])

    def __getitem__(self, key: int) -> Handler:
        handler = self._found[key]
        if handler is None:
            family = import_module(f"{__name__}.{self._families[key]}")
            found = [one for one in vars(family).values() if isinstance(one, Handler) and one.request.key == key]
            handler = self._found[key] = found[0]
        return handler

    def __contains__(self, key: object) -> bool:
        return key in self._found

    def __iter__(self) -> Iterator[int]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


HANDLERS = Handlers(key for apis in FAMILIES.values() for key in apis)
"""Every API that is served, by its key."""


def served(*, clustered: bool, telemetry: bool = False) -> Handlers:
    """The table of a broker that has others beside it, or has none; and takes clients' metrics, or doesn't."""
    unserved = (frozenset() if clustered else CLUSTER_ALONE) | (frozenset() if telemetry else TELEMETRY_ALONE)
    return Handlers(key for key in HANDLERS if key not in unserved)
