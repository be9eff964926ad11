"""A client of another language, driven through the Python behaviours: a bridge program does what lines of JSON ask for.

The bridge reads one request a line on stdin (`id`, `call`, arguments) and answers each with one line on stdout (`id`,
`result` or `error`), in whatever order they are done; bytes travel as base64. It ends at once, without leaving a group,
when stdin ends. An error is `{"code": N}` for one of the broker's, else `{"text": …}`.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import subprocess
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from driver import (
    Acl,
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
    ShareAdmin,
    ShareConsumer,
    Shared,
    Transactions,
    error_name,
)

SECONDS_PER_CALL = 60
FENCED = ("INVALID_PRODUCER_EPOCH", "PRODUCER_FENCED")


class BridgeError(Exception):
    """The client failed, and not by the broker's word."""


def packed(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()


def unpacked(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)


class Bridge:
    """A running bridge program; `call` may be used by several threads at once."""

    def __init__(self, command: Sequence[str], bootstrap: str) -> None:
        self._process = subprocess.Popen(
            [*command, bootstrap],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if os.environ.get("COMPAT_LOG") else subprocess.DEVNULL,
            text=True,
        )
        self._ids = itertools.count(1)
        self._answers: dict[int, Future[Any]] = {}
        self._lock = threading.Lock()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            future = self._answers.pop(answer["id"])
            if "error" not in answer:
                future.set_result(answer["result"])
            elif "code" in answer["error"]:
                future.set_exception(BrokerError(answer["error"]["code"]))
            else:
                future.set_exception(BridgeError(answer["error"]["text"]))
        for future in list(self._answers.values()):
            future.set_exception(BridgeError("the bridge program ended"))

    def call(self, name: str, /, **arguments: Any) -> Any:
        """Has the bridge do one thing; raises BrokerError, BridgeError."""
        assert self._process.stdin is not None
        future: Future[Any] = Future()
        with self._lock:
            number = next(self._ids)
            self._answers[number] = future
            self._process.stdin.write(json.dumps({"id": number, "call": name} | arguments) + "\n")
            self._process.stdin.flush()
        return future.result(SECONDS_PER_CALL)


class BridgeConsumer(Consumer):
    def __init__(
        self, bridge: Bridge, group: str | None, options: dict[str, Any], on_revoke: Callable[[list[int]], None] | None
    ) -> None:
        self._bridge = bridge
        self._on_revoke = on_revoke
        self.group = group
        self._handle = bridge.call("consumer.new", group=group, options=options)

    def _call(self, name: str, **arguments: Any) -> Any:
        return self._bridge.call(f"consumer.{name}", consumer=self._handle, **arguments)

    def subscribe(self, topics: Iterable[str]) -> None:
        self._call("subscribe", topics=list(topics))

    def subscribe_pattern(self, pattern: str) -> None:
        self._call("subscribe_pattern", pattern=pattern)

    def assign(self, partitions: Iterable[Partition]) -> None:
        self._call("assign", partitions=list(partitions))

    def assignment(self) -> set[Partition]:
        return {(topic, partition) for topic, partition in self._call("assignment")}

    def poll(self, seconds: float) -> list[Message]:
        polled = self._call("poll", seconds=seconds)
        if polled["revoked"] and self._on_revoke is not None:
            self._on_revoke(polled["revoked"])
        return [
            Message(
                one["topic"],
                one["partition"],
                one["offset"],
                unpacked(one["key"]),
                unpacked(one["value"]),
                [(key, unpacked(value)) for key, value in one["headers"]],
                one["timestamp"],
                one["timestamp_type"],
            )
            for one in polled["messages"]
        ]

    def seek(self, partition: Partition, offset: int) -> None:
        self._call("seek", partition=partition, offset=offset)

    def seek_to_beginning(self, partition: Partition) -> None:
        self._call("seek_to_beginning", partition=partition)

    def seek_to_end(self, partition: Partition) -> None:
        self._call("seek_to_end", partition=partition)

    def pause(self, partition: Partition) -> None:
        self._call("pause", partition=partition)

    def resume(self, partition: Partition) -> None:
        self._call("resume", partition=partition)

    def commit(self, partition: Partition, offset: int, metadata: str) -> None:
        self._call("commit", partition=partition, offset=offset, metadata=metadata)

    def commit_async(self, partition: Partition, offset: int, metadata: str) -> None:
        self._call("commit_async", partition=partition, offset=offset, metadata=metadata)

    def committed(self, partition: Partition) -> tuple[int, str] | None:
        found = self._call("committed", partition=partition)
        return None if found is None else (found[0], found[1])

    def offset_for_time(self, partition: Partition, timestamp: int) -> int | None:
        found: int | None = self._call("offset_for_time", partition=partition, timestamp=timestamp)
        return found

    def beginning_and_end(self, partition: Partition) -> tuple[int, int]:
        beginning, end = self._call("beginning_and_end", partition=partition)
        return beginning, end

    def close(self) -> None:
        self._call("close")


class BridgeTransactions(Transactions):
    def __init__(self, bridge: Bridge, transactional_id: str) -> None:
        self._bridge = bridge
        self._handle = bridge.call("transactions.new", transactional_id=transactional_id)

    def _call(self, name: str, **arguments: Any) -> Any:
        return self._bridge.call(f"transactions.{name}", producer=self._handle, **arguments)

    def begin(self) -> None:
        self._call("begin")

    def send(self, topic: str, values: Iterable[bytes]) -> None:
        self._call("send", topic=topic, values=[packed(value) for value in values])

    def flush(self) -> None:
        self._call("flush")

    def send_offset(self, consumer: BridgeConsumer, partition: Partition, offset: int) -> None:
        self._call("send_offset", consumer=consumer._handle, group=consumer.group, partition=partition, offset=offset)

    def commit(self) -> None:
        try:
            self._call("commit")
        except BrokerError as error:
            if str(error) in FENCED:
                raise Fenced from error
            raise

    def abort(self) -> None:
        self._call("abort")

    def close(self) -> None:
        self._call("close")


class BridgeShareConsumer(ShareConsumer):
    def __init__(self, bridge: Bridge, group: str, *, explicit: bool, most: int) -> None:
        self._bridge = bridge
        self._handle = bridge.call("share.new", group=group, explicit=explicit, most=most)

    def _call(self, name: str, **arguments: Any) -> Any:
        return self._bridge.call(f"share.{name}", consumer=self._handle, **arguments)

    def subscribe(self, topic: str) -> None:
        self._call("subscribe", topic=topic)

    def poll(self, seconds: float) -> list[Shared]:
        return [
            Shared(topic, partition, offset, base64.b64decode(value), deliveries)
            for topic, partition, offset, value, deliveries in self._call("poll", seconds=seconds)
        ]

    def acknowledge(self, record: Shared, kind: str) -> None:
        self._call("acknowledge", partition=record.partition, offset=record.offset, kind=kind)

    def commit(self) -> None:
        self._call("commit")

    def close(self) -> None:
        self._call("close")


class BridgeShareAdmin(ShareAdmin):
    def __init__(self, bridge: Bridge, group: str) -> None:
        self._bridge = bridge
        self._group = group

    def _call(self, name: str, **arguments: Any) -> Any:
        return self._bridge.call(f"share.admin.{name}", group=self._group, **arguments)

    def _refusal(self, name: str, **arguments: Any) -> str:
        try:
            self._call(name, **arguments)
        except BrokerError as error:
            return str(error)
        return "NONE"

    def configure(self, **config: str) -> None:
        self._call("configure", config={name.replace("_", "."): value for name, value in config.items()})

    def listed(self) -> bool:
        return bool(self._call("listed"))

    def described(self) -> dict[str, Any]:
        found: dict[str, Any] = self._call("described")
        return found

    def offsets(self) -> dict[str, Any]:
        found: dict[str, Any] = self._call("offsets")
        return found

    def alter_offset(self, topic: str, offset: int) -> str:
        return self._refusal("alter_offset", topic=topic, offset=offset)

    def delete_offsets(self, topic: str) -> str:
        return self._refusal("delete_offsets", topic=topic)

    def delete(self) -> str:
        return self._refusal("delete")


class BridgeAdmin(Admin):
    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def _codes(self, name: str, **arguments: Any) -> dict[str, str]:
        return {key: error_name(code) for key, code in self._bridge.call(f"admin.{name}", **arguments).items()}

    def create_topics(self, topics: Mapping[str, tuple[int, Mapping[str, str]]]) -> dict[str, str]:
        asked = {name: {"partitions": count, "config": dict(config)} for name, (count, config) in topics.items()}
        return self._codes("create_topics", topics=asked)

    def delete_topics(self, topics: Sequence[str]) -> dict[str, str]:
        return self._codes("delete_topics", topics=list(topics))

    def create_partitions(self, totals: Mapping[str, int]) -> dict[str, str]:
        return self._codes("create_partitions", totals=dict(totals))

    def list_topics(self) -> set[str]:
        return set(self._bridge.call("admin.list_topics"))

    def describe_topic(self, topic: str) -> dict[int, dict[str, Any]]:
        described = self._bridge.call("admin.describe_topic", topic=topic)
        return {one["partition"]: one for one in described}

    def describe_cluster(self) -> dict[str, Any]:
        cluster: dict[str, Any] = self._bridge.call("admin.describe_cluster")
        return cluster

    def topic_config(self, topic: str) -> dict[str, tuple[str, bool]]:
        found = self._bridge.call("admin.config", kind="topic", name=topic)
        return {key: (value, own) for key, (value, own) in found.items()}

    def broker_config(self, broker: int) -> dict[str, str]:
        found = self._bridge.call("admin.config", kind="broker", name=str(broker))
        return {key: value for key, (value, _) in found.items()}

    def alter_config(self, kind: str, name: str, config: Mapping[str, str]) -> None:
        self._bridge.call("admin.alter_config", kind=kind, name=name, config=dict(config))

    def list_groups(self) -> set[str]:
        return set(self._bridge.call("admin.list_groups"))

    def describe_group(self, group: str) -> dict[str, Any]:
        found = self._bridge.call("admin.describe_group", group=group)
        members = sorted(sorted((topic, partition) for topic, partition in member) for member in found["members"])
        return {"state": found["state"], "members": members}

    def delete_group(self, group: str) -> str:
        return self._codes("delete_group", group=group)[group]


class BridgeOperations(Operations):
    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge

    def _call(self, name: str, /, **arguments: Any) -> Any:
        return self._bridge.call(f"operations.{name}", **arguments)

    def _refusal(self, name: str, /, **arguments: Any) -> str:
        return error_name(self._call(name, **arguments))

    def alter(self, topic: str, key: str, operation: str, value: str = "") -> str:
        return self._refusal("alter", topic=topic, key=key, operation=operation, value=value)

    def delete_records(self, partition: Partition, offset: int) -> int:
        return int(self._call("delete_records", partition=partition, offset=offset))

    def elect(self, partition: Partition, kind: str) -> str:
        return self._refusal("elect", partition=partition, kind=kind)

    def sizes(self, topic: str) -> dict[int, int]:
        return {int(partition): size for partition, size in self._call("sizes", topic=topic).items()}

    def reassign(self, partition: Partition, replicas: Sequence[int] | None) -> str:
        return self._refusal("reassign", partition=partition, replicas=replicas)

    def under_way(self) -> list[Partition]:
        return [(topic, partition) for topic, partition in self._call("under_way")]

    def create_acls(self, acls: Sequence[Acl]) -> list[str]:
        return [error_name(code) for code in self._call("create_acls", acls=list(acls))]

    def acls(self, kind: str, name: str | None, pattern: str, principal: str | None) -> list[Acl]:
        found = self._call("acls", kind=kind, name=name, pattern=pattern, principal=principal)
        return [tuple(acl) for acl in found]

    def delete_acls(self, kind: str, name: str | None, pattern: str, principal: str | None) -> list[Acl]:
        deleted = self._call("delete_acls", kind=kind, name=name, pattern=pattern, principal=principal)
        return [tuple(acl) for acl in deleted]

    def set_scram(self, user: str, mechanism: str, iterations: int) -> str:
        return self._refusal("set_scram", user=user, mechanism=mechanism, iterations=iterations)

    def delete_scram(self, user: str, mechanism: str) -> str:
        return self._refusal("delete_scram", user=user, mechanism=mechanism)

    def scram(self, user: str) -> dict[str, int]:
        found: dict[str, int] = self._call("scram", user=user)
        return found

    def set_quotas(self, entity: Mapping[str, str | None], quotas: Mapping[str, float | None]) -> str:
        return self._refusal("set_quotas", entity=dict(entity), quotas=dict(quotas))

    def quotas(self, parts: Mapping[str, str | None], *, strict: bool = False) -> list[tuple[dict[str, Any], Any]]:
        return [tuple(found) for found in self._call("quotas", parts=dict(parts), strict=strict)]

    def tokens(self) -> dict[str, str]:
        return {what: error_name(code) for what, code in self._call("tokens").items()}


class BridgeDriver(Driver):
    """To be derived from by a client's own program, which names the client and its bridge's command."""

    command: Sequence[str]

    def __init__(self, bootstrap: str) -> None:
        super().__init__(bootstrap)
        self._bridge = Bridge(self.command, bootstrap)
        self.version = self._bridge.call("version")

    def produce(self, topic: str, records: Sequence[Record], **options: Any) -> list[Report]:
        asked = [
            {
                "key": packed(one.key),
                "value": packed(one.value),
                "headers": [(key, packed(value)) for key, value in one.headers],
                "timestamp": one.timestamp,
                "partition": one.partition,
            }
            for one in records
        ]
        options["acks"] = str(options.get("acks", "all"))
        return [Report(*one) for one in self._bridge.call("produce", topic=topic, records=asked, options=options)]

    def consumer(self, group: str | None = None, **options: Any) -> BridgeConsumer:
        on_revoke = options.pop("on_revoke", None)
        return BridgeConsumer(self._bridge, group, options, on_revoke)

    def transactions(self, transactional_id: str) -> BridgeTransactions:
        return BridgeTransactions(self._bridge, transactional_id)

    def share_consumer(self, group: str, *, explicit: bool = False, most: int = 500) -> BridgeShareConsumer:
        return BridgeShareConsumer(self._bridge, group, explicit=explicit, most=most)

    def share_admin(self, group: str) -> BridgeShareAdmin:
        return BridgeShareAdmin(self._bridge, group)

    def admin(self) -> BridgeAdmin:
        return BridgeAdmin(self._bridge)

    def operations(self) -> BridgeOperations:
        return BridgeOperations(self._bridge)
