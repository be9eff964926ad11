"""What is left out on purpose, for now: each line is proved by a test that fails once it is no longer true."""

from __future__ import annotations

from pykbroker.protocol.api_keys import ApiKey

TWO_PHASE_COMMIT = (
    "InitProducerId 6 (two-phase commit, KIP-939) is not served, as it is unstable in Apache Kafka 4.3 and off there."
)
FEATURES = "group.version is no feature yet."
UNSERVED = "An API that is not in the table of `apis` ends the connection, as an unknown one does in Kafka."
DOCUMENTATION = "DescribeConfigs leaves `documentation` null."

UNSERVED_APIS = frozenset(
    {
        ApiKey.OFFSET_DELETE,
        ApiKey.CONSUMER_GROUP_HEARTBEAT,
        ApiKey.CONSUMER_GROUP_DESCRIBE,
        ApiKey.SHARE_GROUP_HEARTBEAT,
        ApiKey.SHARE_GROUP_DESCRIBE,
        ApiKey.DESCRIBE_SHARE_GROUP_OFFSETS,
        ApiKey.ALTER_SHARE_GROUP_OFFSETS,
        ApiKey.DELETE_SHARE_GROUP_OFFSETS,
    }
)
"""The APIs that clients are most likely to miss."""
