"""What DescribeConfigs says."""

from pykbroker.config.broker import BROKER_KEYS, BrokerConfig
from pykbroker.config.describe import (
    DEFAULT,
    DYNAMIC_GROUP,
    DYNAMIC_TOPIC,
    STATIC_BROKER,
    TYPES,
    ConfigEntry,
    Synonym,
    describe_broker,
    describe_group,
    describe_topic,
)
from pykbroker.config.topic import TOPIC_KEYS


def by_name(entries: list[ConfigEntry]) -> dict[str, ConfigEntry]:
    return {entry.name: entry for entry in entries}


def test_every_key_of_a_broker() -> None:
    entries = by_name(describe_broker(BrokerConfig()))
    keys = {key.name for key in BROKER_KEYS.values() if not key.removed}
    assert keys - entries.keys() == {
        "leader.replication.throttled.rate",
        "follower.replication.throttled.rate",
        "replica.alter.log.dirs.io.max.bytes.per.second",
    }
    assert entries.keys() - keys == {"inter.broker.protocol.version"}
    entry = entries["num.network.threads"]
    assert (entry.value, entry.source, entry.type, entry.read_only) == ("3", DEFAULT, TYPES["int"], False)
    assert entry.synonyms == (Synonym("num.network.threads", "3", DEFAULT),)
    assert entries["socket.request.max.bytes"].read_only
    assert entries["log.dirs"].value is None


def test_what_user_interfaces_tell_the_version_by() -> None:
    assert by_name(describe_broker(BrokerConfig()))["inter.broker.protocol.version"].value == "3.9-IV0"


def test_values_from_a_file_and_their_synonyms() -> None:
    config = BrokerConfig.from_properties({"log.retention.minutes": "5", "log.message.downconversion.enable": "true"})
    entries = by_name(describe_broker(config))
    assert entries["log.retention.ms"].value is None
    assert entries["log.retention.ms"].source == STATIC_BROKER
    assert entries["log.retention.minutes"].synonyms == (Synonym("log.retention.minutes", "5", STATIC_BROKER),)
    assert entries["log.retention.hours"].synonyms[-1] == Synonym("log.retention.hours", "168", DEFAULT)
    assert "log.message.downconversion.enable" in entries


def test_secrets_and_unknown_keys_are_hidden() -> None:
    config = BrokerConfig.from_properties({"ssl.key.password": "hush", "my.token": "hush"})
    entries = by_name(describe_broker(config))
    for name in ("ssl.key.password", "my.token"):
        assert entries[name].sensitive
        assert "hush" not in repr(entries[name])


def test_a_topics_overrides_stand_before_the_brokers_values() -> None:
    config = BrokerConfig.from_properties({"log.segment.bytes": "2000000"})
    entries = by_name(describe_topic(config, {"segment.bytes": "3000000"}))
    assert entries.keys() == {key.name for key in TOPIC_KEYS.values() if not key.removed}
    entry = entries["segment.bytes"]
    assert (entry.value, entry.source) == ("3000000", DYNAMIC_TOPIC)
    assert entry.synonyms == (
        Synonym("segment.bytes", "3000000", DYNAMIC_TOPIC),
        Synonym("log.segment.bytes", "2000000", STATIC_BROKER),
        Synonym("log.segment.bytes", "1073741824", DEFAULT),
    )
    assert entries["retention.ms"].value == "604800000"
    assert entries["retention.ms"].synonyms == ()
    assert entries["remote.storage.enable"].synonyms == ()


def test_a_groups_config() -> None:
    config = BrokerConfig.from_properties({"group.consumer.session.timeout.ms": "50000"})
    entries = by_name(describe_group(config, {"consumer.heartbeat.interval.ms": "6000"}))
    assert entries["consumer.session.timeout.ms"].value == "50000"
    assert entries["consumer.session.timeout.ms"].source == STATIC_BROKER
    assert entries["consumer.heartbeat.interval.ms"].source == DYNAMIC_GROUP
    entry = entries["share.auto.offset.reset"]
    assert (entry.value, entry.synonyms) == ("latest", (Synonym("share.auto.offset.reset", "latest", DEFAULT),))
