"""Conversations about records deleted, directories, elections, reassignments, brokers that go, and SCRAM users."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from wire_data import batch, fetch, produce
from wire_talk import Talk, conversation

from pykbroker.protocol.messages.alter_partition_reassignments import AlterPartitionReassignmentsRequest
from pykbroker.protocol.messages.alter_replica_log_dirs import AlterReplicaLogDirsRequest
from pykbroker.protocol.messages.alter_user_scram_credentials import AlterUserScramCredentialsRequest
from pykbroker.protocol.messages.delete_records import DeleteRecordsRequest
from pykbroker.protocol.messages.describe_log_dirs import DescribeLogDirsRequest
from pykbroker.protocol.messages.describe_user_scram_credentials import DescribeUserScramCredentialsRequest
from pykbroker.protocol.messages.elect_leaders import ElectLeadersRequest
from pykbroker.protocol.messages.list_partition_reassignments import ListPartitionReassignmentsRequest
from pykbroker.protocol.messages.unregister_broker import UnregisterBrokerRequest

SHA_256, SHA_512 = 1, 2


@conversation(0, 2)
def delete_records(talk: Talk) -> None:
    topic_id = talk.topic()
    talk.topic(suffix="-compacted", cleanup_policy="compact")
    talk.topic(suffix="-both", cleanup_policy="compact,delete")
    for suffix in ("", "-compacted", "-both"):
        talk.ask(produce(talk, batch(5), topic_id=topic_id, acks=-1, suffix=suffix), 7)

    def say(label: str, *offsets: int, partition: int = 0, name: str = talk.name) -> None:
        part = DeleteRecordsRequest.Topic.Partition
        parts = [part(partition_index=partition, offset=offset) for offset in offsets]
        topic = DeleteRecordsRequest.Topic(name=name, partitions=parts)
        talk.say(label, DeleteRecordsRequest(topics=[topic], timeout_ms=5000))

    say("the first two", 2)
    say("the first two again", 2)
    say("less than is deleted", 1)
    talk.say("a fetch of what is deleted", fetch(talk, topic_id, 1), 11)
    talk.say("a fetch of what is left", fetch(talk, topic_id, 2), 11)
    say("beyond the end", 6)
    say("a negative offset", -2)
    say("a partition twice", 3, 4)
    say("to the high watermark", -1)
    say("an unknown partition", 1, partition=7)
    say("an unknown topic", 1, name=f"{talk.name}-unknown")
    say("a bad name", 1, name="bad name!")
    say("a topic that is compacted alone", 1, name=f"{talk.name}-compacted")
    say("a topic that is compacted, too", 1, name=f"{talk.name}-both")
    say("an internal topic", 0, name="__consumer_offsets")
    say("no partition")
    talk.say("nothing", DeleteRecordsRequest(topics=[], timeout_ms=5000))


@conversation(1, 5, older=0)
def describe_log_dirs(talk: Talk) -> None:
    topic_id = talk.topic(partitions=2)
    talk.ask(produce(talk, batch(3, timestamp=1_700_000_000_000), topic_id=topic_id, acks=-1), 7)

    def say(label: str, topics: Sequence[tuple[str, list[int]]] | None) -> None:
        entry = DescribeLogDirsRequest.Topic
        asked = None if topics is None else [entry(topic=name, partitions=parts) for name, parts in topics]
        answer = talk.ask(DescribeLogDirsRequest(topics=asked))
        for result in answer.results:
            result.log_dir = "<dir>"
            result.total_bytes, result.usable_bytes = min(result.total_bytes, 1), min(result.usable_bytes, 1)
            result.topics = [topic for topic in result.topics if topic.name.startswith(talk.name)]
            for topic in result.topics:
                topic.partitions.sort(key=lambda part: part.partition_index)
        talk.note(label, answer)

    say("both partitions", [(talk.name, [0, 1])])
    say("one partition", [(talk.name, [1])])
    say("an unknown partition", [(talk.name, [7])])
    say("an unknown topic", [(f"{talk.name}-unknown", [0])])
    say("no partition", [(talk.name, [])])
    say("no topic", [])
    say("all", None)


@conversation(1, 2, older=0)
def alter_replica_log_dirs(talk: Talk) -> None:
    talk.topic()
    here = DescribeLogDirsRequest(topics=[DescribeLogDirsRequest.Topic(topic=talk.name, partitions=[0])])
    where = next(one.log_dir for one in talk.ask(here, 4).results if one.topics)

    def say(label: str, path: str, name: str = talk.name, partition: int = 0) -> None:
        topic = AlterReplicaLogDirsRequest.Dir.Topic(name=name, partitions=[partition])
        talk.say(label, AlterReplicaLogDirsRequest(dirs=[AlterReplicaLogDirsRequest.Dir(path=path, topics=[topic])]))

    say("to where it is", where)
    say("to a directory that isn't one of the broker's", "/no/such/directory")
    say("to a path that isn't absolute", "data")
    say("an unknown topic", where, f"{talk.name}-unknown")
    say("an unknown partition", where, partition=7)
    talk.say("nothing", AlterReplicaLogDirsRequest(dirs=[]))


@conversation(0, 2)
def elect_leaders(talk: Talk) -> None:
    talk.topic(partitions=2)

    def say(label: str, *parts: int, kind: int = 0, name: str = talk.name) -> None:
        topic = ElectLeadersRequest.TopicPartition(topic=name, partitions=list(parts))
        fields = {"election_type": kind} if talk.version else {}
        answer = talk.ask(ElectLeadersRequest(topic_partitions=[topic], timeout_ms=5000, **fields))
        for result in [] if answer is None else answer.replica_election_results:
            result.partition_result.sort(key=lambda one: one.partition_id)
        talk.note(label, answer)
        if answer is None:
            talk.reconnect()

    say("whose leader is the preferred one", 0, 1)
    say("an unknown partition", 7)
    say("an unknown topic", 0, name=f"{talk.name}-unknown")
    say("no partition")
    talk.say("no topic", ElectLeadersRequest(topic_partitions=[], timeout_ms=5000))
    if talk.version:
        say("unclean, with a leader", 0, kind=1)
        say("an unknown kind", 0, kind=9)


@conversation(0, 1)
def reassignments(talk: Talk) -> None:
    talk.topic(partitions=2)

    def say(label: str, replicas: list[int] | None, partition: int = 0, name: str = talk.name, **fields: Any) -> None:
        cls = AlterPartitionReassignmentsRequest.Topic
        topic = cls(name=name, partitions=[cls.Partition(partition_index=partition, replicas=replicas)])
        talk.say(label, AlterPartitionReassignmentsRequest(timeout_ms=5000, topics=[topic], **fields))

    say("to where it is", [1])
    say("to an unknown broker", [99])
    say("to this and an unknown broker", [1, 99])
    say("to a broker twice", [1, 1])
    say("to a negative broker", [-1])
    say("to nobody", [])
    say("one that isn't under way, cancelled", None)
    say("an unknown partition", [1], 7)
    say("an unknown partition, cancelled", None, 7)
    say("an unknown topic", [1], name=f"{talk.name}-unknown")
    say("an unknown topic, cancelled", None, name=f"{talk.name}-unknown")
    if talk.version:
        say("no other number of replicas", [1, 99], allow_replication_factor_change=False)
    talk.say("nothing", AlterPartitionReassignmentsRequest(timeout_ms=5000, topics=[]))
    listed = ListPartitionReassignmentsRequest.Topic
    for label, topics in {
        "listed: all": None,
        "listed: none": [],
        "listed: the topic": [listed(name=talk.name, partition_indexes=[0, 7])],
        "listed: an unknown topic": [listed(name=f"{talk.name}-unknown", partition_indexes=[0])],
    }.items():
        talk.say(label, ListPartitionReassignmentsRequest(timeout_ms=5000, topics=topics), 0)


@conversation(0, 0)
def unregister_broker(talk: Talk) -> None:
    talk.say("an unknown broker", UnregisterBrokerRequest(broker_id=99))
    talk.say("a negative number", UnregisterBrokerRequest(broker_id=-1))


@conversation(0, 0)
def scram_users(talk: Talk) -> None:
    cls = AlterUserScramCredentialsRequest
    user = f"{talk.name}-u"

    def upsert(name: str = user, mechanism: int = SHA_256, iterations: int = 4096, salted: bytes = bytes(32)) -> Any:
        return cls.Upsertion(
            name=name, mechanism=mechanism, iterations=iterations, salt=b"salt", salted_password=salted
        )

    def delete(name: str = user, mechanism: int = SHA_256) -> Any:
        return cls.Deletion(name=name, mechanism=mechanism)

    def say(label: str, *entries: Any) -> None:
        ups = [one for one in entries if isinstance(one, cls.Upsertion)]
        request = cls(deletions=[one for one in entries if isinstance(one, cls.Deletion)], upsertions=ups)
        answer = talk.ask(request)
        answer.results.sort(key=lambda one: (one.user, one.error_code))
        talk.note(label, answer)

    def describe(label: str, *names: str) -> None:
        users = [DescribeUserScramCredentialsRequest.User(name=name) for name in names]
        answer = talk.ask(DescribeUserScramCredentialsRequest(users=users))
        for result in answer.results:
            result.credential_infos.sort(key=lambda one: one.mechanism)
        answer.results.sort(key=lambda one: (one.user, one.error_code))
        talk.note(label, answer)

    describe("nobody yet", user)
    say("an unknown mechanism", upsert(mechanism=9))
    say("no mechanism", upsert(mechanism=0))
    say("too few iterations", upsert(iterations=4095))
    say("too many iterations", upsert(iterations=16385))
    say("no name", upsert(""))
    say("nobody deleted", delete())
    say("nobody deleted by an unknown mechanism", delete(mechanism=9))
    say("deleted without a name", delete(""))
    say("twice in a request", upsert(), upsert())
    say("made and deleted in a request", upsert(), delete())
    say("one fine, one not", upsert(), upsert(f"{user}2", iterations=1))
    say("two mechanisms of a user", upsert(mechanism=SHA_256), upsert(mechanism=SHA_512, salted=bytes(64)))
    say("one fine and one bad of a user", upsert(iterations=8192), upsert(mechanism=9))
    say("another mechanism", upsert(mechanism=SHA_512, salted=bytes(64)))
    say("nothing")
    for _ in range(100):
        found = talk.ask(
            DescribeUserScramCredentialsRequest(users=[DescribeUserScramCredentialsRequest.User(name=user)])
        )
        if len(found.results[0].credential_infos) == 2:
            break
        time.sleep(0.02)
    describe("both mechanisms", user)
    describe("asked twice", user, user)
    describe("one there, one not", user, f"{user}2")
    describe("without a name", "")
    say("deleted, and one that isn't there", delete(), delete(f"{user}2"))
    say("the rest deleted", delete(mechanism=SHA_512))
