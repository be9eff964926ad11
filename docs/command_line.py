"""The page about the command line, from its parsers."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from importlib import import_module

from pykbroker.cli import COMMANDS
from pykbroker.cli.completion import whole_parser
from pykbroker.cli.options import THE_CLUSTER, Parser

PAGE = """# The command line

{made}

`pykbroker` without a command starts a broker. The other commands talk to any Kafka cluster over the wire, through this
project's own client; `dump-log` and `verify` read files. Nothing else has to be installed.

{commands}

## What Kafka's tools are here

| Apache Kafka | pykbroker |
| --- | --- |
{tools}

Options have the names of Kafka's tools where there is no shorter word; a thing is named by itself rather than by an
option (`pykbroker topics describe orders`).

## The cluster, and the way in

Each command that talks to a cluster has these options, in front of its verb or behind it:

{connection}

A password that is given as `NAME:PASSWORD` can be seen by others on the machine: leave it out and it is asked for, or
comes from `PYKBROKER_PASSWORD`. `--command-config` takes the files of Kafka's own tools; options win over what stands
in it.

## What comes out

Tables and sentences for people go to stdout, or one JSON document with `--json` (`consume --json` prints one a line).
Errors are one line on stderr that says what to do next. Progress is shown on a terminal, never in a pipe or a file.

| exit status | |
| ---: | --- |
| 0 | all went well |
| 1 | a cluster, or the way to it, gave an error; a part of what was asked for failed; a check found something |
| 2 | options, or a file named by them, can't be used |
| 130 | ctrl-c |

{sections}
"""

TOOLS = {
    "kafka-topics.sh": "topics",
    "kafka-console-producer.sh": "produce",
    "kafka-console-consumer.sh": "consume",
    "kafka-consumer-groups.sh, kafka-share-groups.sh, kafka-streams-groups.sh, kafka-groups.sh": "groups",
    "kafka-get-offsets.sh": "offsets",
    "kafka-configs.sh": "configs, users, quotas",
    "kafka-acls.sh": "acls",
    "kafka-delegation-tokens.sh": "tokens",
    "kafka-cluster.sh, kafka-metadata-quorum.sh": "cluster",
    "kafka-log-dirs.sh": "log-dirs",
    "kafka-delete-records.sh": "delete-records",
    "kafka-reassign-partitions.sh": "reassign",
    "kafka-leader-election.sh": "elect-leaders",
    "kafka-transactions.sh": "transactions",
    "kafka-features.sh": "features",
    "kafka-broker-api-versions.sh": "api-versions",
    "kafka-dump-log.sh": "dump-log",
    "kafka-server-start.sh": "start",
}
BESIDE = {"cluster": "local_cluster"}
"""Commands that are something else, too, with other options; the module that has those."""


def page(made: str) -> str:
    """The whole page; `made` says that it is made."""
    parsers = dict(verbs_of(whole_parser()))
    return PAGE.format(
        made=made,
        commands="\n".join(["| | |", "| --- | --- |", *(f"| `{name}` | {text} |" for name, text in COMMANDS.items())]),
        tools="\n".join(f"| {tool} | `{names.replace(', ', '`, `')}` |" for tool, names in TOOLS.items()),
        connection=table("", connection(parsers["topics"])),
        sections="\n\n".join(section(name, parser) for name, parser in parsers.items()),
    )


def verbs_of(parser: argparse.ArgumentParser) -> Iterator[tuple[str, Parser]]:
    """The parsers below one."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def connection(command: Parser) -> Sequence[argparse.Action]:
    """The options that every verb of a command has."""
    _, verb = next(verbs_of(command))
    return next(group._group_actions for group in verb._action_groups if group.title == THE_CLUSTER)


def section(name: str, parser: Parser) -> str:
    """A command: what it is for, and its verbs."""
    parts = [f"## {name}", str(parser.description)]
    verbs = list(verbs_of(parser))
    parts += options(parser) if not verbs else ()
    for verb, each in verbs:
        parts += [f"### {name} {verb}", str(each.description), *options(each)]
    if name in BESIDE:
        beside: Parser = import_module(f"pykbroker.cli.{BESIDE[name]}").parser()
        parts += [f"### {name} --brokers N", str(beside.description), *options(beside)]
    return "\n\n".join(parts)


def options(parser: Parser) -> Iterator[str]:
    """The usage, and a table of what is the parser's own."""
    yield f"```\n{parser.brief_usage()}\n```"
    positional, optional, *others = (group for group in parser._action_groups if group.title != THE_CLUSTER)
    tables = [table("", [*positional._group_actions, *optional._group_actions])]
    tables += [table(str(group.title), group._group_actions) for group in others]
    yield from filter(None, tables)


def table(title: str, actions: Sequence[argparse.Action]) -> str:
    """Options, one a row."""
    shown = [action for action in actions if not isinstance(action, argparse._HelpAction)]
    rows = [f"| `{spelling(action)}` | {escaped(str(action.help))} |" for action in shown]
    return "\n".join([f"| {title} | |".replace("  ", " "), "| --- | --- |", *rows]) if rows else ""


def spelling(action: argparse.Action) -> str:
    """An option with its argument, or a positional's name."""
    metavar = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if not action.option_strings:
        return metavar
    takes = f" {metavar}" if action.nargs != 0 else ""
    return escaped(", ".join(action.option_strings) + takes)


def escaped(text: str) -> str:
    """Text in a cell of a table."""
    return text.replace("|", "\\|")
