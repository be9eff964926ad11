"""The page of differences: what is on purpose otherwise than in Apache Kafka, and the test that knows it.

The keys come from the declarations of the configs, the answers from the recorded conversations: something that differs
and has no line here fails tests/docs/test_differences.py.
"""

from __future__ import annotations

import runpy
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pykbroker.config.broker import BROKER_KEYS

TESTS = Path(__file__).parents[1] / "tests"
ANSWERS: Mapping[tuple[str, str], str] = runpy.run_path(str(TESTS / "compat" / "wire" / "wire_differences.py"))[
    "DIFFERENCES"
]

DEFAULTS = {
    "group.initial.rebalance.delay.ms": "the first consumer of a group doesn't wait for others that may never come",
    "listeners": "a broker that was just started isn't offered to the network",
    "node.id": "a broker starts without a configuration",
}


class Behaviour(NamedTuple):
    """What is done here, why, and the test that holds it to it."""

    what: str
    why: str
    file: str
    test: str


BEHAVIOURS = (
    Behaviour(
        "Without `advertised.listeners`, clients are told the address at which they reached the broker",
        "one broker works from its host and from containers beside it, without a setting",
        "server/test_metadata_cache.py",
        "test_by_default_the_address_at_which_the_client_came",
    ),
    Behaviour(
        "Internal topics are made with as many replicas as there are brokers, up to the configured number",
        "one broker, and a cluster that is still growing, serve groups and transactions",
        "controller/test_topics.py",
        "test_internal_topics_make_do_with_the_brokers_there_are",
    ),
    Behaviour(
        "`advertised.listeners` may be changed while a broker runs, as up to Apache Kafka 3.9 with ZooKeeper",
        "a listener that is added has to be told of",
        "scenarios/test_changing_listeners.py",
        "test_an_advertised_address_changes_at_once",
    ),
    Behaviour(
        "A listener whose address in `listeners` is changed while the broker runs is opened there",
        "Apache Kafka takes the change, stays where it was, and tells the new address",
        "network/test_changing_listeners.py",
        "test_a_listener_moves",
    ),
    Behaviour(
        "`listeners` with a port in use or without usable certificates are refused while the broker runs",
        "Apache Kafka says yes and logs the failure",
        "scenarios/test_changing_listeners.py",
        "test_what_is_refused_leaves_everything_as_it_was",
    ),
    Behaviour(
        "DescribeConfigs shows `inter.broker.protocol.version`, as up to Apache Kafka 3.9",
        "user interfaces look for it, or for `metadata.version`, before they offer what newer brokers can",
        "config/test_describe.py",
        "test_what_user_interfaces_tell_the_version_by",
    ),
)

PAGE = """# Where it differs from Apache Kafka

{made}

On purpose, and nowhere else that we know of: the conversations that were recorded from Apache Kafka 4.3.0
(`tests/compat/wire/`) and the table of behaviours (`make verified` runs it against Apache Kafka itself) allow these
lines alone. What isn't there yet is named in `src/pykbroker/apis/gaps.py`.

## Defaults

| key | here | Apache Kafka | why |
| --- | --- | --- | --- |
{defaults}

`tests/config/test_reference.py` knows these.

## Answers

| conversation | step | why |
| --- | --- | --- |
{answers}

`tests/compat/wire/test_wire.py` knows these, and fails when one of them no longer differs.

## Behaviour

| what | why | known to |
| --- | --- | --- |
{behaviours}
"""


def page(made: str) -> str:
    """The page's text; KeyError for a default that differs without a reason."""
    differing = [key for _, key in sorted(BROKER_KEYS.items()) if key.ours != key.default]
    defaults = (
        (key.name, value(key.format(key.ours)), value(key.format(key.default)), DEFAULTS[key.name]) for key in differing
    )
    return PAGE.format(
        made=made,
        defaults="\n".join(f"| `{name}` | {ours} | {theirs} | {why} |" for name, ours, theirs, why in defaults),
        answers="\n".join(f"| {name} | {step} | {why} |" for (name, step), why in sorted(ANSWERS.items())),
        behaviours="\n".join(f"| {one.what} | {one.why} | `tests/{one.file}` |" for one in BEHAVIOURS),
    )


def value(text: str | None) -> str:
    """A default as the table shows it."""
    return "none" if text is None else f"`{text}`"
