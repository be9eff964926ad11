"""Conversations about what is set while brokers run: brokers, groups, client metrics, loggers, and client quotas.

What may not be is asked for alone, so that nothing is left behind for others; quotas are for a client of this name.
"""

from __future__ import annotations

from typing import Any

from wire_talk import Talk, conversation

from pykbroker.protocol.messages.alter_client_quotas import AlterClientQuotasRequest
from pykbroker.protocol.messages.describe_client_quotas import DescribeClientQuotasRequest
from pykbroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from pykbroker.protocol.messages.list_config_resources import ListConfigResourcesRequest

BROKER, LOGGER, METRICS, GROUP = 4, 8, 16, 32
SET, DELETE, APPEND, SUBTRACT = range(4)


@conversation(0, 1)
def alter_dynamic_configs(talk: Talk) -> None:
    def say(label: str, kind: int, name: str, *configs: tuple[str, int, str | None], validate: bool = True) -> None:
        config = IncrementalAlterConfigsRequest.Resource.Config
        entries = [config(name=key, config_operation=operation, value=value) for key, operation, value in configs]
        resource = IncrementalAlterConfigsRequest.Resource(resource_type=kind, resource_name=name, configs=entries)
        talk.say(label, IncrementalAlterConfigsRequest(resources=[resource], validate_only=validate))

    for name in ("1", ""):
        who = "a broker" if name else "all brokers"
        say(f"{who}: a value", BROKER, name, ("log.cleaner.backoff.ms", SET, "20000"))
        say(f"{who}: a value that can't be read", BROKER, name, ("log.cleaner.backoff.ms", SET, "soon"))
        say(f"{who}: a value out of range", BROKER, name, ("max.connections", SET, "-1"))
        say(f"{who}: a static key", BROKER, name, ("broker.rack", SET, "r"))
        say(f"{who}: an unknown key", BROKER, name, ("of.a.plugin", SET, "1"))
        say(f"{who}: security without a listener", BROKER, name, ("ssl.keystore.location", SET, "/a"))
        say(f"{who}: a listener's security", BROKER, name, ("listener.name.x.ssl.keystore.type", SET, "PEM"))
        say(f"{who}: too many threads", BROKER, name, ("num.io.threads", SET, "100"))
        say(f"{who}: no cleaner", BROKER, name, ("log.cleaner.threads", SET, "0"))
        say(f"{who}: append to a number", BROKER, name, ("max.connections", APPEND, "1"))
        say(f"{who}: append to a list", BROKER, name, ("log.cleanup.policy", APPEND, "compact"))
        say(f"{who}: subtract from an unknown key", BROKER, name, ("of.a.plugin", SUBTRACT, "1"))
        say(f"{who}: delete what isn't set", BROKER, name, ("max.connections", DELETE, None))
        say(f"{who}: a null", BROKER, name, ("max.connections", SET, None))
        say(f"{who}: an unknown operation", BROKER, name, ("max.connections", 9, "1"))
        say(f"{who}: a key twice", BROKER, name, ("max.connections", SET, "1"), ("max.connections", SET, "2"))
    say("a broker without number", BROKER, "one", ("max.connections", SET, "5"))
    for label, config in {
        "fine": ("consumer.session.timeout.ms", SET, "50000"),
        "too low": ("consumer.session.timeout.ms", SET, "1"),
        "unknown key": ("no.such", SET, "1"),
        "one of few": ("share.isolation.level", SET, "maybe"),
        "a duration": ("share.auto.offset.reset", SET, "by_duration:PT1H"),
        "append": ("consumer.session.timeout.ms", APPEND, "1"),
    }.items():
        say(f"a group: {label}", GROUP, talk.name, config)
    say("a group without name", GROUP, "", ("consumer.session.timeout.ms", SET, "50000"))
    for label, config in {
        "fine": ("metrics", SET, "org.apache.kafka.producer."),
        "append": ("metrics", APPEND, "a,b"),
        "interval too short": ("interval.ms", SET, "99"),
        "interval no number": ("interval.ms", SET, "soon"),
        "bad pattern": ("match", SET, "client_id=["),
        "unknown match": ("match", SET, "colour=red"),
        "unknown key": ("no.such", SET, "1"),
    }.items():
        say(f"client metrics: {label}", METRICS, talk.name, config)
    say("client metrics without name", METRICS, "", ("metrics", SET, "a"))
    say("a logger that isn't there", LOGGER, "1", ("no.such.logger", SET, "INFO"))
    say("a level that isn't", LOGGER, "1", ("root", SET, "LOUD"))
    say("the root's level deleted", LOGGER, "1", ("root", DELETE, None))
    say("a logger appended to", LOGGER, "1", ("root", APPEND, "INFO"))
    say("another broker's logger", LOGGER, "99", ("root", SET, "INFO"))
    say("a logger of no broker", LOGGER, "", ("root", SET, "INFO"))


Parts = dict[str, str | None]


@conversation(0, 1)
def client_quotas(talk: Talk) -> None:
    def alter(label: str, *entries: tuple[Parts, dict[str, float | None]], validate: bool = False) -> None:
        entry = AlterClientQuotasRequest.Entry
        asked = [
            entry(
                entity=[entry.Entity(entity_type=kind, entity_name=name) for kind, name in parts.items()],
                ops=[entry.Op(key=key, value=value or 0.0, remove=value is None) for key, value in ops.items()],
            )
            for parts, ops in entries
        ]
        talk.say(label, AlterClientQuotasRequest(entries=asked, validate_only=validate))

    def describe(label: str, *components: tuple[str, int, str | None], strict: bool = False) -> None:
        asked: list[Any] = [
            DescribeClientQuotasRequest.Component(entity_type=kind, match_type=how, match=match)
            for kind, how, match in components
        ]
        talk.say(label, DescribeClientQuotasRequest(components=asked, strict=strict))

    me: Parts = {"client-id": talk.name}
    alter("validated alone", (me, {"producer_byte_rate": 1e12}), validate=True)
    for label, parts in {
        "nobody": {},
        "an empty name": {"user": ""},
        "an unknown type": {"colour": "red"},
        "an address and a user": {"user": talk.name, "ip": "127.0.0.1"},
        "no address": {"ip": "no address"},
    }.items():
        alter(label, (parts, {"producer_byte_rate": 1.0}))
    for key, value in (
        ("no_such", 1.0),
        ("producer_byte_rate", 0.0),
        ("producer_byte_rate", 1.5),
        ("producer_byte_rate", 1e30),
        ("connection_creation_rate", 1.0),
    ):
        alter(f"{key} {value}", (me, {key: value}))
    alter("an address's bytes", ({"ip": "127.0.0.9"}, {"producer_byte_rate": 1.0}))
    describe("no type", ("", 0, "u"))
    describe("an unknown type asked", ("colour", 0, "red"))
    describe("exactly null", ("user", 0, None))
    describe("the default by name", ("user", 1, "u"))
    describe("any by name", ("user", 2, "u"))
    describe("an unknown way", ("user", 9, None))
    describe("a type twice", ("user", 2, None), ("user", 2, None))
    describe("an address and a user asked", ("ip", 2, None), ("user", 2, None))
    describe("nobody of the name", ("client-id", 0, talk.name), strict=True)


@conversation(0, 1)
def list_config_resources(talk: Talk) -> None:
    if talk.version:
        talk.say("brokers", ListConfigResourcesRequest(resource_types=[BROKER]))
        talk.say("loggers", ListConfigResourcesRequest(resource_types=[LOGGER]))
        talk.say("an unknown type", ListConfigResourcesRequest(resource_types=[BROKER, 77]))
    else:
        talk.say("client metrics", ListConfigResourcesRequest())
