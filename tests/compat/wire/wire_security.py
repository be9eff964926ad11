"""Conversations about who may what: ACLs, refusals, delegation tokens; and a broker that has none of it."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from tests.security.requests import sample
from wire_connection import shown
from wire_data import batch
from wire_groups import commit
from wire_talk import Talk, conversation
from wire_versions import NOT_HERE

from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.message import ZERO_UUID
from pykbroker.protocol.messages.add_partitions_to_txn import AddPartitionsToTxnRequest
from pykbroker.protocol.messages.create_acls import CreateAclsRequest
from pykbroker.protocol.messages.create_delegation_token import CreateDelegationTokenRequest
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.delete_acls import DeleteAclsRequest
from pykbroker.protocol.messages.delete_groups import DeleteGroupsRequest
from pykbroker.protocol.messages.delete_records import DeleteRecordsRequest
from pykbroker.protocol.messages.delete_topics import DeleteTopicsRequest
from pykbroker.protocol.messages.describe_acls import DescribeAclsRequest
from pykbroker.protocol.messages.describe_cluster import DescribeClusterRequest
from pykbroker.protocol.messages.describe_configs import DescribeConfigsRequest
from pykbroker.protocol.messages.describe_delegation_token import DescribeDelegationTokenRequest
from pykbroker.protocol.messages.describe_groups import DescribeGroupsRequest
from pykbroker.protocol.messages.describe_transactions import DescribeTransactionsRequest
from pykbroker.protocol.messages.expire_delegation_token import ExpireDelegationTokenRequest
from pykbroker.protocol.messages.fetch import FetchRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.protocol.messages.offset_fetch import OffsetFetchRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.messages.renew_delegation_token import RenewDelegationTokenRequest
from pykbroker.protocol.messages.sasl_authenticate import SaslAuthenticateRequest
from pykbroker.protocol.messages.sasl_handshake import SaslHandshakeRequest
from pykbroker.security.acl import Operation, PatternType, Permission, ResourceType

LEFT_OUT = NOT_HERE | {ApiKey.SASL_HANDSHAKE, ApiKey.SASL_AUTHENTICATE, ApiKey.API_VERSIONS}
"""Not asked of who is logged in: a handshake begins another authentication."""
FIRST_WITH_IDS = {ApiKey.PRODUCE: 13, ApiKey.FETCH: 13, ApiKey.OFFSET_COMMIT: 10, ApiKey.OFFSET_FETCH: 10}


@conversation(0, 2)
def sasl_without_sasl(talk: Talk) -> None:
    """At a listener that has none."""
    talk.say("a token", SaslAuthenticateRequest(auth_bytes=b"\0a\0b"))
    talk.reconnect()
    talk.say("a handshake", SaslHandshakeRequest(mechanism="PLAIN"), min(talk.version, 1))


def acl(talk: Talk, **fields: Any) -> Any:
    values = {
        "resource_type": ResourceType.TOPIC,
        "resource_name": talk.name,
        "resource_pattern_type": PatternType.LITERAL,
        "principal": "User:alice",
        "host": "*",
        "operation": Operation.READ,
        "permission_type": Permission.ALLOW,
    }
    return CreateAclsRequest.Creation(**(values | fields))


def acl_filter(cls: Any, talk: Talk, **fields: Any) -> Any:
    """Of a conversation's topic, whatever its rules say."""
    values = {
        "resource_type_filter": ResourceType.TOPIC,
        "resource_name_filter": talk.name,
        "pattern_type_filter": PatternType.LITERAL,
        "principal_filter": None,
        "host_filter": None,
        "operation": Operation.ANY,
        "permission_type": Permission.ANY,
    }
    return cls(**(values | fields))


@conversation(1, 3, older=0)
def acls_without_authorizer(talk: Talk) -> None:
    talk.say("described", acl_filter(DescribeAclsRequest, talk))
    talk.say("created", CreateAclsRequest(creations=[acl(talk)]))
    talk.say("deleted", DeleteAclsRequest(filters=[acl_filter(DeleteAclsRequest.Filter, talk)]))


@conversation(1, 3)
def tokens_without_a_secret(talk: Talk) -> None:
    version = min(talk.version, 2)
    talk.say("created", CreateDelegationTokenRequest(max_lifetime_ms=-1))
    talk.say("renewed", RenewDelegationTokenRequest(hmac=b"x", renew_period_ms=-1), version)
    talk.say("expired", ExpireDelegationTokenRequest(hmac=b"x", expiry_time_period_ms=-1), version)
    talk.say("described", DescribeDelegationTokenRequest(owners=None))


@conversation(1, 3, older=0, guarded=True)
def acls(talk: Talk) -> None:
    there = set()

    def create(label: str, *creations: Any) -> None:
        answer = talk.say(label, CreateAclsRequest(creations=list(creations)))
        for made, result in zip(creations, answer.results if answer else (), strict=False):
            if result.error_code == 0:
                there.add(shown(made))

    def describe(label: str, **fields: Any) -> None:
        answer = talk.ask(acl_filter(DescribeAclsRequest, talk, **fields))
        for resource in [] if answer is None else answer.resources:
            resource.acls.sort(key=lambda one: (one.principal, one.host, one.operation, one.permission_type))
        if answer is not None:
            answer.resources = [one for one in answer.resources if one.resource_name.startswith(talk.name)]
            answer.resources.sort(key=lambda one: (one.resource_type, one.resource_name, one.pattern_type))
        talk.note(label, answer)
        if answer is None:
            talk.reconnect()

    def delete(label: str, **fields: Any) -> None:
        answer = talk.ask(DeleteAclsRequest(filters=[acl_filter(DeleteAclsRequest.Filter, talk, **fields)]))
        for result in [] if answer is None else answer.filter_results:
            result.matching_acls.sort(key=lambda one: (one.principal, one.host, one.operation, one.permission_type))
        talk.note(label, answer)
        if answer is None:
            talk.reconnect()

    describe("none yet")
    create("none")
    create("a rule", acl(talk))
    create("the rule again", acl(talk))
    create("two, one of a host", acl(talk, host="127.0.0.9"), acl(talk, permission_type=Permission.DENY))
    for label, fields in {
        "no name": {"resource_name": ""},
        "no principal": {"principal": ""},
        "a principal without type": {"principal": "alice"},
        "type 0": {"resource_type": 0},
        "operation 0": {"operation": 0},
        "permission 0": {"permission_type": 0},
        "any type": {"resource_type": ResourceType.ANY},
        "an unknown type": {"resource_type": 77},
        "any operation": {"operation": Operation.ANY},
        "an unknown operation": {"operation": 77},
        "an operation that topics don't have": {"operation": Operation.IDEMPOTENT_WRITE},
        "any permission": {"permission_type": Permission.ANY},
        "an unknown permission": {"permission_type": 77},
        "a cluster of another name": {"resource_type": ResourceType.CLUSTER, "resource_name": "other"},
        "no host": {"host": ""},
    }.items():
        create(label, acl(talk, **fields))
    if talk.version:
        for kind in (0, PatternType.ANY, PatternType.MATCH, 77):
            create(f"pattern type {int(kind)}", acl(talk, resource_pattern_type=kind))
        create("a prefix", acl(talk, resource_pattern_type=PatternType.PREFIXED))
    _await_acls(talk, len(there))
    describe("all of the topic")
    describe("of alice", principal_filter="User:alice")
    describe("of nobody", principal_filter="User:nobody")
    describe("of a host", host_filter="127.0.0.9")
    describe("those that refuse", permission_type=Permission.DENY)
    describe("those to read", operation=Operation.READ)
    describe("those to write", operation=Operation.WRITE)
    describe("of all topics", resource_name_filter=None)
    describe("of type 0", resource_type_filter=0)
    describe("of operation 0", operation=0)
    describe("of permission 0", permission_type=0)
    delete("of operation 0 deleted", operation=0)
    describe("of an unknown type", resource_type_filter=77)
    describe("of an unknown operation", operation=77)
    describe("of an unknown permission", permission_type=77)
    describe("without a name", resource_name_filter="")
    if talk.version:
        describe("any pattern type", pattern_type_filter=PatternType.ANY)
        describe("what matches", resource_name_filter=f"{talk.name}-b", pattern_type_filter=PatternType.MATCH)
        describe("an unknown pattern type", pattern_type_filter=77)
        delete("an unknown pattern type deleted", pattern_type_filter=77)
    delete("of an unknown operation deleted", operation=77)
    delete("of nobody deleted", principal_filter="User:nobody")
    delete("of a host deleted", host_filter="127.0.0.9")
    delete("all deleted")
    delete("all deleted again")
    if talk.version:
        delete("the prefix deleted", pattern_type_filter=PatternType.PREFIXED)
    talk.say("no filter", DeleteAclsRequest(filters=[]))
    _await_acls(talk, 0)
    describe("none left")
    talk.become("nobody")
    describe("described by who may not")
    create("created by who may not", acl(talk))
    delete("deleted by who may not")


def _await_acls(talk: Talk, wanted: int) -> None:
    """Apache Kafka's brokers hear of their controller's records a little later."""
    for _ in range(200):
        answer = talk.ask(acl_filter(DescribeAclsRequest, talk, pattern_type_filter=PatternType.ANY), 3)
        if sum(len(one.acls) for one in answer.resources) == wanted:
            return
        time.sleep(0.02)
    raise AssertionError(f"there are never {wanted} rules: {answer}")


def allow(talk: Talk, *rules: tuple[ResourceType, str, Operation], user: str = "alice") -> None:
    """The admin lets a user; once that is so."""
    creations = [
        acl(talk, resource_type=kind, resource_name=name, operation=operation, principal=f"User:{user}")
        for kind, name, operation in rules
    ]
    talk.ask(CreateAclsRequest(creations=creations), 3)
    for kind, name, operation in rules:
        wanted = acl_filter(
            DescribeAclsRequest, talk, resource_type_filter=kind, resource_name_filter=name, operation=operation
        )
        for _ in range(200):
            if talk.ask(wanted, 3).resources:
                break
            time.sleep(0.02)


def _meaning(request: Any) -> Any:
    """A request whose numbers are such that it gets as far as the question for rights."""
    for name in request.fields:
        value = getattr(request, name)
        if name in ("operation", "permission_type", "resource_pattern_type", "pattern_type_filter"):
            setattr(request, name, 3)
        elif name == "resource_type_filter":
            setattr(request, name, 2)
        elif name == "timeout_ms":
            setattr(request, name, 5000)
        elif name == "acks":
            setattr(request, name, -1)
        for one in value if isinstance(value, list) else ():
            if hasattr(one, "fields"):
                _meaning(one)
    return request


@conversation(0, 0, guarded=True)
def refused(talk: Talk) -> None:
    """Every API in all its versions, asked by who may nothing: by name, and by an id where it takes one."""
    talk.become("nobody")
    for key in ApiKey:
        if key in LEFT_OUT:
            continue
        for version in talk.served_versions(key):
            ways = (False, True) if version >= FIRST_WITH_IDS.get(key, 99) else (False,)
            for by_id in ways:
                request = _meaning(sample(key, version, by_id=by_id))
                label = f"{key.name} {version}" + (" by id" if by_id else "")
                answer = talk.ask(request, version)
                talk.note(label, answer)
                if answer is None:
                    talk.reconnect()


@conversation(0, 0, guarded=True)
def some_rights(talk: Talk) -> None:
    """A user who may read, write or describe some of the topics, groups and ids that requests name in one."""
    ids = {suffix: talk.topic(suffix=suffix) for suffix in ("-r", "-w", "-d", "-x")}
    ids["-unknown"] = UUID(int=7 << 64 | 7)
    name, suffixes = talk.name, list(ids)
    topic, group, transaction = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID
    for suffix in ("-r", "-x"):
        talk.ask(commit(talk, 3, ZERO_UUID, suffix=suffix), 8)
    allow(
        talk,
        *((topic, f"{name}{suffix}", right) for suffix, right in zip(ids, (*RIGHTS, None), strict=False) if right),
        (topic, f"{name}-c", Operation.CREATE),
        (group, name, Operation.READ),
        (group, f"{name}-d", Operation.DESCRIBE),
        (transaction, name, Operation.WRITE),
        (transaction, f"{name}-d", Operation.DESCRIBE),
    )
    for suffix in ("", "-d", "-x"):
        talk.await_transactions(name + suffix)
    talk.become("alice")
    _topics_with_some_rights(talk, ids, suffixes)
    _records_with_some_rights(talk, ids, suffixes)
    _groups_with_some_rights(talk, ids)
    _transactions_with_some_rights(talk)
    talk.become("nobody")
    talk.say("a producer id for nobody", InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000), 4)
    talk.say("the cluster to nobody", DescribeClusterRequest(include_cluster_authorized_operations=True), 1)


RIGHTS = (Operation.READ, Operation.WRITE, Operation.DESCRIBE)


def _topics_with_some_rights(talk: Talk, ids: dict[str, UUID], suffixes: Iterable[str]) -> None:
    names = [talk.name + suffix for suffix in suffixes]
    talk.mask("127.0.0.1", "<host>")

    def metadata(label: str, topics: list[Any] | None, version: int, **fields: bool) -> None:
        answer = talk.ask(
            MetadataRequest(topics=topics, **({"allow_auto_topic_creation": version < 4} | fields)), version
        )
        answer.topics = [one for one in answer.topics if not one.name or one.name.startswith(talk.name)]
        answer.topics.sort(key=lambda one: (one.name or "", one.topic_id.bytes))
        talk.note(label, answer)

    for version in (4, 9, 12):
        metadata(f"Metadata {version} by name", [MetadataRequest.Topic(name=one) for one in names], version)
        metadata(f"Metadata {version} of all", None, version)
    by_id = [MetadataRequest.Topic(name=None, topic_id=one) for one in ids.values()]
    metadata("Metadata 12 by id", by_id, 12)
    metadata("operations", [MetadataRequest.Topic(name=names[0])], 9, include_topic_authorized_operations=True)
    metadata("auto-creation", [MetadataRequest.Topic(name=names[-1])], 9, allow_auto_topic_creation=True)
    metadata("auto-creation where it may", [MetadataRequest.Topic(name=f"{talk.name}-c")], 9)
    new = CreateTopicsRequest.Topic
    for version in (5, 7):
        made = [new(name=f"{talk.name}{suffix}", num_partitions=1, replication_factor=1) for suffix in ("-c", "-n")]
        answer = talk.ask(CreateTopicsRequest(topics=made, timeout_ms=5000, validate_only=True), version)
        answer.topics.sort(key=lambda one: one.name)
        talk.note(f"CreateTopics {version}", answer)
    deleted = talk.ask(DeleteTopicsRequest(topic_names=names, timeout_ms=5000), 5)
    deleted.responses.sort(key=lambda one: one.name)
    talk.note("DeleteTopics 5", deleted)
    by_ids = [DeleteTopicsRequest.Topic(name=None, topic_id=one) for one in ids.values()]
    deleted = talk.ask(DeleteTopicsRequest(topics=by_ids, timeout_ms=5000), 6)
    deleted.responses.sort(key=lambda one: (one.name or "", one.error_code))
    talk.note("DeleteTopics 6 by id", deleted)
    kinds = [(2, one) for one in names] + [(4, "1")]
    resource = DescribeConfigsRequest.Resource
    asked = [resource(resource_type=kind, resource_name=one, configuration_keys=["flush.ms"]) for kind, one in kinds]
    configs = talk.ask(DescribeConfigsRequest(resources=asked), 4)
    configs.results.sort(key=lambda one: one.resource_name)
    talk.note("DescribeConfigs", configs)
    talk.say("DescribeCluster", DescribeClusterRequest(include_cluster_authorized_operations=True), 1)


def _records_with_some_rights(talk: Talk, ids: dict[str, UUID], suffixes: Iterable[str]) -> None:
    data = ProduceRequest.TopicData
    records = ProduceRequest.TopicData.PartitionData(index=0, records=batch(leader_epoch=-1))
    for version in (3, 12, 13):
        topics = [data(name=talk.name + one, topic_id=ids[one], partition_data=[records]) for one in suffixes]
        answer = talk.ask(ProduceRequest(acks=-1, timeout_ms=5000, topic_data=topics), version)
        answer.responses.sort(key=lambda one: (one.name, [part.error_code for part in one.partition_responses]))
        talk.note(f"Produce {version}", answer)
    part = FetchRequest.Topic.Partition(partition=0, fetch_offset=0, partition_max_bytes=1000)
    for version in (4, 12, 13):
        parts = [FetchRequest.Topic(topic=talk.name + one, topic_id=ids[one], partitions=[part]) for one in suffixes]
        answer = talk.ask(FetchRequest(max_wait_ms=0, min_bytes=0, topics=parts), version)
        answer.responses.sort(key=lambda one: (one.topic, [part.error_code for part in one.partitions]))
        talk.note(f"Fetch {version}", answer)
    listed = ListOffsetsRequest.Topic
    ends = [listed.Partition(partition_index=0, timestamp=-2)]
    named = [listed(name=talk.name + one, partitions=ends) for one in suffixes]
    answer = talk.ask(ListOffsetsRequest(replica_id=-1, topics=named), 5)
    answer.topics.sort(key=lambda one: one.name)
    talk.note("ListOffsets", answer)
    gone = DeleteRecordsRequest.Topic
    before = [gone(name=talk.name + one, partitions=[gone.Partition(offset=0)]) for one in suffixes]
    answer = talk.ask(DeleteRecordsRequest(topics=before, timeout_ms=5000), 2)
    answer.topics.sort(key=lambda one: one.name)
    talk.note("DeleteRecords", answer)


def _groups_with_some_rights(talk: Talk, ids: dict[str, UUID]) -> None:
    groups = [talk.name + suffix for suffix in ("", "-d", "-x")]
    for group in groups:
        for suffix in ("-r", "-d", "-x", "-unknown"):
            label = f"OffsetCommit of {group.removeprefix(talk.name) or 'its group'}: {suffix}"
            talk.say(label, commit(talk, 4, ids[suffix], suffix=suffix, group_id=group), 8)
            if suffix != "-unknown":
                talk.say(f"{label} by id", commit(talk, 4, ids[suffix], suffix=suffix, group_id=group), 10)
    for version in (7, 8, 9):
        for group in groups:
            named = OffsetFetchRequest.Group.Topic
            topics = [named(name=talk.name + one, partition_indexes=[0]) for one in ("-r", "-x")]
            old = [OffsetFetchRequest.Topic(name=one.name, partition_indexes=[0]) for one in topics]
            for asked, label in ((topics, "two topics"), (None, "all")):
                if version == 7:
                    request = OffsetFetchRequest(group_id=group, topics=None if asked is None else old)
                else:
                    request = OffsetFetchRequest(groups=[OffsetFetchRequest.Group(group_id=group, topics=asked)])
                talk.say(
                    f"OffsetFetch {version} of {group.removeprefix(talk.name) or 'its group'}: {label}",
                    request,
                    version,
                )
    described = talk.ask(DescribeGroupsRequest(groups=groups, include_authorized_operations=True), 5)
    described.groups.sort(key=lambda one: one.group_id)
    talk.note("DescribeGroups", described)
    deleted = talk.ask(DeleteGroupsRequest(groups_names=groups), 2)
    deleted.results.sort(key=lambda one: one.group_id)
    talk.note("DeleteGroups", deleted)
    found = talk.ask(FindCoordinatorRequest(key_type=0, coordinator_keys=groups), 4)
    talk.note("FindCoordinator of groups", found)


def _transactions_with_some_rights(talk: Talk) -> None:
    names = [talk.name + suffix for suffix in ("", "-d", "-x")]
    talk.note("FindCoordinator of ids", talk.ask(FindCoordinatorRequest(key_type=1, coordinator_keys=names), 4))
    talk.say("a producer id", InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000), 4)
    for label, name in zip(("a transactional id", "one to describe", "one that is hidden"), names, strict=True):
        talk.say(label, InitProducerIdRequest(transactional_id=name, transaction_timeout_ms=60000), 4)
    made = talk.ask(InitProducerIdRequest(transactional_id=names[0], transaction_timeout_ms=60000), 4)
    cls = AddPartitionsToTxnRequest
    for suffixes in (("-w", "-x"), ("-w", "-unknown"), ("-r",), ("-w",)):
        topics = [cls.Topic(name=talk.name + one, partitions=[0]) for one in suffixes]
        request = cls(
            v3_and_below_transactional_id=names[0],
            v3_and_below_producer_id=made.producer_id,
            v3_and_below_producer_epoch=made.producer_epoch,
            v3_and_below_topics=topics,
        )
        answer = talk.ask(request, 3)
        answer.results_by_topic_v3_and_below.sort(key=lambda one: one.name)
        talk.note(f"partitions added: {' '.join(suffixes)}", answer)
    described = talk.ask(DescribeTransactionsRequest(transactional_ids=names), 0)
    described.transaction_states.sort(key=lambda one: one.transactional_id)
    for one in described.transaction_states:
        one.transaction_start_time_ms = min(one.transaction_start_time_ms, 1)
    talk.note("DescribeTransactions", described)


@conversation(1, 3, guarded=True)
def delegation_tokens(talk: Talk) -> None:
    version = min(talk.version, 2)

    def create(label: str, **fields: Any) -> Any:
        answer = talk.ask(CreateDelegationTokenRequest(**({"max_lifetime_ms": -1} | fields)))
        if answer is not None:
            for field in ("issue_timestamp_ms", "expiry_timestamp_ms", "max_timestamp_ms"):
                setattr(answer, field, min(getattr(answer, field), 1))
            answer.token_id = answer.token_id and "<id>"
        return talk.note(label, answer)

    def described(label: str, owners: list[Any] | None) -> None:
        answer = talk.ask(DescribeDelegationTokenRequest(owners=owners))
        answer.tokens = [one for one in answer.tokens if bytes(one.hmac) == bytes(made.hmac)]
        for one in answer.tokens:
            one.token_id = "<id>"
            for field in ("issue_timestamp", "expiry_timestamp", "max_timestamp"):
                setattr(one, field, min(getattr(one, field), 1))
        talk.note(label, answer)

    def say(label: str, request: Any) -> None:
        answer = talk.ask(request, version)
        answer.expiry_timestamp_ms = min(answer.expiry_timestamp_ms, 1)
        talk.note(label, answer)

    def await_tokens(hmac: bytes, *, there: bool) -> None:
        """Apache Kafka's brokers hear of their controller's records a little later."""
        for _ in range(200):
            tokens = talk.ask(DescribeDelegationTokenRequest(owners=None), 3).tokens
            if (hmac in [bytes(one.hmac) for one in tokens]) == there:
                return
            time.sleep(0.02)

    talk.become("alice")
    renewer = CreateDelegationTokenRequest.Renewer
    made = create("a token", renewers=[renewer(principal_type="User", principal_name="nobody")])
    create("with a renewer of another type", renewers=[renewer(principal_type="Group", principal_name="g")])
    if talk.version >= 3:
        create("for another", owner_principal_type="User", owner_principal_name="nobody")
        create("for one of another type", owner_principal_type="Group", owner_principal_name="nobody")
    await_tokens(bytes(made.hmac), there=True)
    say("renewed", RenewDelegationTokenRequest(hmac=made.hmac, renew_period_ms=-1))
    say("an unknown one renewed", RenewDelegationTokenRequest(hmac=b"unknown", renew_period_ms=-1))
    say("an unknown one expired", ExpireDelegationTokenRequest(hmac=b"unknown", expiry_time_period_ms=-1))
    owner = DescribeDelegationTokenRequest.Owner
    described("described", [owner(principal_type="User", principal_name="alice")])
    described("of nobody", [owner(principal_type="User", principal_name="nobody")])
    described("of no owners", [])
    talk.become("nobody")
    described("to the renewer", [owner(principal_type="User", principal_name="alice")])
    say("renewed by the renewer", RenewDelegationTokenRequest(hmac=made.hmac, renew_period_ms=-1))
    talk.become("admin")
    say("expired by another", ExpireDelegationTokenRequest(hmac=made.hmac, expiry_time_period_ms=-1))
    talk.become("alice")
    say("expired", ExpireDelegationTokenRequest(hmac=made.hmac, expiry_time_period_ms=-1))
    await_tokens(bytes(made.hmac), there=False)
    say("expired again", ExpireDelegationTokenRequest(hmac=made.hmac, expiry_time_period_ms=-1))
