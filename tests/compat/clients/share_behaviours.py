"""Behaviours of share groups (KIP-932): records handed out one by one, to whoever asks, until somebody accepts them."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import raw
from behaviours import behaviour, numbered
from driver import Driver, ShareConsumer, Shared
from group_member import MemberProcess, wait_for


def share_group(driver: Driver, prefix: str, count: int, **config: str) -> str:
    """A topic with so many records and a share group with its name, which begins at the first."""
    topic = raw.create_topic(driver.bootstrap, prefix)
    driver.produce(topic, numbered(count))
    driver.share_admin(topic).configure(share_auto_offset_reset="earliest", **config)
    return topic


def sharer(driver: Driver, topic: str, *, explicit: bool = False, most: int = 500) -> ShareConsumer:
    consumer = driver.share_consumer(topic, explicit=explicit, most=most)
    consumer.subscribe(topic)
    return consumer


def take(consumer: ShareConsumer, count: int, kind: str | None = None, seconds: float = 20) -> list[Shared]:
    """So many records, answered as they come."""
    found: list[Shared] = []
    deadline = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        records = consumer.poll(0.2)
        found += records
        if kind is not None:
            answer(consumer, records, kind)
    return found


def answer(consumer: ShareConsumer, records: Iterable[Shared], kind: str) -> None:
    for record in records:
        consumer.acknowledge(record, kind)


def left(consumer: ShareConsumer, seconds: float = 1) -> list[list[Any]]:
    """What else comes within a while."""
    return told(take(consumer, 1, seconds=seconds))


def told(records: Iterable[Shared]) -> list[list[Any]]:
    return sorted([record.offset, record.deliveries] for record in records)


@behaviour
def share_accepts_implicitly(driver: Driver, prefix: str) -> Any:
    topic = share_group(driver, prefix, 10)
    first = sharer(driver, topic)
    records = take(first, 10)
    first.commit()
    second = sharer(driver, topic)
    outcome = {"values": [record.value.decode() for record in records], "again": left(second)}
    first.close()
    second.close()
    return outcome


@behaviour
def share_answers(driver: Driver, prefix: str) -> Any:
    topic = share_group(driver, prefix, 6)
    consumer = sharer(driver, topic, explicit=True)
    first = take(consumer, 6)
    for kind, records in (("accept", first[:2]), ("release", first[2:4]), ("reject", first[4:])):
        answer(consumer, records, kind)
    consumer.commit()
    second = take(consumer, 2, "release")
    third = take(consumer, 2, "accept")
    consumer.commit()
    outcome = {"first": told(first), "second": told(second), "third": told(third), "left": left(consumer)}
    consumer.close()
    return outcome


@behaviour
def share_renews(driver: Driver, prefix: str) -> Any:
    topic = share_group(driver, prefix, 1, share_record_lock_duration_ms="2000")
    holder, other = sharer(driver, topic, explicit=True), sharer(driver, topic, explicit=True)
    records = take(holder, 1)
    seen: list[list[Any]] = []
    until = time.monotonic() + 4
    while time.monotonic() < until:
        answer(holder, records, "renew")
        holder.commit()
        records = take(holder, 1, seconds=5)
        seen += left(other, 0.3)
    answer(holder, records, "accept")
    holder.commit()
    outcome = {"held": told(records), "other": seen, "left": left(other)}
    holder.close()
    other.close()
    return outcome


@behaviour
def share_lock_is_over(driver: Driver, prefix: str) -> Any:
    topic = share_group(driver, prefix, 2, share_record_lock_duration_ms="1000")
    holder, other = sharer(driver, topic, explicit=True), sharer(driver, topic, explicit=True)
    held = take(holder, 2)
    handed_on = take(other, 2, "accept")
    other.commit()
    outcome = {"held": told(held), "handed_on": told(handed_on), "left": left(other)}
    holder.close()
    other.close()
    return outcome


@behaviour
def share_one_partition(driver: Driver, prefix: str) -> Any:
    topic = share_group(driver, prefix, 0)
    consumers = [sharer(driver, topic, explicit=True, most=1) for _ in range(2)]
    shares: list[list[Shared]] = [[], []]
    for consumer in consumers:
        consumer.poll(0.5)
    for turn in range(3):
        for record in numbered(2, 2 * turn):
            driver.produce(topic, [record])  # A batch of its own: clients may take whole batches.
        for consumer, share in zip(consumers, shares, strict=True):
            share += take(consumer, 1)
        for consumer, share in zip(consumers, shares, strict=True):
            answer(consumer, share[-1:], "accept")
            consumer.commit()
    outcome = {"each": [len(share) for share in shares], "all": told(shares[0] + shares[1])}
    for consumer in consumers:
        consumer.close()
    return outcome


@behaviour
def share_takes_over_from_killed(driver: Driver, prefix: str) -> Any:
    topic = share_group(driver, prefix, 1)
    victim = MemberProcess(driver, topic, topic, "--share-member")
    try:
        wait_for(lambda: victim.assigned == [0], "the one to be killed holds the record", 30)
    finally:
        victim.kill()
    survivor = sharer(driver, topic, explicit=True)
    handed_on = take(survivor, 1, "accept")
    survivor.commit()
    outcome = {"handed_on": told(handed_on), "left": left(survivor)}
    survivor.close()
    return outcome


@behaviour
def share_delivers_so_often(driver: Driver, prefix: str) -> Any:
    topic = share_group(driver, prefix, 2, share_delivery_count_limit="3")
    consumer = sharer(driver, topic, explicit=True)
    seen: list[Shared] = []
    for _ in range(3):
        seen += take(consumer, 2, "release")
    consumer.commit()
    outcome = {"seen": told(seen), "left": left(consumer)}
    consumer.close()
    return outcome


@behaviour
def share_begins_at_latest(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    driver.produce(topic, numbered(3))
    consumer = sharer(driver, topic)
    outcome: dict[str, Any] = {"before": left(consumer, 3)}
    driver.produce(topic, numbered(1, 3))
    outcome["after"] = told(take(consumer, 1))
    consumer.close()
    return outcome


@behaviour
def share_admin(driver: Driver, prefix: str) -> Any:
    topic = share_group(driver, prefix, 5)
    admin = driver.share_admin(topic)
    consumer = sharer(driver, topic, explicit=True)
    answer(consumer, take(consumer, 5)[:2], "accept")
    outcome: dict[str, Any] = {
        "listed": admin.listed(),
        "described": admin.described(),
        "in_use": [admin.alter_offset(topic, 0), admin.delete_offsets(topic), admin.delete()],
    }
    consumer.close()
    outcome |= {
        "empty": admin.described(),
        "offsets": admin.offsets(),
        "altered": [admin.alter_offset(topic, 4), admin.offsets()],
    }
    consumer = sharer(driver, topic)
    outcome["from_there"] = told(take(consumer, 1))
    consumer.close()
    outcome |= {
        "offsets_deleted": [admin.delete_offsets(topic), admin.offsets()],
        "deleted": [admin.delete(), admin.delete(), admin.listed()],
    }
    return outcome
