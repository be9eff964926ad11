"""`python -m docs.generate`: writes the pages that are made from declarations, or says which of them are stale.

apis.md comes from the messages and the table of handlers, states.md from the tables of transitions, cli.md from the
commands' parsers, differences.md from the defaults and conversations that differ.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from docs import command_line, differences
from pykbroker.apis import HANDLERS
from pykbroker.cluster import in_flight, partition, share_partition
from pykbroker.controller import states
from pykbroker.coordinator.group import classic_state, consumer_member
from pykbroker.coordinator.group import consumer_group as consumer_group_state
from pykbroker.coordinator.group import share_group as share_group_rules
from pykbroker.coordinator.transaction import transaction_state
from pykbroker.protocol import consumer_protocol, header
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.fields import Array, Field, Nested
from pykbroker.protocol.message import Message, Struct
from pykbroker.protocol.messages import message_classes
from pykbroker.protocol.stored import (
    consumer_group,
    control,
    group_metadata,
    offset_commit,
    share_group,
    share_state,
    transaction_log,
)
from pykbroker.protocol.versions import Versions

FOLDER = Path(__file__).parent
MADE = "<!-- Made by `make docs`: change the declarations instead. -->"
OTHERS = {
    "Headers": [header],
    "Consumers among themselves": [consumer_protocol],
    "`__consumer_offsets`": [offset_commit, group_metadata, consumer_group, share_group],
    "`__transaction_state`": [transaction_log],
    "`__share_group_state`": [share_state],
    "Control records, principals": [control],
}

APIS = """# The APIs

{made}

Every request and response of the Kafka protocol, with all versions from 0 to the newest of Apache Kafka 4.3, can be
parsed and built. *Served* says which versions this broker answers; the others it doesn't advertise.

How to read a field: its type; the versions that have it, where not all do; `null` and the versions in which it may be
null; its default, where that isn't zero, false or empty; its `tag`, where it stands among the tagged fields;
`ignorable` where a value is dropped silently in versions that lack the field, instead of being refused. From the
version that is called flexible on, lengths are varints and structs end in tagged fields.

{table}

{apis}

## What is no API

{others}
"""

STATES = """# States

{made}

{machines}
"""

MACHINE = """## {title}

{about}

| from | when | to |
| --- | --- | --- |
{rows}

```mermaid
stateDiagram-v2
    [*] --> {first}
{arrows}
```"""


class Machine(NamedTuple):
    """A table of transitions, its first state first."""

    title: str
    about: str
    transitions: Sequence[tuple[Enum, str, Enum]]


MACHINES = (
    Machine(
        "A classic group",
        "The states have Kafka's names, and appear so in DescribeGroups and ListGroups. A group raises an error\n"
        "rather than change its state in another way than these.",
        classic_state.TRANSITIONS,
    ),
    Machine(
        "A consumer group (KIP-848)",
        "The states have Kafka's names, and appear so in ConsumerGroupDescribe and ListGroups. Nobody sets them: they\n"
        "follow from the group's epoch, its target's epoch, and where its members are. A classic group that becomes\n"
        "a consumer group does so in any of them but Empty.",
        consumer_group_state.TRANSITIONS,
    ),
    Machine(
        "A member of a consumer group",
        "The states are stored with the member's partitions. In each it has an epoch: that of the target that it was\n"
        "last led to. A member raises an error rather than go another way than these.",
        consumer_member.TRANSITIONS,
    ),
    Machine(
        "A transaction",
        "The states have Kafka's names, and appear so in DescribeTransactions and ListTransactions. While a\n"
        "transaction is prepared its markers are written, and other requests about it are answered with\n"
        "CONCURRENT_TRANSACTIONS.",
        transaction_state.TRANSITIONS,
    ),
    Machine(
        "A share group",
        "Nobody waits for anybody in it, so there is no state between having members and having none.",
        share_group_rules.TRANSITIONS,
    ),
    Machine(
        "A record in flight in a share group",
        "On the leader of its partition. `__share_group_state` has Available, Acknowledged and Archived ones; who\n"
        "holds a record, and until when, is known to the leader alone.",
        in_flight.TRANSITIONS,
    ),
    Machine(
        "A share-partition on its leader",
        "A share group's view of one partition, from the first fetch on.",
        share_partition.LIFE,
    ),
    Machine(
        "A leader's ISR",
        "One change is in flight at a time (KIP-497). acks=all waits for a follower on its way in as for a\n"
        "member; one on its way out is a member until that is stored.",
        partition.TRANSITIONS,
    ),
    Machine(
        "A partition, as the controller sees it",
        "Online is a partition whose leader is live. A change in another way than these ends the controller's time;\n"
        "the next one begins with what the store holds.",
        states.PARTITION_TRANSITIONS,
    ),
    Machine(
        "A replica, as the controller sees it",
        "Online is a replica whose broker is live and whose data directory works.",
        states.REPLICA_TRANSITIONS,
    ),
)


def pages() -> dict[str, str]:
    """Each page by its name."""
    return {
        "apis.md": apis_page(),
        "states.md": states_page(),
        "cli.md": command_line.page(MADE),
        "differences.md": differences.page(MADE),
    }


def apis_page() -> str:
    """All messages, and which versions of them are served."""
    rows = ["| key | API | versions | served | flexible from |", "| ---: | --- | --- | --- | --- |"]
    for key in ApiKey:
        request = message_classes(key)[0]
        name = api_name(request)
        flexible = request.flexible.low if list_of(request.flexible) else "—"
        rows.append(f"| {key.value} | [{name}](#{name.lower()}) | {request.versions} | {served(key)} | {flexible} |")
    return APIS.format(
        made=MADE, table="\n".join(rows), apis="\n\n".join(map(api, ApiKey)), others="\n\n".join(map(other, OTHERS))
    )


def api(key: ApiKey) -> str:
    """One API: its request and its response."""
    request, response = message_classes(key)
    return "\n\n".join(
        [
            f"## {api_name(request)}",
            f"Key {key.value}, versions {request.versions}; served: {served(key)}.",
            message(request),
            message(response),
        ]
    )


def other(title: str) -> str:
    """Messages that travel inside others, or are stored."""
    declared = [value for module in OTHERS[title] for value in vars(module).values()]
    classes = [
        each for each in declared if isinstance(each, type) and issubclass(each, Message) and each is not Message
    ]
    return "\n\n".join([f"### {title}", *map(message, classes)])


def message(cls: type[Message]) -> str:
    """What it is for, and its fields."""
    number = f", type {cls.key}" if cls.key >= 0 and not cls.__name__.endswith(("Request", "Response")) else ""
    flexible = f", flexible {cls.flexible}" if list_of(cls.flexible) else ""
    head = f"**{cls.__name__}** {cls.versions}{flexible}{number}: {cls.__doc__}"
    body = "\n".join(lines(cls, "", Versions("0+"))) or "(no fields)"
    return f"{head}\n\n```\n{body}\n```"


def lines(cls: type[Struct], indentation: str, outer: Versions) -> Iterator[str]:
    """A line per field, structs indented below the field that holds them."""
    for name, field in cls.fields.items():
        yield f"{indentation}{name}: {', '.join(described(field, outer))}"
        element = getattr(field, "element", None)
        if element is not None and issubclass(element, Struct):
            yield from lines(element, indentation + "    ", field.versions)


def described(field: Field[object], outer: Versions) -> Iterator[str]:
    """Type, versions, null, default, tag, ignorable."""
    yield kind(field)
    if field.versions not in (Versions("0+"), outer):
        yield str(field.versions)
    if list_of(field.nullable):
        yield "null" if field.nullable.low <= field.versions.low else f"null {field.nullable}"
    if field.default is None:
        yield "default null"
    elif field.default != field.empty:
        yield f"default {field.default!r}"
    if field.tag is not None:
        yield f"tag {field.tag}"
    if field.ignorable:
        yield "ignorable"
    if field.flexible is not None:
        yield f"compact {field.flexible}"


def kind(field: Field[object]) -> str:
    """The type of a field, in Kafka's words."""
    if isinstance(field, Array):
        return "array" if issubclass(field.element, Struct) else f"array of {field.element.__name__.lower()}"
    return "struct" if isinstance(field, Nested) else type(field).__name__.lower()


def list_of(versions: Versions) -> bool:
    """Whether there is any version in the range."""
    return versions.low <= versions.high


def served(key: int) -> str:
    """The versions that have a handler."""
    return str(HANDLERS[key].versions) if key in HANDLERS else "no"


def api_name(request: type[Message]) -> str:
    """The API's name, without what it is of."""
    return request.__name__.removesuffix("Request")


def states_page() -> str:
    """The state machines, from the tables that their tests hold them to."""
    return STATES.format(made=MADE, machines="\n\n".join(map(machine, MACHINES)))


def machine(one: Machine) -> str:
    """One of them: its table and its picture."""
    named = [(label(before), why, label(after)) for before, why, after in one.transitions]
    ends = ["    Dead --> [*]"] if any(after == "Dead" for _, _, after in named) else []
    return MACHINE.format(
        title=one.title,
        about=one.about,
        rows="\n".join(f"| {before} | {why} | {after} |" for before, why, after in named),
        first=named[0][0],
        arrows="\n".join([*(f"    {before} --> {after}: {why}" for before, why, after in named), *ends]),
    )


def label(state: Enum) -> str:
    """A state's name as Kafka writes it."""
    return state.value if isinstance(state.value, str) else state.name.capitalize()


def main() -> int:
    """Writes the pages; with `--check` says which are stale instead."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where a page is stale")
    check = parser.parse_args().check
    stale = [name for name, text in pages().items() if not is_fresh(name, text)]
    for name in stale:
        if check:
            print(f"{FOLDER / name} is stale: make docs")
        else:
            (FOLDER / name).write_text(pages()[name], encoding="utf-8")
    return int(check and bool(stale))


def is_fresh(name: str, text: str) -> bool:
    """Whether the committed page says what the declarations say."""
    page = FOLDER / name
    return page.exists() and page.read_text(encoding="utf-8") == text


if __name__ == "__main__":
    sys.exit(main())
