"""Conversations about transactions: what belongs to one, how it ends, who is fenced; and feature levels."""

from __future__ import annotations

import time
from typing import Any

from wire_talk import Talk, conversation

from pykbroker.protocol.message import Message
from pykbroker.protocol.messages.add_offsets_to_txn import AddOffsetsToTxnRequest
from pykbroker.protocol.messages.add_partitions_to_txn import AddPartitionsToTxnRequest
from pykbroker.protocol.messages.describe_producers import DescribeProducersRequest
from pykbroker.protocol.messages.describe_transactions import DescribeTransactionsRequest
from pykbroker.protocol.messages.end_txn import EndTxnRequest
from pykbroker.protocol.messages.fetch import FetchRequest
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest
from pykbroker.protocol.messages.list_transactions import ListTransactionsRequest
from pykbroker.protocol.messages.offset_fetch import OffsetFetchRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.messages.txn_offset_commit import TxnOffsetCommitRequest
from pykbroker.protocol.messages.update_features import UpdateFeaturesRequest
from pykbroker.protocol.messages.write_txn_markers import WriteTxnMarkersRequest
from pykbroker.protocol.records.batch import build_batch

CONCURRENT_TRANSACTIONS = 51
LAST_PRODUCE_BEFORE_ADDING = 11


class Transactional:
    """A producer with a transactional id, its requests in given versions."""

    def __init__(self, talk: Talk, suffix: str = "") -> None:
        self.talk = talk
        self.name = talk.name + suffix
        self.id, self.epoch, self.sequence = -1, -1, 0
        talk.await_transactions(self.name)

    def again(self, request: Message, version: int, code: Any) -> Any:
        """Asks until the last transaction's markers are written."""
        for _ in range(500):
            answer = self.talk.ask(request, version)
            if answer is None or code(answer) != CONCURRENT_TRANSACTIONS:
                return answer
            time.sleep(0.01)
        raise AssertionError("a transaction never ends")

    def init_request(self, **fields: Any) -> InitProducerIdRequest:
        values = {"transactional_id": self.name, "transaction_timeout_ms": 60_000} | fields
        return InitProducerIdRequest(**values)

    def init(self, version: int = 4, **fields: Any) -> Any:
        answer = self.again(self.init_request(**fields), version, lambda one: one.error_code)
        if answer.error_code == 0:
            self.id, self.epoch, self.sequence = answer.producer_id, answer.producer_epoch, 0
        return answer

    def add_request(self, *names: str, index: int = 0, **fields: Any) -> AddPartitionsToTxnRequest:
        values = {
            "v3_and_below_transactional_id": self.name,
            "v3_and_below_producer_id": self.id,
            "v3_and_below_producer_epoch": self.epoch,
            "v3_and_below_topics": [AddPartitionsToTxnRequest.Topic(name=name, partitions=[index]) for name in names],
        }
        return AddPartitionsToTxnRequest(**(values | fields))

    def add(self) -> None:
        def code(answer: Any) -> int:
            found: int = answer.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
            return found

        assert code(self.again(self.add_request(self.talk.name), 3, code)) == 0

    def produce_request(self, sequence: int | None = None, **fields: Any) -> ProduceRequest:
        values = {
            "producer_id": self.id,
            "producer_epoch": self.epoch,
            "base_sequence": self.sequence if sequence is None else sequence,
            "transactional": True,
        }
        batch = {key: fields.pop(key) for key in list(fields) if key in values}
        records = build_batch([(b"k", b"v")], timestamp=time.time_ns() // 1_000_000, **(values | batch))
        data = ProduceRequest.TopicData.PartitionData(index=0, records=records)
        topic = ProduceRequest.TopicData(name=self.talk.name, topic_id=self.talk.topic_id, partition_data=[data])
        return ProduceRequest(
            **({"transactional_id": self.name, "acks": -1, "timeout_ms": 5000, "topic_data": [topic]} | fields)
        )

    def send(self, version: int = LAST_PRODUCE_BEFORE_ADDING) -> None:
        def code(answer: Any) -> int:
            found: int = answer.responses[0].partition_responses[0].error_code
            return found

        assert code(self.again(self.produce_request(), version, code)) == 0
        self.sequence += 1

    def end_request(self, *, committed: bool = True, **fields: Any) -> EndTxnRequest:
        values = {
            "transactional_id": self.name,
            "producer_id": self.id,
            "producer_epoch": self.epoch,
            "committed": committed,
        }
        return EndTxnRequest(**(values | fields))

    def end(self, version: int = 4, *, committed: bool = True) -> Any:
        answer = self.again(self.end_request(committed=committed), version, lambda one: one.error_code)
        if answer.error_code == 0 and version >= 5:
            self.id, self.epoch, self.sequence = answer.producer_id, answer.producer_epoch, 0
        return answer

    def settle(self) -> None:
        """Back when every marker is written."""
        request = DescribeTransactionsRequest(transactional_ids=[self.name])
        for _ in range(500):
            (found,) = self.talk.ask(request, 0).transaction_states
            if not found.transaction_state.startswith("Prepare"):
                return
            time.sleep(0.01)
        raise AssertionError("markers are never written")


@conversation(0, 5)
def init_producer_id_with_a_transactional_id(talk: Talk) -> None:
    producer = Transactional(talk)
    for label, timeout in (("no timeout", 0), ("negative timeout", -1), ("too long a timeout", 900_001)):
        talk.say(label, producer.init_request(transaction_timeout_ms=timeout))
    talk.say("empty id", producer.init_request(transactional_id=""))
    talk.say("first", producer.init_request())
    talk.say("again", producer.init_request())
    if talk.version >= 3:
        producer.init()
        known = {"producer_id": producer.id, "producer_epoch": producer.epoch}
        talk.say("half a producer", producer.init_request(producer_id=producer.id))
        talk.say("going on", producer.init_request(**known))
        talk.say("going on twice", producer.init_request(**known))
        talk.say("another id", producer.init_request(**(known | {"producer_id": producer.id + 1})))
        producer.init()
        talk.say("going on after another", producer.init_request(**known))


@conversation(0, 3)
def add_partitions_to_txn(talk: Talk) -> None:
    talk.topic_id = talk.topic(2)
    producer = Transactional(talk)
    producer.id, producer.epoch = 1 << 40, 0
    talk.say("unknown id", producer.add_request(talk.name))
    producer.init()
    talk.say("empty id", producer.add_request(talk.name, v3_and_below_transactional_id=""))
    talk.say("other producer", producer.add_request(talk.name, v3_and_below_producer_id=producer.id + 1))
    talk.say("older epoch", producer.add_request(talk.name, v3_and_below_producer_epoch=producer.epoch - 1))
    talk.say("newer epoch", producer.add_request(talk.name, v3_and_below_producer_epoch=producer.epoch + 1))
    mixed = talk.ask(producer.add_request(talk.name, f"{talk.name}-none"))
    mixed.results_by_topic_v3_and_below.sort(key=lambda one: one.name)
    talk.note("unknown topic", mixed)
    talk.say("unknown partition", producer.add_request(talk.name, index=9))
    talk.say("no topic", producer.add_request())
    talk.say("fine", producer.add_request(talk.name))
    talk.say("once more", producer.add_request(talk.name))
    talk.say("another partition", producer.add_request(talk.name, index=1))
    producer.end()
    producer.settle()
    talk.say("the next transaction", producer.add_request(talk.name))


@conversation(4, 5)
def add_partitions_to_txn_for_others(talk: Talk) -> None:
    talk.topic_id = talk.topic(2)
    producer = Transactional(talk)
    producer.init()

    def say(label: str, *, verify_only: bool, index: int = 0, **fields: Any) -> None:
        values = {
            "transactional_id": producer.name,
            "producer_id": producer.id,
            "producer_epoch": producer.epoch,
            "verify_only": verify_only,
            "topics": [AddPartitionsToTxnRequest.Topic(name=talk.name, partitions=[index])],
        }
        one = AddPartitionsToTxnRequest.Transaction(**(values | fields))
        talk.say(label, AddPartitionsToTxnRequest(transactions=[one]))

    say("not in it", verify_only=True)
    say("added", verify_only=False)
    say("in it", verify_only=True)
    say("another not in it", verify_only=True, index=1)
    say("unknown partition", verify_only=True, index=9)
    say("unknown id", verify_only=True, transactional_id=f"{talk.name}-none")
    say("empty id", verify_only=True, transactional_id="")
    say("older epoch", verify_only=True, producer_epoch=producer.epoch - 1)
    say("newer epoch", verify_only=True, producer_epoch=producer.epoch + 1)
    say("other producer", verify_only=True, producer_id=producer.id + 1)


@conversation(0, 4)
def add_offsets_to_txn(talk: Talk) -> None:
    producer = Transactional(talk)
    producer.init()

    def say(label: str, **fields: Any) -> None:
        values = {
            "transactional_id": producer.name,
            "producer_id": producer.id,
            "producer_epoch": producer.epoch,
            "group_id": talk.name,
        }
        talk.say(label, AddOffsetsToTxnRequest(**(values | fields)))

    say("unknown id", transactional_id=f"{talk.name}-none")
    say("empty id", transactional_id="")
    say("other producer", producer_id=producer.id + 1)
    say("older epoch", producer_epoch=producer.epoch - 1)
    say("fine")
    say("once more")
    say("empty group", group_id="")


@conversation(0, 4)
def end_txn(talk: Talk) -> None:
    talk.topic_id = talk.topic()
    producer = Transactional(talk)
    talk.say("unknown id", producer.end_request())
    producer.init()
    talk.say("empty id", producer.end_request(transactional_id=""))
    talk.say("commit of nothing", producer.end_request())
    talk.say("abort of nothing", producer.end_request(committed=False))
    producer.add()
    talk.say("other producer", producer.end_request(producer_id=producer.id + 1))
    talk.say("older epoch", producer.end_request(producer_epoch=producer.epoch - 1))
    talk.say("newer epoch", producer.end_request(producer_epoch=producer.epoch + 1))
    talk.say("commit", producer.end_request())
    producer.settle()
    talk.say("commit once more", producer.end_request())
    talk.say("abort after all", producer.end_request(committed=False))
    producer.add()
    talk.say("abort", producer.end_request(committed=False))
    producer.settle()
    talk.say("abort once more", producer.end_request(committed=False))
    talk.say("commit after all", producer.end_request())


@conversation(5, 5)
def end_txn_with_an_epoch_each(talk: Talk) -> None:
    talk.topic_id = talk.topic()
    producer = Transactional(talk)
    producer.init()
    talk.say("commit of nothing", producer.end_request())
    talk.say("older epoch", producer.end_request(producer_epoch=producer.epoch - 1, committed=False))
    first = producer.epoch
    talk.say("abort of nothing", producer.end_request(committed=False))
    producer.settle()
    talk.say("abort once more", producer.end_request(committed=False))
    talk.say("commit after all", producer.end_request())
    producer.epoch = first + 1
    talk.say("abort in the next epoch", producer.end_request(committed=False))
    producer.settle()
    producer.epoch = first + 2
    talk.say("commit of nothing in the next epoch", producer.end_request())
    producer.send(12)
    talk.say("other producer", producer.end_request(producer_id=producer.id + 1))
    talk.say("commit in an older epoch", producer.end_request(producer_epoch=first))
    talk.say("commit in a newer epoch", producer.end_request(producer_epoch=first + 3))
    talk.say("commit", producer.end_request())
    producer.settle()
    talk.say("commit once more", producer.end_request())
    talk.say("abort instead", producer.end_request(committed=False))
    producer.epoch, producer.sequence = first + 3, 0
    talk.say("commit of nothing after a commit", producer.end_request())
    talk.say("abort of nothing after a commit", producer.end_request(committed=False))


@conversation(3, 13)
def produce_in_a_transaction(talk: Talk) -> None:
    talk.topic_id = talk.topic()
    producer = Transactional(talk)
    producer.init()
    talk.say("without an id", producer.produce_request(transactional_id=None))
    talk.say("not added", producer.produce_request())
    talk.say("unknown id", producer.produce_request(transactional_id=f"{talk.name}-none"))
    talk.say("other producer", producer.produce_request(producer_id=producer.id + 1))
    talk.say("older epoch", producer.produce_request(producer_epoch=producer.epoch - 1))
    talk.say("newer epoch", producer.produce_request(producer_epoch=producer.epoch + 1))
    if talk.version <= LAST_PRODUCE_BEFORE_ADDING:
        producer.add()
    talk.say("a later sequence first", producer.produce_request(1))
    talk.say("fine", producer.produce_request(0))
    talk.say("the same again", producer.produce_request(0))
    talk.say("a gap", producer.produce_request(5))
    talk.say("no transaction within one", producer.produce_request(1, transactional=False, transactional_id=None))
    talk.say("newer epoch within", producer.produce_request(1, producer_epoch=producer.epoch + 1))
    before = producer.epoch
    producer.end(5 if talk.version > LAST_PRODUCE_BEFORE_ADDING else 4)
    producer.settle()
    talk.say("after the end", producer.produce_request(1, producer_epoch=before))
    producer.init()
    talk.say("fenced", producer.produce_request(1, producer_epoch=before))


@conversation(4, 12)
def fetch_committed(talk: Talk) -> None:
    talk.topic_id = talk.topic()
    producer = Transactional(talk)
    producer.init()

    def say(label: str, isolation: int, offset: int = 0) -> None:
        partition = FetchRequest.Topic.Partition(partition=0, fetch_offset=offset, partition_max_bytes=1 << 20)
        topics = [FetchRequest.Topic(topic=talk.name, partitions=[partition])]
        answer = talk.ask(FetchRequest(max_wait_ms=0, max_bytes=1 << 20, isolation_level=isolation, topics=topics))
        for response in answer.responses:
            for one in response.partitions:
                one.records = b"x" * len(one.records or b"")
                for aborted in one.aborted_transactions or []:
                    aborted.producer_id -= producer.id
        talk.note(label, answer)

    def latest(label: str, isolation: int, timestamp: int = -1) -> None:
        partition = ListOffsetsRequest.Topic.Partition(partition_index=0, timestamp=timestamp)
        topics = [ListOffsetsRequest.Topic(name=talk.name, partitions=[partition])]
        talk.say(label, ListOffsetsRequest(replica_id=-1, isolation_level=isolation, topics=topics), 4)

    producer.add()
    producer.send()
    say("open, all", 0)
    say("open, committed", 1)
    latest("end, all", 0)
    latest("end, committed", 1)
    producer.end(committed=True)
    producer.settle()
    say("committed", 1)
    producer.add()
    producer.send()
    producer.end(committed=False)
    producer.settle()
    say("aborted, all", 0)
    say("aborted, committed", 1)
    say("from within the aborted", 1, 3)
    say("from after the aborted", 1, 4)
    latest("end then", 1)


@conversation(0, 5)
def txn_offset_commit(talk: Talk) -> None:
    talk.topic_id = talk.topic()
    producer = Transactional(talk)
    producer.init()

    def request(offset: int = 5, *, index: int = 0, topic: str | None = None, **fields: Any) -> TxnOffsetCommitRequest:
        partition = TxnOffsetCommitRequest.Topic.Partition(
            partition_index=index, committed_offset=offset, committed_metadata="m"
        )
        values = {
            "transactional_id": producer.name,
            "group_id": talk.name,
            "producer_id": producer.id,
            "producer_epoch": producer.epoch,
            "topics": [TxnOffsetCommitRequest.Topic(name=topic or talk.name, partitions=[partition])],
        }
        return TxnOffsetCommitRequest(**(values | fields))

    def fetched(label: str, *, stable: bool) -> None:
        asked = OffsetFetchRequest.Group(
            group_id=talk.name, topics=[OffsetFetchRequest.Group.Topic(name=talk.name, partition_indexes=[0])]
        )
        talk.say(label, OffsetFetchRequest(groups=[asked], require_stable=stable), 8)

    talk.say("not added", request())
    talk.say("unknown id", request(transactional_id=f"{talk.name}-none"))
    talk.say("empty group", request(group_id=""))
    add = AddOffsetsToTxnRequest(
        transactional_id=producer.name, producer_id=producer.id, producer_epoch=producer.epoch, group_id=talk.name
    )
    if talk.version < 5:
        talk.say("added", add, 3)
    talk.say("older epoch", request(producer_epoch=producer.epoch - 1))
    talk.say("other producer", request(producer_id=producer.id + 1))
    talk.say("unknown topic", request(topic=f"{talk.name}-none"))
    talk.say("unknown partition", request(index=9))
    if talk.version >= 3:
        talk.say("unknown generation", request(generation_id=3, member_id="nobody"))
    talk.say("fine", request())
    fetched("pending, stable", stable=True)
    fetched("pending", stable=False)
    version = 5 if talk.version >= 5 else 4
    producer.end(version)
    producer.settle()
    fetched("committed, stable", stable=True)
    if talk.version < 5:
        talk.ask(add, 3)
    talk.say("another", request(9))
    producer.end(version, committed=False)
    producer.settle()
    fetched("aborted, stable", stable=True)


@conversation(1, 2, older=0)
def write_txn_markers(talk: Talk) -> None:
    talk.topic_id = talk.topic()
    producer = Transactional(talk)
    producer.init()
    producer.init()
    producer.add()
    producer.send()

    def say(label: str, epoch: int, coordinator_epoch: int, *, name: str | None = None, index: int = 0) -> None:
        topics = [WriteTxnMarkersRequest.Marker.Topic(name=name or talk.name, partition_indexes=[index])]
        marker = WriteTxnMarkersRequest.Marker(
            producer_id=producer.id,
            producer_epoch=epoch,
            transaction_result=True,
            coordinator_epoch=coordinator_epoch,
            topics=topics,
        )
        talk.say(label, WriteTxnMarkersRequest(markers=[marker]))

    say("unknown topic", producer.epoch, 7, name=f"{talk.name}-none")
    say("unknown partition", producer.epoch, 7, index=9)
    say("older epoch", producer.epoch - 1, 7)
    say("fine", producer.epoch, 7)
    say("older coordinator", producer.epoch, 6)
    say("once more", producer.epoch, 7)
    talk.say("nothing", WriteTxnMarkersRequest(markers=[]))


@conversation(0, 0)
def describe_transactions(talk: Talk) -> None:
    talk.topic_id = talk.topic()
    producer = Transactional(talk)
    producer.init()

    def say(label: str, *names: str) -> None:
        answer = talk.ask(DescribeTransactionsRequest(transactional_ids=list(names)))
        for one in answer.transaction_states:
            one.transaction_start_time_ms = min(one.transaction_start_time_ms, 1)
        talk.note(label, answer)

    say("nobody", f"{talk.name}-none")
    say("empty id", "")
    say("at rest", producer.name)
    producer.add()
    say("under way", producer.name)
    producer.end()
    producer.settle()
    say("committed", producer.name)
    say("none")


@conversation(0, 2)
def list_transactions(talk: Talk) -> None:
    talk.topic_id = talk.topic()
    producer = Transactional(talk)
    producer.init()
    producer.add()
    mine = {"producer_id_filters": [producer.id]}
    talk.say("by producer", ListTransactionsRequest(**mine))
    talk.say("by state", ListTransactionsRequest(state_filters=["Ongoing"], **mine))
    talk.say("by another state", ListTransactionsRequest(state_filters=["Empty"], **mine))
    talk.say("by an unknown state", ListTransactionsRequest(state_filters=["Ongoing", "Whatever"], **mine))
    talk.say("by inner states", ListTransactionsRequest(state_filters=["Dead", "PrepareEpochFence"], **mine))
    talk.say("by another producer", ListTransactionsRequest(producer_id_filters=[1 << 40]))
    if talk.version >= 1:
        talk.say("by duration", ListTransactionsRequest(duration_filter=0, **mine))
        talk.say("by a long duration", ListTransactionsRequest(duration_filter=3_600_000, **mine))
    if talk.version >= 2:
        for label, pattern in (
            ("by pattern", f"{talk.name[:-1]}."),
            ("by a part of it", talk.name[:-1]),
            ("by no pattern", ""),
            ("by no regular expression", "("),
        ):
            talk.say(label, ListTransactionsRequest(transactional_id_pattern=pattern, **mine))


@conversation(0, 0)
def describe_producers(talk: Talk) -> None:
    talk.topic_id = talk.topic()
    producer = Transactional(talk)
    producer.init()

    def say(label: str, name: str, index: int = 0) -> None:
        topics = [DescribeProducersRequest.Topic(name=name, partition_indexes=[index])]
        answer = talk.ask(DescribeProducersRequest(topics=topics))
        for topic in answer.topics:
            for partition in topic.partitions:
                for one in partition.active_producers:
                    one.last_timestamp = min(one.last_timestamp, 1)
        talk.note(label, answer)

    say("nobody", talk.name)
    say("unknown topic", f"{talk.name}-none")
    say("bad name", "a/b")
    say("unknown partition", talk.name, 9)
    producer.add()
    producer.send()
    say("under way", talk.name)
    producer.end()
    producer.settle()
    say("after the end", talk.name)


@conversation(0, 2)
def update_features(talk: Talk) -> None:
    def say(label: str, name: str, level: int, kind: int = 1, **fields: Any) -> None:
        update = UpdateFeaturesRequest.FeatureUpdate(feature=name, max_version_level=level)
        if talk.version >= 1:
            update.upgrade_type = kind
        talk.say(label, UpdateFeaturesRequest(timeout_ms=5000, feature_updates=[update], **fields))

    say("as it is", "transaction.version", 2)
    say("unknown level", "transaction.version", 9)
    say("negative level", "transaction.version", -1)
    say("unknown feature", "whatever.version", 1)
    talk.say("nothing", UpdateFeaturesRequest(timeout_ms=5000, feature_updates=[]))
    say("downgrade without saying so", "transaction.version", 1)
    if talk.version >= 1:
        say("safe downgrade, only asked", "transaction.version", 1, 2, validate_only=True)
        say("downgrade to what is newer", "transaction.version", 3, 2)
        say("unknown kind", "transaction.version", 2, 9)
        say("still as it was", "transaction.version", 2)
