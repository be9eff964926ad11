"""What is left out on purpose, for now: each line is proved by a test that fails once it is no longer true."""

from __future__ import annotations

from pykbroker.protocol.api_keys import ApiKey

TRANSACTIONS = (
    "InitProducerId with a transactional id answers UNSUPPORTED_VERSION: there is no transaction coordinator. "
    "Produce refuses transactional records with NOT_ENOUGH_REPLICAS."
)
FEATURES = "share.version is no feature yet."
UNSERVED = "An API that is not in the table of `apis` ends the connection, as an unknown one does in Kafka."
CONFIG_CHANGES = (
    "AlterConfigs and IncrementalAlterConfigs change topics; brokers, broker loggers, client metrics and groups answer "
    "INVALID_REQUEST."
)
DOCUMENTATION = "DescribeConfigs leaves `documentation` null."

UNSERVED_APIS = frozenset(
    {
        ApiKey.ADD_PARTITIONS_TO_TXN,
        ApiKey.ADD_OFFSETS_TO_TXN,
        ApiKey.END_TXN,
        ApiKey.WRITE_TXN_MARKERS,
        ApiKey.TXN_OFFSET_COMMIT,
        ApiKey.DESCRIBE_ACLS,
        ApiKey.CREATE_ACLS,
        ApiKey.DELETE_ACLS,
        ApiKey.SASL_HANDSHAKE,
        ApiKey.SASL_AUTHENTICATE,
    }
)
"""The APIs that clients are most likely to miss."""
