"""How this broker connects to the others: in plain, over TLS, with a login, as the inter-broker listener wants it.

`security.inter.broker.protocol` or `inter.broker.listener.name` choose the listener, and
`sasl.mechanism.inter.broker.protocol` the mechanism; certificates and the login are those of the listener's own keys.
TLS and SASL themselves are the client's.
"""

from __future__ import annotations

from typing import Any

import trio

from pykbroker.cluster.image import Endpoint
from pykbroker.config.broker import BrokerConfig
from pykbroker.config.listener_config import ListenerConfig
from pykbroker.server.broker_channel import Connector, connect

PLAINTEXT = "PLAINTEXT"
TLS_KEYS = (
    "ssl.truststore.location",
    "ssl.truststore.certificates",
    "ssl.truststore.type",
    "ssl.keystore.location",
    "ssl.keystore.type",
    "ssl.key.password",
    "ssl.endpoint.identification.algorithm",
)


def connector_for(config: BrokerConfig) -> Connector:
    """What opens connections to other brokers; the connector raises OSError, in one line for a person."""
    name = config.inter_broker_listener
    protocol = next(one.security_protocol for one in config.broker_listeners if one.name == name)
    if protocol == PLAINTEXT:
        return connect

    async def connect_securely(broker_id: int, endpoint: Endpoint) -> trio.abc.Stream:
        from pykbroker.client.connection import open_connection  # A broker alone needs none of it.
        from pykbroker.client.errors import ClientError
        from pykbroker.client.settings import settings_of

        try:
            settings = settings_of(_properties(config, name, protocol))
            return (await open_connection((endpoint.host, endpoint.port), settings)).release()
        except ClientError as error:
            raise ConnectionError(str(error)) from error

    return connect_securely


def _properties(config: BrokerConfig, listener: str, protocol: str) -> dict[str, str]:
    """The listener's keys, as those of a client; read for each connection, as certificates and logins change."""
    own = ListenerConfig(config, listener)
    mechanism = config.sasl_mechanism_inter_broker_protocol
    found: dict[str, Any] = {key: own.value(key) for key in TLS_KEYS}
    if protocol.startswith("SASL"):
        found["sasl.mechanism"] = mechanism
        found["sasl.jaas.config"] = own.value("sasl.jaas.config", mechanism)
    given = {key: str(value) for key, value in found.items() if value is not None}
    return given | {"security.protocol": protocol, "client.id": f"broker-{config.node_id}"}
