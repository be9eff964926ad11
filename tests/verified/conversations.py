"""Raw conversations with pykbroker and with Apache Kafka side by side: every answer compared field by field.

What differs is known to tests/compat/wire/wire_differences.py by its line, or is a fault; so is a line whose answers
are alike. What 4.3.0 says is compared with its recording, too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from enum import Enum
from pathlib import Path
from typing import NamedTuple

sys.path.append(str(Path(__file__).parents[1] / "compat" / "wire"))

import wire_record
from apache_kafka import ApacheKafka, KafkaOnZooKeeper, Unavailable
from compat_runs import AUTHORIZER, HASTE
from wire_differences import differing
from wire_talk import CONVERSATIONS, guarded_config, hold, versions_served

from pykbroker.metadata.zookeeper_server import ZooKeeperServer, find_server
from pykbroker.testing.process import BrokerProcess

Talks = dict[tuple[str, int], dict[str, str]]
"""What was said by conversation and version, by step."""

AUTHORIZERS = {
    "3": "kafka.security.authorizer.AclAuthorizer",
    "4": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
}
AT_ONCE = 6
ALONE = ("delete_groups", "offset_commit_errors", "produce_in_a_transaction", "txn_offset_commit")
"""Held when no other is: about the group without a name, and what Apache Kafka answers otherwise when it verifies
producers of several versions at once."""
PATIENCE = {"broker.session.timeout.ms": "18000"}
"""On a busy machine."""
BY_ITSELF = {
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
}
"""What a broker of either kind is told: it is alone, and quick."""
SHARING = {
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
}


class Pair(NamedTuple):
    """The addresses of both."""

    theirs: str
    ours: str


class Kind(Enum):
    """How both are set up."""

    PLAIN = "as they come"
    GUARDED = "with users and ACLs"
    TABLE = "for the table of behaviours: with ACLs, and everybody may everything"


@contextmanager
def pair(folder: Path, version: str, kind: Kind) -> Iterator[Pair]:
    """Apache Kafka and pykbroker, told the same. Raises Unavailable."""
    major = version[0]
    haste = dict(word.split("=", 1) for word in HASTE if "=" in word)
    config = BY_ITSELF | (SHARING | haste if major != "3" else {})
    protocol = "SASL_PLAINTEXT" if kind is Kind.GUARDED else "PLAINTEXT"
    if kind is not Kind.PLAIN:
        config |= guarded_config() if kind is Kind.GUARDED else AUTHORIZER
        config["authorizer.class.name"] = AUTHORIZERS[major]
    with ExitStack() as stack:
        mine = {**config, "listeners": f"{protocol}://127.0.0.1:0"}
        if major == "3":
            if find_server() is None:
                raise Unavailable("no ZooKeeper is installed: apt-get install zookeeper")
            zookeeper = stack.enter_context(ZooKeeperServer(folder / "zookeeper"))
            config["zookeeper.connect"] = f"{zookeeper.address}/theirs"
            mine["zookeeper.connect"] = f"{zookeeper.address}/ours"
            there = folder / "theirs"
            there.mkdir()
            kafka: ApacheKafka = KafkaOnZooKeeper(there, there / "data", config, version, protocol=protocol)
        else:
            kafka = ApacheKafka(folder, version, config | PATIENCE, protocol=protocol)
        log = stack.enter_context(open(folder / "ours.txt", "w"))
        ours = BrokerProcess(data_dir=folder / "ours", config=mine, stderr=log)
        stack.enter_context(kafka)
        stack.enter_context(ours)
        yield Pair(kafka.bootstrap_servers, ours.bootstrap_servers)


def converse(brokers: Pair, version: str, kind: Kind, names: Sequence[str]) -> Comparison:
    """Holds all conversations of a kind with both, some at a time: each has topics and groups of its own."""
    guarded = kind is Kind.GUARDED
    served = versions_served(brokers.theirs, "admin" if guarded else None)
    older = version[0] == "3"
    chosen = [
        (name, one)
        for name, held in CONVERSATIONS.items()
        for one in (held.older if older else held.versions)
        if held.guarded == guarded and (not names or name in names)
    ]
    said = {}
    for at_once, talks in (
        (AT_ONCE, [talk for talk in chosen if talk[0] not in ALONE]),
        (len(brokers), [talk for talk in chosen if talk[0] in ALONE]),
    ):
        with ThreadPoolExecutor(at_once) as pool:
            both = [[pool.submit(hold, bootstrap, *talk, served) for bootstrap in brokers] for talk in talks]
            said |= {talk: [one.result() for one in pair] for talk, pair in zip(talks, both, strict=True)}
    theirs = {talk: answers[0] for talk, answers in said.items() if answers[0] is not None}
    return Comparison(version, served, theirs, {talk: said[talk][1] or {} for talk in theirs})


class Comparison:
    """What both said, and how it compares."""

    def __init__(self, version: str, served: Mapping[int, range], theirs: Talks, ours: Talks) -> None:
        self.version = version
        self.served = served
        self.theirs = theirs
        self.ours = ours

    @property
    def steps(self) -> int:
        """How many answers were compared."""
        return sum(map(len, self.theirs.values()))

    @property
    def known(self) -> int:
        """How many of them differ as they are known to."""
        known = differing(self.version[0])
        return sum(len(versions) for step, versions in self.differing().items() if step in known)

    def differing(self) -> dict[tuple[str, str], list[int]]:
        """The steps that differ, and in which versions."""
        found: dict[tuple[str, str], list[int]] = {}
        for (name, version), theirs in self.theirs.items():
            ours = self.ours[name, version]
            for label in {**theirs, **ours}:
                if theirs.get(label) != ours.get(label):
                    found.setdefault((name, label), []).append(version)
        return found

    def faults(self) -> list[str]:
        """What isn't as the known differences say, a line or two each."""
        known = differing(self.version[0])
        found = self.differing()
        held = {(name, label) for (name, _), said in self.theirs.items() for label in said}
        faults = [self._shown(step, versions) for step, versions in found.items() if step not in known]
        for name, label in known:
            if (name, label) in held and (name, label) not in found:
                faults.append(f"{name}, {label}: answered alike: take it off wire_differences.py")
        return faults

    def _shown(self, step: tuple[str, str], versions: list[int]) -> str:
        name, label = step
        lines = [f"Apache Kafka {self.version}: {name} {','.join(map(str, versions))}: {label}"]
        for who, talks in (("theirs", self.theirs), ("ours", self.ours)):
            lines.append(f"  {who}: {talks[name, versions[-1]].get(label, 'nothing')}")
        return "\n".join(lines)

    def stale(self) -> list[str]:
        """Where a newer Apache Kafka doesn't say what was recorded."""
        faults = []
        for (name, version), said in self.theirs.items():
            recorded = wire_record.expected(name, version)
            changed = [one for one in {**said, **recorded} if said.get(one) != recorded.get(one)]
            faults += [
                f"{name} {version}: {label}: not as recorded\n"
                f"  now: {said.get(label, 'nothing')}\n  then: {recorded.get(label, 'nothing')}"
                for label in changed
            ]
        return faults
