"""`pykbroker consume`: records out of topics to stdout; what kafka-console-consumer.sh does.

It stops at what was the end when it started, unless it is told to follow.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pykbroker.cli.formats import FORMATS, decoder, separator, to_json
from pykbroker.cli.options import UsageError, add_connection, command, number, positive, seconds
from pykbroker.cli.output import Report
from pykbroker.cli.times import moment_or_ago

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster
    from pykbroker.client.consumer import Consumer, Fetched
    from pykbroker.client.group_member import GroupMember
    from pykbroker.protocol.records.batch import RecordBatch
    from pykbroker.protocol.records.record import Record
    from pykbroker.protocol.topic_partition import TopicPartition

PARTS = ("timestamp", "partition", "offset", "epoch", "headers", "key", "value", "topic")
COMMIT_EVERY = 5.0

Show = Callable[["TopicPartition", "RecordBatch", "Record"], str]


def parser() -> Parser:
    """The command's options."""
    made = command(
        "consume",
        "Print the records of topics. Without --follow it begins with the first record that is there (for a group: "
        "the first that it hasn't read) and stops after the last one.",
    )
    made.add_argument("topics", metavar="TOPIC", nargs="+", help="what to read")
    group = made.add_argument_group("which records")
    add = group.add_argument
    start = group.add_mutually_exclusive_group()
    start.add_argument("--from-beginning", action="store_true", help="all that are there (the default)")
    start.add_argument("--from-end", action="store_true", help="only those that come from now on; follows")
    start.add_argument("--offset", metavar="N", type=number, help="from this offset on")
    start.add_argument("--tail", metavar="N", type=positive, help="the last N of each partition")
    start.add_argument("--since", metavar="TIME", type=moment_or_ago, help="from 2026-11-25T10:00:00 on, or 10m ago")
    add("--until", metavar="TIME", type=moment_or_ago, help="up to a time")
    add("--partition", metavar="N", type=number, action="append", help="only this partition (may be repeated)")
    add("--max-messages", metavar="N", type=positive, help="stop after so many")
    add("--follow", "-f", action="store_true", help="wait for more")
    add("--idle-timeout", metavar="SECONDS", type=seconds, help="stop when nothing came for so long")
    add("--read-committed", action="store_true", help="leave out what was rolled back or isn't committed yet")
    add("--group", metavar="GROUP", help="read as a member of a consumer group, and commit what was read")
    add("--no-commit", action="store_true", help="commit nothing")
    group = made.add_argument_group("how they look")
    add = group.add_argument
    add("--print", metavar="PART,…", type=_parts, default=("value",), help=f"{', '.join(PARTS)} (default: value)")
    add("--separator", metavar="TEXT", type=separator, default="\t", help="stands between the parts (default: a tab)")
    add("--null", metavar="TEXT", default="null", help="what is printed for null (default: null)")
    add("--key-format", choices=FORMATS, default="text", help=f"{', '.join(FORMATS)} (default text)", metavar="NAME")
    add("--value-format", choices=FORMATS, default="text", help="the same for values", metavar="NAME")
    add_connection(made, consume)
    return made


def _parts(text: str) -> tuple[str, ...]:
    found = set(text.split(","))
    if not found <= set(PARTS):
        raise argparse.ArgumentTypeError(f"{text!r}: expected some of {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in found)


async def consume(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Prints records as they come."""
    from pykbroker.client.consumer import Consumer

    if options.group is not None and options.partition:
        raise UsageError("--partition: a group's partitions are given by its coordinator")
    if options.group is not None and (options.offset is not None or options.tail or options.since is not None):
        raise UsageError("--group: its committed offsets say where to begin; see `pykbroker groups reset-offsets`")
    if options.no_commit and options.group is None:
        raise UsageError("--no-commit: needs --group")
    reading = Reading(options)
    async with Consumer(cluster, committed=options.read_committed) as consumer:
        if options.group is None:
            partitions = await partitions_of(cluster, options.topics, options.partition)
            starts, ends = await boundaries(cluster, options, partitions)
            await reading.read(consumer, starts, ends)
        else:
            await _in_group(cluster, options, consumer, reading)
    said = f"{reading.count} record{'' if reading.count == 1 else 's'}"
    return Report(streamed=True, notes=[said] if sys.stderr.isatty() else ())


class Reading:
    """Prints what a consumer fetches, and knows when it is enough. `done` is where each partition is."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.count = 0
        self.enough = False
        self.done: dict[TopicPartition, int] = {}
        self._maximum: int | None = options.max_messages
        self._idle: float = float("inf") if options.idle_timeout is None else options.idle_timeout
        self._endless = (options.follow or options.from_end) and options.until is None
        self._show = json_line if options.json else text_line(options)
        self._out = sys.stdout.buffer if hasattr(sys.stdout, "buffer") else None

    async def read(
        self, consumer: Consumer, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> None:
        """Reads until every partition is at its end; for ever where it has none.

        A member that a group gave no partitions waits, where it follows, for another to leave.
        """
        import trio

        if not starts and self._endless:
            await trio.sleep(self._idle)
        waiting = {one for one, start in starts.items() if start < ends.get(one, 1 << 63)}
        consumer.assign({one: starts[one] for one in waiting})
        while waiting and not self.enough:
            found = None
            with trio.move_on_after(self._idle):
                found = await consumer.next()
            if found is None:
                self.enough = True
                return
            # A ctrl-c between printing and remembering it would have the group print it twice.
            trio.lowlevel.enable_ki_protection(self._print)(found, ends.get(found.partition))
            if found.position >= ends.get(found.partition, 1 << 63) and found.partition in waiting:
                waiting.discard(found.partition)
                consumer.drop(found.partition)
        self.enough = self.enough or not waiting

    def _print(self, fetched: Fetched, end: int | None) -> None:
        lines: list[str] = []
        position = fetched.position
        for batch, record in fetched.records:
            if end is not None and record.offset >= end:
                break
            lines.append(self._show(fetched.partition, batch, record))
            self.count += 1
            if self.count == self._maximum:
                self.enough = True
                position = record.offset + 1
                break
        if lines:
            text = "\n".join(lines) + "\n"
            if self._out is None:
                sys.stdout.write(text)
            else:
                sys.stdout.flush()
                self._out.write(text.encode(errors="surrogateescape"))
            sys.stdout.flush()
        self.done[fetched.partition] = position


async def _in_group(cluster: Cluster, options: argparse.Namespace, consumer: Consumer, reading: Reading) -> None:
    import trio

    from pykbroker.client.group_member import GroupMember

    member = GroupMember(cluster, options.group, options.topics)
    try:
        while not reading.enough:
            assigned = await member.join()
            starts, ends = await _group_boundaries(cluster, options, assigned)
            reading.done = {}
            async with trio.open_nursery() as nursery:

                async def until_rebalance() -> None:
                    await member.stay()
                    nursery.cancel_scope.cancel()

                nursery.start_soon(until_rebalance)
                if not options.no_commit:
                    nursery.start_soon(_commit_often, member, reading)
                await reading.read(consumer, starts, ends)
                nursery.cancel_scope.cancel()
            if not options.no_commit:
                await member.commit(reading.done)
    finally:
        with trio.move_on_after(2.0, shield=True):
            if not options.no_commit and not reading.enough:
                await member.commit(reading.done)
            await member.leave()


async def _commit_often(member: GroupMember, reading: Reading) -> None:
    import trio

    while True:
        await trio.sleep(COMMIT_EVERY)
        await member.commit(dict(reading.done))


async def _group_boundaries(
    cluster: Cluster, options: argparse.Namespace, assigned: list[TopicPartition]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    from pykbroker.client.committed import committed

    starts, ends = await boundaries(cluster, options, assigned)
    known = await committed(cluster, options.group, assigned) if assigned else {}
    for one in assigned:
        starts[one] = known.get(one, starts[one])
    return starts, ends


async def partitions_of(cluster: Cluster, topics: list[str], indexes: list[int] | None) -> list[TopicPartition]:
    """All partitions of topics, or some of each. Raises KafkaError."""
    from pykbroker.cli.topics import topics_of
    from pykbroker.protocol.errors import ErrorCode, KafkaError
    from pykbroker.protocol.topic_partition import TopicPartition

    found = [
        TopicPartition(topic.name or "", one.partition_index)
        for topic in await topics_of(cluster, topics)
        for one in topic.partitions
    ]
    if indexes is None:
        return sorted(found)
    missing = sorted(set(indexes) - {one.partition for one in found})
    if missing:
        raise KafkaError(
            ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"{', '.join(topics)}: there is no partition {missing[0]}"
        )
    return sorted(one for one in found if one.partition in indexes)


async def boundaries(
    cluster: Cluster, options: argparse.Namespace, partitions: list[TopicPartition]
) -> tuple[dict[TopicPartition, int], dict[TopicPartition, int]]:
    """The first offset to read of each partition, and the offset to stop at; none of those where it follows."""
    from pykbroker.client.offsets import EARLIEST, LATEST

    follow = options.follow or options.from_end
    earliest = await _offsets(cluster, partitions, EARLIEST, options)
    latest = await _offsets(cluster, partitions, LATEST, options)
    ends = {} if follow else dict(latest)
    if options.until is not None:
        until = await _offsets(cluster, partitions, _absolute(options.until), options)
        ends = {one: until[one] if until[one] >= 0 else latest[one] for one in partitions}
    if options.from_end:
        return latest, ends
    if options.offset is not None:
        return dict.fromkeys(partitions, options.offset), ends
    if options.tail is not None:
        return {one: max(earliest[one], latest[one] - options.tail) for one in partitions}, ends
    if options.since is not None:
        since = await _offsets(cluster, partitions, _absolute(options.since), options)
        return {one: since[one] if since[one] >= 0 else latest[one] for one in partitions}, ends
    return earliest, ends


def _absolute(timestamp: int) -> int:
    return timestamp if timestamp >= 0 else max(0, time.time_ns() // 1_000_000 + timestamp)


async def _offsets(
    cluster: Cluster, partitions: list[TopicPartition], timestamp: int, options: argparse.Namespace
) -> dict[TopicPartition, int]:
    from pykbroker.client.offsets import list_offsets
    from pykbroker.protocol.errors import KafkaError

    found: dict[TopicPartition, int] = {}
    answers = await list_offsets(cluster, partitions, timestamp, committed=options.read_committed)
    for partition, answer in answers.items():
        if isinstance(answer, KafkaError):
            raise KafkaError(answer.code, f"{partition}: {answer.message or 'no offset'}")
        found[partition] = answer.offset
    return found


def text_line(options: argparse.Namespace) -> Show:
    """The line of a record, with the parts in the order and the words of Kafka's console consumer."""
    key_of, value_of = decoder(options.key_format), decoder(options.value_format)
    parts, null, between = options.print, options.null, options.separator

    def field(data: bytes | None, decode: Callable[[bytes], str]) -> str:
        if data is None:
            return str(null)
        try:
            return decode(data)
        except ValueError as error:
            raise UsageError(f"--key-format, --value-format: {error}") from None

    def text(data: bytes) -> str:
        return data.decode(errors="surrogateescape")

    if options.key_format == "text":
        key_of = text
    if options.value_format == "text":
        value_of = text

    def show(partition: TopicPartition, batch: RecordBatch, record: Record) -> str:
        found: dict[str, str] = {
            "topic": partition.topic,
            "timestamp": f"{batch.timestamp_type}:{record.timestamp}" if batch.magic else "NO_TIMESTAMP",
            "partition": f"Partition:{partition.partition}",
            "offset": f"Offset:{record.offset}",
            "epoch": f"Epoch:{batch.leader_epoch}",
            "headers": ",".join(f"{name}:{field(value, text)}" for name, value in record.headers) or "NO_HEADERS",
            "key": field(record.key, key_of),
            "value": field(record.value, value_of),
        }
        return str(between).join(found[part] for part in parts)

    return show


def json_line(partition: TopicPartition, batch: RecordBatch, record: Record) -> str:
    """A record as an object on a line of its own, as `pykbroker produce --from-json` takes it."""
    found: dict[str, Any] = {
        "topic": partition.topic,
        "partition": partition.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "timestamp_type": batch.timestamp_type,
        "key": to_json(record.key),
        "value": to_json(record.value),
        "headers": [{"name": name, "value": to_json(value)} for name, value in record.headers],
    }
    return json.dumps(found, ensure_ascii=False)
