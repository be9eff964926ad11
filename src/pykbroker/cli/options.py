"""What the commands share: how they take options, and those that say where the cluster is and how to get in."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from pykbroker.config.keys import MAX_LONG
from pykbroker.protocol.topic_partition import TopicPartition

if TYPE_CHECKING:
    from pykbroker.cli.output import Report
    from pykbroker.client.cluster import Cluster
    from pykbroker.client.settings import ClientSettings

    Verb = Callable[[Cluster, argparse.Namespace], Awaitable[Report]]

BAD_USAGE = 2
BOOTSTRAP = "PYKBROKER_BOOTSTRAP"
PASSWORD = "PYKBROKER_PASSWORD"
TOKEN = "PYKBROKER_TOKEN"
DEFAULT_BOOTSTRAP = "127.0.0.1:9092"


THE_CLUSTER = "the cluster"
CONNECTION = {
    **dict.fromkeys(("--bootstrap", "--command-config", "--ca", "--cert", "--cert-key"), 2),
    **dict.fromkeys(("--user", "--token", "--sasl-mechanism", "--timeout"), 2),
    **dict.fromkeys(("--tls", "--json"), 1),
}
"""The options that every verb has, and how many words each takes."""


class Parser(argparse.ArgumentParser):
    """One line for a mistake, without the usage; a help that begins with what is special about the verb."""

    def error(self, message: str) -> NoReturn:
        """Says what is wrong and exits."""
        for action in self._actions:
            if isinstance(action, argparse._SubParsersAction) and message.endswith(f"required: {action.metavar}"):
                message = f"expected one of {', '.join(action.choices)}"
        self.exit(BAD_USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")

    def format_help(self) -> str:
        """The help, with a usage that names what must be given."""
        self.usage = self.brief_usage()
        self._action_groups.sort(key=lambda group: group.title == THE_CLUSTER)
        return super().format_help()

    def brief_usage(self) -> str:
        """The command, and what must be given."""
        return self.usage or " ".join([self.prog, *map(_usage_of, filter(_must_be_named, self._actions)), "[options]"])


def _must_be_named(action: argparse.Action) -> bool:
    return action.required or not action.option_strings


def _usage_of(action: argparse.Action) -> str:
    name = str(action.metavar or action.dest)
    if action.option_strings:
        return f"{action.option_strings[0]} {name}"
    return {"*": f"[{name} …]", "+": f"{name} …", "?": f"[{name}]"}.get(str(action.nargs), name)


def verb_first(words: Sequence[str]) -> list[str]:
    """The words with a verb in front, where options that every verb has were written before it."""
    at = 0
    while at < len(words):
        name, equals, _ = words[at].partition("=")
        if name not in CONNECTION:
            break
        at += 1 if equals else CONNECTION[name]
    if at >= len(words) or words[at].startswith("-"):
        return list(words)
    return [words[at], *words[:at], *words[at + 1 :]]


class UsageError(Exception):
    """Options that can't be used together, or a file that can't be read; its text is one line."""


def command(name: str, description: str) -> Parser:
    """The parser of a command that talks to a cluster."""
    return Parser(prog=f"pykbroker {name}", description=description, allow_abbrev=False)


def add_verbs(parser: Parser) -> argparse._SubParsersAction[Parser]:
    """Makes room for the verbs of a command."""
    return parser.add_subparsers(title="verbs", dest="verb", metavar="VERB", required=True, parser_class=Parser)


def add_verb(verbs: argparse._SubParsersAction[Parser], name: str, run: Verb, description: str) -> Parser:
    """A verb with the options that all of them have."""
    first = description.partition(". ")[0].rstrip(".")
    parser = verbs.add_parser(name, help=first[:1].lower() + first[1:], description=description, allow_abbrev=False)
    add_connection(parser, run)
    return parser


def add_connection(parser: argparse.ArgumentParser, run: Verb) -> None:
    """The options that say where the cluster is, and what the answer looks like; `run` answers."""
    parser.set_defaults(run=run, parser=parser)
    group = parser.add_argument_group(THE_CLUSTER)
    add = group.add_argument
    add(
        "--bootstrap",
        metavar="HOST:PORT,…",
        help=f"brokers to begin with (default: the environment's {BOOTSTRAP}, or {DEFAULT_BOOTSTRAP})",
    )
    add("--command-config", metavar="FILE", help="a file with Kafka's client keys, as Kafka's own tools take it")
    add("--tls", action="store_true", help="use TLS")
    add("--ca", metavar="FILE", help="trust the certificates of this PEM file (default: the system's)")
    add("--cert", metavar="FILE", help="this side's certificate, a PEM file; with the key, or beside --cert-key")
    add("--cert-key", metavar="FILE", help="the key of --cert")
    add(
        "--user",
        metavar="NAME[:PASSWORD]",
        help=f"log in; without a password the environment's {PASSWORD} is taken, or it is asked for",
    )
    add("--token", metavar="TOKEN", help=f"log in with an OAUTHBEARER token (or the environment's {TOKEN})")
    add("--sasl-mechanism", metavar="NAME", help="PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER (default: the best)")
    add("--timeout", metavar="SECONDS", type=seconds, help="how long to try (default 60)")
    add("--json", action="store_true", help="print one JSON document")


def seconds(text: str) -> float:
    """A number of seconds above zero."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number of seconds")
    return value


def number(text: str) -> int:
    """A number from 0 on, of at most 63 bits as Kafka's are."""
    if not text.isdecimal() or int(text) > MAX_LONG:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number")
    return int(text)


def positive(text: str) -> int:
    """A number from 1 on."""
    if not text.isdecimal() or not 0 < int(text) <= MAX_LONG:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number from 1 on")
    return int(text)


def pair(text: str) -> tuple[str, str]:
    """`KEY=VALUE`."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise argparse.ArgumentTypeError(f"{text!r}: expected KEY=VALUE")
    return key.strip(), value.strip()


def partition(text: str) -> TopicPartition:
    """`TOPIC:PARTITION`."""
    topic, colon, index = text.rpartition(":")
    if not colon or not topic or not index.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r}: expected TOPIC:PARTITION")
    return TopicPartition(topic, int(index))


def topic_partitions(text: str) -> tuple[str, tuple[int, ...] | None]:
    """`TOPIC`, or `TOPIC:0,2,5` and `TOPIC:0-3` for some of its partitions."""
    topic, colon, indexes = text.partition(":")
    if not colon:
        return topic, None
    found: list[int] = []
    for word in indexes.split(","):
        low, dash, high = word.partition("-")
        if not topic or not low.isdecimal() or (dash and not high.isdecimal()):
            raise argparse.ArgumentTypeError(f"{text!r}: expected TOPIC or TOPIC:0,1,4-7")
        found += range(int(low), int(high or low) + 1)
    return topic, tuple(found)


def assignment(text: str) -> list[list[int]]:
    """`1:2,2:3`: the brokers of each partition, as Kafka's --replica-assignment has them."""
    words = [word.split(":") for word in text.split(",")]
    if not all(part.isdecimal() for word in words for part in word):
        raise argparse.ArgumentTypeError(f"{text!r}: expected BROKER:BROKER,… with a comma between partitions")
    return [[int(part) for part in word] for word in words]


def read_text(option: str, path: str) -> str:
    """A file's text; `-` is stdin. Raises UsageError."""
    if path == "-":
        return sys.stdin.read()
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{option} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{option} {path}: is no text in UTF-8") from None


def settings(options: argparse.Namespace, environment: Mapping[str, str] = os.environ) -> ClientSettings:
    """How the options want the cluster to be talked to. Raises UsageError and BadSettings."""
    from pykbroker.client.settings import MECHANISMS, SaslSettings, TlsSettings, settings_of
    from pykbroker.config.properties import BAD_ESCAPE, parse_properties

    properties: dict[str, str] = {}
    if options.command_config is not None:
        text = read_text("--command-config", options.command_config)
        try:
            properties = parse_properties(text)
        except ValueError as error:
            raise UsageError(f"--command-config {options.command_config}: {BAD_ESCAPE} ({error})") from None
    bootstrap = options.bootstrap or properties.get("bootstrap.servers") or environment.get(BOOTSTRAP)
    properties["bootstrap.servers"] = bootstrap or DEFAULT_BOOTSTRAP
    found = settings_of(properties)
    if options.timeout is not None:
        found = replace(found, timeout=options.timeout, request_timeout=min(found.request_timeout, options.timeout))
    if options.tls or options.ca or options.cert:
        tls = found.tls or TlsSettings()
        changes: dict[str, Any] = {"ca": options.ca} if options.ca else {}
        if options.cert:
            changes |= {"certificate": options.cert, "key": options.cert_key}
        found = replace(found, tls=replace(tls, **changes))
    mechanism = options.sasl_mechanism
    if mechanism is not None and mechanism not in MECHANISMS:
        raise UsageError(f"--sasl-mechanism {mechanism}: expected {', '.join(MECHANISMS)}")
    token = options.token or environment.get(TOKEN, "")
    if options.user is not None:
        name, colon, password = options.user.partition(":")
        if not colon:
            password = environment.get(PASSWORD) or _ask(name)
        found = replace(found, sasl=SaslSettings(mechanism=mechanism, user=name, password=password))
    elif token and (found.sasl is None or mechanism == "OAUTHBEARER"):
        found = replace(found, sasl=SaslSettings(mechanism="OAUTHBEARER", token=token))
    elif mechanism is not None:
        raise UsageError("--sasl-mechanism: needs --user or --token")
    elif found.sasl is not None and found.sasl.mechanism == "OAUTHBEARER":
        raise UsageError(f"sasl.mechanism OAUTHBEARER: needs --token or {TOKEN}")
    return found


def _ask(name: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError(f"--user {name}: give a password as {name}:PASSWORD, or in {PASSWORD}")
    from getpass import getpass

    return getpass(f"Password of {name}: ")
