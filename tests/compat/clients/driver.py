"""What a Python client has to offer to be driven through the behaviours, and the program around it.

Each client's own folder implements Driver, Consumer and Admin in that client's idioms, and calls main(): which takes
the bootstrap address, a prefix for the names of topics and groups, and the behaviours' names, and prints one line of
JSON for each. To be run with this folder and the client's packages on PYTHONPATH. Names of errors are Kafka's,
whatever the client calls them.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

ERROR_NAMES = {
    0: "NONE",
    1: "OFFSET_OUT_OF_RANGE",
    3: "UNKNOWN_TOPIC_OR_PARTITION",
    10: "MESSAGE_TOO_LARGE",
    15: "COORDINATOR_NOT_AVAILABLE",
    16: "NOT_COORDINATOR",
    17: "INVALID_TOPIC_EXCEPTION",
    22: "ILLEGAL_GENERATION",
    25: "UNKNOWN_MEMBER_ID",
    36: "TOPIC_ALREADY_EXISTS",
    37: "INVALID_PARTITIONS",
    38: "INVALID_REPLICATION_FACTOR",
    39: "INVALID_REPLICA_ASSIGNMENT",
    40: "INVALID_CONFIG",
    42: "INVALID_REQUEST",
    47: "INVALID_PRODUCER_EPOCH",
    54: "SECURITY_DISABLED",
    62: "DELEGATION_TOKEN_NOT_FOUND",
    64: "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED",
    68: "NON_EMPTY_GROUP",
    69: "GROUP_ID_NOT_FOUND",
    82: "FENCED_INSTANCE_ID",
    84: "ELECTION_NOT_NEEDED",
    85: "NO_REASSIGNMENT_IN_PROGRESS",
    90: "PRODUCER_FENCED",
    91: "RESOURCE_NOT_FOUND",
    93: "UNACCEPTABLE_CREDENTIAL",
}
WORKERS = 6
SECONDS_PER_BEHAVIOUR = 100

Partition = tuple[str, int]


class BrokerError(Exception):
    """The broker refused; str() is Kafka's name of the error."""

    def __init__(self, code: int) -> None:
        super().__init__(error_name(code))


def error_name(code: int) -> str:
    return ERROR_NAMES.get(code, f"error {code}")


@dataclass
class Record:
    """A record to be produced."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[tuple[str, bytes | None]] = ()
    timestamp: int | None = None
    partition: int | None = None


@dataclass
class Report:
    """Where a produced record went, as the client was told."""

    partition: int
    offset: int
    timestamp: int


@dataclass
class Message:
    """A consumed record; timestamp_type is "create" or "log_append"."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp: int
    timestamp_type: str


class Consumer:
    """A consumer in the words that the behaviours use."""

    def subscribe(self, topics: Iterable[str]) -> None:
        raise NotImplementedError

    def subscribe_pattern(self, pattern: str) -> None:
        raise NotImplementedError

    def assign(self, partitions: Iterable[Partition]) -> None:
        raise NotImplementedError

    def assignment(self) -> set[Partition]:
        raise NotImplementedError

    def poll(self, seconds: float) -> list[Message]:
        raise NotImplementedError

    def seek(self, partition: Partition, offset: int) -> None:
        raise NotImplementedError

    def seek_to_beginning(self, partition: Partition) -> None:
        raise NotImplementedError

    def seek_to_end(self, partition: Partition) -> None:
        raise NotImplementedError

    def pause(self, partition: Partition) -> None:
        raise NotImplementedError

    def resume(self, partition: Partition) -> None:
        raise NotImplementedError

    def commit(self, partition: Partition, offset: int, metadata: str) -> None:
        raise NotImplementedError

    def commit_async(self, partition: Partition, offset: int, metadata: str) -> None:
        """Start a commit and go on polling until the client says that it is done."""
        raise NotImplementedError

    def committed(self, partition: Partition) -> tuple[int, str] | None:
        raise NotImplementedError

    def offset_for_time(self, partition: Partition, timestamp: int) -> int | None:
        raise NotImplementedError

    def beginning_and_end(self, partition: Partition) -> tuple[int, int]:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class Fenced(Exception):
    """Another producer with the same transactional id has taken over."""


class Transactions:
    """A transactional producer, initialized; `send` doesn't wait for answers, the ends do."""

    def begin(self) -> None:
        raise NotImplementedError

    def send(self, topic: str, values: Iterable[bytes]) -> None:
        raise NotImplementedError

    def flush(self) -> None:
        raise NotImplementedError

    def send_offset(self, consumer: Any, partition: Partition, offset: int) -> None:
        """Have an offset of the consumer's group committed with the transaction."""
        raise NotImplementedError

    def commit(self) -> None:
        """Commit; raises Fenced."""
        raise NotImplementedError

    def abort(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


@dataclass
class Shared:
    """A record that a share consumer was handed; `deliveries`: how often it has been handed to anybody."""

    topic: str
    partition: int
    offset: int
    value: bytes
    deliveries: int


class ShareConsumer:
    """A consumer of a share group in the words that the behaviours use."""

    def subscribe(self, topic: str) -> None:
        raise NotImplementedError

    def poll(self, seconds: float) -> list[Shared]:
        raise NotImplementedError

    def acknowledge(self, record: Shared, kind: str) -> None:
        """Says "accept", "release", "reject", or "renew", which goes out with the next poll or commit."""
        raise NotImplementedError

    def commit(self) -> None:
        """Sends what was said of records, and waits for the answers."""
        raise NotImplementedError

    def close(self) -> None:
        raise NotImplementedError


class ShareAdmin:
    """Administration of one share group."""

    def configure(self, **config: str) -> None:
        """Sets the group's configs; names with _ for each dot."""
        raise NotImplementedError

    def listed(self) -> bool:
        raise NotImplementedError

    def described(self) -> dict[str, Any]:
        """state, members as lists of their partitions."""
        raise NotImplementedError

    def offsets(self) -> dict[str, Any]:
        """By partition: start offset and lag."""
        raise NotImplementedError

    def alter_offset(self, topic: str, offset: int) -> str:
        """Of partition 0; the error's name."""
        raise NotImplementedError

    def delete_offsets(self, topic: str) -> str:
        raise NotImplementedError

    def delete(self) -> str:
        raise NotImplementedError


class Admin:
    """Admin calls; a mapping to names of errors where the request takes several names."""

    def create_topics(self, topics: Mapping[str, tuple[int, Mapping[str, str]]]) -> dict[str, str]:
        raise NotImplementedError

    def delete_topics(self, topics: Sequence[str]) -> dict[str, str]:
        raise NotImplementedError

    def create_partitions(self, totals: Mapping[str, int]) -> dict[str, str]:
        raise NotImplementedError

    def list_topics(self) -> set[str]:
        raise NotImplementedError

    def describe_topic(self, topic: str) -> dict[int, dict[str, Any]]:
        """By partition: leader, replicas, isr."""
        raise NotImplementedError

    def describe_cluster(self) -> dict[str, Any]:
        """cluster_id, controller, brokers as "HOST:PORT"."""
        raise NotImplementedError

    def topic_config(self, topic: str) -> dict[str, tuple[str, bool]]:
        """By key: the value, and whether the topic itself sets it."""
        raise NotImplementedError

    def broker_config(self, broker: int) -> dict[str, str]:
        raise NotImplementedError

    def alter_config(self, kind: str, name: str, config: Mapping[str, str]) -> None:
        """Sets keys of a "topic" or a "broker"; raises where that is refused."""
        raise NotImplementedError

    def list_groups(self) -> set[str]:
        raise NotImplementedError

    def describe_group(self, group: str) -> dict[str, Any]:
        """state, protocol, members as sorted lists of assigned (topic, partition)."""
        raise NotImplementedError

    def delete_group(self, group: str) -> str:
        raise NotImplementedError

    def close(self) -> None:
        return None


Acl = tuple[str, str, str, str, str, str]
"""Kind and name of a resource, LITERAL or PREFIXED, operation, ALLOW or DENY, principal."""


class Operations:
    """What operators ask of a cluster. An answer that may be a refusal is the error's name, NONE for none."""

    def alter(self, topic: str, key: str, operation: str, value: str = "") -> str:
        """One incremental change of a topic's config: SET, DELETE, APPEND, SUBTRACT."""
        raise NotImplementedError

    def delete_records(self, partition: Partition, offset: int) -> int:
        """The low watermark afterwards; raises BrokerError."""
        raise NotImplementedError

    def elect(self, partition: Partition, kind: str) -> str:
        """An election of the PREFERRED or an UNCLEAN leader."""
        raise NotImplementedError

    def sizes(self, topic: str) -> dict[int, int]:
        """By partition: the bytes in all log directories."""
        raise NotImplementedError

    def reassign(self, partition: Partition, replicas: Sequence[int] | None) -> str:
        """Gives a partition other replicas; None takes a reassignment back."""
        raise NotImplementedError

    def under_way(self) -> list[Partition]:
        """What is being reassigned."""
        raise NotImplementedError

    def create_acls(self, acls: Sequence[Acl]) -> list[str]:
        raise NotImplementedError

    def acls(self, kind: str, name: str | None, pattern: str, principal: str | None) -> list[Acl]:
        """Those that a filter finds; None stands for any name or principal, pattern may be MATCH or ANY."""
        raise NotImplementedError

    def delete_acls(self, kind: str, name: str | None, pattern: str, principal: str | None) -> list[Acl]:
        """Those that were deleted."""
        raise NotImplementedError

    def set_scram(self, user: str, mechanism: str, iterations: int) -> str:
        raise NotImplementedError

    def delete_scram(self, user: str, mechanism: str) -> str:
        raise NotImplementedError

    def scram(self, user: str) -> dict[str, int]:
        """By mechanism: the iterations; raises BrokerError."""
        raise NotImplementedError

    def set_quotas(self, entity: Mapping[str, str | None], quotas: Mapping[str, float | None]) -> str:
        """Of an entity's parts by type, None for the default; a quota of None is removed."""
        raise NotImplementedError

    def quotas(self, parts: Mapping[str, str | None], *, strict: bool = False) -> list[tuple[dict[str, Any], Any]]:
        """Entities with these parts (None for the default) and their quotas; strict: with no other part."""
        raise NotImplementedError

    def tokens(self) -> dict[str, str]:
        """What becomes of creating, describing, renewing and expiring a delegation token."""
        raise NotImplementedError


class Driver:
    """One client library against one broker."""

    name: str
    version: str
    attempts = 1  # how often a behaviour is tried: more than once only for a client that is known to get stuck

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap

    def produce(self, topic: str, records: Sequence[Record], **options: Any) -> list[Report]:
        """Produce and wait for all answers. Options: acks (0, 1, "all"), compression, idempotent, max_bytes."""
        raise NotImplementedError

    def consumer(self, group: str | None = None, **options: Any) -> Consumer:
        """Options: reset, auto_commit, session_ms, instance_id, strategy, auto_create, on_revoke, committed_only,
        protocol ("consumer" for the newer one) and its assignor.
        """
        raise NotImplementedError

    def transactions(self, transactional_id: str) -> Transactions:
        raise NotImplementedError

    def share_consumer(self, group: str, *, explicit: bool = False, most: int = 500) -> ShareConsumer:
        """`most` records a poll; `explicit`: accepts nothing by itself."""
        raise NotImplementedError

    def share_admin(self, group: str) -> ShareAdmin:
        raise NotImplementedError

    def admin(self) -> Admin:
        raise NotImplementedError

    def operations(self) -> Operations:
        raise NotImplementedError


Behaviour = Callable[[Any, str], Any]


def run_one(behaviour: Behaviour, driver: Any, prefix: str) -> dict[str, Any]:
    """The outcome of one behaviour, or the traceback, as the fields of its line."""
    started = time.monotonic()
    fields: dict[str, Any] = {}
    for attempt in range(getattr(driver, "attempts", 1)):
        try:
            fields = {"outcome": behaviour(driver, f"{prefix}-{attempt}" if attempt else prefix)}
            break
        except BaseException:
            fields = {"error": traceback.format_exc()}
    return fields | {"seconds": round(time.monotonic() - started, 3), "attempts": attempt + 1}


def run(driver: Any, behaviours: Mapping[str, Behaviour], prefix: str, names: Sequence[str]) -> None:
    """Run behaviours side by side, WORKERS at a time, and print each one's line when it is done."""
    todo: queue.SimpleQueue[str] = queue.SimpleQueue()
    done: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
    started: dict[str, float] = {}

    def work() -> None:
        while True:
            try:
                name = todo.get_nowait()
            except queue.Empty:
                return
            started[name] = time.monotonic()
            if name in behaviours:
                fields = run_one(behaviours[name], driver, f"{prefix}-{name.replace('_', '-')}")
            else:
                fields = {"error": f"{driver.name} has no behaviour {name}", "seconds": 0.0}
            done.put({"behaviour": name} | fields)

    for name in names:
        todo.put(name)
    for _ in range(min(WORKERS, len(names))):
        threading.Thread(target=work, daemon=True).start()
    left = set(names)
    while left:
        try:
            fields = done.get(timeout=1)
        except queue.Empty:
            late = [
                name for name in left if time.monotonic() - started.get(name, time.monotonic()) > SECONDS_PER_BEHAVIOUR
            ]
            fields = {"behaviour": late[0], "error": f"no end after {SECONDS_PER_BEHAVIOUR} s"} if late else {}
            if late:
                threading.Thread(target=work, daemon=True).start()
        if fields.get("behaviour") in left:
            left.discard(fields["behaviour"])
            print(json.dumps({"client": driver.name, "version": driver.version} | fields), flush=True)


def main(
    driver_class: type[Any], behaviours: Mapping[str, Behaviour], arguments: Sequence[str] = tuple(sys.argv[1:])
) -> None:
    """`BOOTSTRAP PREFIX BEHAVIOUR…`, or `BOOTSTRAP --member GROUP TOPIC` to be a group member until killed
    (--share-member: of a share group).
    """
    bootstrap, prefix, *names = arguments
    driver = driver_class(bootstrap)
    if prefix == "--member":
        be_member(driver, *names)
    if prefix == "--share-member":
        be_share_member(driver, *names)
    run(driver, behaviours, prefix, names)
    sys.stdout.flush()
    os._exit(0)


def be_member(driver: Any, group: str, topic: str) -> None:
    """Consume in a group, with the shortest session there is, and print the assignment whenever it changes."""
    consumer = driver.consumer(group, session_ms=6000, auto_commit=False)
    consumer.subscribe([topic])
    shown: set[Partition] = set()
    while True:
        consumer.poll(0.1)
        if consumer.assignment() != shown:
            shown = set(consumer.assignment())
            print(json.dumps(sorted(partition for _, partition in shown)), flush=True)


def be_share_member(driver: Driver, group: str, topic: str) -> None:
    """Take a record of a share group, print its offset, and hold it until killed."""
    consumer = driver.share_consumer(group, explicit=True, most=1)
    consumer.subscribe(topic)
    while not (records := consumer.poll(0.2)):
        pass
    print(json.dumps([record.offset for record in records]), flush=True)
    threading.Event().wait()
