"""What a wire conversation is: steps with one broker at one version of an API, each answer noted under a label."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from uuid import UUID

from wire_connection import NO_ANSWER, Wire, shown

from pykbroker.protocol.message import Message
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest
from pykbroker.protocol.messages.metadata import MetadataRequest


class Talk:
    """A conversation under way; `said` is what came of it."""

    def __init__(self, bootstrap: str, prefix: str, version: int) -> None:
        self.bootstrap = bootstrap
        self.version = version
        self.name = prefix
        self.said: dict[str, str] = {}
        self.wire = Wire(bootstrap)
        self.topic_id = UUID(int=0)
        """Of the topic that requests by id are about, where a conversation says so."""
        self._names: list[tuple[str, str]] = [(prefix, "T")]

    def mask(self, name: str, replacement: str) -> None:
        """Show `replacement` where this text stands in answers."""
        self._names.insert(0, (name, replacement))

    def ask(self, request: Message, version: int | None = None) -> Any:
        """Ask without noting; the answer, None when the broker closed the connection."""
        return self.wire.ask(request, self.version if version is None else version)

    def note(self, label: str, answer: Any) -> Any:
        self.said[label] = NO_ANSWER if answer is None else shown(answer, self._names)
        return answer

    def say(self, label: str, request: Message, version: int | None = None) -> Any:
        """Ask, and note the answer; after a closed connection the next request goes by a new one."""
        answer = self.note(label, self.ask(request, version))
        if answer is None:
            self.wire.close()
            self.wire = Wire(self.bootstrap)
        return answer

    def topic(self, partitions: int = 1, suffix: str = "", **config: str) -> UUID:
        """Make the topic of this conversation (its name and `suffix`); its id, once each partition is served."""
        name = self.name + suffix
        configs = [
            CreateTopicsRequest.Topic.Config(name=key.replace("_", "."), value=value) for key, value in config.items()
        ]
        topic = CreateTopicsRequest.Topic(
            name=name, num_partitions=partitions, replication_factor=1, assignments=[], configs=configs
        )
        (made,) = self.ask(CreateTopicsRequest(topics=[topic], timeout_ms=15000), 4).topics
        assert made.error_code == 0, made
        request = MetadataRequest(topics=[MetadataRequest.Topic(name=name)], allow_auto_topic_creation=False)
        ends = [ListOffsetsRequest.Topic.Partition(partition_index=index, timestamp=-1) for index in range(partitions)]
        latest = ListOffsetsRequest(replica_id=-1, topics=[ListOffsetsRequest.Topic(name=name, partitions=ends)])
        for _ in range(500):
            (described,) = self.ask(request, 10).topics
            (listed,) = self.ask(latest, 4).topics
            if len(described.partitions) == partitions and not any(part.error_code for part in listed.partitions):
                return UUID(bytes=described.topic_id.bytes)
            time.sleep(0.01)
        raise AssertionError(f"{name} isn't served")

    def await_coordinator(self) -> None:
        """Return once groups are served: whoever asks first has the offsets' topic made."""
        for _ in range(500):
            if self.ask(FindCoordinatorRequest(key=self.name), 2).error_code == 0:
                return
            time.sleep(0.01)
        raise AssertionError("no group is served")

    def close(self) -> None:
        self.wire.close()


class Conversation(NamedTuple):
    """A function that talks, and the versions it is held at."""

    talk: Callable[[Talk], None]
    versions: Iterable[int]


CONVERSATIONS: dict[str, Conversation] = {}


def conversation(first: int, last: int) -> Callable[[Callable[[Talk], None]], Callable[[Talk], None]]:
    """Register a conversation for versions `first` to `last`."""

    def register(function: Callable[[Talk], None]) -> Callable[[Talk], None]:
        CONVERSATIONS[function.__name__] = Conversation(function, range(first, last + 1))
        return function

    return register


def hold(bootstrap: str, name: str, version: int) -> dict[str, str]:
    """Hold one conversation; what was said, by label."""
    prefix = f"{name.replace('_', '-')}-{version}-{time.time_ns() // 1_000_000:x}"
    talk = Talk(bootstrap, prefix, version)
    try:
        talk.await_coordinator()
        CONVERSATIONS[name].talk(talk)
    finally:
        talk.close()
    return talk.said
