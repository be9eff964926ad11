"""`pykbroker groups`: consumer, share and streams groups; kafka-consumer-groups.sh and its kin in one."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykbroker.cli.group_resets import delete_offsets, reset_offsets
from pykbroker.cli.options import UsageError, add_verb, add_verbs, command, number, topic_partitions
from pykbroker.cli.output import Change, Report, Table, changes, table
from pykbroker.cli.times import duration, moment
from pykbroker.protocol.topic_partition import TopicPartition

if TYPE_CHECKING:
    from pykbroker.cli.group_descriptions import DescribedGroup
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster

LIST = ("group", "type", "protocol", "state")
OFFSETS = (
    *("group", "topic", "partition", "current_offset", "log_end_offset", "lag"),
    *("consumer_id", "host", "client_id"),
)
SHARE_OFFSETS = ("group", "topic", "partition", "start_offset", "lag")
MEMBERS = ("group", "consumer_id", "host", "client_id", "partitions", "assignment")
MEMBERS_VERBOSE = (
    "group",
    "consumer_id",
    "group_instance_id",
    "host",
    "client_id",
    "epoch",
    "partitions",
    "assignment",
)
STATE = ("group", "type", "coordinator", "assignment_strategy", "state", "members")
STATE_VERBOSE = (*STATE, "group_epoch", "assignment_epoch")
NONE_YET = "no groups: they come to be when a consumer joins one"


def parser() -> Parser:
    """The command's options."""
    made = command("groups", "Consumer, share and streams groups: kafka-consumer-groups.sh, spelled for people.")
    verbs = add_verbs(made)
    verb = add_verb(verbs, "list", list_verb, "List groups.")
    verb.add_argument("--state", metavar="NAME,…", help="only those in one of these states, like Stable,Empty")
    verb.add_argument("--type", metavar="NAME,…", help="only those of these types: classic, consumer, share, streams")
    verb = add_verb(verbs, "describe", describe, "Show groups: their offsets and lag, or members, or state.")
    _group_names(verb)
    what = verb.add_mutually_exclusive_group()
    what.add_argument("--offsets", action="store_true", help="committed offsets and lag (the default)")
    what.add_argument("--members", action="store_true", help="who is in it, and reads what")
    what.add_argument("--state", action="store_true", help="state, coordinator and assignor")
    verb.add_argument("--verbose", action="store_true", help="with epochs, and members' instance ids")
    description = "Set the committed offsets of groups that nobody reads with. Without --execute nothing is changed."
    _reset_options(add_verb(verbs, "reset-offsets", reset_offsets, description))
    verb = add_verb(verbs, "delete", delete, "Delete groups without members, with their offsets.")
    _group_names(verb)
    verb = add_verb(verbs, "delete-offsets", delete_offsets, "Forget a group's offsets of topics that it doesn't read.")
    verb.add_argument("group", metavar="GROUP", help="the group")
    _topics(verb, required=True)
    return made


def _group_names(verb: Parser) -> None:
    verb.add_argument("groups", metavar="GROUP", nargs="*", help="the groups")
    verb.add_argument("--all", action="store_true", help="all groups")


def _topics(verb: argparse._ActionsContainer, *, required: bool) -> None:
    verb.add_argument(
        "--topic",
        metavar="TOPIC[:0,1,…]",
        action="append",
        type=topic_partitions,
        required=required,
        help="a topic, or some of its partitions (may be repeated)",
    )


def _reset_options(verb: Parser) -> None:
    _group_names(verb)
    scope = verb.add_argument_group("which offsets")
    _topics(scope, required=False)
    scope.add_argument("--all-topics", action="store_true", help="all topics that the group has offsets of")
    group = verb.add_argument_group("to what (one of them)").add_mutually_exclusive_group()
    add = group.add_argument
    add("--to-earliest", action="store_true", help="the first record that is there")
    add("--to-latest", action="store_true", help="the end")
    add("--to-current", action="store_true", help="what is committed now, or the end")
    add("--to-offset", metavar="N", type=number, help="this offset")
    add("--shift-by", metavar="N", type=int, help="so many further, or back where negative")
    add("--to-datetime", metavar="TIME", type=moment, help="the first record from 2026-11-25T10:00:00 (UTC) on")
    add("--by-duration", metavar="TIME", type=duration, help="the first record from 10m, 2h or P1DT2H ago on")
    add("--from-file", metavar="FILE", help="lines of TOPIC,PARTITION,OFFSET, as --export prints them")
    mode = verb.add_argument_group("what happens").add_mutually_exclusive_group()
    mode.add_argument("--dry-run", action="store_true", help="only show the new offsets (the default)")
    mode.add_argument("--execute", action="store_true", help="commit them")
    mode.add_argument("--export", action="store_true", help="print them as --from-file takes them")


def _words(text: str | None) -> set[str]:
    return {word.strip().lower() for word in text.split(",")} if text else set()


async def list_verb(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Groups of all coordinators."""
    from pykbroker.cli.group_descriptions import list_groups

    states, types = _words(options.state), _words(options.type)
    rows = [
        {
            "group": group.group,
            "type": group.type,
            "protocol": group.protocol,
            "state": group.state,
            "coordinator": group.coordinator,
        }
        for group in await list_groups(cluster)
        if (not states or group.state.lower() in states) and (not types or group.type in types)
    ]
    return table(LIST, rows, "no such groups" if states or types else NONE_YET)


async def describe(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Every question of kafka-consumer-groups.sh's --describe."""
    from pykbroker.cli.group_descriptions import SHARE, chosen_groups, describe_groups

    described = await describe_groups(cluster, await chosen_groups(cluster, *names_of(options)))
    if options.members:
        return table(MEMBERS_VERBOSE if options.verbose else MEMBERS, _members(described), "no members")
    if options.state:
        return table(STATE_VERBOSE if options.verbose else STATE, map(_state, described), NONE_YET)
    rows: list[dict[str, Any]] = []
    for group in described:
        rows += await (_share_offsets if group.type == SHARE else _offsets)(cluster, group)
    idle = [
        f"group {group.group} has no active members" for group in described if not group.members and not options.json
    ]
    shared = [row for row in rows if "start_offset" in row]
    others = [row for row in rows if "start_offset" not in row]
    tables = [Table(columns, part) for columns, part in ((OFFSETS, others), (SHARE_OFFSETS, shared)) if part]
    nothing = [] if rows else ["no offsets" if described else NONE_YET]
    return Report(rows, tables, notes=[*idle, *nothing])


def names_of(options: argparse.Namespace) -> tuple[Sequence[str], bool]:
    """The groups that were asked for, and whether it is all. Raises UsageError for neither or both."""
    if bool(options.groups) == options.all:
        raise UsageError("expected GROUP, or --all")
    return options.groups, options.all


def _members(described: Sequence[DescribedGroup]) -> list[dict[str, Any]]:
    return [
        {
            "group": group.group,
            "consumer_id": member.member_id,
            "group_instance_id": member.instance_id,
            "host": member.host,
            "client_id": member.client_id,
            "epoch": member.epoch,
            "partitions": len(member.partitions),
            "assignment": _assignment_text(member.partitions),
        }
        for group in described
        for member in sorted(group.members, key=lambda member: member.member_id)
    ]


def _assignment_text(partitions: Sequence[TopicPartition]) -> str | None:
    from pykbroker.client.cluster import by_topic

    texts = [f"{topic}:{','.join(map(str, indexes))}" for topic, indexes in by_topic(partitions).items()]
    return " ".join(texts) or None


def _state(group: DescribedGroup) -> dict[str, Any]:
    return {
        "group": group.group,
        "type": group.type,
        "coordinator": group.coordinator,
        "assignment_strategy": group.assignor or None,
        "state": group.state,
        "members": len(group.members),
        "group_epoch": group.epoch,
        "assignment_epoch": group.assignment_epoch,
    }


async def _offsets(cluster: Cluster, group: DescribedGroup) -> list[dict[str, Any]]:
    from pykbroker.client.committed import committed
    from pykbroker.client.offsets import LATEST, list_offsets
    from pykbroker.protocol.errors import KafkaError

    offsets = await committed(cluster, group.group)
    owners = {partition: member for member in group.members for partition in member.partitions}
    partitions = sorted({*offsets, *owners})
    ends = await list_offsets(cluster, partitions, LATEST)
    rows = []
    for partition in partitions:
        current, end, owner = offsets.get(partition), ends[partition], owners.get(partition)
        last = None if isinstance(end, KafkaError) else end.offset
        rows.append(
            {
                "group": group.group,
                "topic": partition.topic,
                "partition": partition.partition,
                "current_offset": current,
                "log_end_offset": last,
                "lag": None if current is None or last is None else last - current,
                "consumer_id": owner.member_id if owner else None,
                "host": owner.host if owner else None,
                "client_id": owner.client_id if owner else None,
            }
        )
    return rows


async def _share_offsets(cluster: Cluster, group: DescribedGroup) -> list[dict[str, Any]]:
    from pykbroker.cli.group_descriptions import share_offsets

    return [
        {
            "group": group.group,
            "topic": partition.topic,
            "partition": partition.partition,
            "start_offset": start if start >= 0 else None,
            "lag": lag if lag >= 0 else None,
        }
        for partition, (start, lag) in sorted((await share_offsets(cluster, group.group)).items())
    ]


async def delete(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Each by its coordinator."""
    from pykbroker.cli.group_descriptions import list_groups
    from pykbroker.client.cluster import GROUP, error_of
    from pykbroker.protocol.messages.delete_groups import DeleteGroupsRequest

    names, everyone = names_of(options)
    done = []
    for name in [group.group for group in await list_groups(cluster)] if everyone else names:
        answer = await cluster.coordinator(GROUP, name, DeleteGroupsRequest(groups_names=[name]))
        code = answer.results[0].error_code
        done.append(Change(name, f"deleted group {name}", error_of(code) if code else None))
    return changes("group", done)
