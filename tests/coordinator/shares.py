"""Members of share groups as far as the coordinator can see them, and the share coordinator that they never see."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from tests.coordinator.consumers import Cluster

from pykbroker.coordinator.group.assignment import TopicIdPartition
from pykbroker.coordinator.group.share_groups import Begin, Caller, Heartbeat
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.share_group_heartbeat import ShareGroupHeartbeatRequest

LEAVE = -1
LOST = {ErrorCode.FENCED_MEMBER_EPOCH, ErrorCode.UNKNOWN_MEMBER_ID, ErrorCode.GROUP_ID_NOT_FOUND}


class Shares(Cluster):
    """A conversation about share groups."""

    def ask(self, rule: Any, group: str = "g") -> Any:
        return self.take(self.shard.of_share(group, rule))

    def say(
        self, member: str, epoch: int = 0, topics: Iterable[str] | None = None, group: str = "g", **fields: Any
    ) -> Heartbeat:
        request = ShareGroupHeartbeatRequest(
            group_id=group,
            member_id=member,
            member_epoch=epoch,
            subscribed_topic_names=None if topics is None else list(topics),
            **fields,
        )
        caller = Caller("client", "/127.0.0.1")
        beat = self.ask(lambda share, draft: share.heartbeat(request, caller, self.now, draft), group)
        assert isinstance(beat, Heartbeat)
        return beat

    def come(self, member: str = "a", topics: Iterable[str] = ("t",), group: str = "g") -> Heartbeat:
        return self.say(member, 0, topics, group)

    def begun(self, begin: Begin | None, *, fails: bool = False) -> None:
        """What was asked to begin has begun, or couldn't."""
        assert begin is not None
        partitions = {topic_id: list(offsets) for topic_id, offsets in begin.offsets.items()}
        rule = "uninitialized" if fails else "initialized"
        self.ask(lambda share, draft: getattr(share, rule)(begin.group_id, partitions, draft), begin.group_id)

    def started(self, *members: str, topics: Iterable[str] = ("t",)) -> None:
        """Members that have got all there is."""
        for member in members:
            beat = self.come(member, topics)
            if beat.begin is not None:
                self.begun(beat.begin)
            self.advance(2)
        for _ in range(2):
            for member in members:
                self.say(member, self.group().members[member].epoch)
            self.advance(2)

    def refused(self, code: ErrorCode, text: str | None, *arguments: Any, **fields: Any) -> None:
        with pytest.raises(KafkaError) as error:
            self.say(*arguments, **fields)
        assert (error.value.code, error.value.message) == (code, text)


class ShareConsumer:
    """A member that heartbeats, reads what it is told to, and says all of itself again where an answer was lost."""

    def __init__(self, talk: Shares, member_id: str, topics: tuple[str, ...]) -> None:
        self.talk = talk
        self.member_id = member_id
        self.topics = topics
        self.epoch = 0
        self.told: set[TopicIdPartition] = set()
        self.lost = 0
        """Answers that it missed since the last one."""

    def beat(self, *, lost: bool = False) -> tuple[ErrorCode, Begin | None]:
        """One heartbeat; an answer that is lost tells nothing."""
        full = self.epoch == 0 or self.lost
        try:
            beat = self.talk.say(self.member_id, self.epoch, self.topics if full else None)
        except KafkaError as error:
            if error.code in LOST:
                self.epoch, self.lost, self.told = 0, 0, set()
            return error.code, None
        if lost:
            self.lost += 1
        else:
            self.lost = 0
            self.epoch = beat.response.member_epoch
            if beat.response.assignment is not None:
                self.told = {
                    TopicIdPartition(one.topic_id, index)
                    for one in beat.response.assignment.topic_partitions
                    for index in one.partitions
                }
        return ErrorCode.NONE, beat.begin

    def leave(self) -> None:
        self.talk.say(self.member_id, LEAVE)
        self.epoch, self.lost, self.told = 0, 0, set()
