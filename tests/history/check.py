"""What must be true of a history once everything has healed."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from tests.history.clients import PARTITIONS, History
from tests.history.faults import BROKERS, TOPIC

from pykbroker.protocol.records.batch import batches

_NEW_EPOCH = re.compile(r"PID\{Id:(\d+),Epoch:(\d+)\} epoch bump .*skipped sequence numbers")


class Copy(NamedTuple):
    """Where a record is stored, and under which epoch of its producer."""

    partition: int
    offset: int
    producer_id: int
    epoch: int

    @property
    def place(self) -> tuple[int, int]:
        """Partition and offset."""
        return self[:2]


def log_bytes(folder: Path, partition: int) -> bytes:
    """A replica's segments, one after the other."""
    return b"".join(path.read_bytes() for path in sorted((folder / f"{TOPIC}-{partition}").glob("*.log")))


def given_up(folder: Path) -> set[tuple[int, int]]:
    """The producer ids and epochs that librdkafka has left for the next by its own choice.

    It does so behind a refused batch, for all partitions, and sends again under the new epoch what may be stored under
    this one. `tests/verified/test_librdkafka_epochs.py` has Apache Kafka store such a record twice, too.
    """
    return {
        (int(producer_id), int(epoch))
        for path in folder.glob("writer-*.log")
        for producer_id, epoch in _NEW_EPOCH.findall(path.read_text())
    }


def check(history: History, folder: Path) -> None:
    """Adds to `history.wrong`; the brokers have stopped cleanly."""
    stored: dict[bytes, list[Copy]] = defaultdict(list)
    left = given_up(folder)
    for partition in range(PARTITIONS):
        copies = {broker: log_bytes(folder / f"broker-{broker}", partition) for broker in BROKERS}
        if len(set(copies.values())) != 1:
            sizes = {broker: len(copy) for broker, copy in copies.items()}
            history.blame(f"the replicas of partition {partition} differ: {sizes}")
        last: dict[tuple[bytes, int], int] = defaultdict(lambda: -1)
        for batch in batches(copies[1]):
            for record in () if batch.is_control else batch.records():
                value = bytes(record.value or b"")
                found = Copy(partition, record.offset, batch.producer_id, batch.producer_epoch)
                writer, _, sequence = value.partition(b":")
                before = max(last[writer, epoch] for epoch in range(-1, found.epoch + 1))
                if value in stored:
                    if is_again(history, value, stored[value][-1], found, left):
                        history.again += 1
                        before = last[writer, found.epoch]
                    else:
                        history.blame(f"{value!r} is there twice: {stored[value]} and {found}")
                stored[value].append(found)
                if int(sequence) <= before:
                    history.blame(f"{value!r} at offset {record.offset} stands behind {before} of its producer")
                last[writer, found.epoch] = int(sequence)
                seen = history.read.get(found.place)
                if seen not in (None, value):
                    history.blame(f"offset {record.offset} of {partition} was read as {seen!r} and is {value!r}")
    for value, place in history.acknowledged.items():
        found = stored[value][-1].place if stored[value] else None
        if place[1] is None and found is not None:
            found = found[0], None  # Behind a time-out librdkafka takes the next batch's success for this one's, too.
        if found != place:
            history.blame(f"{value!r} was acknowledged at {place} and is at {[one.place for one in stored[value]]}")
    for place, value in history.read.items():
        if all(one.place != place for one in stored[value]):
            history.blame(f"{value!r} was read at {place} and is at {[one.place for one in stored[value]]}")


def is_again(history: History, value: bytes, first: Copy, second: Copy, left: set[tuple[int, int]]) -> bool:
    """Whether a producer sent under its next epoch what was never acknowledged under the one that it gave up."""
    return (
        first.partition == second.partition
        and first.producer_id == second.producer_id
        and first.epoch + 1 == second.epoch
        and (first.producer_id, first.epoch) in left
        and history.acknowledged.get(value) in (None, second.place)
    )
