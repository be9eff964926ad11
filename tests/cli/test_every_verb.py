"""Every verb of every command, without a broker and without rights: one line that says what to do."""

import json
import socket
from collections.abc import Iterator

import pytest
from tests.cli.conftest import Command

from pykbroker.cli.completion import whole_parser
from pykbroker.cli.options import Parser
from pykbroker.testing import KafkaBroker

FILES = {"dump-log", "verify", "completion", "start"}
"""Commands that talk to no cluster."""
PLAN = json.dumps({"version": 1, "partitions": [{"topic": "hidden", "partition": 0, "replicas": [1]}]})
HIDDEN = "TOPIC_AUTHORIZATION_FAILED"
CLUSTER = "CLUSTER_AUTHORIZATION_FAILED"
GROUP = "GROUP_AUTHORIZATION_FAILED"
TRANSACTION = "TRANSACTIONAL_ID_AUTHORIZATION_FAILED"
NOTHING = "GROUP_ID_NOT_FOUND"
"""A group that may not be seen is as one that isn't there."""

VERBS = {
    "topics list": ("", None),
    "topics describe": ("hidden", HIDDEN),
    "topics create": ("mine", HIDDEN),
    "topics alter": ("hidden --partitions 9", HIDDEN),
    "topics delete": ("hidden", HIDDEN),
    "produce": ("hidden --value x", HIDDEN),
    "consume": ("hidden", HIDDEN),
    "groups list": ("", None),
    "groups describe": ("secret", NOTHING),
    "groups reset-offsets": ("secret --topic hidden --to-earliest", GROUP),
    "groups delete": ("secret", GROUP),
    "groups delete-offsets": ("secret --topic hidden", NOTHING),
    "offsets": ("hidden", HIDDEN),
    "configs list": ("", CLUSTER),
    "configs describe": ("topic hidden", HIDDEN),
    "configs alter": ("topic hidden --set retention.ms=1", HIDDEN),
    "acls list": ("", CLUSTER),
    "acls add": ("--topic hidden --allow User:bob", CLUSTER),
    "acls remove": ("--topic hidden --yes", CLUSTER),
    "users list": ("", CLUSTER),
    "users add": ("eve:secret", CLUSTER),
    "users delete": ("alice", CLUSTER),
    "tokens list": ("", None),
    "tokens create": ("--owner User:alice", "DELEGATION_TOKEN_AUTHORIZATION_FAILED"),
    "tokens renew": ("bm90aGluZw==", "DELEGATION_TOKEN_NOT_FOUND"),
    "tokens expire": ("bm90aGluZw==", "DELEGATION_TOKEN_NOT_FOUND"),
    "quotas describe": ("", CLUSTER),
    "quotas alter": ("user=bob --set producer_byte_rate=1", CLUSTER),
    "cluster info": ("", None),
    "cluster status": ("", None),
    "cluster quorum": ("", "doesn't serve DescribeQuorum"),
    "cluster unregister": ("7", CLUSTER),
    "log-dirs describe": ("", CLUSTER),
    "delete-records": ("hidden:0:1 --yes", HIDDEN),
    "reassign list": ("", CLUSTER),
    "reassign generate": ("hidden --brokers 1", HIDDEN),
    "reassign execute": ("-", HIDDEN),
    "reassign verify": ("-", CLUSTER),
    "reassign cancel": ("-", CLUSTER),
    "elect-leaders": ("--all", CLUSTER),
    "transactions list": ("", None),
    "transactions describe": ("secret", TRANSACTION),
    "transactions producers": ("hidden:0", HIDDEN),
    "transactions find-hanging": ("--topic hidden", HIDDEN),
    "transactions abort": ("hidden:0 --start-offset 0", HIDDEN),
    "transactions terminate": ("secret", TRANSACTION),
    "features describe": ("", None),
    "features upgrade": ("transaction.version=1", CLUSTER),
    "features downgrade": ("transaction.version=1", CLUSTER),
    "api-versions": ("", None),
}
"""What each is given, and what it says to one without rights; None where it has an answer for everybody."""


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    """Alice may do all, bob nothing."""
    config = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:alice",
        "delegation.token.secret.key": "a secret of the brokers",
    }
    with KafkaBroker(users={"alice": "secret", "bob": "hidden"}, config=config) as broker:
        yield broker


def test_every_verb_is_in_the_table() -> None:
    commands = dict(below(whole_parser()))
    found = set()
    for name, parser in commands.items():
        verbs = [f"{name} {verb}" for verb, _ in below(parser)] or [name]
        found.update(verbs if name not in FILES else ())
    assert found == set(VERBS)


def below(parser: Parser) -> Iterator[tuple[str, Parser]]:
    for action in parser._actions:
        if action.nargs == "A..." and action.choices:
            yield from action.choices.items()


@pytest.mark.parametrize("verb", VERBS)
def test_no_broker_is_there(verb: str, run: Command) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        there = f"127.0.0.1:{unused.getsockname()[1]}"
        ran = run(*verb.split(), *VERBS[verb][0].split(), "--bootstrap", there, "--json", stdin=PLAN.encode())
    assert (ran.status, ran.out) == (1, "")
    assert ran.err == (
        f"pykbroker {verb.split()[0]}: no broker answers at {there} (connection refused); start one with "
        "`pykbroker start`, or say where it is with --bootstrap HOST:PORT\n"
    )


@pytest.mark.parametrize("verb", VERBS)
def test_without_rights(verb: str, pykbroker: Command) -> None:
    words, said = VERBS[verb]
    pykbroker("topics", "create", "hidden", "--if-not-exists", "--user", "alice:secret")
    ran = pykbroker(*verb.split(), *words.split(), "--user", "bob:hidden", stdin=PLAN.encode())
    assert "hidden" not in ran.out
    if said is None:
        assert ran.status == 0, ran
    else:
        assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
        assert said in ran.err
        assert "; " in ran.err
