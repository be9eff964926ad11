"""`pykbroker users`: SCRAM users in the cluster's metadata; what kafka-configs.sh does with entity type users.

Salting happens here: no broker sees a password (KIP-554).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pykbroker.cli.options import PASSWORD, UsageError, add_verb, add_verbs, command, positive
from pykbroker.cli.output import Change, Report, changes, table

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster
    from pykbroker.protocol.message import Message

MECHANISMS = {"SCRAM-SHA-256": 1, "SCRAM-SHA-512": 2}
DIGESTS = {1: "sha256", 2: "sha512"}
NAMES = {number: name for name, number in MECHANISMS.items()}
ITERATIONS = 4096
"""Kafka's default, and the least that it takes."""
NEW_PASSWORD = "PYKBROKER_NEW_PASSWORD"
COLUMNS = ("user", "mechanism", "iterations")


def parser() -> Parser:
    """The command's options."""
    made = command("users", "Users with SCRAM passwords, kept by the cluster.")
    verbs = add_verbs(made)
    verb = add_verb(verbs, "list", list_verb, "List users.")
    verb.add_argument("names", metavar="NAME", nargs="*", help="only these")
    verb = add_verb(verbs, "add", add_user, "Make a user, or give one another password.")
    add = verb.add_argument
    add(
        "name",
        metavar="NAME[:PASSWORD]",
        help=f"the user; without a password {NEW_PASSWORD} is taken, or it is asked for",
    )
    add("--mechanism", choices=MECHANISMS, action="append", metavar="NAME", help="SCRAM-SHA-256 or -512 (default both)")
    add("--iterations", metavar="N", type=positive, default=ITERATIONS, help=f"of the salting (default {ITERATIONS})")
    verb = add_verb(verbs, "delete", delete, "Delete users.")
    verb.add_argument("names", metavar="NAME", nargs="+", help="the users")
    verb.add_argument("--mechanism", choices=MECHANISMS, action="append", metavar="NAME", help="only this one")
    return made


async def list_verb(cluster: Cluster, options: argparse.Namespace) -> Report:
    """A line for each mechanism of each user; never a secret."""
    rows = []
    for result in await _described(cluster, options.names or None):
        from pykbroker.client.cluster import raise_for

        raise_for(result.error_code, result.error_message or f"user {result.user}")
        rows += [
            {"user": result.user, "mechanism": NAMES.get(one.mechanism), "iterations": one.iterations}
            for one in result.credential_infos
        ]
    rows.sort(key=lambda row: (row["user"], row["mechanism"]))
    return table(COLUMNS, rows, "no users yet: `pykbroker users add NAME` makes one")


async def _described(cluster: Cluster, names: list[str] | None) -> list[Any]:
    from pykbroker.client.cluster import raise_for
    from pykbroker.protocol.messages.describe_user_scram_credentials import DescribeUserScramCredentialsRequest

    of = DescribeUserScramCredentialsRequest.User
    asked = None if names is None else [of(name=name) for name in names]
    answer = await cluster.any(DescribeUserScramCredentialsRequest(users=asked))
    raise_for(answer.error_code, answer.error_message)
    found: list[Any] = answer.results
    return found


async def add_user(cluster: Cluster, options: argparse.Namespace) -> Report:
    """A salted password for each mechanism."""
    from pykbroker.protocol.messages.alter_user_scram_credentials import AlterUserScramCredentialsRequest

    name, colon, password = options.name.partition(":")
    if not colon:
        password = os.environ.get(NEW_PASSWORD) or _ask(name)
    if not name or not password:
        raise UsageError("expected NAME:PASSWORD")
    requests = []
    for mechanism in sorted({MECHANISMS[one] for one in options.mechanism or MECHANISMS}):
        salt = secrets.token_bytes(24)
        salted = hashlib.pbkdf2_hmac(DIGESTS[mechanism], password.encode(), salt, options.iterations)
        upsertion = AlterUserScramCredentialsRequest.Upsertion(
            name=name, mechanism=mechanism, iterations=options.iterations, salt=salt, salted_password=salted
        )
        requests.append(AlterUserScramCredentialsRequest(upsertions=[upsertion]))
    return changes("user", await _altered(cluster, requests, "the password of user {} is set"))


def _ask(name: str) -> str:
    if not sys.stdin.isatty():
        raise UsageError(f"{name}: give a password as {name}:PASSWORD, or in {NEW_PASSWORD} ({PASSWORD} is your own)")
    from getpass import getpass

    password = getpass(f"New password of {name}: ")
    if password != getpass("Once more: "):
        raise UsageError("the passwords differ")
    return password


async def delete(cluster: Cluster, options: argparse.Namespace) -> Report:
    """All mechanisms that a user has, unless one is named."""
    from pykbroker.client.cluster import error_of
    from pykbroker.protocol.messages.alter_user_scram_credentials import AlterUserScramCredentialsRequest

    wanted = {MECHANISMS[one] for one in options.mechanism or MECHANISMS}
    requests = []
    missing: list[Change] = []
    for result in await _described(cluster, options.names):
        if result.error_code:
            missing.append(Change(result.user, "", error_of(result.error_code, result.error_message)))
        for one in result.credential_infos:
            if one.mechanism in wanted:
                deletion = AlterUserScramCredentialsRequest.Deletion(name=result.user, mechanism=one.mechanism)
                requests.append(AlterUserScramCredentialsRequest(deletions=[deletion]))
    return changes("user", [*await _altered(cluster, requests, "deleted user {}"), *missing])


async def _altered(cluster: Cluster, requests: Sequence[Message], sentence: str) -> list[Change]:
    """A request for each mechanism, because Kafka takes a user only once in one; a user's first error is its own."""
    from pykbroker.client.cluster import error_of

    done: dict[str, Change] = {}
    for request in requests:
        for result in (await cluster.controller(request)).results:
            error = error_of(result.error_code, result.error_message) if result.error_code else None
            if result.user not in done or done[result.user].error is None:
                done[result.user] = Change(result.user, sentence.format(result.user), error)
    return list(done.values())
