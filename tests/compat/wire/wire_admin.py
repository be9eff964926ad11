"""Conversations about versions, metadata, topics, configs and the cluster."""

from __future__ import annotations

import struct
import time
from typing import Any
from uuid import UUID

from wire_connection import NO_ANSWER
from wire_talk import Talk, conversation

from pykbroker.protocol.connection import decode_response
from pykbroker.protocol.message import ZERO_UUID
from pykbroker.protocol.messages.alter_configs import AlterConfigsRequest
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest
from pykbroker.protocol.messages.create_partitions import CreatePartitionsRequest
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.delete_topics import DeleteTopicsRequest
from pykbroker.protocol.messages.describe_cluster import DescribeClusterRequest
from pykbroker.protocol.messages.describe_configs import DescribeConfigsRequest
from pykbroker.protocol.messages.describe_topic_partitions import DescribeTopicPartitionsRequest
from pykbroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from pykbroker.protocol.messages.metadata import MetadataRequest

UNKNOWN_ID = UUID(int=7 << 64 | 7)


@conversation(0, 4)
def api_versions(talk: Talk) -> None:
    def say(label: str, name: str, version: str) -> None:
        answer = talk.ask(ApiVersionsRequest(client_software_name=name, client_software_version=version))
        talk.said[label] = NO_ANSWER if answer is None else f"error_code={answer.error_code}"

    say("fine", "wire", "1.0")
    if talk.version >= 3:
        say("bad name", "not a name!", "1.0")
        say("empty version", "wire", "")


@conversation(0, 0)
def unsupported(talk: Talk) -> None:
    """Bytes that name an API or a version that no broker has."""

    def say(label: str, key: int, version: int, body: bytes = b"") -> None:
        frame = struct.pack(">hhih", key, version, 77, 4) + b"wire" + body
        talk.wire.send_bytes(frame)
        answer = talk.wire.frame()
        if answer is None:
            talk.note(label, None)
            talk.wire.close()
            talk.wire = type(talk.wire)(talk.bootstrap)
            return
        _, decoded = decode_response(answer, 18, 0)
        listed = [entry.api_key for entry in decoded.api_keys]
        talk.said[label] = f"error_code={decoded.error_code} lists ApiVersions: {18 in listed}"

    say("ApiVersions 99", 18, 99, b"\0\5wire\0041.0\0")
    say("Metadata 99", 3, 99)
    say("Metadata -1", 3, -1)
    say("Produce 99", 0, 99)
    say("API 999", 999, 0)
    say("API -1", -1, 0)
    say("Metadata cut short", 3, 8, b"\0\0")


@conversation(0, 13)
def metadata(talk: Talk) -> None:
    topic_id = talk.topic(partitions=2)
    talk.mask("127.0.0.1", "<host>")

    def say(label: str, *names: str | None, topic_id: UUID = ZERO_UUID) -> None:
        topics = [MetadataRequest.Topic(name=name, topic_id=topic_id) for name in names]
        talk.say(label, MetadataRequest(topics=topics, allow_auto_topic_creation=talk.version < 4))

    say("one", talk.name)
    say("twice", talk.name, talk.name)
    if talk.version >= 4:
        say("unknown", f"{talk.name}-unknown")
        say("bad name", "bad name!")
        say("empty name", "")
        say("too long a name", "x" * 250)
        say("known and unknown", talk.name, f"{talk.name}-unknown")
    if talk.version >= 1:
        say("none")
    if talk.version >= 12:
        say("by id", None, topic_id=topic_id)
        say("by an unknown id", None, topic_id=UNKNOWN_ID)
        say("by id and name", talk.name, topic_id=topic_id)
    if talk.version >= 8:
        request = MetadataRequest(
            topics=[MetadataRequest.Topic(name=talk.name)], include_topic_authorized_operations=True
        )
        talk.say("operations", request)


def new_topic(name: str, partitions: int = 1, replicas: int = 1, **options: Any) -> CreateTopicsRequest.Topic:
    assignments = [
        CreateTopicsRequest.Topic.Assignment(partition_index=index, broker_ids=brokers)
        for index, brokers in options.pop("assignments", {}).items()
    ]
    configs = [
        CreateTopicsRequest.Topic.Config(name=key, value=value) for key, value in options.pop("configs", {}).items()
    ]
    return CreateTopicsRequest.Topic(
        name=name, num_partitions=partitions, replication_factor=replicas, assignments=assignments, configs=configs
    )


@conversation(2, 7, older=0)
def create_topics(talk: Talk) -> None:
    def say(label: str, *topics: CreateTopicsRequest.Topic, validate_only: bool = False) -> None:
        answer = talk.ask(CreateTopicsRequest(topics=list(topics), timeout_ms=10000, validate_only=validate_only))
        for topic in answer.topics:
            topic.configs = sorted((topic.configs or [])[:0], key=lambda config: config.name)
        answer.topics.sort(key=lambda topic: topic.name)
        talk.note(label, answer)

    name = talk.name
    say("fine", new_topic(f"{name}-a", 2))
    say("there already", new_topic(f"{name}-a", 2))
    if talk.version:
        say("validate only", new_topic(f"{name}-b", 2), validate_only=True)
        say("validate one that is there", new_topic(f"{name}-a", 2), validate_only=True)
    for label, bad in {"spaces": "bad name!", "empty": "", "dot": ".", "long": "x" * 250}.items():
        say(f"name: {label}", new_topic(bad))
    say("no partitions", new_topic(f"{name}-c", 0))
    say("minus two partitions", new_topic(f"{name}-c", -2))
    if talk.version >= 4:
        say("default partitions and replicas", new_topic(f"{name}-d", -1, -1))
    say("three replicas", new_topic(f"{name}-e", 1, 3))
    say("no replicas", new_topic(f"{name}-e", 1, 0))
    say("assignment", new_topic(f"{name}-f", -1, -1, assignments={0: [1], 1: [1]}))
    say("assignment and partitions", new_topic(f"{name}-g", 2, 1, assignments={0: [1], 1: [1]}))
    say("assignment with a gap", new_topic(f"{name}-g", -1, -1, assignments={0: [1], 2: [1]}))
    say("assignment to an unknown broker", new_topic(f"{name}-g", -1, -1, assignments={0: [99]}))
    say("assignment to a broker twice", new_topic(f"{name}-g", -1, -1, assignments={0: [1, 1]}))
    say("assignment to nobody", new_topic(f"{name}-g", -1, -1, assignments={0: []}))
    say("config", new_topic(f"{name}-h", configs={"retention.ms": "1000"}))
    say("bad config value", new_topic(f"{name}-i", configs={"retention.ms": "soon"}))
    say("config out of range", new_topic(f"{name}-i", configs={"segment.bytes": "1"}))
    say("unknown config", new_topic(f"{name}-i", configs={"no.such.key": "1"}))
    say("null config", new_topic(f"{name}-i", configs={"retention.ms": None}))
    say("twice in a request", new_topic(f"{name}-j"), new_topic(f"{name}-j"))
    say("one fine, one not", new_topic(f"{name}-k"), new_topic("bad name!"))
    say("none")


@conversation(1, 6, older=0)
def delete_topics(talk: Talk) -> None:
    def say(label: str, *names: str) -> None:
        answer = talk.ask(delete(list(names)))
        answer.responses.sort(key=lambda entry: (entry.name or "", entry.error_code))
        talk.note(label, answer)

    def delete(names: list[str]) -> DeleteTopicsRequest:
        if talk.version < 6:
            return DeleteTopicsRequest(topic_names=names, timeout_ms=10000)
        topics = [DeleteTopicsRequest.Topic(name=name) for name in names]
        return DeleteTopicsRequest(topics=topics, timeout_ms=10000)

    talk.topic(suffix="-a")
    say("unknown", f"{talk.name}-unknown")
    say("bad name", "bad name!")
    say("one fine, one unknown", f"{talk.name}-a", f"{talk.name}-unknown")
    say("none")
    if talk.version >= 6:
        topic_id = talk.topic(suffix="-b")

        def by_id(*ids: UUID, name: str | None = None) -> DeleteTopicsRequest:
            topics = [DeleteTopicsRequest.Topic(name=name, topic_id=topic_id) for topic_id in ids]
            return DeleteTopicsRequest(topics=topics, timeout_ms=10000)

        talk.say("unknown id", by_id(UNKNOWN_ID))
        talk.say("neither name nor id", by_id(ZERO_UUID))
        talk.say("name and id", by_id(topic_id, name=f"{talk.name}-b"))
        talk.say("by id", by_id(topic_id))
        talk.say("by id again", by_id(topic_id))


@conversation(0, 3)
def create_partitions(talk: Talk) -> None:
    talk.topic(partitions=2)

    def entry(count: int, suffix: str = "", assignments: list[list[int]] | None = None) -> Any:
        brokers = None
        if assignments is not None:
            brokers = [CreatePartitionsRequest.Topic.Assignment(broker_ids=ids) for ids in assignments]
        return CreatePartitionsRequest.Topic(name=talk.name + suffix, count=count, assignments=brokers)

    def say(label: str, *topics: Any, validate_only: bool = False) -> None:
        talk.say(label, CreatePartitionsRequest(topics=list(topics), timeout_ms=10000, validate_only=validate_only))

    say("fewer", entry(1))
    say("as many", entry(2))
    say("none at all", entry(0))
    say("unknown topic", entry(3, suffix="-unknown"))
    say("validate only", entry(3), validate_only=True)
    say("wrong number of assignments", entry(3, assignments=[[1], [1]]))
    say("assignment to an unknown broker", entry(3, assignments=[[99]]))
    say("assignment to two replicas", entry(3, assignments=[[1, 1]]))
    say("twice in a request", entry(3), entry(4))
    say("fine", entry(3))
    say("with an assignment", entry(4, assignments=[[1]]))
    request = MetadataRequest(topics=[MetadataRequest.Topic(name=talk.name)], allow_auto_topic_creation=False)
    for _ in range(100):
        partitions = talk.ask(request, 8).topics[0].partitions
        if len(partitions) == 4:
            break
        time.sleep(0.02)
    talk.said["partitions then"] = str(len(partitions))


@conversation(1, 4, older=0)
def describe_configs(talk: Talk) -> None:
    talk.topic(cleanup_policy="compact")

    def say(label: str, kind: int, name: str, keys: list[str] | None, **options: bool) -> None:
        resource = DescribeConfigsRequest.Resource(resource_type=kind, resource_name=name, configuration_keys=keys)
        answer = talk.ask(DescribeConfigsRequest(resources=[resource], **options))
        if answer is not None:
            for config in (config for result in answer.results for config in result.configs):
                config.documentation = "text" if config.documentation else config.documentation
            for result in answer.results:
                result.configs.sort(key=lambda config: config.name)
        talk.note(label, answer)

    topic_keys = ["cleanup.policy", "retention.ms", "segment.bytes", "compression.type"]
    of_version = "" if talk.version else " (version 0)"
    say(f"topic{of_version}", 2, talk.name, topic_keys)
    if talk.version:
        say("topic with synonyms", 2, talk.name, topic_keys, include_synonyms=True)
        say("broker with synonyms", 4, "1", ["log.retention.ms", "num.io.threads"], include_synonyms=True)
    if talk.version >= 3:
        say("topic with documentation", 2, talk.name, ["retention.ms"], include_documentation=True)
    say("topic, unknown key", 2, talk.name, ["no.such.key"])
    everything = DescribeConfigsRequest.Resource(resource_type=2, resource_name=talk.name, configuration_keys=[])
    (answer,) = talk.ask(DescribeConfigsRequest(resources=[everything])).results
    talk.said["topic, no keys"] = " ".join(sorted(config.name for config in answer.configs))
    say("unknown topic", 2, f"{talk.name}-unknown", None)
    say("bad topic name", 2, "bad name!", None)
    say("empty topic name", 2, "", None)
    broker_keys = ["log.retention.hours", "message.max.bytes", "num.partitions", "ssl.key.password"]
    say(f"broker{of_version}", 4, "1", broker_keys)
    say("unknown broker", 4, "99", broker_keys)
    say("broker without number", 4, "one", broker_keys)
    say("unknown type", 77, "x", None)


def await_overrides(talk: Talk, **wanted: str) -> None:
    """Note a topic's own configs, once they are those wanted: Apache Kafka answers before its brokers know."""
    resource = DescribeConfigsRequest.Resource(resource_type=2, resource_name=talk.name, configuration_keys=None)
    expected = {key.replace("_", "."): value for key, value in wanted.items()}
    found: dict[str, str] = {}
    for _ in range(100):
        (result,) = talk.ask(DescribeConfigsRequest(resources=[resource]), 4).results
        found = {config.name: config.value for config in result.configs if config.config_source == 1}
        if found == expected:
            break
        time.sleep(0.02)
    talk.said[f"overrides after {list(talk.said)[-1]}"] = str(sorted(found.items()))


@conversation(0, 2)
def alter_configs(talk: Talk) -> None:
    talk.topic(cleanup_policy="compact")

    def say(label: str, configs: dict[str, str | None], *, name: str = talk.name, **options: bool) -> None:
        entries = [AlterConfigsRequest.Resource.Config(name=key, value=value) for key, value in configs.items()]
        resource = AlterConfigsRequest.Resource(resource_type=2, resource_name=name, configs=entries)
        talk.say(label, AlterConfigsRequest(resources=[resource], **options))

    say("replace", {"retention.ms": "1000", "flush.ms": "5"})
    await_overrides(talk, retention_ms="1000", flush_ms="5")
    say("validate only", {"retention.ms": "2000"}, validate_only=True)
    say("bad value", {"retention.ms": "soon"})
    say("out of range", {"segment.bytes": "1"})
    say("unknown key", {"no.such.key": "1"})
    say("null", {"retention.ms": None, "flush.ms": None})
    say("unknown topic", {"retention.ms": "1"}, name=f"{talk.name}-unknown")
    say("unknown topic, unknown key", {"no.such.key": "1"}, name=f"{talk.name}-unknown")
    say("bad topic name", {"retention.ms": "1"}, name="bad name!")
    say("empty topic name", {"retention.ms": "1"}, name="")
    twice = [AlterConfigsRequest.Resource.Config(name="retention.ms", value=value) for value in "12"]
    resource = AlterConfigsRequest.Resource(resource_type=2, resource_name=talk.name, configs=twice)
    talk.say("a key twice", AlterConfigsRequest(resources=[resource]))
    say("nothing", {})
    await_overrides(talk)


@conversation(0, 1)
def incremental_alter_configs(talk: Talk) -> None:
    talk.topic()
    set_, delete, append, subtract = range(4)

    def resource(*configs: tuple[str, int, str | None], kind: int = 2, name: str = talk.name) -> Any:
        config = IncrementalAlterConfigsRequest.Resource.Config
        entries = [config(name=key, config_operation=operation, value=value) for key, operation, value in configs]
        return IncrementalAlterConfigsRequest.Resource(resource_type=kind, resource_name=name, configs=entries)

    def say(label: str, *resources: Any, validate_only: bool = False) -> None:
        answer = talk.ask(IncrementalAlterConfigsRequest(resources=list(resources), validate_only=validate_only))
        answer.responses.sort(key=lambda entry: (entry.resource_type, entry.resource_name))
        talk.note(label, answer)

    say("set", resource(("retention.ms", set_, "1000"), ("cleanup.policy", append, "compact")))
    await_overrides(talk, retention_ms="1000", cleanup_policy="delete,compact")
    say("validate only", resource(("retention.ms", set_, "2000")), validate_only=True)
    say("append what is there", resource(("cleanup.policy", append, "compact")))
    say("subtract", resource(("cleanup.policy", subtract, "delete")))
    await_overrides(talk, retention_ms="1000", cleanup_policy="compact")
    say("subtract the last", resource(("cleanup.policy", subtract, "compact")))
    await_overrides(talk, retention_ms="1000", cleanup_policy="")
    say("delete", resource(("cleanup.policy", delete, None), ("retention.ms", delete, "")))
    await_overrides(talk)
    say("delete what isn't set", resource(("flush.ms", delete, None), ("no.such.key", delete, None)))
    say("bad value", resource(("compression.type", set_, "rar")))
    say("bad value in a list", resource(("cleanup.policy", append, "shred")))
    say("unknown key", resource(("no.such.key", set_, "1")))
    say("append to a number", resource(("retention.ms", append, "1")))
    say("subtract from an unknown key", resource(("no.such.key", subtract, "1")))
    say("null", resource(("cleanup.policy", append, None), ("retention.ms", set_, None)))
    say("a key twice", resource(("retention.ms", set_, "1"), ("retention.ms", delete, None)))
    say("conflict", resource(("min.compaction.lag.ms", set_, "10"), ("max.compaction.lag.ms", set_, "5")))
    say("unknown operation", resource(("retention.ms", 9, "1")))
    say("a topic twice", resource(("flush.ms", set_, "1")), resource(), resource(name=f"{talk.name}-unknown"))
    say("bad topic name", resource(("flush.ms", set_, "1"), name="bad name!"))
    say("empty topic name", resource(("flush.ms", set_, "1"), name=""))
    say("unknown type", resource(kind=77), resource(("flush.ms", set_, "7")))
    await_overrides(talk, flush_ms="7")
    say("broker", resource(kind=4, name="1"))
    say("unknown broker", resource(kind=4, name="99"))
    say("none")


@conversation(0, 2)
def describe_cluster(talk: Talk) -> None:
    talk.mask("127.0.0.1", "<host>")
    talk.say("brokers", DescribeClusterRequest())
    talk.say("operations", DescribeClusterRequest(include_cluster_authorized_operations=True))
    if talk.version >= 1:
        talk.say("controllers", DescribeClusterRequest(endpoint_type=2))
        talk.say("bogus type", DescribeClusterRequest(endpoint_type=9))


@conversation(0, 0)
def describe_topic_partitions(talk: Talk) -> None:
    for suffix in ("-a", "-b"):
        talk.topic(partitions=3, suffix=suffix)

    def say(label: str, *suffixes: str, limit: int = 2000, cursor: tuple[str, int] | None = None) -> None:
        names = [suffix if suffix.startswith("bad") else talk.name + suffix for suffix in suffixes]
        start = None
        if cursor is not None:
            start = DescribeTopicPartitionsRequest.Cursor(topic_name=talk.name + cursor[0], partition_index=cursor[1])
        topics = [DescribeTopicPartitionsRequest.Topic(name=name) for name in names]
        talk.say(label, DescribeTopicPartitionsRequest(topics=topics, response_partition_limit=limit, cursor=start))

    say("both", "-b", "-a")
    say("limit", "-a", "-b", limit=4)
    say("cursor", "-a", "-b", cursor=("-a", 2))
    say("cursor past the partitions", "-a", "-b", cursor=("-a", 3))
    say("cursor at an unknown topic", "-a", "-b", cursor=("-aa", 0))
    say("cursor of another topic", "-b", cursor=("-a", 1))
    say("negative cursor", "-a", cursor=("-a", -1))
    say("unknown", "-unknown")
    say("bad name", "bad name!")
    say("limit 0", "-a", limit=0)
