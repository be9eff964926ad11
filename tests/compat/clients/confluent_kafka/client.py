"""confluent-kafka (librdkafka) through the behaviours."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import admin_behaviours  # noqa: F401  (registers its behaviours)
import confluent_kafka as ck
import operations_behaviours  # noqa: F401
import share_behaviours  # noqa: F401
from behaviours import BEHAVIOURS
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourceType,
)
from driver import (
    Admin,
    BrokerError,
    Consumer,
    Driver,
    Fenced,
    Message,
    Partition,
    Record,
    Report,
    ShareAdmin,
    ShareConsumer,
    Shared,
    Transactions,
    error_name,
    main,
)
from operations import ConfluentOperations

TIMESTAMP_TYPES = {ck.TIMESTAMP_CREATE_TIME: "create", ck.TIMESTAMP_LOG_APPEND_TIME: "log_append"}


def refusal(error: ck.KafkaException) -> str:
    code = error.args[0].code()
    return error_name(code) if code >= 0 else error.args[0].name()


class ConfluentConsumer(Consumer):
    def __init__(self, config: dict[str, Any], on_revoke: Any) -> None:
        self._commits: list[ck.KafkaError | None] = []
        self._consumer = ck.Consumer(config | {"on_commit": lambda error, _: self._commits.append(error)})
        self._on_revoke = on_revoke

    def _callbacks(self) -> dict[str, Any]:
        if self._on_revoke is None:
            return {}
        return {"on_revoke": lambda _, partitions: self._on_revoke([tp.partition for tp in partitions])}

    def subscribe(self, topics: Iterable[str]) -> None:
        self._consumer.subscribe(list(topics), **self._callbacks())

    def subscribe_pattern(self, pattern: str) -> None:
        self._consumer.subscribe([pattern])

    def assign(self, partitions: Iterable[Partition]) -> None:
        self._consumer.assign([ck.TopicPartition(*partition) for partition in partitions])

    def assignment(self) -> set[Partition]:
        return {(tp.topic, tp.partition) for tp in self._consumer.assignment()}

    def poll(self, seconds: float) -> list[Message]:
        messages = self._consumer.consume(500, seconds)
        failed = [m.error() for m in messages if m.error() and m.error().code() != 3]
        if failed:
            raise ck.KafkaException(failed[0])
        return [self._message(m) for m in messages if not m.error()]

    def _message(self, m: ck.Message) -> Message:
        kind, timestamp = m.timestamp()
        position = (m.topic(), m.partition(), m.offset())
        return Message(*position, m.key(), m.value(), m.headers() or [], timestamp, TIMESTAMP_TYPES.get(kind, "none"))

    def seek(self, partition: Partition, offset: int) -> None:
        self._consumer.seek(ck.TopicPartition(*partition, offset))

    def seek_to_beginning(self, partition: Partition) -> None:
        self.seek(partition, ck.OFFSET_BEGINNING)

    def seek_to_end(self, partition: Partition) -> None:
        self.seek(partition, ck.OFFSET_END)

    def pause(self, partition: Partition) -> None:
        self._consumer.pause([ck.TopicPartition(*partition)])

    def resume(self, partition: Partition) -> None:
        self._consumer.resume([ck.TopicPartition(*partition)])

    def commit(self, partition: Partition, offset: int, metadata: str) -> None:
        self._consumer.commit(offsets=[ck.TopicPartition(*partition, offset, metadata)], asynchronous=False)

    def commit_async(self, partition: Partition, offset: int, metadata: str) -> None:
        self._commits.clear()
        self._consumer.commit(offsets=[ck.TopicPartition(*partition, offset, metadata)], asynchronous=True)
        deadline = time.monotonic() + 15
        while not self._commits and time.monotonic() < deadline:
            self._consumer.poll(0.05)
        if not self._commits or self._commits[0] is not None:
            raise AssertionError(f"commit's callback: {self._commits}")

    def committed(self, partition: Partition) -> tuple[int, str] | None:
        (tp,) = self._consumer.committed([ck.TopicPartition(*partition)], timeout=15)
        if tp.error:
            raise ck.KafkaException(tp.error)
        return None if tp.offset < 0 else (tp.offset, tp.metadata or "")

    def offset_for_time(self, partition: Partition, timestamp: int) -> int | None:
        (tp,) = self._consumer.offsets_for_times([ck.TopicPartition(*partition, timestamp)], timeout=15)
        return None if tp.offset < 0 else int(tp.offset)

    def beginning_and_end(self, partition: Partition) -> tuple[int, int]:
        beginning, end = self._consumer.get_watermark_offsets(ck.TopicPartition(*partition), timeout=15)
        return beginning, end

    def close(self) -> None:
        self._consumer.close()


class ConfluentAdmin(Admin):
    def __init__(self, bootstrap: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})

    def _refusals(self, futures: Mapping[str, Any]) -> dict[str, str]:
        results = {}
        for name, future in futures.items():
            try:
                future.result(30)
                results[name] = "NONE"
            except ck.KafkaException as error:
                results[name] = refusal(error)
        return results

    def create_topics(self, topics: Mapping[str, tuple[int, Mapping[str, str]]]) -> dict[str, str]:
        new = [NewTopic(name, count, 1, config=dict(config)) for name, (count, config) in topics.items()]
        return self._refusals(self._admin.create_topics(new))

    def delete_topics(self, topics: Sequence[str]) -> dict[str, str]:
        return self._refusals(self._admin.delete_topics(list(topics)))

    def create_partitions(self, totals: Mapping[str, int]) -> dict[str, str]:
        return self._refusals(self._admin.create_partitions([NewPartitions(*total) for total in totals.items()]))

    def list_topics(self) -> set[str]:
        return set(self._admin.list_topics(timeout=15).topics)

    def describe_topic(self, topic: str) -> dict[int, dict[str, Any]]:
        try:
            described = self._admin.describe_topics(ck.TopicCollection([topic]))[topic].result(30)
        except ck.KafkaException as error:
            if refusal(error) != "UNKNOWN_TOPIC_OR_PARTITION":
                raise
            return {}
        return {
            p.id: {
                "leader": -1 if p.leader is None else p.leader.id,
                "replicas": [node.id for node in p.replicas],
                "isr": [node.id for node in p.isr],
            }
            for p in described.partitions
        }

    def describe_cluster(self) -> dict[str, Any]:
        cluster = self._admin.describe_cluster().result(30)
        brokers = [{"id": node.id, "address": f"{node.host}:{node.port}"} for node in cluster.nodes]
        return {"cluster_id": cluster.cluster_id, "controller": cluster.controller.id, "brokers": brokers}

    def _config(self, kind: Any, name: str) -> dict[str, Any]:
        (future,) = self._admin.describe_configs([ConfigResource(kind, name)]).values()
        return dict(future.result(30))

    def topic_config(self, topic: str) -> dict[str, tuple[str, bool]]:
        entries = self._config(ResourceType.TOPIC, topic)
        return {key: (entry.value, entry.source == 1) for key, entry in entries.items()}

    def broker_config(self, broker: int) -> dict[str, str]:
        return {key: entry.value for key, entry in self._config(ResourceType.BROKER, str(broker)).items()}

    def alter_config(self, kind: str, name: str, config: Mapping[str, str]) -> None:
        entries = [
            ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET) for key, value in config.items()
        ]
        resource = ConfigResource(ResourceType[kind.upper()], name, incremental_configs=entries)
        (future,) = self._admin.incremental_alter_configs([resource]).values()
        future.result()

    def list_groups(self) -> set[str]:
        return {group.group_id for group in self._admin.list_consumer_groups().result(30).valid}

    def describe_group(self, group: str) -> dict[str, Any]:
        described = self._admin.describe_consumer_groups([group])[group].result(30)
        assigned = [sorted((tp.topic, tp.partition) for tp in m.assignment.topic_partitions) for m in described.members]
        return {"state": described.state.name.title().replace("_", ""), "members": sorted(assigned)}

    def delete_group(self, group: str) -> str:
        return self._refusals(self._admin.delete_consumer_groups([group]))[group]


class ConfluentTransactions(Transactions):
    def __init__(self, bootstrap: str, transactional_id: str) -> None:
        self._producer = ck.Producer({"bootstrap.servers": bootstrap, "transactional.id": transactional_id})
        self._producer.init_transactions(30)
        self.begin = self._producer.begin_transaction

    def send(self, topic: str, values: Iterable[bytes]) -> None:
        for value in values:
            self._producer.produce(topic, value)

    def flush(self) -> None:
        self._producer.flush(30)

    def send_offset(self, consumer: ConfluentConsumer, partition: Partition, offset: int) -> None:
        metadata = consumer._consumer.consumer_group_metadata()
        self._producer.send_offsets_to_transaction([ck.TopicPartition(*partition, offset)], metadata, 30)

    def commit(self) -> None:
        try:
            self._producer.commit_transaction(30)
        except ck.KafkaException as error:
            if error.args[0].code() == ck.KafkaError._FENCED:
                raise Fenced from error
            raise

    def abort(self) -> None:
        self._producer.abort_transaction(30)

    def close(self) -> None:
        self._producer.flush(30)


class ConfluentShareConsumer(ShareConsumer):
    def __init__(self, config: dict[str, Any]) -> None:
        self._consumer = ck.ShareConsumer(config)

    def subscribe(self, topic: str) -> None:
        self._consumer.subscribe([topic])

    def poll(self, seconds: float) -> list[Shared]:
        messages = list(self._consumer.poll(seconds))
        failed = [m.error() for m in messages if m.error()]
        if failed:
            raise ck.KafkaException(failed[0])
        return [Shared(m.topic(), m.partition(), m.offset(), m.value(), m.delivery_count()) for m in messages]

    def acknowledge(self, record: Shared, kind: str) -> None:
        self._consumer.acknowledge_offset(
            record.topic, record.partition, record.offset, ck.AcknowledgeType[kind.upper()]
        )

    def commit(self) -> None:
        failed = [error for error in self._consumer.commit_sync(30).values() if error is not None]
        if failed:
            raise failed[0]

    def close(self) -> None:
        self._consumer.close()


class ConfluentShareAdmin(ShareAdmin):
    """Its admin client knows nothing of share groups but their configs."""

    def __init__(self, bootstrap: str, group: str) -> None:
        self._admin = ConfluentAdmin(bootstrap)
        self._group = group

    def configure(self, **config: str) -> None:
        self._admin.alter_config("group", self._group, {key.replace("_", "."): value for key, value in config.items()})


class ConfluentDriver(Driver):
    name = "confluent_kafka"
    version = f"{ck.__version__} (librdkafka {ck.libversion()[0]})"

    def produce(self, topic: str, records: Sequence[Record], **options: Any) -> list[Report]:
        config = {
            "bootstrap.servers": self.bootstrap,
            "acks": options.get("acks", "all"),
            "partitioner": "murmur2_random",
            "compression.type": options.get("compression", "none"),
            "enable.idempotence": options.get("idempotent", False),
            "linger.ms": 5,
            "message.max.bytes": options.get("max_bytes", 1_048_588),
        }
        producer = ck.Producer(config)
        reports: list[Report | None] = [None] * len(records)
        errors: list[ck.KafkaError] = []

        def delivered(index: int, error: ck.KafkaError | None, message: ck.Message) -> None:
            if error is not None:
                errors.append(error)
            else:
                reports[index] = Report(message.partition(), message.offset(), message.timestamp()[1])

        for index, record in enumerate(records):
            optional = {"partition": record.partition, "timestamp": record.timestamp}
            producer.produce(
                topic,
                record.value,
                record.key,
                headers=list(record.headers) or None,
                on_delivery=lambda error, message, index=index: delivered(index, error, message),
                **{name: value for name, value in optional.items() if value is not None},
            )
        if producer.flush(30):
            raise AssertionError("not all records were answered within 30 s")
        if errors:
            raise BrokerError(errors[0].code()) if errors[0].code() >= 0 else ck.KafkaException(errors[0])
        return [report for report in reports if report is not None]

    def consumer(self, group: str | None = None, **options: Any) -> ConfluentConsumer:
        config = {
            "bootstrap.servers": self.bootstrap,
            "group.id": group or f"none-{uuid.uuid4()}",
            "auto.offset.reset": options.get("reset", "earliest"),
            "enable.auto.commit": options.get("auto_commit", False) and group is not None,
            "allow.auto.create.topics": options.get("auto_create", False),
            "topic.metadata.refresh.interval.ms": 500,
        }
        if options.get("protocol") == "consumer":
            config["group.protocol"] = "consumer"
            config["group.remote.assignor"] = options.get("assignor", "uniform")
        else:
            config["partition.assignment.strategy"] = options.get("strategy", "range,roundrobin")
        config["isolation.level"] = "read_committed" if options.get("committed_only") else "read_uncommitted"
        if "session_ms" in options:
            config |= {"session.timeout.ms": options["session_ms"], "heartbeat.interval.ms": 500}
        if "instance_id" in options:
            config["group.instance.id"] = options["instance_id"]
        return ConfluentConsumer(config, options.get("on_revoke"))

    def transactions(self, transactional_id: str) -> ConfluentTransactions:
        return ConfluentTransactions(self.bootstrap, transactional_id)

    def share_consumer(self, group: str, *, explicit: bool = False, most: int = 500) -> ConfluentShareConsumer:
        return ConfluentShareConsumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": group,
                "share.acknowledgement.mode": "explicit" if explicit else "implicit",
                "max.poll.records": most,
                "fetch.wait.max.ms": 100,
                "log_level": 3,  # It warns that it is a preview.
            }
        )

    def share_admin(self, group: str) -> ConfluentShareAdmin:
        return ConfluentShareAdmin(self.bootstrap, group)

    def admin(self) -> ConfluentAdmin:
        return ConfluentAdmin(self.bootstrap)

    def operations(self) -> ConfluentOperations:
        return ConfluentOperations(self.bootstrap)


if __name__ == "__main__":
    main(ConfluentDriver, BEHAVIOURS)
