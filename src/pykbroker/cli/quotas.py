"""`pykbroker quotas`: how much users, client ids and addresses may do; what kafka-configs.sh does with those."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from pykbroker.cli.options import UsageError, add_verb, add_verbs, command, pair
from pykbroker.cli.output import Change, Report, changes, table

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster

ENTITIES = ("user", "client-id", "ip")
EXACT, DEFAULT, ANY = range(3)
DEFAULT_NAME = "<default>"
KEYS = (
    *("producer_byte_rate", "consumer_byte_rate", "request_percentage"),
    *("controller_mutation_rate", "connection_creation_rate"),
)
COLUMNS = ("user", "client_id", "ip", "quota", "value")


def parser() -> Parser:
    """The command's options."""
    made = command("quotas", f"Quotas of users, client ids and addresses: {', '.join(KEYS)}.")
    verbs = add_verbs(made)
    verb = add_verb(verbs, "describe", describe, "Show quotas: all, or those of the entities that options name.")
    _entities(verb)
    verb.add_argument(
        "--strict",
        action="store_true",
        help="not those of a user together with a client id where a user alone is named",
    )
    verb = add_verb(verbs, "alter", alter, "Set or take away quotas of one entity.")
    _entities(verb)
    verb.add_argument("--set", metavar="QUOTA=VALUE", type=pair, action="append", default=[], help=", ".join(KEYS))
    verb.add_argument("--delete", metavar="QUOTA", action="append", default=[], help="no quota (may be repeated)")
    verb.add_argument("--validate-only", action="store_true", help="only say whether it could be done")
    return made


def _entities(verb: Parser) -> None:
    verb.add_argument(
        "entities",
        metavar="ENTITY",
        nargs="*",
        type=_entity,
        help="user=NAME, client-id=NAME, user=NAME client-id=NAME together, or ip=ADDRESS; user-default, "
        "client-id-default and ip-default for all without quotas of their own",
    )


def _entity(text: str) -> tuple[str, int, str | None]:
    kind, equals, name = text.partition("=")
    if kind in ENTITIES and (name or not equals):
        return (kind, EXACT, name) if equals else (kind, ANY, None)
    if not equals and kind.removesuffix("-default") in ENTITIES:
        return kind.removesuffix("-default"), DEFAULT, None
    raise argparse.ArgumentTypeError(f"{text!r}: expected TYPE=NAME or TYPE-default, of {', '.join(ENTITIES)}")


def _check(entities: list[tuple[str, int, str | None]]) -> None:
    kinds = [kind for kind, _, _ in entities]
    if len(set(kinds)) != len(kinds) or ("ip" in kinds and len(kinds) > 1):
        raise UsageError("one user, one client id, both of them, or one ip")


async def describe(cluster: Cluster, options: argparse.Namespace) -> Report:
    """A line for each quota."""
    from pykbroker.client.cluster import raise_for
    from pykbroker.protocol.messages.describe_client_quotas import DescribeClientQuotasRequest

    request = DescribeClientQuotasRequest(strict=options.strict)
    _check(options.entities)
    of = DescribeClientQuotasRequest.Component
    request.components = [of(entity_type=kind, match_type=how, match=name) for kind, how, name in options.entities]
    answer = await cluster.any(request)
    raise_for(answer.error_code, answer.error_message)
    rows = [
        {**_columns(entry.entity), "quota": one.key, "value": _plain(one.value)}
        for entry in answer.entries or ()
        for one in entry.values
    ]
    rows.sort(key=lambda row: [str(row[column] or "") for column in COLUMNS])
    return table(COLUMNS, rows, "no quotas")


def _columns(entity: Any) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(("user", "client_id", "ip"))
    for one in entity:
        found[one.entity_type.replace("-", "_")] = DEFAULT_NAME if one.entity_name is None else one.entity_name
    return found


def _plain(value: float) -> float | int:
    return int(value) if value.is_integer() else value


async def alter(cluster: Cluster, options: argparse.Namespace) -> Report:
    """AlterClientQuotas of one entity."""
    from pykbroker.client.cluster import error_of
    from pykbroker.protocol.messages.alter_client_quotas import AlterClientQuotasRequest

    _check(options.entities)
    if not options.entities or any(how == ANY for _, how, _ in options.entities):
        raise UsageError("expected whose: user=NAME, client-id=NAME, ip=ADDRESS, or user-default and so on")
    of = AlterClientQuotasRequest.Entry
    operations = [of.Op(key=key, value=_number(key, text)) for key, text in options.set]
    operations += [of.Op(key=key, remove=True) for key in options.delete]
    if not operations:
        raise UsageError("expected --set or --delete")
    entry = of(ops=operations)
    entry.entity = [of.Entity(entity_type=kind, entity_name=name) for kind, _, name in options.entities]
    request = AlterClientQuotasRequest(entries=[entry], validate_only=options.validate_only)
    (result,) = (await cluster.controller(request)).entries
    named = ", ".join(f"{kind} {DEFAULT_NAME if name is None else name}" for kind, _, name in options.entities)
    said = "could change" if options.validate_only else "changed"
    error = error_of(result.error_code, result.error_message) if result.error_code else None
    return changes("entity", [Change(named, f"{said} the quotas of {named}", error, _columns(result.entity))])


def _number(key: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(f"--set {key}={text}: expected a number") from None
