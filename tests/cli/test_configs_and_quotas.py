"""`pykbroker configs` and `pykbroker quotas`."""

import pytest
from tests.cli.conftest import Command


def test_a_topics_configs(pykbroker: Command) -> None:
    pykbroker("topics", "create", "t", "--config", "retention.ms=1000")
    words = ["--set", "segment.bytes=2000000", "--append", "cleanup.policy=compact"]
    assert pykbroker("configs", "alter", "topic", "t", *words).out == "changed the configs of topic t\n"
    described = pykbroker("configs", "describe", "topic", "t").rows
    assert described == [
        ["TYPE", "NAME", "KEY", "VALUE", "SOURCE"],
        ["topic", "t", "cleanup.policy", "delete,compact", "DYNAMIC_TOPIC_CONFIG"],
        ["topic", "t", "retention.ms", "1000", "DYNAMIC_TOPIC_CONFIG"],
        ["topic", "t", "segment.bytes", "2000000", "DYNAMIC_TOPIC_CONFIG"],
    ]
    words = ["--delete", "retention.ms", "--delete", "segment.bytes", "--subtract", "cleanup.policy=delete"]
    assert pykbroker("configs", "alter", "topic", "t", *words, "--json").document == [
        {"name": "t", "type": "topic", "error": None}
    ]
    assert pykbroker("configs", "describe", "topic", "t").rows[1:] == [
        ["topic", "t", "cleanup.policy", "compact", "DYNAMIC_TOPIC_CONFIG"]
    ]
    assert pykbroker("configs", "describe", "topic", "t", "--key", "retention.ms", "--json").document == [
        {
            "type": "topic",
            "name": "t",
            "key": "retention.ms",
            "value": "604800000",
            "source": "DEFAULT_CONFIG",
            "kind": "long",
            "read_only": False,
            "sensitive": False,
        }
    ]
    assert len(pykbroker("configs", "describe", "topic", "t", "--all").lines) > 25


def test_brokers_and_groups(pykbroker: Command) -> None:
    assert pykbroker("configs", "alter", "broker", "1", "--set", "log.cleaner.threads=2").status == 0
    assert pykbroker("configs", "alter", "broker", "default", "--set", "log.cleaner.threads=3").status == 0
    rows = pykbroker("configs", "describe", "broker").rows
    assert ["broker", "default", "log.cleaner.threads", "3", "DYNAMIC_DEFAULT_BROKER_CONFIG"] in rows
    assert ["broker", "1", "log.cleaner.threads", "2", "DYNAMIC_BROKER_CONFIG"] in rows
    pykbroker("configs", "alter", "group", "g", "--set", "consumer.session.timeout.ms=50000")
    assert pykbroker("configs", "describe", "group").rows[1:] == [
        ["group", "g", "consumer.session.timeout.ms", "50000", "DYNAMIC_GROUP_CONFIG"]
    ]
    assert ["group", "g"] in pykbroker("configs", "list", "--type", "group").rows
    for words in (["broker", "1"], ["broker", "default"]):
        assert pykbroker("configs", "alter", *words, "--delete", "log.cleaner.threads").status == 0


def test_what_is_refused(pykbroker: Command) -> None:
    pykbroker("topics", "create", "strict")
    for words, said in (
        (["topic", "strict", "--set", "retention.ms=soon"], "(INVALID_CONFIG); `pykbroker configs describe --all`"),
        (["topic", "strict", "--set", "nonsense=1"], "(INVALID_CONFIG)"),
        (["broker", "9", "--set", "log.cleaner.threads=2"], "there is no broker 9 (BROKER_NOT_AVAILABLE); `pykbroker"),
    ):
        ran = pykbroker("configs", "alter", *words)
        assert (ran.status, ran.err.count("\n")) == (1, 1)
        assert said in ran.err
    ran = pykbroker("configs", "describe", "topic", "nowhere")
    assert (ran.status, "(UNKNOWN_TOPIC_OR_PARTITION)" in ran.err) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ["configs", "describe"],
        ["configs", "describe", "planet", "x"],
        ["configs", "alter", "topic", "t"],
        ["configs", "alter", "topic", "t", "--set", "x"],
        ["configs", "alter", "broker", "one", "--set", "a=b"],
        ["quotas", "alter", "user=a"],
        ["quotas", "alter", "--set", "request_percentage=1"],
        ["quotas", "alter", "user", "--set", "request_percentage=1"],
        ["quotas", "alter", "user=a", "user=b", "--set", "request_percentage=1"],
        ["quotas", "alter", "user=a", "ip=1.2.3.4", "--set", "request_percentage=1"],
        ["quotas", "alter", "planet=x", "--set", "request_percentage=1"],
        ["quotas", "alter", "user=a", "--set", "request_percentage=lots"],
    ],
)
def test_bad_usage(words: list[str], pykbroker: Command) -> None:
    ran = pykbroker(*words)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
