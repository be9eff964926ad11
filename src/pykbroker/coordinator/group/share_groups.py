"""The share groups of a shard: heartbeats, descriptions, and the life of their share-partitions' states (KIP-932).

A heartbeat may ask for states to begin; they do at the share coordinator, and the group hears of the outcome. Only then
are the partitions assigned. Offsets are altered and deleted by beginning states anew, and by deleting them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from typing import NamedTuple
from uuid import UUID

from pykbroker.cluster.image import ClusterImage
from pykbroker.coordinator.group import share_records as records
from pykbroker.coordinator.group.assignment import NOTHING, by_topic
from pykbroker.coordinator.group.config import GroupConfig, Surroundings
from pykbroker.coordinator.group.groups import Groups
from pykbroker.coordinator.group.share_assignor import simple
from pykbroker.coordinator.group.share_group import REPLAYS, ShareGroup, group_of
from pykbroker.coordinator.group.share_records import ShareMember, ShareTopics, TopicState, joined, without
from pykbroker.coordinator.result import Draft, Now, Record
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.alter_share_group_offsets import (
    AlterShareGroupOffsetsRequest,
    AlterShareGroupOffsetsResponse,
)
from pykbroker.protocol.messages.delete_share_group_offsets import DeleteShareGroupOffsetsResponse
from pykbroker.protocol.messages.share_group_describe import Assignment as DescribedAssignment
from pykbroker.protocol.messages.share_group_describe import ShareGroupDescribeResponse
from pykbroker.protocol.messages.share_group_describe import TopicPartitions as DescribedPartitions
from pykbroker.protocol.messages.share_group_heartbeat import (
    ShareGroupHeartbeatRequest,
    ShareGroupHeartbeatResponse,
)

Described = ShareGroupDescribeResponse.Group
DeletedTopic = DeleteShareGroupOffsetsResponse.Response
AlteredTopic = AlterShareGroupOffsetsResponse.Response

ASSIGNOR = "simple"
JOINS, LEAVES = 0, -1
RETRY_MS = 30_000
"""How long states may take to begin before they are asked to again: Kafka's default."""
NOT_HOSTED = "This server does not host this topic-partition."

Partitions = Mapping[UUID, Collection[int]]


class Begin(NamedTuple):
    """States that are to begin at the share coordinator, with the offset of each partition (-1: by the config)."""

    group_id: str
    state_epoch: int
    offsets: Mapping[UUID, Mapping[int, int]]


class Heartbeat(NamedTuple):
    """What a heartbeat is answered, and the states that are to begin."""

    response: ShareGroupHeartbeatResponse
    begin: Begin | None = None


class Caller(NamedTuple):
    """What the connection tells of who heartbeats."""

    client_id: str
    client_host: str


class ShareGroups:
    """What is asked of share groups. Methods raise what Kafka answers."""

    def __init__(self, groups: Groups, config: GroupConfig, surroundings: Surroundings) -> None:
        self._groups = groups
        self._config = config
        self._surroundings = surroundings
        self.replays: Mapping[int, Callable[[Record], None]] = dict.fromkeys(REPLAYS, self._replay)

    # Members

    def heartbeat(self, request: ShareGroupHeartbeatRequest, caller: Caller, now: Now, draft: Draft) -> Heartbeat:
        """ShareGroupHeartbeat: joins with epoch 0, leaves with -1."""
        _check(request)
        if request.member_epoch == LEAVES:
            return Heartbeat(self._leave(request, now, draft))
        joins = request.member_epoch == JOINS
        group = self._joined(request.group_id, joins=joins)
        size = self._config.group_share_max_size
        if len(group.members) >= size and request.member_id not in group.members:
            text = f"The share group has reached its maximum capacity of {size} members."
            raise KafkaError(ErrorCode.GROUP_MAX_SIZE_REACHED, text)
        known = group.members.get(request.member_id)
        member = known or (ShareMember(member_id=request.member_id) if joins else group.member(request.member_id))
        _check_epoch(member, request.member_epoch)
        told = _told(member, request, caller)
        if known is None or told != member:
            draft.records.append(records.member_record(group.group_id, told))
        updated, epoch = self._advance(group, member, told, now, draft)
        self._groups.keep(group)
        group.touch(request.member_id, now, group.session_timeout_ms)
        response = ShareGroupHeartbeatResponse(
            member_id=updated.member_id,
            member_epoch=updated.epoch,
            heartbeat_interval_ms=group.heartbeat_interval_ms,
        )
        if joins or request.subscribed_topic_names is not None or updated.assigned != member.assigned:
            response.assignment = _assignment(updated)
        return Heartbeat(response, self._begin(group, told, epoch, now, draft))

    def _advance(
        self, group: ShareGroup, member: ShareMember, told: ShareMember, now: Now, draft: Draft
    ) -> tuple[ShareMember, int]:
        """Bumps the epoch where that is due, computes the target for it, and hands the member its part."""
        members = group.with_member(told)
        bump = told.topics != member.topics
        if group.target_epoch >= group.epoch:
            bump |= group.has_unassigned
        epoch = group.bumped(members, draft, forced=bump) if bump or group.is_stale else group.epoch
        bump |= epoch > group.epoch
        target_epoch, target = group.target_epoch, group.targets.get(told.member_id, NOTHING)
        if target_epoch < epoch and group.may_assign(group.assignment_interval_ms, now):
            ready = {topic_id: state.partitions for topic_id, state in group.topics.initialized.items()}
            assigned = group.assign(simple, epoch, members, now, draft, assignable=ready)
            target_epoch, target = epoch, assigned.get(told.member_id, NOTHING)
        updated = group.led(told, target_epoch, target, forced=bump)
        if updated != told:
            draft.records.append(records.current_record(group.group_id, updated))
        return updated, epoch

    def _begin(self, group: ShareGroup, told: ShareMember, epoch: int, now: Now, draft: Draft) -> Begin | None:
        """Has states begin of subscribed partitions that have none, or should have had one by now."""
        image, known = self._surroundings.image(), group.topics
        waiting = {
            topic_id: state
            for topic_id, state in known.initializing.items()
            if now.wall_ms - group.begun_ms.get(topic_id, 0) < RETRY_MS
        }
        taken_care_of = joined(known.initialized, waiting)
        missing: dict[UUID, TopicState] = {}
        for name in sorted(group.subscribed(group.with_member(told))):
            topic = image.topics.get(name)
            if topic is None:
                continue
            state = taken_care_of.get(topic.topic_id, TopicState(name, frozenset()))
            if partitions := frozenset(topic.partitions) - state.partitions:
                missing[topic.topic_id] = TopicState(name, partitions)
        if not missing:
            return None
        self._note_initializing(group, missing, now, draft)
        offsets = {topic_id: dict.fromkeys(sorted(state.partitions), -1) for topic_id, state in missing.items()}
        return Begin(group.group_id, epoch, offsets)

    def _note_initializing(self, group: ShareGroup, begin: Mapping[UUID, TopicState], now: Now, draft: Draft) -> None:
        known = group.topics
        deleting = {topic_id: name for topic_id, name in known.deleting.items() if topic_id not in begin}
        group.begun_ms.update(dict.fromkeys(begin, now.wall_ms))
        initializing = joined(known.initializing, begin)
        group.write_topics(ShareTopics(initializing, known.initialized, deleting), draft)

    def _joined(self, group_id: str, *, joins: bool) -> ShareGroup:
        group = self._groups.get(group_id)
        if group is None:
            if not joins:
                raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"Share group {group_id} not found.")
            return ShareGroup(group_id, self._config, self._surroundings)
        if not isinstance(group, ShareGroup):
            raise KafkaError(ErrorCode.GROUP_ID_NOT_FOUND, f"Group {group_id} is not a share group.")
        return group

    def _leave(self, request: ShareGroupHeartbeatRequest, now: Now, draft: Draft) -> ShareGroupHeartbeatResponse:
        group = self._groups.find(request.group_id, ShareGroup)
        group.fence([group.member(request.member_id)], now, draft)
        return ShareGroupHeartbeatResponse(member_id=request.member_id, member_epoch=request.member_epoch)

    # States that have begun, or couldn't

    def initialized(self, group_id: str, partitions: Partitions, draft: Draft) -> None:
        """The states of these partitions have begun."""
        group = self._groups.of_kind(group_id, ShareGroup)
        if group is None:
            return
        begun = self._named(partitions)
        known = group.topics
        left = without(known.initializing, {topic_id: frozenset(some) for topic_id, some in partitions.items()})
        group.write_topics(replace(known, initializing=left, initialized=joined(known.initialized, begun)), draft)

    def uninitialized(self, group_id: str, partitions: Partitions, draft: Draft) -> None:
        """They couldn't begin: a later heartbeat asks again."""
        group = self._groups.of_kind(group_id, ShareGroup)
        if group is None or not group.topics.initializing:
            return
        left = without(group.topics.initializing, {topic_id: frozenset(some) for topic_id, some in partitions.items()})
        group.write_topics(replace(group.topics, initializing=left), draft)

    def begun(self, group_id: str) -> dict[UUID, list[int]]:
        """The partitions whose states have begun; none of a group that isn't there."""
        group = self._groups.of_kind(group_id, ShareGroup)
        if group is None:
            return {}
        return {topic_id: sorted(state.partitions) for topic_id, state in sorted(group.topics.initialized.items())}

    def forget_topics(self, draft: Draft) -> None:
        """Topics are gone: so are their states."""
        for group in self._groups.values():
            if isinstance(group, ShareGroup):
                known, there = group.topics, self._surroundings.image().topic_names
                kept = ShareTopics(
                    {topic_id: one for topic_id, one in known.initializing.items() if topic_id in there},
                    {topic_id: one for topic_id, one in known.initialized.items() if topic_id in there},
                    {topic_id: one for topic_id, one in known.deleting.items() if topic_id in there},
                )
                if kept != known:
                    group.write_topics(kept, draft)

    # Administration

    def describe(self, group_id: str) -> Described:
        """ShareGroupDescribe of one group. Raises GROUP_ID_NOT_FOUND."""
        group = self._groups.find(group_id, ShareGroup)
        return Described(
            group_id=group_id,
            group_state=group.state_name,
            group_epoch=group.epoch,
            assignment_epoch=group.target_epoch,
            assignor_name=ASSIGNOR,
            members=[_described(member, self._surroundings.image()) for member in group.members.values()],
        )

    def alter_offsets(
        self, group_id: str, topics: Collection[AlterShareGroupOffsetsRequest.Topic], now: Now, draft: Draft
    ) -> tuple[list[AlteredTopic], Begin]:
        """AlterShareGroupOffsets of an empty group, or of one that this makes: its states begin anew."""
        group = self._joined(group_id, joins=True)
        group.check_delete()
        image = self._surroundings.image()
        answers: list[AlteredTopic] = []
        begin: dict[UUID, TopicState] = {}
        offsets: dict[UUID, dict[int, int]] = {}
        for asked in topics:
            topic = image.topics.get(asked.topic_name)
            there = {} if topic is None else topic.partitions
            answer = AlteredTopic(topic_name=asked.topic_name)
            for one in asked.partitions:
                part = AlteredTopic.Partition(partition_index=one.partition_index)
                if one.partition_index not in there:
                    part.error_code, part.error_message = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, NOT_HOSTED
                answer.partitions.append(part)
            answers.append(answer)
            if topic is None:
                continue
            answer.topic_id = topic.topic_id
            starts = {one.partition_index: one.start_offset for one in asked.partitions if one.partition_index in there}
            offsets[topic.topic_id] = starts
            begin[topic.topic_id] = TopicState(topic.name, frozenset(starts))
        if begin:
            self._groups.keep(group)
            self._note_initializing(group, begin, now, draft)
        return answers, Begin(group_id, group.epoch, offsets)

    def delete_offsets(
        self, group_id: str, names: Collection[str], draft: Draft
    ) -> tuple[list[DeletedTopic], dict[UUID, list[int]]]:
        """DeleteShareGroupOffsets of an empty group: topics with errors, and the partitions whose states are to go."""
        group = self._groups.find(group_id, ShareGroup)
        group.check_delete()
        image, known = self._surroundings.image(), group.topics
        refused: list[DeletedTopic] = []
        doomed: dict[UUID, list[int]] = {}
        for name in names:
            topic = image.topics.get(name)
            if topic is None:
                refused.append(_undeleted(name, NOT_HOSTED))
            elif topic.topic_id in known.initialized:
                doomed[topic.topic_id] = sorted(known.initialized[topic.topic_id].partitions)
            elif topic.topic_id in known.deleting:
                doomed[topic.topic_id] = sorted(topic.partitions)
            else:
                refused.append(_undeleted(name, "There is no offset information to delete."))
        if known:
            left = {topic_id: state for topic_id, state in known.initialized.items() if topic_id not in doomed}
            deleting = {**known.deleting, **{topic_id: image.topic_names[topic_id] for topic_id in doomed}}
            group.write_topics(ShareTopics(known.initializing, left, deleting), draft)
        return refused, doomed

    def offsets_deleted(self, group_id: str, topics: Collection[UUID], draft: Draft) -> None:
        """The states of these topics are gone."""
        group = self._groups.of_kind(group_id, ShareGroup)
        if group is not None and group.topics:
            left = {topic_id: name for topic_id, name in group.topics.deleting.items() if topic_id not in topics}
            group.write_topics(replace(group.topics, deleting=left), draft)

    def doom(self, group_id: str, draft: Draft) -> dict[UUID, list[int]]:
        """The group is to be deleted: the states that have to go before. Raises NON_EMPTY_GROUP."""
        group = self._groups.of_kind(group_id, ShareGroup)
        if group is None:
            return {}
        group.check_delete()
        if not group.topics:
            return {}
        image = self._surroundings.image()
        again = {
            topic_id: TopicState(name, frozenset(image.topics[image.topic_names[topic_id]].partitions))
            for topic_id, name in group.topics.deleting.items()
            if topic_id in image.topic_names
        }
        doomed = joined(group.topics.begun, again)
        deleting = {topic_id: state.name for topic_id, state in doomed.items()}
        group.write_topics(ShareTopics({}, {}, deleting), draft)
        return {topic_id: sorted(state.partitions) for topic_id, state in doomed.items()}

    # Records

    def _replay(self, record: Record) -> None:
        group_id, kind = group_of(record), int.from_bytes(record.key[:2], "big")
        group = self._groups.of_kind(group_id, ShareGroup)
        if group is None:
            if record.value is None:
                return
            group = self._groups.keep(ShareGroup(group_id, self._config, self._surroundings))
        if record.value is None and kind == GROUP_RECORD:
            del self._groups[group_id]
            return
        REPLAYS[kind](group, record)
        self._groups.settle(group_id)

    def _named(self, partitions: Partitions) -> dict[UUID, TopicState]:
        names = self._surroundings.image().topic_names
        return {
            topic_id: TopicState(names.get(topic_id, "<UNKNOWN>"), frozenset(some))
            for topic_id, some in partitions.items()
        }


GROUP_RECORD = 11
"""The type of the record that a group begins and ends with."""


def _check(request: ShareGroupHeartbeatRequest) -> None:
    for name, value in (("MemberId", request.member_id), ("GroupId", request.group_id), ("RackId", request.rack_id)):
        if value is not None and not value.strip():
            raise KafkaError(ErrorCode.INVALID_REQUEST, f"{name} can't be empty.")
    if request.member_epoch == JOINS and not request.subscribed_topic_names:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "SubscribedTopicNames must be set in first request.")
    if request.member_epoch < LEAVES:
        raise KafkaError(ErrorCode.INVALID_REQUEST, "MemberEpoch is invalid.")


def _check_epoch(member: ShareMember, epoch: int) -> None:
    """A member may be one answer behind, not more."""
    if epoch in (JOINS, member.epoch) or (epoch < member.epoch and epoch == member.previous_epoch):
        return
    which = "greater" if epoch > member.epoch else "smaller"
    text = f"The share group member has a {which} member epoch ({epoch}) than the one known by the group coordinator "
    text += f"({member.epoch})"
    if epoch < member.epoch:
        text += f", and it does not match the previous member epoch ({member.previous_epoch})"
    raise KafkaError(ErrorCode.FENCED_MEMBER_EPOCH, f"{text}. The member must abandon all its partitions and rejoin.")


def _told(member: ShareMember, request: ShareGroupHeartbeatRequest, caller: Caller) -> ShareMember:
    names = request.subscribed_topic_names
    return replace(
        member,
        rack_id=member.rack_id if request.rack_id is None else request.rack_id,
        topics=member.topics if names is None else frozenset(names),
        client_id=caller.client_id,
        client_host=caller.client_host,
    )


def _assignment(member: ShareMember) -> ShareGroupHeartbeatResponse.Assignment:
    return ShareGroupHeartbeatResponse.Assignment(
        topic_partitions=[
            ShareGroupHeartbeatResponse.TopicPartition(topic_id=topic_id, partitions=partitions)
            for topic_id, partitions in by_topic(member.assigned).items()
        ]
    )


def _described(member: ShareMember, image: ClusterImage) -> Described.Member:
    return Described.Member(
        member_id=member.member_id,
        rack_id=member.rack_id,
        member_epoch=member.epoch,
        client_id=member.client_id,
        client_host=member.client_host,
        subscribed_topic_names=sorted(member.topics),
        assignment=DescribedAssignment(
            topic_partitions=[
                DescribedPartitions(topic_id=topic_id, topic_name=image.topic_names[topic_id], partitions=partitions)
                for topic_id, partitions in by_topic(member.assigned).items()
                if topic_id in image.topic_names
            ]
        ),
    )


def _undeleted(name: str, text: str) -> DeletedTopic:
    return DeletedTopic(topic_name=name, error_code=ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, error_message=text)
