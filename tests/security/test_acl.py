"""What ACLs come to: deny before allow, patterns, wildcards, hosts, what one operation implies."""

from __future__ import annotations

import pytest

from pykbroker.security.acl import Acl, Acls, Entry, Filter, Operation, PatternType, Permission, Resource, ResourceType

O, P, T = Operation, PatternType, ResourceType  # noqa: E741
ALICE, BOB = "User:alice", "User:bob"


def acl(
    principal: str = ALICE,
    operation: Operation = O.READ,
    name: str = "t",
    *,
    pattern: PatternType = P.LITERAL,
    kind: ResourceType = T.TOPIC,
    host: str = "*",
    permission: Permission = Permission.ALLOW,
) -> Acl:
    return Acl(Resource(kind, pattern, name), Entry(principal, host, operation, permission))


def deny(*args: object, **fields: object) -> Acl:
    return acl(*args, permission=Permission.DENY, **fields)  # type: ignore[arg-type]


def allows(
    acls: list[Acl], who: str = ALICE, operation: Operation = O.READ, name: str = "t", host: str = "10.0.0.1"
) -> bool:
    return Acls(acls).allow(who, host, operation, T.TOPIC, name, default=False)


def test_without_an_acl_nothing_is_allowed_unless_that_is_the_default() -> None:
    assert not allows([])
    assert Acls().allow(ALICE, "h", O.READ, T.TOPIC, "t", default=True)
    others = Acls([acl(BOB)])
    assert not others.allow(ALICE, "h", O.READ, T.TOPIC, "t", default=True)
    assert others.allow(ALICE, "h", O.READ, T.TOPIC, "u", default=True)


@pytest.mark.parametrize("who", [ALICE, "User:*"])
@pytest.mark.parametrize("host", ["*", "10.0.0.1"])
@pytest.mark.parametrize("operation", [O.READ, O.ALL])
@pytest.mark.parametrize(("name", "pattern"), [("t", P.LITERAL), ("*", P.LITERAL), ("t", P.PREFIXED)])
def test_what_matches(who: str, host: str, operation: Operation, name: str, pattern: PatternType) -> None:
    one = acl(who, operation, name, pattern=pattern, host=host)
    assert allows([one])
    assert not allows([one, deny(who, operation, name, pattern=pattern, host=host)])
    assert not allows([acl(), deny(who, operation, name, pattern=pattern, host=host)])


def test_what_does_not_match() -> None:
    assert not allows([acl(BOB)])
    assert not allows([acl(host="10.0.0.2")])
    assert not allows([acl(operation=O.WRITE)])
    assert not allows([acl(name="u")])
    assert not allows([acl(name="tt", pattern=P.PREFIXED)])
    assert not allows([acl(name="*", pattern=P.PREFIXED)])
    assert not allows([acl(kind=T.GROUP)])


@pytest.mark.parametrize("operation", [O.READ, O.WRITE, O.DELETE, O.ALTER])
def test_these_imply_describe_but_their_denial_does_not_take_it(operation: Operation) -> None:
    assert allows([acl(operation=operation)], operation=O.DESCRIBE)
    assert allows([acl(operation=O.DESCRIBE), deny(operation=operation)], operation=O.DESCRIBE)
    assert not allows([acl(operation=O.DESCRIBE)], operation=operation)


def test_altering_configs_implies_describing_them() -> None:
    assert allows([acl(operation=O.ALTER_CONFIGS)], operation=O.DESCRIBE_CONFIGS)
    assert not allows([acl(operation=O.ALTER_CONFIGS)], operation=O.DESCRIBE)


@pytest.mark.parametrize(
    ("acls", "expected"),
    [
        ([], False),
        ([acl(operation=O.WRITE)], True),
        ([acl(operation=O.ALL, name="*")], True),
        ([acl(BOB, O.WRITE)], False),
        ([acl(operation=O.WRITE), deny(operation=O.WRITE)], False),
        ([acl(operation=O.WRITE), deny(operation=O.WRITE, name="u")], True),
        ([acl(operation=O.WRITE, name="*"), deny(operation=O.WRITE)], True),
        ([acl(operation=O.WRITE), deny(operation=O.ALL, name="*")], False),
        ([acl(operation=O.WRITE, name="team-a"), deny(operation=O.WRITE, name="team", pattern=P.PREFIXED)], False),
        ([acl(operation=O.WRITE, name="team", pattern=P.PREFIXED), deny(operation=O.WRITE, name="team")], True),
    ],
)
def test_whether_any_topic_may_be_written(acls: list[Acl], expected: bool) -> None:
    assert Acls(acls).allow_any(ALICE, "h", O.WRITE, T.TOPIC, default=False) is expected


EVERYTHING = Filter(T.ANY, P.ANY, None, None, None, O.ANY, Permission.ANY)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({}, {"lit", "*", "li", "x"}),
        ({"name": "lit"}, {"lit"}),
        ({"name": "lit", "pattern": P.MATCH}, {"lit", "*", "li"}),
        ({"name": "li", "pattern": P.PREFIXED}, {"li"}),
        ({"name": "lit", "pattern": P.PREFIXED}, set()),
        ({"name": "*", "pattern": P.LITERAL}, {"*"}),
        ({"resource_type": T.GROUP}, {"x"}),
        ({"principal": BOB}, {"x"}),
        ({"principal": "User:al"}, set()),
        ({"operation": O.WRITE}, {"x"}),
        ({"permission": Permission.DENY}, set()),
        ({"host": "*"}, {"lit", "*", "li", "x"}),
        ({"host": "h"}, set()),
    ],
)
def test_filters(change: dict[str, object], found: set[str]) -> None:
    acls = [
        *(acl(name="lit"), acl(name="*"), acl(name="li", pattern=P.PREFIXED)),
        acl(BOB, O.WRITE, "x", kind=T.GROUP),
    ]
    asked = EVERYTHING._replace(**change)
    assert {one.resource.name for one in acls if asked.matches(one)} == found
