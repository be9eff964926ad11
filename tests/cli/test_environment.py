"""Config keys in environment variables."""

import pytest

from pykbroker.cli.environment import config_of


@pytest.mark.parametrize(
    ("variable", "key"),
    [
        ("KAFKA_LISTENERS", "listeners"),
        ("KAFKA_LOG_RETENTION_MS", "log.retention.ms"),
        ("KAFKA_MY__OWN_KEY", "my_own.key"),
        ("KAFKA_MY___KEY", "my-key"),
        ("KAFKA_ZOOKEEPER_CLIENTCNXNSOCKET", "zookeeper.clientCnxnSocket"),
    ],
)
def test_underscores_stand_for_other_characters(variable: str, key: str) -> None:
    assert config_of({variable: "x"}) == {key: "x"}


@pytest.mark.parametrize(
    "variable",
    [
        "PATH",
        "KAFKA_HEAP_OPTS",
        "KAFKA_OPTS",
        "KAFKA_SERVICE_HOST",
        "KAFKA_SERVICE_PORT_TCP",
        "KAFKA_PORT",
        "KAFKA_PORT_9092_TCP_ADDR",
    ],
)
def test_what_is_no_config(variable: str) -> None:
    assert config_of({variable: "x"}) == {}
