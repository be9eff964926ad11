"""Conversations about share groups (KIP-932): members, records in flight, sessions, offsets, and stored states."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from wire_talk import Talk, conversation

from pykbroker.cluster.image import uuid_text
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.alter_share_group_offsets import AlterShareGroupOffsetsRequest
from pykbroker.protocol.messages.delete_groups import DeleteGroupsRequest
from pykbroker.protocol.messages.delete_share_group_offsets import DeleteShareGroupOffsetsRequest
from pykbroker.protocol.messages.delete_share_group_state import DeleteShareGroupStateRequest
from pykbroker.protocol.messages.describe_share_group_offsets import DescribeShareGroupOffsetsRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from pykbroker.protocol.messages.initialize_share_group_state import InitializeShareGroupStateRequest
from pykbroker.protocol.messages.list_groups import ListGroupsRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.messages.read_share_group_state import ReadShareGroupStateRequest
from pykbroker.protocol.messages.read_share_group_state_summary import ReadShareGroupStateSummaryRequest
from pykbroker.protocol.messages.share_acknowledge import ShareAcknowledgeRequest
from pykbroker.protocol.messages.share_fetch import ShareFetchRequest
from pykbroker.protocol.messages.share_group_describe import ShareGroupDescribeRequest
from pykbroker.protocol.messages.share_group_heartbeat import ShareGroupHeartbeatRequest
from pykbroker.protocol.messages.write_share_group_state import WriteShareGroupStateRequest
from pykbroker.protocol.records.batch import build_batch

GAP, ACCEPT, RELEASE, REJECT, RENEW = range(5)
GROUP_RESOURCE = 32
NOBODY = UUID(int=7 << 64 | 7)

Answers = Sequence[tuple[int, int, Sequence[int]]]


def beat(talk: Talk, member: str = "m", epoch: int = 0, **fields: Any) -> ShareGroupHeartbeatRequest:
    if epoch == 0:
        fields = {"subscribed_topic_names": [talk.name], **fields}
    return ShareGroupHeartbeatRequest(group_id=talk.name, member_id=member, member_epoch=epoch, **fields)


def say(talk: Talk, label: str, request: ShareGroupHeartbeatRequest) -> Any:
    """The heartbeat interval, which a broker may be told, is shown as there or not."""
    answer = talk.ask(request, 1)
    if answer is not None:
        answer.heartbeat_interval_ms = min(answer.heartbeat_interval_ms, 1)
    return talk.note(label, answer)


def await_loaded(talk: Talk) -> None:
    talk.await_code(beat(talk, epoch=-1), 1, ErrorCode.GROUP_ID_NOT_FOUND)


def configure(talk: Talk, **values: str) -> None:
    cls = IncrementalAlterConfigsRequest.Resource
    configs = [cls.Config(name=name.replace("_", "."), value=value) for name, value in values.items()]
    resource = cls(resource_type=GROUP_RESOURCE, resource_name=talk.name, configs=configs)
    (answer,) = talk.ask(IncrementalAlterConfigsRequest(resources=[resource]), 1).responses
    assert answer.error_code == 0, answer


def begin(talk: Talk, partitions: int = 1, **config: str) -> UUID:
    """A topic whose group begins at its first record, and has a member with all partitions."""
    await_loaded(talk)
    configure(talk, share_auto_offset_reset="earliest", **config)
    talk.topic_id = talk.topic(partitions)
    talk.mask(str(talk.topic_id), "<topic id>")
    join(talk, partitions)
    return talk.topic_id


def join(talk: Talk, partitions: int = 1, member: str = "m") -> int:
    """Until it has its partitions; the epoch."""
    answer = talk.ask(beat(talk, member), 1)
    for _ in range(500):
        given = [] if answer.assignment is None else answer.assignment.topic_partitions
        if given and len(given[0].partitions) == partitions:
            return int(answer.member_epoch)
        time.sleep(0.02)
        answer = talk.ask(beat(talk, member, answer.member_epoch), 1)
    raise AssertionError("a member gets no partition")


def leave(talk: Talk, member: str = "m") -> None:
    assert talk.ask(beat(talk, member, -1), 1).error_code == 0


def produce(talk: Talk, count: int, index: int = 0) -> None:
    records = build_batch([(None, b"v")] * count, timestamp=1_700_000_000_000)
    data = ProduceRequest.TopicData(
        name=talk.name, partition_data=[ProduceRequest.TopicData.PartitionData(index=index, records=records)]
    )
    answer = talk.ask(ProduceRequest(acks=-1, timeout_ms=15000, topic_data=[data]), 11)
    assert answer.responses[0].partition_responses[0].error_code == 0, answer


class Sharer:
    """A member that fetches; its session's epoch goes on by itself."""

    def __init__(self, talk: Talk, member: str = "m") -> None:
        self.talk, self.member, self.epoch = talk, member, 0

    def _topics(self, cls: Any, answers: Answers | None, indexes: Sequence[int]) -> list[Any]:
        batches = [
            cls.Partition.AcknowledgementBatch(first_offset=first, last_offset=last, acknowledge_types=list(kinds))
            for first, last, kinds in answers or ()
        ]
        return [
            cls(
                topic_id=self.talk.topic_id,
                partitions=[cls.Partition(partition_index=index, acknowledgement_batches=batches) for index in indexes],
            )
        ]

    def _request(self, answers: Answers | None, indexes: Sequence[int], fields: dict[str, Any]) -> ShareFetchRequest:
        values: dict[str, Any] = {
            "group_id": self.talk.name,
            "member_id": self.member,
            "share_session_epoch": self.epoch,
            "max_wait_ms": 2000,
            "min_bytes": 1,
            "max_records": 500,
            "batch_size": 500,
            "topics": self._topics(ShareFetchRequest.Topic, answers, indexes) if indexes else [],
        }
        return ShareFetchRequest(**(values | fields))

    def fetch(self, label: str, answers: Answers | None = None, indexes: Sequence[int] = (0,), **fields: Any) -> Any:
        answer = self.talk.ask(self._request(answers, indexes, fields))
        if answer is not None:  # Apache Kafka has no fixed order.
            for topic in answer.responses:
                topic.partitions.sort(key=lambda one: one.partition_index)
        self.talk.note(label, answer)
        # Apache Kafka fails over some requests once the session has gone on.
        if answer is not None and answer.error_code in (0, -1) and "share_session_epoch" not in fields:
            self.epoch += 1
        return answer

    def await_named(self, index: int) -> None:
        """Asks on until an answer names a partition that is new in the session: not before its state was read."""
        for _ in range(500):
            answer = self.talk.ask(self._request(None, (), {"max_wait_ms": 0}))
            self.epoch += 1
            if index in [one.partition_index for topic in answer.responses for one in topic.partitions]:
                return
            time.sleep(0.02)
        raise AssertionError("a partition's state isn't read")

    def acknowledge(self, label: str, answers: Answers, indexes: Sequence[int] = (0,), **fields: Any) -> Any:
        values: dict[str, Any] = {
            "group_id": self.talk.name,
            "member_id": self.member,
            "share_session_epoch": self.epoch,
            "topics": self._topics(ShareAcknowledgeRequest.Topic, answers, indexes),
        }
        answer = self.talk.say(label, ShareAcknowledgeRequest(**(values | fields)))
        if answer is not None and answer.error_code == 0 and "share_session_epoch" not in fields:
            self.epoch += 1
        return answer


@conversation(1, 1)
def share_group_heartbeat(talk: Talk) -> None:
    await_loaded(talk)
    say(talk, "not a member of a group that isn't there", beat(talk, epoch=1))
    say(talk, "leaves a group that isn't there", beat(talk, epoch=-1))
    for label, fields in {
        "no subscription": {"subscribed_topic_names": None},
        "an empty rack": {"rack_id": ""},
    }.items():
        say(talk, label, beat(talk, **fields))
    say(talk, "no member id", beat(talk, ""))
    say(talk, "a long member id", beat(talk, "m" * 37))
    say(talk, "an epoch that isn't", beat(talk, epoch=-2))
    say(talk, "a topic that isn't there", beat(talk))
    say(talk, "joins again", beat(talk))
    say(talk, "no topics", beat(talk, epoch=1, subscribed_topic_names=[]))
    say(talk, "the epoch before", beat(talk, epoch=1))
    say(talk, "an epoch to come", beat(talk, epoch=9))
    say(talk, "another that isn't a member", beat(talk, "n", epoch=2))
    say(talk, "another joins", beat(talk, "n"))
    say(talk, "an unknown member leaves", beat(talk, "o", epoch=-1))
    say(talk, "leaves", beat(talk, epoch=-1))
    say(talk, "the other leaves", beat(talk, "n", epoch=-1))
    talk.say("an empty group id", ShareGroupHeartbeatRequest(group_id="", member_id="m", subscribed_topic_names=[]), 1)


@conversation(1, 1)
def share_group_describe(talk: Talk) -> None:
    begin(talk)
    talk.mask("127.0.0.1", "<host>")
    describe = ShareGroupDescribeRequest(group_ids=[talk.name])
    talk.say("a member", describe)
    join(talk, 1, "n")
    talk.say("two members", describe)
    talk.say(
        "authorized operations", ShareGroupDescribeRequest(group_ids=[talk.name], include_authorized_operations=True)
    )
    leave(talk)
    leave(talk, "n")
    talk.say("empty", describe)
    talk.say("unknown", ShareGroupDescribeRequest(group_ids=[talk.name + "-unknown", ""]))
    listed = talk.ask(ListGroupsRequest(types_filter=["share"]), 5)
    talk.note("listed", [one for one in listed.groups if one.group_id == talk.name])
    delete = DeleteGroupsRequest(groups_names=[talk.name])
    talk.say("deleted", delete, 2)
    talk.say("deleted again", delete, 2)


@conversation(1, 2)
def share_fetch(talk: Talk) -> None:
    begin(talk, 2)
    produce(talk, 5)
    one = Sharer(talk)
    one.fetch("an epoch without a session", share_session_epoch=1)
    one.fetch("the last epoch without a session", share_session_epoch=-1)
    one.fetch("answers in a session's first request", [(0, 0, [ACCEPT])])
    one.fetch("no member id", member_id="")
    one.fetch("a long member id", member_id="m" * 37)
    one.fetch("no group id", group_id=None)
    one.fetch("two records of a batch of five", max_records=2)
    one.fetch("nothing more", max_wait_ms=0, indexes=())
    one.fetch("a wrong epoch", share_session_epoch=9)
    one.fetch("a partition that isn't there", indexes=(7,), max_wait_ms=0)
    one.fetch("it is named again", indexes=(), max_wait_ms=0)
    unknown = ShareFetchRequest.Topic(topic_id=NOBODY, partitions=[ShareFetchRequest.Topic.Partition()])
    forgotten = ShareFetchRequest.ForgottenTopicData(topic_id=talk.topic_id, partitions=[7])
    one.fetch("a topic that isn't there", topics=[unknown], forgotten_topics_data=[forgotten], max_wait_ms=0)
    forgotten = ShareFetchRequest.ForgottenTopicData(topic_id=NOBODY, partitions=[0])
    one.fetch("forgotten", indexes=(), forgotten_topics_data=[forgotten], max_wait_ms=0)
    for label, answers in {
        "accepts": [(0, 0, [ACCEPT])],
        "accepts again": [(0, 0, [ACCEPT])],
        "never handed out": [(7, 7, [ACCEPT])],
        "past what was handed out": [(3, 9, [ACCEPT])],
        "backwards": [(3, 2, [ACCEPT])],
        "out of order": [(3, 3, [ACCEPT]), (1, 1, [ACCEPT])],
        "too few kinds": [(1, 3, [ACCEPT, ACCEPT])],
        "no kinds": [(1, 1, [])],
        "a kind that isn't": [(1, 1, [5])],
        "a negative kind": [(1, 1, [-1])],
        "renews without saying so": [(1, 1, [RENEW])],
        "a partition that has none": [],
    }.items():
        one.fetch(label, answers, max_wait_ms=0)
    one.fetch("of another partition", [(0, 0, [ACCEPT])], indexes=(1,), max_wait_ms=0)
    one.await_named(1)
    one.acknowledge("releases", [(1, 4, [RELEASE])])
    one.fetch("gets them back", indexes=())
    one.acknowledge("each its own", [(1, 4, [ACCEPT, RELEASE, REJECT, GAP])])
    one.fetch("the one released", indexes=())
    produce(talk, 3)
    one.fetch("new ones", indexes=())
    if talk.version > 1:
        one.fetch("renews, and fetches", [(2, 2, [RENEW])], is_renew_ack=True)
        renews = {"is_renew_ack": True, "max_wait_ms": 0, "min_bytes": 0, "max_bytes": 0, "max_records": 0}
        one.fetch("renews", [(2, 2, [RENEW])], **renews)
        one.fetch("renews what isn't held", [(0, 0, [RENEW])], **renews)
    one.fetch("the session ends with answers", [(2, 2, [ACCEPT])], share_session_epoch=-1, max_wait_ms=0)
    one.fetch("the session is over", max_wait_ms=0)


@conversation(2, 2)
def share_record_limit(talk: Talk) -> None:
    begin(talk)
    produce(talk, 5)
    one = Sharer(talk)
    one.fetch("two of five", max_records=2, share_acquire_mode=1)
    one.fetch("the rest", indexes=(), max_records=9, share_acquire_mode=1)
    one.acknowledge("gives one back", [(1, 1, [RELEASE])])
    one.fetch("one", indexes=(), max_records=9, share_acquire_mode=1)
    one.fetch("a mode that isn't", indexes=(), max_records=9, share_acquire_mode=2, max_wait_ms=0)


@conversation(1, 2)
def share_acknowledge(talk: Talk) -> None:
    begin(talk)
    produce(talk, 6)
    one = Sharer(talk)
    one.acknowledge("without a session", [(0, 0, [ACCEPT])], share_session_epoch=1)
    one.acknowledge("the first epoch", [(0, 0, [ACCEPT])])
    one.acknowledge("no member id", [(0, 0, [ACCEPT])], member_id="")
    one.acknowledge("no group id", [(0, 0, [ACCEPT])], group_id=None)
    one.fetch("six records")
    one.acknowledge("a wrong epoch", [(0, 0, [ACCEPT])], share_session_epoch=9)
    for label, answers in {
        "accepts": [(0, 1, [ACCEPT])],
        "accepts again": [(0, 1, [ACCEPT])],
        "releases": [(3, 3, [RELEASE])],
        "releases again": [(3, 3, [RELEASE])],
        "rejects the rest": [(4, 5, [REJECT])],
        "never handed out": [(7, 7, [ACCEPT])],
        "past what was handed out": [(2, 9, [ACCEPT])],
        "backwards": [(3, 2, [ACCEPT])],
        "overlapping": [(2, 3, [ACCEPT]), (3, 3, [ACCEPT])],
        "too many kinds": [(2, 2, [ACCEPT, ACCEPT])],
        "no kinds": [(2, 2, [])],
        "a kind that isn't": [(2, 2, [9])],
        "renews without saying so": [(2, 2, [RENEW])],
        "no batches": [],
    }.items():
        one.acknowledge(label, answers)
    one.acknowledge("of a partition that isn't there", [(0, 0, [ACCEPT])], indexes=(7,))
    cls = ShareAcknowledgeRequest.Topic
    batch = cls.Partition.AcknowledgementBatch(first_offset=0, last_offset=0, acknowledge_types=[ACCEPT])
    unknown = cls(topic_id=NOBODY, partitions=[cls.Partition(acknowledgement_batches=[batch])])
    one.acknowledge("of a topic that isn't there", (), topics=[unknown])
    if talk.version > 1:
        one.acknowledge("renews", [(2, 2, [RENEW])], is_renew_ack=True)
        one.acknowledge("renews what isn't held", [(4, 4, [RENEW])], is_renew_ack=True)
    other = Sharer(talk, "n")
    other.fetch("another gets the one released")
    other.acknowledge("another's record", [(2, 2, [ACCEPT])])
    one.acknowledge("not any more", [(3, 3, [ACCEPT])])
    one.acknowledge("the session ends", [(2, 2, [ACCEPT])], share_session_epoch=-1)
    one.acknowledge("the session is over", [(2, 2, [ACCEPT])])


@conversation(0, 1)
def share_group_offsets(talk: Talk) -> None:
    begin(talk, 2)
    produce(talk, 5)
    one, version = Sharer(talk), talk.version
    talk.version = 1
    one.fetch("takes five")
    one.acknowledge("accepts two", [(0, 1, [ACCEPT])])
    one.acknowledge("ends", [], share_session_epoch=-1)
    talk.version = version
    group = DescribeShareGroupOffsetsRequest.Group

    def described(label: str, *names: str, indexes: Sequence[int] = (0, 1), name: str = talk.name) -> None:
        topics = [group.Topic(topic_name=topic, partitions=list(indexes)) for topic in names] if names else None
        talk.say(label, DescribeShareGroupOffsetsRequest(groups=[group(group_id=name, topics=topics)]))

    def alter(label: str, *offsets: tuple[str, int, int], name: str = talk.name) -> None:
        cls = AlterShareGroupOffsetsRequest.Topic
        topics = [
            cls(topic_name=topic, partitions=[cls.Partition(partition_index=index, start_offset=offset)])
            for topic, index, offset in offsets
        ]
        talk.say(label, AlterShareGroupOffsetsRequest(group_id=name, topics=topics), 0)

    def forget(label: str, *names: str, name: str = talk.name) -> None:
        topics = [DeleteShareGroupOffsetsRequest.Topic(topic_name=topic) for topic in names]
        talk.say(label, DeleteShareGroupOffsetsRequest(group_id=name, topics=topics), 0)

    asked = DescribeShareGroupOffsetsRequest(groups=[group(group_id=talk.name, topics=None)])
    while talk.ask(asked).groups[0].topics[0].partitions[0].start_offset != 2:
        time.sleep(0.02)  # The start is stored with the next change: what the member gives back as it ends.
    described("all")
    described("named", talk.name)
    described("a topic that isn't there", "unknown")
    described("a group that isn't there", name=talk.name + "-unknown")
    alter("altered while in use", (talk.name, 0, 1))
    forget("deleted while in use", talk.name)
    leave(talk)
    alter("altered", (talk.name, 0, 3))
    described("after that")
    alter("a topic that isn't there, altered", ("unknown", 0, 3))
    alter("a partition that isn't there, altered", (talk.name, 7, 3))
    alter("an offset beyond the end", (talk.name, 1, 100))
    alter("a negative offset", (talk.name, 1, -1))
    alter("nothing", name=talk.name)
    alter("a group that isn't there, altered", (talk.name, 0, 1), name=talk.name + "-unknown")
    forget("deleted", talk.name)
    described("after its deletion")
    forget("deleted again", talk.name)
    forget("a topic that isn't there, deleted", "unknown")
    forget("no topics")
    forget("a group that isn't there, deleted", talk.name, name=talk.name + "-unknown")


@conversation(0, 0)
def share_group_state(talk: Talk) -> None:
    topic_id = talk.topic()
    talk.mask(str(topic_id), "<topic id>")
    key = f"{talk.name}:{uuid_text(topic_id)}:0"
    talk.mask(uuid_text(topic_id), "<topic id>")
    find = FindCoordinatorRequest(key_type=2, coordinator_keys=[key])
    for _ in range(500):
        if talk.ask(find, 6).coordinators[0].error_code == 0:
            break
        time.sleep(0.02)
    (found,) = talk.ask(find, 6).coordinators
    talk.note("coordinator", [found.key, found.error_code])
    for label, bad in {
        "a key of two parts": f"{talk.name}:0",
        "a key with a bad topic id": f"{talk.name}:x:0",
        "a key with a bad partition": f"{talk.name}:{uuid_text(topic_id)}:x",
        "an empty group": f":{uuid_text(topic_id)}:0",
    }.items():
        (found,) = talk.ask(FindCoordinatorRequest(key_type=2, coordinator_keys=[bad]), 6).coordinators
        found.host, found.port = "", 0
        talk.note(label, found)

    def ask(label: str, request: Any, *, topic: UUID = topic_id, version: int = 0, **fields: Any) -> Any:
        cls = request.Topic
        asked = request(group_id=talk.name, topics=[cls(topic_id=topic, partitions=[cls.Partition(**fields)])])
        for _ in range(500):
            answer = talk.ask(asked, version)
            code = answer.results[0].partitions[0].error_code
            if code not in (ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, ErrorCode.NOT_COORDINATOR):
                break
            time.sleep(0.02)
        return talk.note(label, answer)

    initialize, read, write = InitializeShareGroupStateRequest, ReadShareGroupStateRequest, WriteShareGroupStateRequest
    delete, summary = DeleteShareGroupStateRequest, ReadShareGroupStateSummaryRequest
    batch = WriteShareGroupStateRequest.Topic.Partition.StateBatch
    ask("read before", read, leader_epoch=0)
    ask("write before", write, state_epoch=0, leader_epoch=0, start_offset=0)
    ask("summary before", summary, leader_epoch=0, version=1)
    ask("delete before", delete)
    ask("initialize", initialize, state_epoch=1, start_offset=10)
    ask("read", read, leader_epoch=1)
    ask("read by an earlier leader", read, leader_epoch=0)
    batches = [
        batch(first_offset=10, last_offset=12, delivery_state=2, delivery_count=1),
        batch(first_offset=13, last_offset=19, delivery_state=0, delivery_count=2),
    ]
    ask("write", write, state_epoch=1, leader_epoch=1, start_offset=10, state_batches=batches, version=1)
    ask("written", read, leader_epoch=1)
    more = [batch(first_offset=12, last_offset=14, delivery_state=4, delivery_count=2)]
    ask(
        "write more",
        write,
        state_epoch=1,
        leader_epoch=1,
        start_offset=11,
        delivery_complete_count=3,
        state_batches=more,
        version=1,
    )
    ask("combined", read, leader_epoch=2)
    ask("summary", summary, leader_epoch=2, version=1)
    ask("summary 0", summary, leader_epoch=2)
    ask("a write by an earlier leader", write, state_epoch=1, leader_epoch=1, start_offset=12)
    ask("a write of an earlier state", write, state_epoch=0, leader_epoch=2, start_offset=12)
    ask("initialize earlier", initialize, state_epoch=0, start_offset=1)
    ask("initialize anew", initialize, state_epoch=2, start_offset=1)
    ask("anew", read, leader_epoch=2)
    ask("a negative partition", read, partition=-1, leader_epoch=2)
    ask("a partition that isn't there", read, partition=7, leader_epoch=2)
    ask("a topic that isn't there", initialize, topic=NOBODY, state_epoch=0, start_offset=0)
    ask("delete", delete)
    ask("deleted", read, leader_epoch=2)
    talk.say("no group", ReadShareGroupStateRequest(group_id="", topics=[]))
    talk.say("no topics", ReadShareGroupStateRequest(group_id=talk.name, topics=[]))
