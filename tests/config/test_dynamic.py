"""Which keys of a broker may change while it runs."""

import pytest

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.dynamic import NotDynamic, check_broker_change, is_dynamic, usable
from pykbroker.config.keys import ConfigError
from pykbroker.config.live import LiveConfig

CONFIG = LiveConfig(BrokerConfig())


@pytest.mark.parametrize(
    "overrides",
    [
        {},
        {"message.max.bytes": "5", "log.retention.ms": "-1"},
        {"num.io.threads": "16"},
        {"num.io.threads": "4"},
        {"of.a.plugin": "1"},
        {"listener.name.external.ssl.keystore.location": "/a.pem"},
        {"listener.name.external.scram-sha-256.sasl.jaas.config": "hush"},
        {"listener.name.external.max.connections": "5"},
        {"listeners": "PLAINTEXT://127.0.0.1:1"},
    ],
)
def test_what_may_be_set_for_a_broker(overrides: dict[str, str]) -> None:
    check_broker_change(CONFIG, overrides, per_broker=True)


@pytest.mark.parametrize(
    ("overrides", "per_broker", "said"),
    [
        (
            {"socket.request.max.bytes": "5", "broker.rack": "r"},
            True,
            "Cannot update these configs dynamically: [broker.rack, socket.request.max.bytes]",
        ),
        (
            {"ssl.keystore.location": "/a"},
            True,
            "These security configs can be dynamically updated only per-listener using the listener prefix: "
            "[ssl.keystore.location]",
        ),
        (
            {"listeners": "PLAINTEXT://:1", "listener.name.a.ssl.keystore.location": "/a", "max.connections": "1"},
            False,
            "Cannot update these configs at default cluster level, broker id must be specified: "
            "[listener.name.a.ssl.keystore.location, listeners]",
        ),
        (
            {"num.io.threads": "17"},
            True,
            "Dynamic thread count update validation failed for num.io.threads=17, value should not be greater than "
            "double the current value 8",
        ),
        (
            {"num.io.threads": "3"},
            False,
            "Dynamic thread count update validation failed for num.io.threads=3, value should be at least half the "
            "current value 8",
        ),
        (
            {"metric.reporters": "of.a.Plugin"},
            True,
            "metric.reporters can't be changed while this broker runs: set it in its properties and restart",
        ),
        ({"log.cleaner.threads": "0"}, True, "Log cleaner threads should be at least 1"),
        (
            {"log.cleaner.threads": "3"},
            True,
            "Log cleaner threads cannot be increased to more than double the current value 1",
        ),
        (
            {"cordoned.log.dirs": "/elsewhere"},
            True,
            "Invalid entry in cordoned.log.dirs: /elsewhere. All cordoned log dirs must be entries of log.dirs or "
            "log.dir.",
        ),
    ],
)
def test_what_may_not(overrides: dict[str, str], per_broker: bool, said: str) -> None:
    with pytest.raises(NotDynamic) as caught:
        check_broker_change(CONFIG, overrides, per_broker=per_broker)
    assert str(caught.value) == said


def test_values_are_checked_and_secrets_not_told() -> None:
    with pytest.raises(ConfigError, match=r"max\.connections"):
        check_broker_change(CONFIG, {"max.connections": "-1"}, per_broker=True)
    with pytest.raises(ConfigError, match=r"max\.connections"):
        check_broker_change(CONFIG, {"listener.name.a.max.connections": "many"}, per_broker=True)


def test_what_is_followed_of_what_is_stored() -> None:
    stored = {
        "max.connections": "5",
        "log.retention.ms": "soon",
        "broker.rack": "r",
        "metric.reporters": "of.a.Plugin",
        "listeners": "PLAINTEXT://:1",
        "ssl.keystore.location": "/a",
        "of.a.plugin": "1",
    }
    followed, complaints = usable(CONFIG, stored, per_broker=False)
    assert followed == {"max.connections": "5", "of.a.plugin": "1"}
    assert len(complaints) == 5
    own = {"listener.name.a.ssl.keystore.location": "/a", "listeners": "PLAINTEXT://:1"}
    assert usable(CONFIG, stored | own, per_broker=True)[0] == followed | own


def test_listeners_prefixes() -> None:
    assert is_dynamic("listener.name.a.ssl.keystore.location")
    assert is_dynamic("ssl.keystore.location")
    assert not is_dynamic("broker.rack")
    assert not is_dynamic("of.a.plugin")
