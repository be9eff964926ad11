"""ShareFetch and ShareAcknowledge as members of a share group see them (KIP-932)."""

from __future__ import annotations

import time
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from pykbroker.cluster.image import uuid_text
from pykbroker.cluster.share_acknowledge import ACCEPT, GAP, REJECT, RELEASE, RENEW
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.messages.alter_client_quotas import AlterClientQuotasRequest
from pykbroker.protocol.messages.create_acls import CreateAclsRequest
from pykbroker.protocol.messages.delete_records import DeleteRecordsRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from pykbroker.protocol.messages.initialize_share_group_state import InitializeShareGroupStateRequest
from pykbroker.protocol.messages.share_acknowledge import ShareAcknowledgeRequest
from pykbroker.protocol.messages.share_fetch import ShareFetchRequest
from pykbroker.protocol.records.batch import batches, build_batch
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient
from pykbroker.testing.process import BrokerProcess

VERSIONS = (1, 2)
UNKNOWN_ID = UUID(int=7 << 64 | 7)
LONG = 20_000
"""A wait (ms) that no test sits out."""
GROUP_RESOURCE = 32
AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"

_groups = count()


class Member:
    """A member of a share group on a connection of its own, or on one that it shares."""

    def __init__(self, client: WireClient, group: str, name: str = "m1", version: int = 2) -> None:
        self.client = client
        self.group = group
        self.name = name
        self.version = version
        self.epoch = 0

    def begin(self, topic: Any, *partitions: int, start: int = 0) -> None:
        """What the group's coordinator does when a member subscribes: the states begin."""
        cls = InitializeShareGroupStateRequest.Topic
        keys = [f"{self.group}:{uuid_text(topic.id)}:{index}" for index in partitions or (0,)]
        for found in self.client.request(FindCoordinatorRequest(key_type=2, coordinator_keys=keys), 6).coordinators:
            assert found.error_code == E.NONE
        parts = [cls.Partition(partition=index, start_offset=start) for index in partitions or (0,)]
        request = InitializeShareGroupStateRequest(
            group_id=self.group, topics=[cls(topic_id=topic.id, partitions=parts)]
        )
        for part in self.client.request(request, 0).results[0].partitions:
            assert part.error_code == E.NONE

    def asked(
        self, topic: Any, *partitions: int, answers: list[tuple[int, int, list[int]]] | None = None
    ) -> list[ShareFetchRequest.Topic]:
        cls = ShareFetchRequest.Topic
        return [
            cls(
                topic_id=topic.id,
                partitions=[
                    cls.Partition(
                        partition_index=index,
                        acknowledgement_batches=[
                            cls.Partition.AcknowledgementBatch(
                                first_offset=first, last_offset=last, acknowledge_types=kinds
                            )
                            for first, last, kinds in answers or []
                        ],
                    )
                    for index in partitions or (0,)
                ],
            )
        ]

    def send(self, topics: list[ShareFetchRequest.Topic] | None = None, **fields: Any) -> None:
        """Sends a ShareFetch; the session's epoch goes on."""
        values = {
            "group_id": self.group,
            "member_id": self.name,
            "share_session_epoch": self.epoch,
            "max_wait_ms": 0,
            "min_bytes": 1,
            "max_bytes": 1 << 20,
            "max_records": 500,
            "batch_size": 500,
            "topics": topics or [],
        }
        self.client.send(ShareFetchRequest(**(values | fields)), self.version)
        self.epoch += 1

    def receive(self) -> Any:
        return self.client.receive(ShareFetchRequest.key, self.version)[1]

    def fetch(self, topics: list[ShareFetchRequest.Topic] | None = None, **fields: Any) -> Any:
        """What a ShareFetch answers."""
        self.send(topics, **fields)
        return self.receive()

    def get(self, topic: Any, *partitions: int, **fields: Any) -> list[tuple[int, int, int]]:
        """The records acquired: first, last, deliveries."""
        return acquired(self.fetch(self.asked(topic, *partitions), **fields))

    def answer(self, topic: Any, first: int, last: int, *kinds: int, renews: bool = False) -> int:
        """What a ShareAcknowledge for one run of records is answered."""
        cls = ShareAcknowledgeRequest.Topic
        batch = cls.Partition.AcknowledgementBatch(first_offset=first, last_offset=last, acknowledge_types=list(kinds))
        request = ShareAcknowledgeRequest(
            group_id=self.group,
            member_id=self.name,
            share_session_epoch=self.epoch,
            topics=[
                cls(topic_id=topic.id, partitions=[cls.Partition(partition_index=0, acknowledgement_batches=[batch])])
            ],
        )
        if renews:
            request.is_renew_ack = True
        self.epoch += 1
        response = self.client.request(request, self.version)
        if response.error_code != E.NONE:
            return int(response.error_code)
        return int(response.responses[0].partitions[0].error_code)


def acquired(response: Any) -> list[tuple[int, int, int]]:
    assert response.error_code == E.NONE, response
    found = []
    for topic in response.responses:
        for partition in topic.partitions:
            assert partition.error_code == E.NONE, partition
            found += [(one.first_offset, one.last_offset, one.delivery_count) for one in partition.acquired_records]
    return found


def batch(records: int = 1, **options: Any) -> bytes:
    return build_batch([(b"k", b"v")] * records, timestamp=int(time.time() * 1000), **options)


def configure(client: WireClient, group: str, **values: str) -> None:
    cls = IncrementalAlterConfigsRequest.Resource
    configs = [cls.Config(name=name.replace("_", "."), value=value) for name, value in values.items()]
    resource = cls(resource_type=GROUP_RESOURCE, resource_name=group, configs=configs)
    answer = client.request(IncrementalAlterConfigsRequest(resources=[resource]), 1)
    assert answer.responses[0].error_code == E.NONE, answer


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> int:
    number: int = request.param
    return number


@pytest.fixture
def topic(wire: Any) -> Any:
    """A topic with three batches of ten records."""
    made = wire.topic()
    for _ in range(3):
        wire.produce(made, batch(10))
    return made


@pytest.fixture
def member(wire: Any, topic: Any) -> Member:
    """The first member of a group that begins at the topic's beginning."""
    one = Member(wire, f"group-{next(_groups)}")
    one.begin(topic)
    return one


@pytest.fixture
def connect(shared_broker: KafkaBroker, wire_to: Any) -> Any:
    """Makes connections to the shared broker."""
    return lambda: wire_to(shared_broker)


def test_records_are_acquired_answered_for_and_not_delivered_again(member: Member, topic: Any, version: int) -> None:
    member.version = version
    response = member.fetch(member.asked(topic), max_wait_ms=LONG)
    assert acquired(response) == [(0, 29, 1)]
    assert response.acquisition_lock_timeout_ms == 30_000
    (partition,) = response.responses[0].partitions
    assert [one.base_offset for one in batches(partition.records)] == [0, 10, 20]
    assert member.answer(topic, 0, 29, ACCEPT) == E.NONE
    assert member.fetch().responses == []


def test_an_answer_may_come_with_the_next_fetch(member: Member, topic: Any, wire: Any) -> None:
    member.get(topic, max_wait_ms=LONG)
    wire.produce(topic, batch(5))
    response = member.fetch(member.asked(topic, answers=[(0, 29, [ACCEPT])]))
    (partition,) = response.responses[0].partitions
    assert partition.acknowledge_error_code == E.NONE
    assert acquired(response) == [(30, 34, 1)]
    response = member.fetch(member.asked(topic, answers=[(0, 29, [ACCEPT]), (30, 31, [ACCEPT, REJECT])]))
    assert response.responses[0].partitions[0].acknowledge_error_code == E.NONE
    response = member.fetch(member.asked(topic, answers=[(30, 31, [ACCEPT]), (40, 41, [ACCEPT])]))
    assert response.responses[0].partitions[0].acknowledge_error_code == E.INVALID_REQUEST


def test_what_is_sent_is_cut_to_what_is_acquired(member: Member, topic: Any) -> None:
    response = member.fetch(member.asked(topic), max_wait_ms=LONG, max_records=10)
    assert acquired(response) == [(0, 9, 1)]
    assert [one.base_offset for one in batches(response.responses[0].partitions[0].records)] == [0]
    response = member.fetch(max_records=1, batch_size=1)
    assert acquired(response) == [(10, 19, 1)]
    assert [one.base_offset for one in batches(response.responses[0].partitions[0].records)] == [10]


def test_a_strict_limit_of_records_is_kept(member: Member, topic: Any) -> None:
    assert member.get(topic, max_wait_ms=LONG, max_records=3, share_acquire_mode=1) == [(0, 2, 1)]
    assert acquired(member.fetch(max_records=3, share_acquire_mode=1)) == [(3, 5, 1)]


def test_a_batch_size_cuts_what_is_acquired(member: Member, topic: Any) -> None:
    assert member.get(topic, max_wait_ms=LONG, batch_size=10) == [(0, 9, 1), (10, 19, 1), (20, 29, 1)]


def test_two_members_share_a_partition(member: Member, topic: Any, connect: Any) -> None:
    other = Member(connect(), member.group, "m2")
    assert member.get(topic, max_wait_ms=LONG, max_records=10) == [(0, 9, 1)]
    assert other.get(topic, max_records=10) == [(10, 19, 1)]
    assert other.answer(topic, 0, 9, ACCEPT) == E.INVALID_RECORD_STATE
    assert member.answer(topic, 0, 9, RELEASE) == E.NONE
    assert acquired(other.fetch(max_records=10)) == [(0, 9, 2)]


def test_a_fetch_waits_for_what_is_produced(member: Member, topic: Any, connect: Any, wire: Any) -> None:
    other = Member(connect(), member.group, "m2")
    assert member.get(topic, max_wait_ms=LONG) == [(0, 29, 1)]
    other.send(other.asked(topic), max_wait_ms=LONG)
    wire.produce(topic, batch(2))
    assert acquired(other.receive()) == [(30, 31, 1)]


def test_a_fetch_waits_for_what_is_given_back(member: Member, topic: Any, connect: Any) -> None:
    other = Member(connect(), member.group, "m2")
    assert member.get(topic, max_wait_ms=LONG) == [(0, 29, 1)]
    other.send(other.asked(topic), max_wait_ms=LONG)
    assert member.answer(topic, 5, 7, RELEASE) == E.NONE
    assert acquired(other.receive()) == [(5, 7, 2)]


def test_a_fetch_waits_for_enough_bytes(member: Member, topic: Any, connect: Any, wire: Any) -> None:
    other = Member(connect(), member.group, "m2")
    member.get(topic, max_wait_ms=LONG)
    other.send(other.asked(topic), max_wait_ms=LONG, min_bytes=2 * len(batch(1)))
    wire.produce(topic, batch(1))
    wire.produce(topic, batch(1))
    assert acquired(other.receive()) == [(30, 31, 1)]


@pytest.mark.slow
def test_a_fetch_waits_for_a_lock_that_runs_out(wire_to: Any) -> None:
    config = {
        "group.share.record.lock.duration.ms": "1000",
        "group.share.min.record.lock.duration.ms": "1000",
    }
    with KafkaBroker(config=config) as broker:
        wire = wire_to(broker)
        first, second = Member(wire, "g"), Member(wire, "g", "m2")
        made = wire.topic()
        wire.produce(made, batch(10))
        first.begin(made)
        assert first.get(made, max_wait_ms=LONG) == [(0, 9, 1)]
        assert second.get(made, max_wait_ms=LONG) == [(0, 9, 2)]
        assert first.answer(made, 0, 9, ACCEPT) == E.INVALID_RECORD_STATE


def test_a_renewed_lock_is_stored_nowhere_and_fetches_nothing(member: Member, topic: Any) -> None:
    member.get(topic, max_wait_ms=LONG)
    assert member.answer(topic, 0, 29, RENEW, renews=True) == E.NONE
    assert member.answer(topic, 0, 29, RENEW) == E.INVALID_REQUEST
    renewal = {"max_bytes": 0, "min_bytes": 0, "max_records": 0, "is_renew_ack": True}
    response = member.fetch(member.asked(topic, answers=[(0, 29, [RENEW])]), **renewal)
    assert response.responses[0].partitions[0].acknowledge_error_code == E.NONE
    response = member.fetch(is_renew_ack=True)
    assert response.error_code == E.INVALID_REQUEST
    assert response.error_message == (
        "maxBytes must be set to 0, minBytes must be set to 0, maxRecords must be set to 0, if isRenewAck is true."
    )


def test_gaps_and_rejected_records_are_done(member: Member, topic: Any) -> None:
    member.get(topic, max_wait_ms=LONG)
    assert member.answer(topic, 0, 1, GAP, REJECT) == E.NONE
    assert member.answer(topic, 2, 29, RELEASE) == E.NONE
    assert acquired(member.fetch()) == [(2, 29, 2)]


def test_a_session_that_ends_gives_all_back(member: Member, topic: Any, connect: Any) -> None:
    other = Member(connect(), member.group, "m2")
    member.get(topic, max_wait_ms=LONG)
    member.fetch(member.asked(topic, answers=[(0, 9, [ACCEPT])]), share_session_epoch=-1)
    assert other.get(topic, max_wait_ms=LONG) == [(10, 29, 2)]


def test_a_connection_that_ends_gives_all_back(member: Member, topic: Any, connect: Any) -> None:
    other = Member(connect(), member.group, "m2")
    assert other.get(topic, max_wait_ms=LONG) == [(0, 29, 1)]
    member.send(member.asked(topic), max_wait_ms=LONG)
    other.client.close()
    assert acquired(member.receive()) == [(0, 29, 2)]


def test_sessions_have_epochs(member: Member, topic: Any) -> None:
    assert member.fetch(share_session_epoch=1).error_code == E.SHARE_SESSION_NOT_FOUND
    member.epoch = 0
    assert member.answer(topic, 0, 1, ACCEPT) == E.INVALID_SHARE_SESSION_EPOCH
    member.epoch = 0
    member.get(topic, max_wait_ms=LONG)
    assert member.fetch(share_session_epoch=5).error_code == E.INVALID_SHARE_SESSION_EPOCH
    asked = member.asked(topic, answers=[(0, 1, [ACCEPT])])
    assert member.fetch(asked, share_session_epoch=0).error_code == E.INVALID_REQUEST


@pytest.mark.parametrize(("field", "value"), [("group_id", None), ("member_id", ""), ("member_id", "x" * 37)])
def test_who_asks_has_to_have_a_name(member: Member, field: str, value: str | None) -> None:
    assert member.fetch(**{field: value}).error_code == E.INVALID_REQUEST


def test_partitions_that_can_t_be_read_have_errors(member: Member, topic: Any, wire: Any) -> None:
    other = wire.topic()
    asked = [*member.asked(topic, 0, 7)]
    asked[0].partitions[0].partition_index = 0
    unknown = ShareFetchRequest.Topic(
        topic_id=UNKNOWN_ID, partitions=[ShareFetchRequest.Topic.Partition(partition_index=0)]
    )
    response = member.fetch([*asked, *member.asked(other), unknown], max_wait_ms=LONG)
    codes = {
        (one.topic_id, partition.partition_index): partition.error_code
        for one in response.responses
        for partition in one.partitions
    }
    assert codes == {
        (topic.id, 0): E.NONE,
        (topic.id, 7): E.UNKNOWN_TOPIC_OR_PARTITION,
        (other.id, 0): E.UNKNOWN_SERVER_ERROR,  # No state: the group's coordinator hasn't begun one.
        (UNKNOWN_ID, 0): E.UNKNOWN_TOPIC_ID,
    }


def test_the_log_s_new_beginning_is_taken_over(member: Member, topic: Any, wire: Any) -> None:
    member.get(topic, max_wait_ms=LONG, max_records=10)
    member.answer(topic, 0, 9, ACCEPT)
    cls = DeleteRecordsRequest.Topic
    parts = [cls.Partition(partition_index=0, offset=25)]
    wire.request(DeleteRecordsRequest(topics=[cls(name=topic.name, partitions=parts)], timeout_ms=5000), 2)
    assert member.fetch(max_wait_ms=LONG).error_code == E.NONE
    assert acquired(member.fetch(max_wait_ms=LONG)) == [(25, 29, 1)]


def test_aborted_records_are_kept_from_who_wants_committed_ones(wire: Any, connect: Any) -> None:
    topic, group = wire.topic(), f"group-{next(_groups)}"
    configure(wire, group, share_isolation_level="read_committed", share_auto_offset_reset="earliest")
    member = Member(wire, group)
    member.begin(topic, start=-1)
    wire.produce(topic, batch(2))
    assert member.get(topic, max_wait_ms=LONG) == [(0, 1, 1)]


@pytest.mark.parametrize(
    ("reset", "first"), [("latest", None), ("earliest", 0), ("by_duration:PT1H", 0), ("by_duration:PT0.001S", None)]
)
def test_a_group_begins_where_its_config_says(wire: Any, topic: Any, reset: str, first: int | None) -> None:
    group = f"group-{next(_groups)}"
    configure(wire, group, share_auto_offset_reset=reset)
    member = Member(wire, group)
    member.begin(topic, start=-1)
    time.sleep(0.002)  # So that what was written before is older than the shortest of the durations.
    found = member.get(topic, max_wait_ms=100 if first is None else LONG)
    assert [run[0] for run in found] == ([] if first is None else [first])


def test_no_more_sessions_than_allowed(wire: Any) -> None:
    with (
        KafkaBroker(config={"group.share.max.share.sessions": "1"}) as broker,
        WireClient(broker.host, broker.port) as client,
    ):
        first, second = Member(client, "g"), Member(client, "g", "m2")
        assert first.fetch().error_code == E.NONE
        assert second.fetch().error_code == E.SHARE_SESSION_LIMIT_REACHED


@pytest.mark.slow
def test_a_killed_broker_goes_on_where_it_was(tmp_path: Path, wire_to: Any) -> None:
    with BrokerProcess(data_dir=tmp_path) as broker:
        wire = wire_to(broker)
        topic, member = wire.topic(), Member(wire, "g")
        wire.produce(topic, batch(10))
        member.begin(topic)
        assert member.get(topic, max_wait_ms=LONG) == [(0, 9, 1)]
        assert member.answer(topic, 0, 3, ACCEPT) == E.NONE
        assert member.answer(topic, 5, 6, RELEASE) == E.NONE
        broker.kill()
        broker.start()
        member = Member(wire_to(broker), "g", "m2")
        # What was released counts on; of what was held nothing is stored.
        assert member.get(topic, max_wait_ms=LONG) == [(4, 4, 1), (5, 6, 2), (7, 9, 1)]


def test_fetched_bytes_count_against_the_client_s_quota(kafka_broker: KafkaBroker, wire_to: Any) -> None:
    wire = wire_to(kafka_broker)
    topic, member = wire.topic(), Member(wire, "g")
    member.begin(topic)
    entry = AlterClientQuotasRequest.Entry
    limit = entry(
        entity=[entry.Entity(entity_type="client-id", entity_name=None)],
        ops=[entry.Op(key="consumer_byte_rate", value=1000)],
    )
    assert wire.request(AlterClientQuotasRequest(entries=[limit]), 1).entries[0].error_code == E.NONE
    for _ in range(3):
        wire.produce(topic, build_batch([(b"k", b"v" * 6000)], timestamp=int(time.time() * 1000)))
    # Bytes of ten windows of a second are the most that one answer holds.
    asked = member.asked(topic)
    answers = [member.fetch(asked, max_wait_ms=LONG), member.fetch(max_wait_ms=LONG)]
    assert [acquired(answer) for answer in answers] == [[(0, 0, 1)], [(1, 1, 1)]]
    assert answers[0].throttle_time_ms == 0
    assert 0 < answers[1].throttle_time_ms < 4000, "records are sent, and the next request waits"


def test_a_session_goes_on_only_as_long_as_its_topics_may_be_read(wire_to: Any) -> None:
    config = {"authorizer.class.name": AUTHORIZER, "allow.everyone.if.no.acl.found": "true"}
    with KafkaBroker(config=config) as broker:
        wire = wire_to(broker)
        topic, member = wire.topic(), Member(wire, "g")
        member.begin(topic)
        wire.produce(topic, batch(4))
        assert member.get(topic, max_wait_ms=LONG, max_records=2) == [(0, 3, 1)]
        deny = CreateAclsRequest.Creation(
            resource_type=2,
            resource_name=topic.name,
            resource_pattern_type=3,
            principal="User:ANONYMOUS",
            host="*",
            operation=3,
            permission_type=2,
        )
        assert wire.request(CreateAclsRequest(creations=[deny]), 3).results[0].error_code == E.NONE
        refused = E.TOPIC_AUTHORIZATION_FAILED
        (answer,) = member.fetch(max_wait_ms=LONG).responses[0].partitions
        assert (answer.error_code, answer.acquired_records) == (refused, [])
        assert member.answer(topic, 0, 0, ACCEPT) == refused
