"""What the controller knows while it is one: brokers, topics, states, and what is under way.

It is made anew by every controller from what the store holds, and kept for nobody afterwards. It writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from pykbroker.cluster.image import BrokerImage, ClusterImage, PartitionState, TopicImage
from pykbroker.controller.states import Phases
from pykbroker.protocol.topic_partition import TopicPartition


@dataclass
class ControllerContext:
    """The cluster as the controller sees it; `image` has each partition's newest state."""

    controller_id: int
    epoch: int
    image: ClusterImage
    shutting_down: set[int] = field(default_factory=set)
    offline_replicas: dict[int, set[TopicPartition]] = field(default_factory=dict)
    """By broker, those whose data directory has failed."""
    doomed: set[str] = field(default_factory=set)
    """Topics that are to be deleted."""
    phases: Phases = field(default_factory=Phases)

    @property
    def live(self) -> frozenset[int]:
        """Brokers that are registered and not about to stop."""
        return frozenset(self.image.brokers) - self.shutting_down

    @property
    def reachable(self) -> list[int]:
        """Brokers that are registered: who is about to stop is still told."""
        return sorted(self.image.brokers)

    def live_for(self, tp: TopicPartition) -> frozenset[int]:
        """Live brokers on which this partition's data directory works."""
        failed = [broker for broker, tps in self.offline_replicas.items() if tp in tps]
        return self.live.difference(failed) if failed else self.live

    def state(self, tp: TopicPartition) -> PartitionState | None:
        """A partition's newest state."""
        topic = self.image.topics.get(tp.topic)
        return None if topic is None else topic.partitions.get(tp.partition)

    def partitions(self) -> Iterator[tuple[TopicPartition, PartitionState]]:
        """Every partition of topics that aren't being deleted."""
        for name, topic in self.image.topics.items():
            if name not in self.doomed:
                for index, state in topic.partitions.items():
                    yield TopicPartition(name, index), state

    def hosted_by(self, broker: int) -> list[tuple[TopicPartition, PartitionState]]:
        """The partitions assigned to a broker, those of doomed topics left out."""
        return [(tp, state) for tp, state in self.partitions() if broker in state.replicas]

    def update(self, states: dict[TopicPartition, PartitionState]) -> None:
        """Takes new states in."""
        by_topic: dict[str, dict[int, PartitionState]] = {}
        for tp, state in states.items():
            by_topic.setdefault(tp.topic, {})[tp.partition] = state
        changed = []
        for name, partitions in by_topic.items():
            topic = self.image.topics.get(name)
            if topic is not None:
                changed.append(topic._replace(partitions=dict(sorted({**topic.partitions, **partitions}.items()))))
        if changed:
            self.image = self.image.with_topics(*changed)

    def add_topics(self, topics: Iterable[TopicImage]) -> None:
        """Takes topics in."""
        self.image = self.image.with_topics(*topics)

    def remove_topic(self, name: str) -> None:
        """Forgets a topic."""
        self.image = self.image.without_topics(name)
        self.doomed.discard(name)
        for broker, tps in self.offline_replicas.items():
            self.offline_replicas[broker] = {tp for tp in tps if tp.topic != name}

    def set_brokers(self, brokers: Iterable[BrokerImage]) -> None:
        """Takes the registered brokers in."""
        self.image = self.image.with_brokers(*brokers)
        self.shutting_down &= self.image.brokers.keys()
        self.offline_replicas = {one: tps for one, tps in self.offline_replicas.items() if one in self.image.brokers}
