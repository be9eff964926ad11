"""A listener's own values before the broker's."""

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.listener_config import ListenerConfig

PROPERTIES = {
    "ssl.client.auth": "none",
    "listener.name.internal.ssl.client.auth": "required",
    "listener.name.internal.plain.sasl.jaas.config": "for one mechanism",
    "sasl.jaas.config": "for all",
    "plain.connections.max.reauth.ms": "7",
}


def test_the_nearest_value_is_taken() -> None:
    config = BrokerConfig.from_properties(PROPERTIES)
    own, other = ListenerConfig(config, "INTERNAL"), ListenerConfig(config, "EXTERNAL")
    assert (own.value("ssl.client.auth"), other.value("ssl.client.auth")) == ("required", "none")
    assert own.value("sasl.jaas.config", "PLAIN") == "for one mechanism"
    assert own.value("sasl.jaas.config", "SCRAM-SHA-256") == "for all"
    assert other.value("connections.max.reauth.ms", "PLAIN") == 7
    assert other.value("ssl.enabled.protocols") == ("TLSv1.2", "TLSv1.3")
    assert own.is_own("ssl.client.auth")
    assert not other.is_own("ssl.client.auth")
    assert own.origin("ssl.client.auth") == "listener.name.internal.ssl.client.auth"
    assert own.origin("ssl.keystore.location") == "ssl.keystore.location"
