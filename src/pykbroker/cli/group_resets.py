"""New offsets for groups: what each strategy of --reset-offsets comes to; and offsets that are forgotten."""

from __future__ import annotations

import argparse
import csv
import io
import time
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

from pykbroker.cli.options import UsageError, read_text
from pykbroker.cli.output import Change, Report, Table, changes
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition

if TYPE_CHECKING:
    from pykbroker.cli.group_descriptions import DescribedGroup
    from pykbroker.client.cluster import Cluster

STRATEGIES = (
    *("to_earliest", "to_latest", "to_current", "to_offset", "shift_by", "to_datetime", "by_duration", "from_file"),
)
SHARE_STRATEGIES = ("to_earliest", "to_latest", "to_datetime")
COLUMNS = ("group", "topic", "partition", "new_offset")

Offsets = dict[TopicPartition, int]


async def reset_offsets(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Shows, exports or commits the new offsets. Raises KafkaError for a group that is in use."""
    from pykbroker.cli.group_descriptions import INACTIVE, SHARE, chosen_groups, describe_groups
    from pykbroker.cli.groups import names_of

    strategy = next((one for one in STRATEGIES if getattr(options, one) not in (None, False)), None)
    if strategy is None:
        raise UsageError("expected one of " + ", ".join(f"--{one.replace('_', '-')}" for one in STRATEGIES))
    if strategy != "from_file" and bool(options.topic) == options.all_topics:
        raise UsageError("expected --topic, or --all-topics")
    rows: list[dict[str, Any]] = []
    failures: list[tuple[str, KafkaError]] = []
    for group in await describe_groups(cluster, await chosen_groups(cluster, *names_of(options), new=True)):
        if group.state not in INACTIVE:
            message = f"group {group.group} is {group.state}, and can only be reset while nobody reads with it"
            raise KafkaError(ErrorCode.NON_EMPTY_GROUP, message)
        if group.type == SHARE and strategy not in SHARE_STRATEGIES:
            raise UsageError(f"group {group.group} is a share group: only to earliest, latest or a time")
        offsets = await _new_offsets(cluster, options, group, strategy)
        if options.execute:
            apply = _apply_share if group.type == SHARE else _apply
            for partition, error in (await apply(cluster, group.group, offsets)).items():
                if error is not None:
                    failures.append((f"{group.group} {partition}", error))
                    del offsets[partition]
        rows += (
            {"group": group.group, "topic": topic, "partition": index, "new_offset": offset}
            for (topic, index), offset in sorted(offsets.items())
        )
    if options.export:
        return Report(rows, [_exported(rows, len(options.groups) != 1)])
    notes = [] if options.execute or options.json else ["nothing is changed without --execute"]
    return Report(rows, [Table(COLUMNS, rows)] if rows else [], failures, notes if rows else ["no offsets to reset"])


def _exported(rows: Collection[Mapping[str, Any]], with_group: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([row[column] for column in COLUMNS if with_group or column != "group"])
    return text.getvalue().removesuffix("\n")


async def _new_offsets(cluster: Cluster, options: argparse.Namespace, group: DescribedGroup, strategy: str) -> Offsets:
    """The new offset of each partition, within what the partition has."""
    from pykbroker.cli.group_descriptions import SHARE, share_offsets
    from pykbroker.client.committed import committed
    from pykbroker.client.offsets import EARLIEST, LATEST

    current: Offsets = {}
    if group.type == SHARE:
        if options.all_topics:
            current = {one: start for one, (start, _) in (await share_offsets(cluster, group.group)).items()}
    else:
        current = await committed(cluster, group.group)
    wanted: Offsets = {}
    if strategy == "from_file":
        wanted = _from_file(options.from_file, group.group, len(options.groups) != 1)
        partitions: Collection[TopicPartition] = wanted
    else:
        partitions = current if options.all_topics else await _partitions(cluster, options.topic)
    latest = await _listed(cluster, partitions, LATEST)
    if strategy == "to_latest":
        return latest
    if strategy == "to_current":
        return {one: current.get(one, latest[one]) for one in partitions}
    if strategy in ("to_datetime", "by_duration"):
        moment = options.to_datetime
        if moment is None:
            moment = max(0, time.time_ns() // 1_000_000 - options.by_duration)
        found = await _listed(cluster, partitions, moment)
        return {one: offset if offset >= 0 else latest[one] for one, offset in found.items()}
    earliest = await _listed(cluster, partitions, EARLIEST)
    if strategy == "to_earliest":
        return earliest
    if strategy == "to_offset":
        wanted = dict.fromkeys(partitions, options.to_offset)
    elif strategy == "shift_by":
        without = sorted(set(partitions) - current.keys())
        if without:
            raise UsageError(f"--shift-by: group {group.group} has no offset of {without[0]} to shift")
        wanted = {one: current[one] + options.shift_by for one in partitions}
    return {one: min(max(offset, earliest[one]), latest[one]) for one, offset in wanted.items()}


def _from_file(path: str, group: str, with_group: bool) -> Offsets:
    found: Offsets = {}
    for line, row in enumerate(csv.reader(io.StringIO(read_text("--from-file", path))), 1):
        if not row:
            continue
        words = [word.strip() for word in row]
        named = words.pop(0) if len(words) == 4 else None if with_group else group
        if len(words) != 3 or named is None or not words[1].isdecimal() or not words[2].isdecimal():
            shape = "GROUP,TOPIC,PARTITION,OFFSET" if with_group else "TOPIC,PARTITION,OFFSET"
            raise UsageError(f"--from-file {path}: line {line}: expected {shape}")
        if named == group:
            found[TopicPartition(words[0], int(words[1]))] = int(words[2])
    return found


async def _partitions(cluster: Cluster, topics: Collection[tuple[str, tuple[int, ...] | None]]) -> list[TopicPartition]:
    """The partitions that --topic names. Raises KafkaError for one that isn't there."""
    from pykbroker.cli.topics import topics_of

    present = {topic.name: topic for topic in await topics_of(cluster, sorted({name for name, _ in topics}))}
    found: set[TopicPartition] = set()
    for name, indexes in topics:
        there = {one.partition_index for one in present[name].partitions}
        missing = sorted(set(indexes or ()) - there)
        if missing:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, f"topic {name} has no partition {missing[0]}")
        found |= {TopicPartition(name, index) for index in (there if indexes is None else indexes)}
    return sorted(found)


async def _listed(cluster: Cluster, partitions: Collection[TopicPartition], timestamp: int) -> Offsets:
    from pykbroker.client.offsets import list_offsets

    found: Offsets = {}
    for partition, answer in (await list_offsets(cluster, partitions, timestamp)).items():
        if isinstance(answer, KafkaError):
            raise KafkaError(answer.code, f"{partition}: {answer.message or 'no offset'}")
        found[partition] = answer.offset
    return found


async def _apply(cluster: Cluster, group: str, offsets: Offsets) -> dict[TopicPartition, KafkaError | None]:
    from pykbroker.client.committed import commit

    return await commit(cluster, group, offsets) if offsets else {}


async def _apply_share(cluster: Cluster, group: str, offsets: Offsets) -> dict[TopicPartition, KafkaError | None]:
    from pykbroker.client.cluster import GROUP, by_topic, error_of, raise_for
    from pykbroker.protocol.messages.alter_share_group_offsets import AlterShareGroupOffsetsRequest

    of = AlterShareGroupOffsetsRequest.Topic
    request = AlterShareGroupOffsetsRequest(group_id=group)
    for name, indexes in by_topic(offsets).items():
        partitions = [
            of.Partition(partition_index=index, start_offset=offsets[TopicPartition(name, index)]) for index in indexes
        ]
        request.topics.append(of(topic_name=name, partitions=partitions))
    answer = await cluster.coordinator(GROUP, group, request)
    raise_for(answer.error_code, answer.error_message)
    return {
        TopicPartition(topic.topic_name, one.partition_index): error_of(one.error_code, one.error_message)
        if one.error_code
        else None
        for topic in answer.responses
        for one in topic.partitions
    }


async def delete_offsets(cluster: Cluster, options: argparse.Namespace) -> Report:
    """OffsetDelete by partition; of a share group by topic."""
    from pykbroker.cli.group_descriptions import SHARE, chosen_groups

    (group,) = await chosen_groups(cluster, [options.group], everyone=False)
    if group.type == SHARE:
        return await _delete_share_offsets(cluster, options)
    from pykbroker.client.cluster import GROUP, by_topic, error_of, raise_for
    from pykbroker.protocol.messages.offset_delete import OffsetDeleteRequest

    of = OffsetDeleteRequest.Topic
    request = OffsetDeleteRequest(group_id=options.group)
    for name, indexes in by_topic(await _partitions(cluster, options.topic)).items():
        request.topics.append(of(name=name, partitions=[of.Partition(partition_index=index) for index in indexes]))
    answer = await cluster.coordinator(GROUP, options.group, request)
    raise_for(answer.error_code, f"group {options.group}")
    return changes(
        "partition",
        (
            Change(
                f"{topic.name}-{one.partition_index}",
                f"forgot the offset of {topic.name}-{one.partition_index}",
                error_of(one.error_code) if one.error_code else None,
                {"group": options.group},
            )
            for topic in answer.topics
            for one in topic.partitions
        ),
    )


async def _delete_share_offsets(cluster: Cluster, options: argparse.Namespace) -> Report:
    from pykbroker.client.cluster import GROUP, error_of, raise_for
    from pykbroker.protocol.messages.delete_share_group_offsets import DeleteShareGroupOffsetsRequest

    if any(indexes is not None for _, indexes in options.topic):
        raise UsageError("--topic: a share group forgets whole topics")
    of = DeleteShareGroupOffsetsRequest.Topic
    request = DeleteShareGroupOffsetsRequest(
        group_id=options.group, topics=[of(topic_name=name) for name, _ in options.topic]
    )
    answer = await cluster.coordinator(GROUP, options.group, request)
    raise_for(answer.error_code, answer.error_message)
    return changes(
        "topic",
        (
            Change(
                topic.topic_name,
                f"forgot the offsets of {topic.topic_name}",
                error_of(topic.error_code, topic.error_message) if topic.error_code else None,
                {"group": options.group},
            )
            for topic in answer.responses
        ),
    )
