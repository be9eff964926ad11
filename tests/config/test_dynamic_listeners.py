"""Which listeners may change while a broker runs."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.dynamic import NotDynamic, check_broker_change, usable
from pykbroker.config.dynamic_listeners import touched
from pykbroker.config.keys import ConfigError
from pykbroker.config.live import LiveConfig

PROTOCOLS = "IN:PLAINTEXT,OUT:PLAINTEXT,NEW:SASL_SSL"
STATIC = {
    "listeners": "OUT://:1,IN://:2",
    "listener.security.protocol.map": PROTOCOLS,
    "inter.broker.listener.name": "IN",
}


def check(change: Mapping[str, str], **static: str) -> None:
    names = {name.replace("_", "."): text for name, text in static.items()}
    check_broker_change(LiveConfig(BrokerConfig.from_properties(STATIC | names)), change, per_broker=True)


@pytest.mark.parametrize(
    "change",
    [
        {"listeners": "IN://:2"},
        {"listeners": "OUT://:1,IN://:2,NEW://:3", "listener.name.new.sasl.enabled.mechanisms": "PLAIN"},
        {"listeners": "OUT://127.0.0.1:1,IN://:22"},
        {"listeners": "IN://:2,OUT://:1", "listener.name.out.ssl.keystore.location": "/a"},
        {"advertised.listeners": "IN://inside:2"},
        {"listener.security.protocol.map": "IN:PLAINTEXT,OUT:PLAINTEXT"},
        {"listeners": "IN://:2,MORE://:4", "listener.security.protocol.map": PROTOCOLS + ",MORE:SSL"},
    ],
)
def test_what_may_change(change: dict[str, str]) -> None:
    check(change)


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"listeners": "OUT://:1"}, NotDynamic, "inter.broker.listener.name must be a listener name"),
        ({"advertised.listeners": "OUT://outside:1"}, NotDynamic, "inter.broker.listener.name must be a listener name"),
        (
            {"listener.security.protocol.map": "IN:PLAINTEXT,OUT:SSL"},
            NotDynamic,
            "Security protocol cannot be updated for existing listener OUT",
        ),
        (
            {"listeners": "IN://:2,OUT://:1,NEW://:3", "listener.name.out.sasl.enabled.mechanisms": "PLAIN"},
            NotDynamic,
            "Configs cannot be updated dynamically for existing listener OUT",
        ),
        ({"listeners": "IN://:2,MORE://:3"}, ConfigError, "no security protocol is defined for listener MORE"),
        ({"listeners": "IN://:2,OUT://:2"}, ConfigError, "each listener must have a different port"),
        ({"listeners": "IN:2"}, ConfigError, "expected NAME://HOST:PORT"),
        ({"listeners": ""}, ConfigError, "at least one listener is needed"),
    ],
)
def test_what_may_not(change: dict[str, str], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        check(change)


def test_an_advertised_listener_stays() -> None:
    with pytest.raises(ConfigError, match="OUT isn't among the listeners IN"):
        check({"listeners": "IN://:2"}, advertised_listeners="IN://in:2,OUT://out:1")


def test_another_first_listener_is_not_the_brokers() -> None:
    config = LiveConfig(BrokerConfig.from_properties({"listeners": "PLAINTEXT://:1"}))
    check_broker_change(config, update := {"listeners": "X://:2,PLAINTEXT://:1", **X}, per_broker=True)
    config.update(own=update)
    assert config.inter_broker_listener == "PLAINTEXT"


X = {"listener.security.protocol.map": "X:PLAINTEXT,PLAINTEXT:PLAINTEXT"}


@pytest.mark.parametrize(
    "addresses",
    [
        {"listeners": "OUT://:1"},
        {"listeners": "nonsense"},
        {"advertised.listeners": "OUT://outside:1"},
        {"listener.security.protocol.map": "IN:PLAINTEXT"},
    ],
)
def test_what_is_stored_and_can_not_be_is_not_followed(addresses: dict[str, str]) -> None:
    config = LiveConfig(BrokerConfig.from_properties(STATIC))
    followed, complaints = usable(config, addresses | {"max.connections": "5"}, per_broker=True)
    assert followed == {"max.connections": "5"}
    assert len(complaints) == 1


def test_which_listeners_are_touched() -> None:
    config = LiveConfig(BrokerConfig.from_properties(STATIC))

    def names(**change: str) -> list[str]:
        after = config.with_update(own={name.replace("_", "."): text for name, text in change.items()})
        return [one.name for one in touched(config, after)]

    assert names() == names(max_connections="5") == names(listeners="IN://:2") == []
    assert names(listeners="OUT://:1,IN://:22,NEW://:3") == ["IN", "NEW"]
    assert names(listener_name_out_ssl_keystore_location="/a") == ["OUT"]
