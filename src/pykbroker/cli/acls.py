"""`pykbroker acls`: who may do what; what kafka-acls.sh does."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from pykbroker.cli.options import UsageError, add_verb, add_verbs, command
from pykbroker.cli.output import Change, Report, Table, changes, confirm, table

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster

TYPES = {"any": 1, "topic": 2, "group": 3, "cluster": 4, "transactional-id": 5, "delegation-token": 6, "user": 7}
PATTERNS = {"any": 1, "match": 2, "literal": 3, "prefixed": 4}
OPERATIONS = {
    "any": 1,
    "all": 2,
    "read": 3,
    "write": 4,
    "create": 5,
    "delete": 6,
    "alter": 7,
    "describe": 8,
    "cluster-action": 9,
    "describe-configs": 10,
    "alter-configs": 11,
    "idempotent-write": 12,
    "create-tokens": 13,
    "describe-tokens": 14,
    "two-phase-commit": 15,
}
PERMISSIONS = {"any": 1, "deny": 2, "allow": 3}
CLUSTER = "kafka-cluster"
COLUMNS = ("principal", "permission", "operation", "resource", "name", "pattern", "host")
"""The numbers are the wire's (org.apache.kafka.common.acl, …resource)."""


class Rule(NamedTuple):
    """An access rule, or a filter of them where parts are null or `any`."""

    resource: str
    name: str | None
    pattern: str
    principal: str | None
    host: str | None
    operation: str
    permission: str

    @property
    def sentence(self) -> str:
        """The rule as a person would say it."""
        host = "" if self.host == "*" else f" from {self.host}"
        prefix = "names beginning with " if self.pattern == "prefixed" else ""
        return f"{self.permission} {self.principal} to {self.operation} {self.resource} {prefix}{self.name}{host}"


def parser() -> Parser:
    """The command's options."""
    made = command("acls", "Who may do what: kafka-acls.sh, spelled for people.")
    verbs = add_verbs(made)
    verb = add_verb(verbs, "list", list_verb, "List access rules; options say of what.")
    _resources(verb)
    verb.add_argument("--principal", metavar="TYPE:NAME", help="only those of a principal, like User:alice")
    verb = add_verb(verbs, "add", add_rules, "Allow or deny operations.")
    _resources(verb)
    _rules(verb)
    verb = add_verb(verbs, "remove", remove, "Take access rules away: those that options describe.")
    _resources(verb)
    _rules(verb)
    verb.add_argument("--yes", action="store_true", help="don't ask")
    return made


def _resources(verb: Parser) -> None:
    group = verb.add_argument_group("on what")
    add = group.add_argument
    for name in ("topic", "group", "transactional-id", "delegation-token"):
        metavar = name.upper() if name in ("topic", "group") else "NAME"
        text = f"a {name.replace('-', ' ')}, or * for all (may be repeated)"
        add(f"--{name}", metavar=metavar, action="append", default=[], help=text)
    add("--user-principal", metavar="TYPE:NAME", action="append", default=[], help="a user whose tokens it is about")
    add("--cluster", action="store_true", help="the cluster itself")
    add("--prefixed", action="store_true", help="the names are the beginnings of names")
    add("--pattern", choices=PATTERNS, metavar="TYPE", help="literal, prefixed; to list also match and any")


def _rules(verb: Parser) -> None:
    group = verb.add_argument_group("who, and what")
    add = group.add_argument
    add("--allow", metavar="TYPE:NAME", action="append", default=[], help="a principal to allow, like User:alice")
    add("--deny", metavar="TYPE:NAME", action="append", default=[], help="a principal to deny")
    add("--allow-host", metavar="IP", action="append", default=[], help="allow only from here (default: anywhere)")
    add("--deny-host", metavar="IP", action="append", default=[], help="deny only from here (default: anywhere)")
    names = ", ".join(name for name in OPERATIONS if name != "any")
    add("--operation", metavar="NAME", action="append", default=[], choices=OPERATIONS, help=f"{names} (default: all)")
    add("--producer", action="store_true", help="what a producer to --topic needs (and --transactional-id)")
    add("--consumer", action="store_true", help="what a consumer of --topic in --group needs")
    add("--idempotent", action="store_true", help="with --producer: idempotent, for brokers before 2.8")


def _targets(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    for name in ("topic", "group", "transactional_id", "delegation_token"):
        for each in getattr(options, name):
            yield name.replace("_", "-"), each
    for each in options.user_principal:
        yield "user", each
    if options.cluster:
        yield "cluster", CLUSTER


def _pattern(options: argparse.Namespace, default: str) -> str:
    return "prefixed" if options.prefixed else options.pattern or default


def _wanted(options: argparse.Namespace) -> list[Rule]:
    """The rules that the options describe, without principals that aren't named. Raises UsageError."""
    operations: dict[tuple[str, str], list[str]] = {}
    targets = list(_targets(options))
    if options.producer or options.consumer:
        for target in targets:
            operations[target] = _convenient(options, target[0])
        if not options.topic:
            raise UsageError("--producer, --consumer: need --topic")
        if options.consumer and not options.group:
            raise UsageError("--consumer: needs --group")
        if options.producer and options.idempotent:
            operations["cluster", CLUSTER] = ["idempotent-write"]
    else:
        operations = {target: options.operation or ["all"] for target in targets}
    pattern = _pattern(options, "literal")
    whom = [(one, "allow", host) for one in options.allow for host in options.allow_host or ["*"]]
    whom += [(one, "deny", host) for one in options.deny for host in options.deny_host or ["*"]]
    return [
        Rule(kind, name, "literal" if kind == "cluster" else pattern, principal, host, operation, permission)
        for (kind, name), names in operations.items()
        for principal, permission, host in whom
        for operation in names
    ]


def _convenient(options: argparse.Namespace, kind: str) -> list[str]:
    found: list[str] = []
    if options.producer and kind == "topic":
        found += ["write", "describe", "create"]
    if options.producer and kind == "transactional-id":
        found += ["write", "describe"]
    if options.consumer and kind == "topic":
        found += ["read", "describe"]
    if options.consumer and kind == "group":
        found.append("read")
    return list(dict.fromkeys(found))


def _check(options: argparse.Namespace) -> None:
    for principal in (*options.allow, *options.deny):
        if ":" not in principal:
            raise UsageError(f"{principal!r}: expected a principal like User:{principal}")
    if not any(_targets(options)):
        raise UsageError("expected --topic, --group, --cluster, … that says on what")
    if not options.allow and not options.deny:
        raise UsageError("expected --allow or --deny")
    if _pattern(options, "literal") not in ("literal", "prefixed"):
        raise UsageError(f"--pattern {options.pattern}: a rule is literal or prefixed")
    if (options.producer or options.consumer) and (options.operation or options.deny):
        raise UsageError("--producer, --consumer: not with --operation or --deny")


async def list_verb(cluster: Cluster, options: argparse.Namespace) -> Report:
    """Rules by resource; without options all of them."""
    from pykbroker.client.cluster import raise_for
    from pykbroker.protocol.messages.describe_acls import DescribeAclsRequest

    found: set[Rule] = set()
    targets: Sequence[tuple[str, str | None]] = list(_targets(options)) or [("any", None)]
    for kind, name in targets:
        pattern = _pattern(options, "any" if name is None else "match")
        answer = await cluster.any(
            DescribeAclsRequest(
                resource_type_filter=TYPES[kind],
                resource_name_filter=name,
                pattern_type_filter=PATTERNS[pattern],
                principal_filter=options.principal,
                host_filter=None,
                operation=OPERATIONS["any"],
                permission_type=PERMISSIONS["any"],
            )
        )
        raise_for(answer.error_code, answer.error_message)
        found |= {_rule(resource, acl) for resource in answer.resources for acl in resource.acls}
    return table(COLUMNS, [rule._asdict() for rule in _sorted(found)], "no access rules")


def _sorted(rules: set[Rule]) -> list[Rule]:
    return sorted(rules, key=lambda rule: [part or "" for part in rule])


def _named(table: dict[str, int], number: int) -> str:
    return next((name for name, known in table.items() if known == number), f"unknown ({number})")


def _rule(resource: Any, acl: Any) -> Rule:
    return Rule(
        _named(TYPES, resource.resource_type),
        resource.resource_name,
        _named(PATTERNS, resource.pattern_type),
        acl.principal,
        acl.host,
        _named(OPERATIONS, acl.operation),
        _named(PERMISSIONS, acl.permission_type),
    )


async def add_rules(cluster: Cluster, options: argparse.Namespace) -> Report:
    """CreateAcls; a rule that is there already is no error."""
    from pykbroker.client.cluster import error_of
    from pykbroker.protocol.messages.create_acls import CreateAclsRequest

    _check(options)
    rules = _wanted(options)
    creations = [
        CreateAclsRequest.Creation(
            resource_type=TYPES[rule.resource],
            resource_name=rule.name or "",
            resource_pattern_type=PATTERNS[rule.pattern],
            principal=rule.principal or "",
            host=rule.host or "*",
            operation=OPERATIONS[rule.operation],
            permission_type=PERMISSIONS[rule.permission],
        )
        for rule in rules
    ]
    answer = await cluster.controller(CreateAclsRequest(creations=creations))
    done = [
        Change(
            rule.sentence,
            rule.sentence,
            error_of(result.error_code, result.error_message) if result.error_code else None,
            rule._asdict(),
        )
        for rule, result in zip(rules, answer.results, strict=True)
    ]
    return changes("rule", done)


async def remove(cluster: Cluster, options: argparse.Namespace) -> Report:
    """DeleteAcls, after a look at what it would take, and a question."""
    from pykbroker.client.cluster import raise_for
    from pykbroker.protocol.messages.delete_acls import DeleteAclsRequest

    filters = _filters(options)
    if not options.yes:
        found = await _matching(cluster, filters)
        if not found:
            return Report([], notes=["no access rules like that"])
        rows = [rule._asdict() for rule in found]
        question = "\n".join([*Table(COLUMNS, rows).lines(), "Remove these?"])
        if not confirm(question):
            raise UsageError(f"{len(found)} access rules would be removed: --yes says so")
    request = DeleteAclsRequest(
        filters=[
            DeleteAclsRequest.Filter(
                resource_type_filter=TYPES[rule.resource],
                resource_name_filter=rule.name,
                pattern_type_filter=PATTERNS[rule.pattern],
                principal_filter=rule.principal,
                host_filter=rule.host,
                operation=OPERATIONS[rule.operation],
                permission_type=PERMISSIONS[rule.permission],
            )
            for rule in filters
        ]
    )
    removed: set[Rule] = set()
    for result in (await cluster.controller(request)).filter_results:
        raise_for(result.error_code, result.error_message)
        for acl in result.matching_acls:
            raise_for(acl.error_code, acl.error_message)
            removed.add(_rule(acl, acl))
    return table(COLUMNS, [rule._asdict() for rule in _sorted(removed)], "no access rules like that")


def _filters(options: argparse.Namespace) -> list[Rule]:
    """What to remove: exact rules where principals are named, otherwise all of the resources. Raises UsageError."""
    if options.allow or options.deny:
        _check(options)
        return [
            rule if options.operation or options.producer or options.consumer else rule._replace(operation="any")
            for rule in _wanted(options)
        ]
    targets = list(_targets(options))
    if not targets:
        raise UsageError("expected --topic, --group, --cluster, … that says on what")
    pattern = _pattern(options, "literal")
    return [
        Rule(kind, name, "literal" if kind == "cluster" else pattern, None, None, operation, "any")
        for kind, name in targets
        for operation in options.operation or ["any"]
    ]


async def _matching(cluster: Cluster, filters: Sequence[Rule]) -> list[Rule]:
    from pykbroker.client.cluster import raise_for
    from pykbroker.protocol.messages.describe_acls import DescribeAclsRequest

    found: set[Rule] = set()
    for rule in filters:
        answer = await cluster.any(
            DescribeAclsRequest(
                resource_type_filter=TYPES[rule.resource],
                resource_name_filter=rule.name,
                pattern_type_filter=PATTERNS[rule.pattern],
                principal_filter=rule.principal,
                host_filter=rule.host,
                operation=OPERATIONS[rule.operation],
                permission_type=PERMISSIONS[rule.permission],
            )
        )
        raise_for(answer.error_code, answer.error_message)
        found |= {_rule(resource, acl) for resource in answer.resources for acl in resource.acls}
    return _sorted(found)
