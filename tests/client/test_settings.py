"""Kafka's client keys."""

import pytest

from pykbroker.client.errors import BadSettings
from pykbroker.client.settings import ClientSettings, SaslSettings, TlsSettings, parse_bootstrap, settings_of


def test_nothing_set() -> None:
    assert settings_of({}) == ClientSettings()


def test_all_of_it() -> None:
    found = settings_of(
        {
            "bootstrap.servers": "a:1, [::1]:2,b",
            "security.protocol": "SASL_SSL",
            "sasl.mechanism": "SCRAM-SHA-256",
            "sasl.jaas.config": "org.apache.kafka.common.security.scram.ScramLoginModule required "
            'username="alice" password="a\\"b";',
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": "/ca.pem",
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": "/me.pem",
            "ssl.endpoint.identification.algorithm": "",
            "request.timeout.ms": "1500",
            "default.api.timeout.ms": "2500",
            "client.id": "me",
            "group.id": "of no interest here",
        }
    )
    assert found == ClientSettings(
        bootstrap=(("a", 1), ("::1", 2), ("b", 9092)),
        client_id="me",
        tls=TlsSettings(ca="/ca.pem", certificate="/me.pem", check_host=False),
        sasl=SaslSettings("SCRAM-SHA-256", "alice", 'a"b'),
        request_timeout=1.5,
        timeout=2.5,
    )
    assert found.bootstrap_text == "a:1,[::1]:2,b:9092"


def test_a_plain_login_module_says_the_mechanism() -> None:
    jaas = "org.apache.kafka.common.security.plain.PlainLoginModule required username='a' password=b tokenauth=true;"
    found = settings_of({"security.protocol": "sasl_plaintext", "sasl.jaas.config": jaas})
    assert found.sasl == SaslSettings("PLAIN", "a", "b", token_auth=True)
    assert "password" not in repr(found)


@pytest.mark.parametrize(
    "properties",
    [
        {"security.protocol": "TLS"},
        {"security.protocol": "SASL_SSL", "sasl.mechanism": "GSSAPI"},
        {"security.protocol": "SSL", "ssl.truststore.type": "JKS"},
        {"security.protocol": "SSL", "ssl.truststore.location": "x.jks"},
        {"security.protocol": "SSL", "ssl.keystore.key": "-----BEGIN"},
        {"request.timeout.ms": "soon"},
        {"bootstrap.servers": "a:b"},
    ],
)
def test_what_cannot_be_used(properties: dict[str, str]) -> None:
    with pytest.raises(BadSettings):
        settings_of(properties)


@pytest.mark.parametrize("text", ["", ",", ":1", "a:0", "a:70000", "a:x"])
def test_bad_addresses(text: str) -> None:
    with pytest.raises(BadSettings):
        parse_bootstrap(text)
