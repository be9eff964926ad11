"""What kafka-python 2.0.2 and 3.0.x have in common: producing, consuming, the names of errors."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

import kafka
from driver import Acl, BrokerError, Consumer, Driver, Message, Operations, Partition, Record, Report, error_name
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.errors import BrokerResponseError
from kafka.structs import OffsetAndMetadata, TopicPartition

TIMESTAMP_TYPES = {0: "create", 1: "log_append"}


class KafkaPythonConsumer(Consumer):
    def __init__(self, config: dict[str, Any], on_revoke: Any = None, least_poll: float = 0.0) -> None:
        self._consumer = kafka.KafkaConsumer(**config)
        self._least_poll = least_poll
        self._on_revoke = on_revoke

    def subscribe(self, topics: Iterable[str]) -> None:
        if self._on_revoke is None:
            self._consumer.subscribe(topics=list(topics))
        else:
            self._consumer.subscribe(topics=list(topics), listener=RevokeListener(self._on_revoke))

    def subscribe_pattern(self, pattern: str) -> None:
        self._consumer.subscribe(pattern=pattern)

    def assign(self, partitions: Iterable[Partition]) -> None:
        self._consumer.assign([TopicPartition(*partition) for partition in partitions])

    def assignment(self) -> set[Partition]:
        return {(tp.topic, tp.partition) for tp in self._consumer.assignment()}

    def poll(self, seconds: float) -> list[Message]:
        records = self._consumer.poll(timeout_ms=round(max(seconds, self._least_poll) * 1000)).values()
        return [self._message(record) for partition in records for record in partition]

    def _message(self, record: Any) -> Message:
        return Message(
            record.topic,
            record.partition,
            record.offset,
            record.key,
            record.value,
            list(record.headers),
            record.timestamp,
            TIMESTAMP_TYPES[record.timestamp_type],
        )

    def seek(self, partition: Partition, offset: int) -> None:
        self._consumer.seek(TopicPartition(*partition), offset)

    def seek_to_beginning(self, partition: Partition) -> None:
        self._consumer.seek_to_beginning(TopicPartition(*partition))

    def seek_to_end(self, partition: Partition) -> None:
        self._consumer.seek_to_end(TopicPartition(*partition))

    def pause(self, partition: Partition) -> None:
        self._consumer.pause(TopicPartition(*partition))

    def resume(self, partition: Partition) -> None:
        self._consumer.resume(TopicPartition(*partition))

    def commit(self, partition: Partition, offset: int, metadata: str) -> None:
        self._consumer.commit({TopicPartition(*partition): offset_and_metadata(offset, metadata)})

    def commit_async(self, partition: Partition, offset: int, metadata: str) -> None:
        future = self._consumer.commit_async({TopicPartition(*partition): offset_and_metadata(offset, metadata)})
        deadline = time.monotonic() + 15
        while not future.is_done and time.monotonic() < deadline:
            self._consumer.poll(timeout_ms=50)
        if not future.succeeded():
            raise AssertionError(f"commit's future: {future}")

    def committed(self, partition: Partition) -> tuple[int, str] | None:
        committed = self._consumer.committed(TopicPartition(*partition), metadata=True)
        return None if committed is None or committed.offset < 0 else (committed.offset, committed.metadata)

    def offset_for_time(self, partition: Partition, timestamp: int) -> int | None:
        (found,) = self._consumer.offsets_for_times({TopicPartition(*partition): timestamp}).values()
        return None if found is None else found.offset

    def beginning_and_end(self, partition: Partition) -> tuple[int, int]:
        tp = TopicPartition(*partition)
        return self._consumer.beginning_offsets([tp])[tp], self._consumer.end_offsets([tp])[tp]

    def close(self) -> None:
        self._consumer.close()


class RevokeListener(kafka.ConsumerRebalanceListener):
    """Tells which partitions the client says it loses."""

    def __init__(self, on_revoke: Any) -> None:
        self._on_revoke = on_revoke

    def on_partitions_revoked(self, revoked: Any) -> None:
        self._on_revoke([tp.partition for tp in revoked])

    def on_partitions_assigned(self, assigned: Any) -> None:
        return None


def offset_and_metadata(offset: int, metadata: str) -> Any:
    return OffsetAndMetadata(*(offset, metadata, -1)[: len(OffsetAndMetadata._fields)])


def code_of(error: BaseException) -> int:
    """The code of a broker's error that reached the caller as one exception."""
    if isinstance(error, BrokerResponseError):
        return int(error.errno)
    if found := re.search(r"error_code=(\d+)", str(error)):
        return int(found[1])
    raise error


def as_acl(told: Acl) -> ACL:
    kind, name, pattern, operation, permission, principal = told
    resource = ResourcePattern(ResourceType[kind], name, ACLResourcePatternType[pattern])
    return ACL(principal, "*", ACLOperation[operation], ACLPermissionType[permission], resource)


def as_acl_filter(kind: str, name: str | None, pattern: str, principal: str | None) -> ACLFilter:
    resource = ResourcePatternFilter(ResourceType[kind], name, ACLResourcePatternType[pattern])
    return ACLFilter(principal, None, ACLOperation.ANY, ACLPermissionType.ANY, resource)


def acl_of(acl: ACL) -> Acl:
    resource = acl.resource_pattern
    kind, pattern = resource.resource_type.name, resource.pattern_type.name
    return kind, resource.resource_name, pattern, acl.operation.name, acl.permission_type.name, acl.principal


class KafkaPythonDriver(Driver):
    """A Driver without its admin."""

    producer_config: dict[str, Any] = {}  # noqa: RUF012

    def produce(self, topic: str, records: Sequence[Record], **options: Any) -> list[Report]:
        config = self.producer_config | {
            "bootstrap_servers": self.bootstrap,
            "acks": options.get("acks", "all"),
            "compression_type": options.get("compression"),
            "linger_ms": 5,
        }
        if "max_bytes" in options:
            config["max_request_size"] = options["max_bytes"]
        if options.get("idempotent"):
            config["enable_idempotence"] = True
        producer = kafka.KafkaProducer(**config)
        try:
            futures = [
                producer.send(
                    topic,
                    value=record.value,
                    key=record.key,
                    headers=list(record.headers) or None,
                    partition=record.partition,
                    timestamp_ms=record.timestamp,
                )
                for record in records
            ]
            reports = []
            for future in futures:
                metadata = future.get(timeout=30)
                reports.append(Report(metadata.partition, metadata.offset, metadata.timestamp))
        except kafka.errors.BrokerResponseError as error:
            raise BrokerError(error.errno) from error
        finally:
            producer.close(timeout=10)
        return reports

    def consumer_config(self, group: str | None, options: dict[str, Any]) -> dict[str, Any]:
        config = {
            "bootstrap_servers": self.bootstrap,
            "group_id": group,
            "auto_offset_reset": options.get("reset", "earliest"),
            "enable_auto_commit": options.get("auto_commit", False) and group is not None,
            "heartbeat_interval_ms": 500,
        }
        if "session_ms" in options:
            config["session_timeout_ms"] = options["session_ms"]
        return config


class KafkaPythonOperations(Operations):
    """What both have for operators: ACLs."""

    def __init__(self, bootstrap: str) -> None:
        self._admin = kafka.KafkaAdminClient(bootstrap_servers=bootstrap)

    def create_acls(self, acls: Sequence[Acl]) -> list[str]:
        answer = self._admin.create_acls([as_acl(acl) for acl in acls])
        return ["NONE"] * len(answer["succeeded"]) + [error_name(error.errno) for error in answer["failed"]]

    def acls(self, kind: str, name: str | None, pattern: str, principal: str | None) -> list[Acl]:
        return [acl_of(acl) for acl in self._admin.describe_acls(as_acl_filter(kind, name, pattern, principal))[0]]

    def delete_acls(self, kind: str, name: str | None, pattern: str, principal: str | None) -> list[Acl]:
        ((_, deleted, error),) = self._admin.delete_acls([as_acl_filter(kind, name, pattern, principal)])
        if error.errno:
            raise BrokerError(error.errno)
        # 2.0.2 has each with its own error.
        return [acl_of(one if isinstance(one, ACL) else one[0]) for one in deleted]
