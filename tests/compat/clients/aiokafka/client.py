"""aiokafka through the behaviours: its coroutines run on one event loop on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from typing import Any

import admin_behaviours  # noqa: F401  (registers its behaviours)
import aiokafka
import operations_behaviours  # noqa: F401
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import BrokerResponseError, ProducerFenced
from aiokafka.structs import OffsetAndMetadata, TopicPartition
from behaviours import BEHAVIOURS
from driver import (
    Admin,
    BrokerError,
    Consumer,
    Driver,
    Fenced,
    Message,
    Operations,
    Partition,
    Record,
    Report,
    Transactions,
    error_name,
    main,
)

LOOP = asyncio.new_event_loop()
TIMESTAMP_TYPES = {0: "create", 1: "log_append"}
TOPIC_CONFIG_SOURCE = 1


def wait(coroutine: Coroutine[Any, Any, Any], seconds: float = 30) -> Any:
    return asyncio.run_coroutine_threadsafe(coroutine, LOOP).result(seconds)


async def called(function: Any, *arguments: Any, **named: Any) -> Any:
    """Call on the loop's thread what is no coroutine but has to run there."""
    return function(*arguments, **named)


class AiokafkaConsumer(Consumer):
    def __init__(self, config: dict[str, Any]) -> None:
        self.group = config["group_id"]
        self._consumer: Any = None
        wait(self._start(config))

    async def _start(self, config: dict[str, Any]) -> None:
        self._consumer = aiokafka.AIOKafkaConsumer(**config)
        await self._consumer.start()

    def subscribe(self, topics: Iterable[str]) -> None:
        wait(called(self._consumer.subscribe, topics=list(topics)))

    def subscribe_pattern(self, pattern: str) -> None:
        wait(called(self._consumer.subscribe, pattern=pattern))

    def assign(self, partitions: Iterable[Partition]) -> None:
        wait(called(self._consumer.assign, [TopicPartition(*partition) for partition in partitions]))

    def assignment(self) -> set[Partition]:
        return {(tp.topic, tp.partition) for tp in self._consumer.assignment()}

    def poll(self, seconds: float) -> list[Message]:
        records = wait(self._consumer.getmany(timeout_ms=round(seconds * 1000))).values()
        return [self._message(record) for partition in records for record in partition]

    def _message(self, record: Any) -> Message:
        kind = TIMESTAMP_TYPES[record.timestamp_type]
        position = (record.topic, record.partition, record.offset)
        return Message(*position, record.key, record.value, list(record.headers), record.timestamp, kind)

    def seek(self, partition: Partition, offset: int) -> None:
        wait(called(self._consumer.seek, TopicPartition(*partition), offset))

    def seek_to_beginning(self, partition: Partition) -> None:
        wait(self._consumer.seek_to_beginning(TopicPartition(*partition)))

    def seek_to_end(self, partition: Partition) -> None:
        wait(self._consumer.seek_to_end(TopicPartition(*partition)))

    def pause(self, partition: Partition) -> None:
        wait(called(self._consumer.pause, TopicPartition(*partition)))

    def resume(self, partition: Partition) -> None:
        wait(called(self._consumer.resume, TopicPartition(*partition)))

    def commit(self, partition: Partition, offset: int, metadata: str) -> None:
        wait(self._consumer.commit({TopicPartition(*partition): OffsetAndMetadata(offset, metadata)}))

    def commit_async(self, partition: Partition, offset: int, metadata: str) -> None:
        commit = self._consumer.commit({TopicPartition(*partition): OffsetAndMetadata(offset, metadata)})
        task = asyncio.run_coroutine_threadsafe(commit, LOOP)
        while not task.done():
            self.poll(0.05)
        task.result()

    def committed(self, partition: Partition) -> tuple[int, str] | None:
        offset = wait(self._consumer.committed(TopicPartition(*partition)))
        return None if offset is None else (offset, self._metadata(partition))

    def _metadata(self, partition: Partition) -> str:
        """The metadata of a commit, which the consumer keeps to itself, through the coordinator's own answer."""
        fetched = wait(self._consumer._coordinator.fetch_committed_offsets([TopicPartition(*partition)]))
        return str(fetched[TopicPartition(*partition)].metadata)

    def offset_for_time(self, partition: Partition, timestamp: int) -> int | None:
        (found,) = wait(self._consumer.offsets_for_times({TopicPartition(*partition): timestamp})).values()
        return None if found is None else found.offset

    def beginning_and_end(self, partition: Partition) -> tuple[int, int]:
        tp = TopicPartition(*partition)
        return wait(self._consumer.beginning_offsets([tp]))[tp], wait(self._consumer.end_offsets([tp]))[tp]

    def close(self) -> None:
        wait(self._consumer.stop())


class AiokafkaAdmin(Admin):
    def __init__(self, bootstrap: str) -> None:
        self._admin: Any = None
        wait(self._start(bootstrap))

    async def _start(self, bootstrap: str) -> None:
        self._admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
        await self._admin.start()

    def create_topics(self, topics: Mapping[str, tuple[int, Mapping[str, str]]]) -> dict[str, str]:
        new = [NewTopic(name, count, 1, topic_configs=dict(config)) for name, (count, config) in topics.items()]
        answer = wait(self._admin.create_topics(new))
        return {name: error_name(code) for name, code, *_ in answer.topic_errors}

    def delete_topics(self, topics: Sequence[str]) -> dict[str, str]:
        answer = wait(self._admin.delete_topics(list(topics)))
        return {name: error_name(code) for name, code, *_ in answer.topic_error_codes}

    def create_partitions(self, totals: Mapping[str, int]) -> dict[str, str]:
        try:
            wait(self._admin.create_partitions({name: NewPartitions(total) for name, total in totals.items()}))
        except BrokerResponseError as error:
            return {name: error_name(error.errno) for name in totals}
        return dict.fromkeys(totals, "NONE")

    def list_topics(self) -> set[str]:
        return set(wait(self._admin.list_topics()))

    def describe_topic(self, topic: str) -> dict[int, dict[str, Any]]:
        (described,) = wait(self._admin.describe_topics([topic]))
        return {
            p["partition"]: {"leader": p["leader"], "replicas": p["replicas"], "isr": p["isr"]}
            for p in described["partitions"]
        }

    def describe_cluster(self) -> dict[str, Any]:
        cluster = wait(self._admin.describe_cluster())
        brokers = [{"id": b["node_id"], "address": f"{b['host']}:{b['port']}"} for b in cluster["brokers"]]
        return {"cluster_id": cluster.get("cluster_id"), "controller": cluster["controller_id"], "brokers": brokers}

    def _config(self, kind: ConfigResourceType, name: str) -> list[dict[str, Any]]:
        (answer,) = wait(self._admin.describe_configs([ConfigResource(kind, name)]))
        return list(answer.to_object()["resources"][0]["config_entries"])

    def topic_config(self, topic: str) -> dict[str, tuple[str, bool]]:
        entries = self._config(ConfigResourceType.TOPIC, topic)
        return {e["config_names"]: (e["config_value"], e["config_source"] == TOPIC_CONFIG_SOURCE) for e in entries}

    def broker_config(self, broker: int) -> dict[str, str]:
        return {e["config_names"]: e["config_value"] for e in self._config(ConfigResourceType.BROKER, str(broker))}

    def alter_config(self, kind: str, name: str, config: Mapping[str, str]) -> None:
        resource = ConfigResource(ConfigResourceType[kind.upper()], name, configs=dict(config))
        answers = [answer.to_object() for answer in wait(self._admin.alter_configs([resource]))]
        codes = [entry["error_code"] for answer in answers for entry in answer["resources"]]
        assert codes == [0], answers

    def list_groups(self) -> set[str]:
        return {group[0] for group in wait(self._admin.list_consumer_groups())}

    def describe_group(self, group: str) -> dict[str, Any]:
        (answer,) = wait(self._admin.describe_consumer_groups([group]))
        (described,) = answer.to_object()["groups"]
        members = [assigned_partitions(member["member_assignment"]) for member in described["members"]]
        return {"state": described["state"], "members": sorted(members)}

    def close(self) -> None:
        wait(self._admin.close())


class AiokafkaOperations(Operations):
    """Of all that operators ask for it deletes records."""

    def __init__(self, bootstrap: str) -> None:
        self._admin = AiokafkaAdmin(bootstrap)._admin

    def delete_records(self, partition: Partition, offset: int) -> int:
        tp = TopicPartition(*partition)
        try:
            return int(wait(self._admin.delete_records({tp: RecordsToDelete(offset)}))[tp])
        except BrokerResponseError as error:
            raise BrokerError(error.errno) from error


def assigned_partitions(assignment: bytes) -> list[Partition]:
    from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment

    decoded = ConsumerProtocolMemberAssignment.decode(assignment)
    return sorted((topic, partition) for topic, partitions in decoded.assignment for partition in partitions)


class AiokafkaTransactions(Transactions):
    def __init__(self, bootstrap: str, transactional_id: str) -> None:
        self._producer: Any = None
        wait(self._start(bootstrap, transactional_id))

    async def _start(self, bootstrap: str, transactional_id: str) -> None:
        self._producer = aiokafka.AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=transactional_id)
        await self._producer.start()

    def begin(self) -> None:
        wait(self._producer.begin_transaction())

    def send(self, topic: str, values: Iterable[bytes]) -> None:
        for value in values:
            wait(self._producer.send(topic, value))

    def flush(self) -> None:
        wait(self._producer.flush())

    def send_offset(self, consumer: AiokafkaConsumer, partition: Partition, offset: int) -> None:
        group = consumer.group
        wait(self._producer.send_offsets_to_transaction({TopicPartition(*partition): offset}, group))

    def commit(self) -> None:
        try:
            wait(self._producer.commit_transaction())
        except ProducerFenced as error:
            raise Fenced from error

    def abort(self) -> None:
        wait(self._producer.abort_transaction())

    def close(self) -> None:
        wait(self._producer.stop())


class AiokafkaDriver(Driver):
    name = "aiokafka"
    version = aiokafka.__version__

    def __init__(self, bootstrap: str) -> None:
        super().__init__(bootstrap)
        threading.Thread(target=LOOP.run_forever, daemon=True).start()

    def produce(self, topic: str, records: Sequence[Record], **options: Any) -> list[Report]:
        return list(wait(self._produce(topic, records, options), 40))

    async def _produce(self, topic: str, records: Sequence[Record], options: dict[str, Any]) -> list[Report]:
        producer = aiokafka.AIOKafkaProducer(
            bootstrap_servers=self.bootstrap,
            acks=options.get("acks", "all"),
            compression_type=options.get("compression"),
            enable_idempotence=options.get("idempotent", False),
            max_request_size=options.get("max_bytes", 1_048_576),
            linger_ms=5,
        )
        await producer.start()
        try:
            futures = [
                await producer.send(
                    topic,
                    record.value,
                    key=record.key,
                    partition=record.partition,
                    timestamp_ms=record.timestamp,
                    headers=list(record.headers) or None,
                )
                for record in records
            ]
            sent = await asyncio.wait_for(asyncio.gather(*futures), 30)
        except BrokerResponseError as error:
            raise BrokerError(error.errno) from error
        finally:
            await producer.stop()
        return [Report(m.partition, m.offset, m.timestamp) for m in sent if m is not None]

    def consumer(self, group: str | None = None, **options: Any) -> AiokafkaConsumer:
        config = {
            "bootstrap_servers": self.bootstrap,
            "group_id": group,
            "group_instance_id": options.get("instance_id"),
            "auto_offset_reset": options.get("reset", "earliest"),
            "enable_auto_commit": options.get("auto_commit", False) and group is not None,
            "partition_assignment_strategy": [RangePartitionAssignor],
            "metadata_max_age_ms": 500,
            "heartbeat_interval_ms": 500,
            "session_timeout_ms": options.get("session_ms", 10000),
            "isolation_level": "read_committed" if options.get("committed_only") else "read_uncommitted",
        }
        return AiokafkaConsumer(config)

    def transactions(self, transactional_id: str) -> AiokafkaTransactions:
        return AiokafkaTransactions(self.bootstrap, transactional_id)

    def admin(self) -> AiokafkaAdmin:
        return AiokafkaAdmin(self.bootstrap)

    def operations(self) -> AiokafkaOperations:
        return AiokafkaOperations(self.bootstrap)


if __name__ == "__main__":
    main(AiokafkaDriver, BEHAVIOURS)
