"""What is left out on purpose, for now: each line is proved by a test that fails once it is no longer true."""

from __future__ import annotations

from pykbroker.protocol.api_keys import ApiKey

TWO_PHASE_COMMIT = (
    "InitProducerId 6 (two-phase commit, KIP-939) is not served, as it is unstable in Apache Kafka 4.3 and off there."
)
UNSERVED = "An API that is not in the table of `apis` ends the connection, as an unknown one does in Kafka."
PLUGINS = "`principal.builder.class` and `metric.reporters` can't be altered while the broker runs: INVALID_REQUEST."
KEYSTORES = "`ssl.keystore.type` and `ssl.truststore.type` are PEM alone; JKS and PKCS12 are refused at the start."
KERBEROS = "The SASL mechanism GSSAPI is not served."
ZOOKEEPER_SECURITY = "ZooKeeper is reached without TLS and without a login."

UNSERVED_APIS = frozenset(
    {
        ApiKey.STREAMS_GROUP_HEARTBEAT,
        ApiKey.STREAMS_GROUP_DESCRIBE,
    }
)
"""The APIs that clients are most likely to miss."""
