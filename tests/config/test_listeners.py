"""Listeners and what is advertised."""

import pytest

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.keys import ConfigError
from pykbroker.config.listeners import Listener, endpoint_text


def config(**texts: str) -> BrokerConfig:
    return BrokerConfig.from_properties({name.replace("_", "."): text for name, text in texts.items()})


def test_one_listener() -> None:
    assert config(listeners="PLAINTEXT://:0").broker_listeners == (Listener("PLAINTEXT", "", 0, "PLAINTEXT"),)


def test_several_named_ones() -> None:
    found = config(
        listeners="internal://10.0.0.1:9092, EXTERNAL://[::1]:9093",
        listener_security_protocol_map="INTERNAL:PLAINTEXT,external:plaintext",
        advertised_listeners="EXTERNAL://kafka.example.com:19093",
    )
    assert found.broker_listeners == (
        Listener("INTERNAL", "10.0.0.1", 9092, "PLAINTEXT"),
        Listener("EXTERNAL", "::1", 9093, "PLAINTEXT"),
    )
    assert found.advertised == (Listener("EXTERNAL", "kafka.example.com", 19093, "PLAINTEXT"),)


def test_a_kraft_controllers_listener_is_left_out() -> None:
    found = config(listeners="PLAINTEXT://:9092,CONTROLLER://:9093", controller_listener_names="CONTROLLER")
    assert [listener.name for listener in found.broker_listeners] == ["PLAINTEXT"]


def test_nothing_is_advertised_unless_set() -> None:
    assert config().advertised == ()


def test_a_port_may_serve_two_hosts() -> None:
    found = config(
        listeners="A://127.0.0.1:9092,B://[::1]:9092", listener_security_protocol_map="A:PLAINTEXT,B:PLAINTEXT"
    )
    assert len(found.broker_listeners) == 2


TWO = "A:PLAINTEXT,B:PLAINTEXT"


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"listeners": "9092"}, "expected NAME://HOST:PORT"),
        ({"listeners": ""}, "at least one listener is needed"),
        ({"listeners": "PLAINTEXT://:99999"}, "the port must be between 0 and 65535"),
        ({"listeners": "PLAINTEXT://::1:9092"}, "an IPv6 address in brackets"),
        ({"listeners": "MINE://:9092"}, "no security protocol is defined for listener MINE"),
        ({"listeners": "PLAINTEXT://a:1,PLAINTEXT://b:2"}, "must have a different name"),
        ({"listeners": "A://:9092,B://h:9092", "listener_security_protocol_map": TWO}, "must have a different port"),
        ({"listener_security_protocol_map": "PLAINTEXT"}, "expected NAME:PROTOCOL"),
        ({"listener_security_protocol_map": "PLAINTEXT:TCP"}, "must be one of PLAINTEXT, SSL"),
        ({"listener_security_protocol_map": "A:PLAINTEXT,a:PLAINTEXT"}, "names listener A twice"),
        ({"advertised_listeners": "PLAINTEXT://0.0.0.0:9092"}, "nonroutable meta-address 0.0.0.0"),
        ({"advertised_listeners": "PLAINTEXT://[::]:9092"}, "nonroutable meta-address ::"),
        (
            {"advertised_listeners": "A://h:9092", "listener_security_protocol_map": "A:PLAINTEXT,PLAINTEXT:PLAINTEXT"},
            "A isn't among the listeners PLAINTEXT",
        ),
    ],
)
def test_mistakes_are_named(texts: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config(**texts)
    assert said in caught.value.allowed


def test_an_ipv6_address_stands_in_brackets() -> None:
    assert endpoint_text("::1", 9092) == "[::1]:9092"
    assert endpoint_text("localhost", 9092) == "localhost:9092"
