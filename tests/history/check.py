"""What must be true of a history once everything has healed."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

from tests.history.clients import PARTITIONS, History
from tests.history.faults import BROKERS, TOPIC

from pykbroker.protocol.records.batch import batches


def log_bytes(folder: Path, partition: int) -> bytes:
    """A replica's segments, one after the other."""
    return b"".join(path.read_bytes() for path in sorted((folder / f"{TOPIC}-{partition}").glob("*.log")))


def check(history: History, folder: Path) -> None:
    """Adds to `history.wrong`; the brokers have stopped cleanly."""
    stored: dict[bytes, tuple[int, int]] = {}
    for partition in range(PARTITIONS):
        copies = {broker: log_bytes(folder / f"broker-{broker}", partition) for broker in BROKERS}
        if len(set(copies.values())) != 1:
            sizes = {broker: len(copy) for broker, copy in copies.items()}
            history.blame(f"the replicas of partition {partition} differ: {sizes}")
        last: dict[bytes, int] = defaultdict(lambda: -1)
        for batch in batches(copies[1]):
            for record in () if batch.is_control else batch.records():
                value = bytes(record.value or b"")
                if value in stored:
                    history.blame(f"{value!r} is there twice: {stored[value]} and {(partition, record.offset)}")
                stored[value] = partition, record.offset
                writer, _, sequence = value.partition(b":")
                if int(sequence) <= last[writer]:
                    history.blame(f"{value!r} at offset {record.offset} stands behind {last[writer]} of its producer")
                last[writer] = int(sequence)
                seen = history.read.get((partition, record.offset))
                if seen not in (None, value):
                    history.blame(f"offset {record.offset} of {partition} was read as {seen!r} and is {value!r}")
    for value, place in history.acknowledged.items():
        if stored.get(value) != place:
            history.blame(f"{value!r} was acknowledged at {place} and is at {stored.get(value)}")
    for place, value in history.read.items():
        if stored.get(value) != place:
            history.blame(f"{value!r} was read at {place} and is at {stored.get(value)}")
