"""`pykbroker configs`: configs of topics, brokers, loggers, groups and client metrics; what kafka-configs.sh does."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from pykbroker.cli.options import UsageError, add_verb, add_verbs, command, pair
from pykbroker.cli.output import Change, Report, changes, table

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster

TYPES = {"topic": 2, "broker": 4, "broker-logger": 8, "client-metrics": 16, "group": 32}
"""The resource types as the wire has them."""
NAMES = {number: name for name, number in TYPES.items()}
DEFAULT = "default"
"""The name that stands for the cluster-wide default of all brokers."""
SOURCES = {
    1: "DYNAMIC_TOPIC_CONFIG",
    2: "DYNAMIC_BROKER_CONFIG",
    3: "DYNAMIC_DEFAULT_BROKER_CONFIG",
    4: "STATIC_BROKER_CONFIG",
    5: "DEFAULT_CONFIG",
    6: "DYNAMIC_BROKER_LOGGER_CONFIG",
    7: "DYNAMIC_CLIENT_METRICS_CONFIG",
    8: "DYNAMIC_GROUP_CONFIG",
}
"""Where a value comes from, in Kafka's words."""
KINDS = ("unknown", "boolean", "string", "int", "short", "long", "double", "list", "class", "password")
OWN = {"topic": 1, "broker": 2, DEFAULT: 3, "broker-logger": 6, "client-metrics": 7, "group": 8}
"""The source of what somebody has set for the very thing while brokers ran."""
SET, DELETE, APPEND, SUBTRACT = range(4)
COLUMNS = ("type", "name", "key", "value", "source")
ALL_COLUMNS = (*COLUMNS, "kind", "read_only")
SENSITIVE = "(hidden)"


def parser() -> Parser:
    """The command's options."""
    made = command("configs", "Configs of topics, brokers, groups: kafka-configs.sh, spelled for people.")
    verbs = add_verbs(made)
    verb = add_verb(verbs, "list", list_verb, "List what has configs of its own.")
    verb.add_argument("--type", choices=TYPES, metavar="TYPE", help=f"only {', '.join(TYPES)}")
    verb = add_verb(verbs, "describe", describe, "Show configs: those that were set, or all with --all.")
    _entity(verb, names="*")
    verb.add_argument("--all", action="store_true", help="defaults, too")
    verb.add_argument("--key", metavar="KEY", action="append", help="only this key (may be repeated)")
    verb = add_verb(verbs, "alter", alter, "Change configs while brokers run.")
    _entity(verb, names="+")
    add = verb.add_argument
    add("--set", metavar="KEY=VALUE", type=pair, action="append", default=[], help="set a key (may be repeated)")
    add("--delete", metavar="KEY", action="append", default=[], help="back to the default (may be repeated)")
    add("--append", metavar="KEY=VALUE", type=pair, action="append", default=[], help="add to a list")
    add("--subtract", metavar="KEY=VALUE", type=pair, action="append", default=[], help="take from a list")
    add("--validate-only", action="store_true", help="only say whether it could be done")
    return made


def _entity(verb: Parser, *, names: str) -> None:
    verb.add_argument("type", metavar="TYPE", choices=TYPES, help=", ".join(TYPES))
    help_text = f"names or ids; for brokers also `{DEFAULT}`, what holds for all of them"
    verb.add_argument("names", metavar="NAME", nargs=names, help=help_text)


def _resource(options: argparse.Namespace, name: str) -> tuple[int, str]:
    if options.type in ("broker", "broker-logger"):
        if name == DEFAULT and options.type == "broker":
            return TYPES["broker"], ""
        if not name.isdecimal():
            raise UsageError(f"{options.type} {name!r}: expected a broker's id")
    return TYPES[options.type], name


def _shown(kind: int, name: str) -> str:
    return name or (DEFAULT if kind == TYPES["broker"] else "")


async def list_verb(cluster: Cluster, options: argparse.Namespace) -> Report:
    """ListConfigResources (KIP-1142); older brokers know client metrics alone."""
    from pykbroker.client.connection import Versioned
    from pykbroker.protocol.api_keys import ApiKey
    from pykbroker.protocol.message import Message
    from pykbroker.protocol.messages.list_config_resources import ListConfigResourcesRequest

    def build(version: int) -> Message:
        wanted = [TYPES[options.type]] if options.type and version else []
        return ListConfigResourcesRequest(resource_types=wanted)

    from pykbroker.client.cluster import raise_for

    answer = await cluster.any(Versioned(ApiKey.LIST_CONFIG_RESOURCES, build))
    raise_for(answer.error_code)
    rows = [
        {
            "type": NAMES.get(one.resource_type, str(one.resource_type)),
            "name": _shown(one.resource_type, one.resource_name),
        }
        for one in answer.config_resources
    ]
    return table(("type", "name"), sorted(rows, key=lambda row: (row["type"], row["name"])), "nothing has any")


async def describe(cluster: Cluster, options: argparse.Namespace) -> Report:
    """What is set, with where it comes from."""
    from pykbroker.client.cluster import raise_for
    from pykbroker.protocol.messages.describe_configs import DescribeConfigsRequest

    names = options.names or await _all_names(cluster, options.type)
    rows: list[dict[str, Any]] = []
    for kind, name in (_resource(options, name) for name in names):
        of = DescribeConfigsRequest.Resource(resource_type=kind, resource_name=name, configuration_keys=options.key)
        request = DescribeConfigsRequest(resources=[of], include_synonyms=False)
        to_broker = options.type in ("broker", "broker-logger") and name
        # A broker's configs are known to itself alone.
        answer = await (cluster.node(int(name), request) if to_broker else cluster.any(request))
        (result,) = answer.results
        raise_for(result.error_code, result.error_message or f"{options.type} {name}")
        rows += (
            _row(options.type, _shown(kind, name), one)
            for one in sorted(result.configs, key=lambda one: one.name)
            if options.all or options.key or _is_own(one, OWN[options.type if name else DEFAULT])
        )
    nothing = "nothing is set" if options.all or options.key else "nothing is set: --all shows defaults, too"
    return table(ALL_COLUMNS if options.all else COLUMNS, rows, nothing)


def _is_own(one: Any, source: int) -> bool:
    return one.config_source == source if one.config_source >= 0 else not one.is_default


def _row(kind: str, name: str, one: Any) -> dict[str, Any]:
    return {
        "type": kind,
        "name": name,
        "key": one.name,
        "value": SENSITIVE if one.is_sensitive and one.value is None else one.value,
        "source": SOURCES.get(one.config_source),
        "kind": KINDS[one.config_type] if one.config_type < len(KINDS) else None,
        "read_only": one.read_only,
        "sensitive": one.is_sensitive,
    }


async def _all_names(cluster: Cluster, kind: str) -> list[str]:
    if kind == "topic":
        return sorted(topic.name or "" for topic in (await cluster.metadata()).topics if not topic.error_code)
    if kind in ("broker", "broker-logger"):
        await cluster.metadata([])
        return [*([DEFAULT] if kind == "broker" else []), *map(str, sorted(cluster.brokers))]
    from pykbroker.protocol.messages.list_config_resources import ListConfigResourcesRequest

    answer = await cluster.any(ListConfigResourcesRequest(resource_types=[TYPES[kind]]))
    return sorted(one.resource_name for one in answer.config_resources)


async def alter(cluster: Cluster, options: argparse.Namespace) -> Report:
    """IncrementalAlterConfigs, one request for each resource: a broker's own go to it."""
    from pykbroker.client.cluster import error_of
    from pykbroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest

    of = IncrementalAlterConfigsRequest.Resource
    configs = [of.Config(name=key, config_operation=kind, value=value) for kind, key, value in _operations(options)]
    if not configs:
        raise UsageError("expected --set, --delete, --append or --subtract")
    said = "could change" if options.validate_only else "changed"
    done: list[Change] = []
    for name in options.names:
        kind, resource = _resource(options, name)
        request = IncrementalAlterConfigsRequest(validate_only=options.validate_only)
        request.resources = [of(resource_type=kind, resource_name=resource, configs=configs)]
        to_broker = kind in (TYPES["broker"], TYPES["broker-logger"]) and resource
        answer = await (cluster.node(int(resource), request) if to_broker else cluster.controller(request))
        (response,) = answer.responses
        error = error_of(response.error_code, response.error_message) if response.error_code else None
        done.append(Change(name, f"{said} the configs of {options.type} {name}", error, {"type": options.type}))
    return changes("name", done)


def _operations(options: argparse.Namespace) -> Iterator[tuple[int, str, str | None]]:
    for key, value in options.set:
        yield SET, key, value
    for key in options.delete:
        yield DELETE, key, None
    for key, value in options.append:
        yield APPEND, key, value
    for key, value in options.subtract:
        yield SUBTRACT, key, value
