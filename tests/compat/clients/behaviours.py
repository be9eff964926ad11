"""The behaviours, written once for every Python client that offers a Driver.

A behaviour makes what it needs under the prefix it is given, does the thing, and returns what came of it as JSON;
what should come of it stands in tests/compat/table.py.
"""

from __future__ import annotations

import random
import time
from typing import Any

import raw
from driver import Behaviour, BrokerError, Consumer, Driver, Fenced, Message, Record
from group_member import Member, MemberProcess, wait_for

BEHAVIOURS: dict[str, Behaviour] = {}
EPOCH_MS = 1_700_000_000_000
KEPT = {"retention.ms": "-1"}
"""Records of that age are gone as soon as a broker looks at retention, half a minute after its start."""


def behaviour(function: Behaviour) -> Behaviour:
    BEHAVIOURS[function.__name__] = function
    return function


def numbered(count: int, first: int = 0) -> list[Record]:
    return [Record(str(number).encode()) for number in range(first, first + count)]


def read(consumer: Consumer, count: int, seconds: float = 12) -> list[Message]:
    """Poll until `count` messages came; AssertionError with those that came after `seconds`."""
    messages: list[Message] = []
    deadline = time.monotonic() + seconds
    while len(messages) < count and time.monotonic() < deadline:
        messages += consumer.poll(0.2)
    if len(messages) < count:
        raise AssertionError(f"{len(messages)} of {count} messages in {seconds} s: {messages}")
    return messages


def read_for(consumer: Consumer, seconds: float) -> list[Message]:
    messages: list[Message] = []
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        messages += consumer.poll(0.1)
    return messages


def read_topic(driver: Driver, topic: str, count: int, partitions: int = 1, **options: Any) -> list[Message]:
    """Everything of a topic from its beginning, without a group."""
    consumer = driver.consumer(**options)
    consumer.assign([(topic, partition) for partition in range(partitions)])
    messages = read(consumer, count)
    consumer.close()
    return messages


def text(data: bytes | None) -> str | None:
    return None if data is None else data.decode()


def values(messages: list[Message]) -> list[str | None]:
    return [text(message.value) for message in messages]


# Producing


def produce_with_acks(driver: Driver, prefix: str, acks: int | str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    reports = driver.produce(topic, numbered(10), acks=acks)
    outcome: dict[str, Any] = {"values": values(read_topic(driver, topic, 10))}
    return outcome if acks == 0 else outcome | {"offsets": [report.offset for report in reports]}


@behaviour
def produce_acks_0(driver: Driver, prefix: str) -> Any:
    return produce_with_acks(driver, prefix, 0)


@behaviour
def produce_acks_1(driver: Driver, prefix: str) -> Any:
    return produce_with_acks(driver, prefix, 1)


@behaviour
def produce_acks_all(driver: Driver, prefix: str) -> Any:
    return produce_with_acks(driver, prefix, "all")


def compressed(driver: Driver, prefix: str, codec: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    records = [Record(f"{number:04d}".encode() * 50, key=str(number).encode()) for number in range(200)]
    driver.produce(topic, records, compression=codec)
    messages = read_topic(driver, topic, len(records))
    intact = [(m.key, m.value) for m in messages] == [(r.key, r.value) for r in records]
    return {"intact": intact, "stored_as": raw.first_batch(driver.bootstrap, topic).codec}


@behaviour
def compression_gzip(driver: Driver, prefix: str) -> Any:
    return compressed(driver, prefix, "gzip")


@behaviour
def compression_snappy(driver: Driver, prefix: str) -> Any:
    return compressed(driver, prefix, "snappy")


@behaviour
def compression_lz4(driver: Driver, prefix: str) -> Any:
    return compressed(driver, prefix, "lz4")


@behaviour
def compression_zstd(driver: Driver, prefix: str) -> Any:
    return compressed(driver, prefix, "zstd")


@behaviour
def headers(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    driver.produce(topic, [Record(b"v", headers=[("a", b"1"), ("b", b"2"), ("a", b"3"), ("empty", b"")]), Record(b"w")])
    return [[[key, text(value)] for key, value in m.headers] for m in read_topic(driver, topic, 2)]


@behaviour
def null_header_value(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    driver.produce(topic, [Record(b"v", headers=[("null", None), ("a", b"1")])])
    return [[[key, text(value)] for key, value in m.headers] for m in read_topic(driver, topic, 1)]


@behaviour
def null_keys_and_values(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    pairs = [(None, b"v"), (b"k", None), (b"k", b""), (b"", b"v")]
    driver.produce(topic, [Record(value, key=key) for key, value in pairs])
    return [[text(m.key), text(m.value)] for m in read_topic(driver, topic, len(pairs))]


@behaviour
def records_of_1_mb(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    sent = [random.Random(number).randbytes(1_000_000) for number in range(3)]
    driver.produce(topic, [Record(value) for value in sent])
    return {"intact": [m.value for m in read_topic(driver, topic, 3)] == sent}


@behaviour
def record_too_large(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    try:
        driver.produce(topic, [Record(random.Random(0).randbytes(2_000_000))], max_bytes=8_000_000)
        error = "NONE"
    except BrokerError as refusal:
        error = str(refusal)
    driver.produce(topic, [Record(b"small")])
    return {"error": error, "values": values(read_topic(driver, topic, 1))}


@behaviour
def create_time(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, config=KEPT)
    driver.produce(topic, [Record(b"v", timestamp=EPOCH_MS + 7), Record(b"w", timestamp=EPOCH_MS)])
    return [[m.timestamp_type, m.timestamp - EPOCH_MS] for m in read_topic(driver, topic, 2)]


@behaviour
def log_append_time(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, config={"message.timestamp.type": "LogAppendTime"})
    reports = driver.produce(topic, [Record(b"v", timestamp=EPOCH_MS)])
    (message,) = read_topic(driver, topic, 1)
    return {
        "type": message.timestamp_type,
        "is_now": abs(message.timestamp - time.time() * 1000) < 60_000,
        "reported": reports[0].timestamp == message.timestamp,
    }


@behaviour
def partition_by_key(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, partitions=7)
    keys = [f"key-{number}" for number in range(20)]
    reports = driver.produce(topic, [Record(b"v", key=key.encode()) for key in keys])
    placed = {m.key.decode(): m.partition for m in read_topic(driver, topic, 20, partitions=7) if m.key is not None}
    return {"placed": placed, "as_reported": placed == {k: r.partition for k, r in zip(keys, reports, strict=True)}}


@behaviour
def idempotent_producer(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    reports = driver.produce(topic, numbered(300), idempotent=True, acks="all")
    return {
        "offsets_in_order": [report.offset for report in reports] == list(range(300)),
        "values_in_order": values(read_topic(driver, topic, 300)) == [str(number) for number in range(300)],
        "stored_with_producer_id": raw.first_batch(driver.bootstrap, topic).producer_id >= 0,
    }


@behaviour
def transactions(driver: Driver, prefix: str) -> Any:
    """A committed transaction, an aborted one, another committed one."""
    topic = raw.create_topic(driver.bootstrap, prefix)
    producer = driver.transactions(prefix)
    for committed, sent in ((True, (0, 1, 2)), (False, (3, 4)), (True, (5,))):
        producer.begin()
        producer.send(topic, [str(number).encode() for number in sent])
        if committed:
            producer.commit()
        else:
            producer.flush()
            producer.abort()
    producer.close()
    return {
        "committed": values(read_topic(driver, topic, 4, committed_only=True)),
        "all": values(read_topic(driver, topic, 6)),
    }


@behaviour
def read_committed_waits(driver: Driver, prefix: str) -> Any:
    """What is in an open transaction, and behind it, is read when it is committed."""
    topic = raw.create_topic(driver.bootstrap, prefix)
    producer = driver.transactions(prefix)
    producer.begin()
    producer.send(topic, [b"0", b"1"])
    producer.flush()
    driver.produce(topic, [Record(b"2")])
    consumer = driver.consumer(committed_only=True)
    consumer.assign([(topic, 0)])
    before = values(read_for(consumer, 1))
    producer.commit()
    after = values(read(consumer, 3))
    consumer.close()
    producer.close()
    return {"before": before, "after": after}


@behaviour
def transactional_id_fences(driver: Driver, prefix: str) -> Any:
    """A second producer with the id ends what the first had open, and the first is done with."""
    topic = raw.create_topic(driver.bootstrap, prefix)
    first = driver.transactions(prefix)
    first.begin()
    first.send(topic, [b"first"])
    first.flush()
    second = driver.transactions(prefix)
    second.begin()
    second.send(topic, [b"second"])
    second.commit()
    try:
        first.commit()
        fenced = False
    except Fenced:
        fenced = True
    second.close()
    return {"fenced": fenced, "committed": values(read_topic(driver, topic, 1, committed_only=True))}


@behaviour
def offsets_in_a_transaction(driver: Driver, prefix: str) -> Any:
    """Offsets count with the transaction that they are sent to."""
    source, target = raw.create_topic(driver.bootstrap, prefix), raw.create_topic(driver.bootstrap, f"{prefix}-to")
    driver.produce(source, numbered(5))
    consumer = driver.consumer(prefix)
    consumer.subscribe([source])
    read(consumer, 5)
    producer = driver.transactions(prefix)
    committed = []
    for kept in (False, True):
        producer.begin()
        producer.send(target, [b"moved"])
        producer.send_offset(consumer, (source, 0), 5)
        if kept:
            producer.commit()
            # EndTxn is answered before the markers are written, and this consumer doesn't wait for stable offsets.
            wait_for(lambda: consumer.committed((source, 0)) is not None, "the offset is committed")
        else:
            producer.abort()
        offset = consumer.committed((source, 0))
        committed.append(None if offset is None else offset[0])
    consumer.close()
    producer.close()
    return {"committed": committed, "values": values(read_topic(driver, target, 1, committed_only=True))}


@behaviour
def produce_to_unknown_topic(driver: Driver, prefix: str) -> Any:
    reports = driver.produce(prefix, numbered(3))
    return {"offsets": [report.offset for report in reports], "values": values(read_topic(driver, prefix, 3))}


# Consuming


@behaviour
def subscribe(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, partitions=3)
    driver.produce(topic, [Record(str(n).encode(), partition=n % 3) for n in range(9)])
    consumer = driver.consumer(prefix)
    consumer.subscribe([topic])
    messages = read(consumer, 9)
    assigned = sorted(partition for _, partition in consumer.assignment())
    consumer.close()
    in_order = all(
        values([m for m in messages if m.partition == p]) == [str(n) for n in range(p, 9, 3)] for p in assigned
    )
    return {"assigned": assigned, "values": sorted(values(messages), key=str), "in_order_by_partition": in_order}


@behaviour
def subscribe_pattern(driver: Driver, prefix: str) -> Any:
    for name in ("a", "b", "other"):
        driver.produce(raw.create_topic(driver.bootstrap, f"{prefix}-{name}"), [Record(name.encode())])
    consumer = driver.consumer(prefix)
    consumer.subscribe_pattern(f"^{prefix}-[ab]$")
    messages = read(consumer, 2)
    consumer.close()
    return sorted(values(messages), key=str)


@behaviour
def assign(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, partitions=3)
    driver.produce(topic, [Record(str(n).encode(), partition=n % 3) for n in range(9)])
    consumer = driver.consumer()
    consumer.assign([(topic, 0), (topic, 2)])
    messages = read(consumer, 6) + read_for(consumer, 0.3)
    assigned = sorted(partition for _, partition in consumer.assignment())
    consumer.close()
    return {"assigned": assigned, "values": sorted(values(messages), key=str)}


@behaviour
def seek(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    driver.produce(topic, numbered(10))
    consumer, partition = driver.consumer(), (topic, 0)
    consumer.assign([partition])
    outcome = {"first": values(read(consumer, 10))}
    consumer.seek(partition, 5)
    outcome["offset_5"] = values(read(consumer, 5))
    consumer.seek_to_beginning(partition)
    outcome["beginning"] = values(read(consumer, 10))
    consumer.seek(partition, 2)
    consumer.seek_to_end(partition)
    outcome["end"] = values(read_for(consumer, 0.7))
    driver.produce(topic, numbered(1, first=10))
    outcome["after_end"] = values(read(consumer, 1))
    consumer.close()
    return outcome


@behaviour
def seek_out_of_range(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    driver.produce(topic, numbered(5))
    consumer = driver.consumer(reset="earliest")
    consumer.assign([(topic, 0)])
    read(consumer, 5)
    consumer.seek((topic, 0), 1000)
    messages = read(consumer, 5)
    consumer.close()
    return values(messages)


@behaviour
def reset_to_latest(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    driver.produce(topic, numbered(5))
    consumer = driver.consumer(prefix, reset="latest")
    consumer.subscribe([topic])
    deadline = time.monotonic() + 12
    while not consumer.assignment() and time.monotonic() < deadline:
        consumer.poll(0.1)
    messages = read_for(consumer, 1)
    driver.produce(topic, numbered(1, first=5))
    messages += read(consumer, 1)
    consumer.close()
    return values(messages)


@behaviour
def pause_and_resume(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, partitions=2)
    driver.produce(topic, [Record(str(n).encode(), partition=n % 2) for n in range(10)])
    consumer = driver.consumer()
    consumer.assign([(topic, 0), (topic, 1)])
    consumer.pause((topic, 0))
    paused = read(consumer, 5) + read_for(consumer, 0.5)
    consumer.resume((topic, 0))
    resumed = read(consumer, 5)
    consumer.close()
    return {"paused": sorted(values(paused), key=str), "resumed": sorted(values(resumed), key=str)}


@behaviour
def offsets_for_times(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, config=KEPT)
    for first in (0, 5):
        driver.produce(topic, [Record(b"v", timestamp=EPOCH_MS + 1000 * n) for n in range(first, first + 5)])
    consumer = driver.consumer(prefix)
    times = {"before": -1, "first": 0, "inside_a_batch": 3000, "between": 4500, "last": 9000, "after": 9001}
    outcome = {name: consumer.offset_for_time((topic, 0), EPOCH_MS + shift) for name, shift in times.items()}
    consumer.close()
    return outcome


@behaviour
def beginning_and_end_offsets(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, partitions=2)
    driver.produce(topic, [Record(b"v", partition=0) for _ in range(10)])
    consumer = driver.consumer(prefix)
    outcome = {"filled": consumer.beginning_and_end((topic, 0)), "empty": consumer.beginning_and_end((topic, 1))}
    consumer.close()
    return outcome


@behaviour
def consume_unknown_topic(driver: Driver, prefix: str) -> Any:
    consumer = driver.consumer(prefix)
    consumer.subscribe([prefix])
    messages = read_for(consumer, 0.2)
    driver.produce(prefix, numbered(2))
    messages += read(consumer, 2)
    consumer.close()
    return values(messages)


@behaviour
def consumer_creates_topic(driver: Driver, prefix: str) -> Any:
    consumer = driver.consumer(prefix, auto_create=True)
    consumer.subscribe([prefix])
    deadline = time.monotonic() + 12
    while not raw.leaders(driver.bootstrap, prefix) and time.monotonic() < deadline:
        consumer.poll(0.1)
    consumer.close()
    return {"partitions": raw.leaders(driver.bootstrap, prefix)}


# Committed offsets


@behaviour
def commit_sync(driver: Driver, prefix: str) -> Any:
    return commit_and_return(driver, prefix, "commit")


@behaviour
def commit_async(driver: Driver, prefix: str) -> Any:
    return commit_and_return(driver, prefix, "commit_async")


def commit_and_return(driver: Driver, prefix: str, method: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    driver.produce(topic, numbered(10))
    first = driver.consumer(prefix, auto_commit=False)
    first.subscribe([topic])
    read(first, 10)
    before = first.committed((topic, 0))
    getattr(first, method)((topic, 0), 4, "a note")
    first.close()
    second = driver.consumer(prefix, auto_commit=False)
    second.subscribe([topic])
    messages = read(second, 6)
    committed = second.committed((topic, 0))
    second.close()
    return {"before": before, "committed": committed, "values": values(messages)}


@behaviour
def commit_at_close(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    driver.produce(topic, numbered(5))
    outcome = {}
    for turn in ("first", "second"):
        consumer = driver.consumer(prefix, auto_commit=True)
        consumer.subscribe([topic])
        outcome[turn] = values(read(consumer, 5))
        consumer.close()
        driver.produce(topic, numbered(5, first=5))
    return outcome


@behaviour
def commit_without_subscription(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    driver.produce(topic, numbered(5))
    for _ in range(2):
        consumer = driver.consumer(prefix, auto_commit=False)
        consumer.assign([(topic, 0)])
        messages = read(consumer, 3)
        committed = consumer.committed((topic, 0))
        if committed is None:
            consumer.commit((topic, 0), 2, "")
        consumer.close()
    return {"committed": committed, "values": values(messages)}


# Groups


def partitions_of(member: Member) -> list[int]:
    return sorted(partition for _, partition in member.assigned)


@behaviour
def group_shares_partitions(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, partitions=4)
    members = [Member(driver, prefix, topic), Member(driver, prefix, topic)]
    wait_for(lambda: [len(m.assigned) for m in members] == [2, 2], "each of two members has two partitions")
    shared = sorted(partitions_of(members[0]) + partitions_of(members[1]))
    driver.produce(topic, [Record(str(n).encode(), partition=n % 4) for n in range(8)])
    wait_for(lambda: sum(len(m.messages) for m in members) >= 8, "eight records reach the two")
    received = sorted(values(members[0].messages + members[1].messages), key=str)
    members[1].close()
    wait_for(lambda: len(members[0].assigned) == 4, "the one left has all four partitions")
    outcome = {"shared": shared, "received": received, "after_close": partitions_of(members[0])}
    members[0].close()
    return outcome


@behaviour
def group_takes_over_from_killed(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, partitions=2)
    survivor = Member(driver, prefix, topic, session_ms=6000)
    victim = MemberProcess(driver, prefix, topic)
    try:
        # The victim is a program that has yet to start.
        wait_for(lambda: len(survivor.assigned) == len(victim.assigned) == 1, "the two share the two partitions", 40)
        shared = sorted(partitions_of(survivor) + victim.assigned)
    finally:
        victim.kill()
    driver.produce(topic, [Record(str(n).encode(), partition=n % 2) for n in range(6)])
    wait_for(lambda: len({m.value for m in survivor.messages}) == 6, "the survivor has the records of both partitions")
    wait_for(lambda: len(survivor.assigned) == 2, "the survivor has both partitions")
    outcome = {"shared": shared, "after_kill": partitions_of(survivor)}
    survivor.close()
    return outcome


@behaviour
def static_member_returns(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, partitions=2)
    stays = Member(driver, prefix, topic, instance_id="stays", session_ms=30000)
    wait_for(lambda: len(stays.assigned) == 2, "the first member has both partitions")
    returns = Member(driver, prefix, topic, instance_id="returns", session_ms=30000)
    wait_for(lambda: len(stays.assigned) == len(returns.assigned) == 1, "the two share the two partitions")
    before, changes = partitions_of(returns), len(stays.history)
    returns.close()
    returns = Member(driver, prefix, topic, instance_id="returns", session_ms=30000)
    wait_for(lambda: bool(returns.assigned), "the member that came back has an assignment")
    driver.produce(topic, [Record(str(n).encode(), partition=n % 2) for n in range(2)])
    wait_for(lambda: len(stays.messages) == len(returns.messages) == 1, "each gets the record of its partition")
    outcome = {"same_partition": partitions_of(returns) == before, "other_undisturbed": len(stays.history) == changes}
    stays.close()
    returns.close()
    return outcome


@behaviour
def consumer_protocol(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, partitions=4)
    first = Member(driver, prefix, topic, protocol="consumer", assignor="range")
    wait_for(lambda: len(first.assigned) == 4, "the first member has all four partitions", 30)
    second = Member(driver, prefix, topic, protocol="consumer", assignor="range")
    wait_for(lambda: len(first.assigned) == len(second.assigned) == 2, "each of two members has two partitions", 30)
    ranges = sorted([partitions_of(first), partitions_of(second)])
    driver.produce(topic, [Record(str(n).encode(), partition=n % 4) for n in range(8)])
    wait_for(lambda: len(first.messages) + len(second.messages) >= 8, "eight records reach the two")
    second.close()
    wait_for(lambda: len(first.assigned) == 4, "the one left has all four partitions", 30)
    outcome = {"ranges": ranges, "after_close": partitions_of(first)}
    first.close()
    return outcome


@behaviour
def consumer_protocol_pattern(driver: Driver, prefix: str) -> Any:
    topics = [raw.create_topic(driver.bootstrap, f"{prefix}-{name}", partitions=1) for name in "ab"]
    member = Member(driver, prefix, f"^{prefix}-.*", protocol="consumer")
    wait_for(lambda: len(member.assigned) == 2, "the member has the topics that match", 30)
    topics.append(raw.create_topic(driver.bootstrap, f"{prefix}-c", partitions=1))
    wait_for(lambda: len(member.assigned) == 3, "a topic that is made later is added", 30)
    outcome = {"matching": sorted(topic for topic, _ in member.assigned) == topics}
    member.close()
    return outcome


@behaviour
def consumer_protocol_static(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, partitions=2)
    stays = Member(driver, prefix, topic, protocol="consumer", instance_id="stays")
    returns = Member(driver, prefix, topic, protocol="consumer", instance_id="returns")
    wait_for(lambda: len(stays.assigned) == len(returns.assigned) == 1, "the two share the two partitions", 30)
    before, changes = partitions_of(returns), len(stays.history)
    returns.close()
    returns = Member(driver, prefix, topic, protocol="consumer", instance_id="returns")
    wait_for(lambda: bool(returns.assigned), "the member that came back has its partition", 30)
    outcome = {"same_partition": partitions_of(returns) == before, "other_undisturbed": len(stays.history) == changes}
    stays.close()
    returns.close()
    return outcome


@behaviour
def consumer_protocol_migration(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, partitions=2)
    classic = Member(driver, prefix, topic, session_ms=6000)
    wait_for(lambda: len(classic.assigned) == 2, "the classic member has both partitions", 30)
    modern = Member(driver, prefix, topic, protocol="consumer")
    wait_for(lambda: len(classic.assigned) == len(modern.assigned) == 1, "members of both kinds share", 30)
    shared = sorted(partitions_of(classic) + partitions_of(modern))
    modern.close()
    wait_for(lambda: len(classic.assigned) == 2, "the classic member has both partitions again", 30)
    outcome = {"shared": shared, "after_close": partitions_of(classic)}
    classic.close()
    return outcome


@behaviour
def cooperative_rebalance(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, partitions=4)
    revoked: list[int] = []
    first = Member(driver, prefix, topic, strategy="cooperative-sticky", on_revoke=revoked.extend)
    wait_for(lambda: len(first.assigned) == 4, "the first member has all four partitions")
    second = Member(driver, prefix, topic, strategy="cooperative-sticky")
    wait_for(lambda: len(first.assigned) == len(second.assigned) == 2, "each of two members has two partitions")
    shared = sorted(partitions_of(first) + partitions_of(second))
    kept = all(first.assigned <= assigned for assigned in first.history)
    outcome = {"shared": shared, "revoked": len(revoked), "kept_the_rest": kept}
    second.close()
    wait_for(lambda: len(first.assigned) == 4, "the one left has all four partitions")
    first.close()
    return outcome
