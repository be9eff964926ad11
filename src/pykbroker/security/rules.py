"""Kafka's table: for every API, which operation on which resource it needs. An API that isn't in it is refused.

The rules are run by the dispatcher before the handler is called, and only where there is an authorizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.errors import ErrorCode
from pykbroker.security import group_checks as groups
from pykbroker.security import topic_checks as topics
from pykbroker.security.acl import Operation, ResourceType
from pykbroker.security.guard import (
    MESSAGES,
    Access,
    Check,
    Each,
    Need,
    Operations,
    Rule,
    Shown,
    Whole,
    element,
    indexes,
    refused,
)

K, O, R = ApiKey, Operation, ResourceType  # noqa: E741 - a table of one-letter columns
NO_PROTOCOL = range(7, 10)
"""Versions of JoinGroup whose answer may have no protocol: an error has none there."""
TOPIC, GROUP, CLUSTER, TXN = R.TOPIC, R.GROUP, R.CLUSTER, R.TRANSACTIONAL_ID


def _rule(*needs: tuple[Operation, ResourceType], checks: tuple[Check, ...] = (), in_handler: bool = False) -> Rule:
    return Rule(tuple(Need(*need) for need in needs), checks, in_handler)


def _cluster(operation: Operation, spread: Any = None) -> Rule:
    """One right on the cluster, for the request as a whole."""
    return _rule((operation, CLUSTER), checks=(Whole(operation, CLUSTER, spread=spread),))


def _group(operation: Operation, *more: tuple[Operation, ResourceType], checks: tuple[Check, ...] = ()) -> Rule:
    """One right on the group that the request names, then more."""
    return _rule((operation, GROUP), *more, checks=(Whole(operation, GROUP, "group_id"), *checks))


def _each(check: Each, *more: Check) -> Rule:
    return _rule((check.operation, check.kind), checks=(check, *more))


_COMMITTED = Each(O.READ, TOPIC, "topics", "topics", "partitions")


def _spread_log_dirs(request: Any, access: Access, answer: Any, code: ErrorCode) -> Any:
    cls = element(answer, "results")
    part = element(cls, "partitions")
    return answer(
        results=[
            cls(
                topic_name=topic.name,
                partitions=[part(partition_index=at, error_code=code) for at in indexes(topic.partitions)],
            )
            for directory in request.dirs
            for topic in directory.topics
        ]
    )


def _spread_users(request: Any, access: Access, answer: Any, code: ErrorCode) -> Any:
    cls = element(answer, "results")
    names = dict.fromkeys(one.name for one in (*request.deletions, *request.upsertions))
    return answer(results=[cls(user=name, error_code=code, error_message=MESSAGES[code]) for name in names])


def _spread_quotas(request: Any, access: Access, answer: Any, code: ErrorCode) -> Any:
    cls = element(answer, "entries")
    part = element(cls, "entity")
    entries = []
    for entry in request.entries:
        entity = [part(entity_type=one.entity_type, entity_name=one.entity_name) for one in entry.entity]
        entries.append(cls(error_code=code, error_message=MESSAGES[code], entity=entity))
    return answer(entries=entries)


def _spread_elections(request: Any, access: Access, answer: Any, code: ErrorCode) -> Any:
    cls = element(answer, "replica_election_results")
    part = element(cls, "partition_result")
    told = refused(answer, access.version, code)
    told.replica_election_results = [
        cls(
            topic=topic.topic,
            partition_result=[
                part(partition_id=at, error_code=code, error_message=MESSAGES[code]) for at in indexes(topic.partitions)
            ],
        )
        for topic in request.topic_partitions or ()
    ]
    return told


def _spread_join(request: Any, access: Access, answer: Any, code: ErrorCode) -> Any:
    told = refused(answer, access.version, code)
    if access.version in NO_PROTOCOL:
        told.protocol_name = None
    return told


def _spread_listed(request: Any, access: Access, answer: Any, code: ErrorCode) -> Any:
    cls = element(answer, "topics")
    part = element(cls, "partitions")
    told = refused(answer, access.version, code)
    told.topics = [
        cls(name=topic.name, partitions=[part(partition_index=at) for at in topic.partition_indexes])
        for topic in request.topics or ()
    ]
    return told


def _spread_described_quotas(request: Any, access: Access, answer: Any, code: ErrorCode) -> Any:
    told = refused(answer, access.version, code)
    told.entries = None
    return told


def _spread_described_users(request: Any, access: Access, answer: Any, code: ErrorCode) -> Any:
    cls = element(answer, "results")
    told = refused(answer, access.version, code)
    told.results = [cls(error_code=code, error_message=MESSAGES[code]) for _ in request.users or ()]
    return told


def _state(operation: Operation = O.CLUSTER_ACTION) -> Rule:
    """The state of share groups is for brokers; each partition of the answer says no."""
    each = Each(operation, CLUSTER, "topics", "results", "partitions", message=MESSAGES[_CLUSTER_DENIED])
    return _cluster(operation, each.spread)


_CLUSTER_DENIED = ErrorCode.CLUSTER_AUTHORIZATION_FAILED
_NOBODY_ASKED = _rule()
_BROKERS_ALONE = _cluster(O.CLUSTER_ACTION)
_RESULTS = Each(O.ALTER, CLUSTER, "creations", "results", message=MESSAGES[_CLUSTER_DENIED])
_FILTERS = Each(O.ALTER, CLUSTER, "filters", "filter_results", message=MESSAGES[_CLUSTER_DENIED])
_REASSIGNED = Each(O.ALTER, CLUSTER, "topics", "responses", "partitions", message=MESSAGES[_CLUSTER_DENIED])

RULES: Mapping[int, Rule] = {
    # ---- topics' data
    K.PRODUCE: _rule(
        *((O.WRITE, TXN), (O.WRITE, TOPIC)),
        checks=(
            topics.produce,
            Each(
                *(O.WRITE, TOPIC, "topic_data", "responses", "partition_responses", "partition_data"),
                blank={"base_offset": -1},
            ),
        ),
    ),
    K.FETCH: _rule((O.READ, TOPIC), (O.CLUSTER_ACTION, CLUSTER), in_handler=True),
    K.LIST_OFFSETS: _each(Each(O.DESCRIBE, TOPIC, "topics", "topics", "partitions")),
    K.OFFSET_FOR_LEADER_EPOCH: _rule(
        (O.DESCRIBE, TOPIC), (O.CLUSTER_ACTION, CLUSTER), checks=(groups.offset_for_leader_epoch,)
    ),
    K.DELETE_RECORDS: _each(Each(O.DELETE, TOPIC, "topics", "topics", "partitions", blank={"low_watermark": -1})),
    K.DESCRIBE_PRODUCERS: _each(
        Each(
            *(O.READ, TOPIC, "topics", "topics", "partitions", "partition_indexes"),
            message=MESSAGES[ErrorCode.TOPIC_AUTHORIZATION_FAILED],
        )
    ),
    # ---- topics
    K.METADATA: _rule(
        *((O.DESCRIBE, TOPIC), (O.CREATE, CLUSTER), (O.CREATE, TOPIC)),
        checks=(
            topics.metadata,
            Operations(TOPIC, "topic_authorized_operations", "topics"),
            Operations(CLUSTER, "cluster_authorized_operations"),
        ),
    ),
    K.DESCRIBE_TOPIC_PARTITIONS: _rule(
        (O.DESCRIBE, TOPIC),
        checks=(
            topics.describe_topic_partitions,
            Operations(TOPIC, "topic_authorized_operations", "topics"),
            Each(O.DESCRIBE, TOPIC, "topics", "topics"),
        ),
    ),
    K.CREATE_TOPICS: _rule((O.CREATE, CLUSTER), (O.CREATE, TOPIC), checks=(topics.create_topics,)),
    K.DELETE_TOPICS: _rule((O.DELETE, TOPIC), (O.DESCRIBE, TOPIC), checks=(topics.delete_topics,)),
    K.CREATE_PARTITIONS: _each(Each(O.ALTER, TOPIC, "topics", "results")),
    # ---- groups
    K.FIND_COORDINATOR: _rule((O.DESCRIBE, GROUP), (O.DESCRIBE, TXN), checks=(groups.find_coordinator,)),
    K.JOIN_GROUP: _rule((O.READ, GROUP), checks=(Whole(O.READ, GROUP, "group_id", spread=_spread_join),)),
    K.SYNC_GROUP: _group(O.READ),
    K.HEARTBEAT: _group(O.READ),
    K.LEAVE_GROUP: _group(O.READ),
    K.OFFSET_COMMIT: _rule(
        *((O.READ, GROUP), (O.READ, TOPIC)),
        checks=(Whole(O.READ, GROUP, "group_id", spread=_COMMITTED.spread), _COMMITTED),
    ),
    K.OFFSET_FETCH: _rule((O.DESCRIBE, GROUP), (O.DESCRIBE, TOPIC), checks=(groups.offset_fetch,)),
    K.OFFSET_DELETE: _group(O.DELETE, (O.READ, TOPIC), checks=(_COMMITTED,)),
    K.DESCRIBE_GROUPS: _each(
        Each(O.DESCRIBE, GROUP, "groups", "groups"), Operations(GROUP, "authorized_operations", "groups")
    ),
    K.LIST_GROUPS: _rule(
        (O.DESCRIBE, CLUSTER), (O.DESCRIBE, GROUP), checks=(Shown(O.DESCRIBE, GROUP, "groups", O.DESCRIBE),)
    ),
    K.DELETE_GROUPS: _each(Each(O.DELETE, GROUP, "groups_names", "results")),
    K.CONSUMER_GROUP_HEARTBEAT: _group(
        *(O.READ, (O.DESCRIBE, TOPIC)),
        checks=(topics.every_topic_of(lambda request: request.subscribed_topic_names or []),),
    ),
    K.CONSUMER_GROUP_DESCRIBE: _rule(
        *((O.DESCRIBE, GROUP), (O.DESCRIBE, TOPIC)),
        checks=(
            groups.described_topics("assignment", "target_assignment"),
            Operations(GROUP, "authorized_operations", "groups"),
            Each(O.DESCRIBE, GROUP, "group_ids", "groups"),
        ),
    ),
    # ---- share and streams groups
    K.SHARE_GROUP_HEARTBEAT: _group(
        *(O.READ, (O.DESCRIBE, TOPIC)),
        checks=(topics.every_topic_of(lambda request: request.subscribed_topic_names or []),),
    ),
    K.SHARE_GROUP_DESCRIBE: _rule(
        *((O.DESCRIBE, GROUP), (O.DESCRIBE, TOPIC)),
        checks=(
            groups.described_topics("assignment"),
            Operations(GROUP, "authorized_operations", "groups"),
            Each(O.DESCRIBE, GROUP, "group_ids", "groups"),
        ),
    ),
    K.SHARE_FETCH: Rule(
        (Need(O.READ, GROUP), Need(O.READ, TOPIC)), (Whole(O.READ, GROUP, "group_id"),), in_handler=True
    ),
    K.SHARE_ACKNOWLEDGE: _group(
        O.READ, (O.READ, TOPIC), checks=(Each(O.READ, TOPIC, "topics", "responses", "partitions"),)
    ),
    K.DESCRIBE_SHARE_GROUP_OFFSETS: _rule(
        (O.DESCRIBE, GROUP), (O.DESCRIBE, TOPIC), checks=(groups.describe_share_offsets,)
    ),
    K.ALTER_SHARE_GROUP_OFFSETS: _group(
        *(O.READ, (O.READ, TOPIC)),
        checks=(
            Each(
                *(O.READ, TOPIC, "topics", "responses", "partitions"),
                message=MESSAGES[ErrorCode.TOPIC_AUTHORIZATION_FAILED],
            ),
        ),
    ),
    K.DELETE_SHARE_GROUP_OFFSETS: _group(
        *(O.DELETE, (O.READ, TOPIC)),
        checks=(Each(O.READ, TOPIC, "topics", "responses", message=MESSAGES[ErrorCode.TOPIC_AUTHORIZATION_FAILED]),),
    ),
    K.STREAMS_GROUP_HEARTBEAT: _group(
        O.READ, (O.DESCRIBE, TOPIC), checks=(topics.every_topic_of(groups.streams_topics),)
    ),
    K.STREAMS_GROUP_DESCRIBE: _rule(
        *((O.DESCRIBE, GROUP), (O.DESCRIBE, TOPIC)),
        checks=(
            groups.described_streams_topics,
            Operations(GROUP, "authorized_operations", "groups"),
            Each(O.DESCRIBE, GROUP, "group_ids", "groups"),
        ),
    ),
    K.INITIALIZE_SHARE_GROUP_STATE: _state(),
    K.READ_SHARE_GROUP_STATE: _state(),
    K.WRITE_SHARE_GROUP_STATE: _state(),
    K.DELETE_SHARE_GROUP_STATE: _state(),
    K.READ_SHARE_GROUP_STATE_SUMMARY: _state(),
    # ---- transactions
    K.INIT_PRODUCER_ID: _rule(
        (O.WRITE, TXN), (O.IDEMPOTENT_WRITE, CLUSTER), (O.WRITE, TOPIC), checks=(topics.init_producer_id,)
    ),
    K.ADD_PARTITIONS_TO_TXN: _rule(
        (O.WRITE, TXN), (O.WRITE, TOPIC), (O.CLUSTER_ACTION, CLUSTER), checks=(groups.add_partitions_to_txn,)
    ),
    K.ADD_OFFSETS_TO_TXN: _rule(
        *((O.WRITE, TXN), (O.READ, GROUP)),
        checks=(Whole(O.WRITE, TXN, "transactional_id"), Whole(O.READ, GROUP, "group_id")),
    ),
    K.END_TXN: _rule((O.WRITE, TXN), checks=(Whole(O.WRITE, TXN, "transactional_id"),)),
    K.TXN_OFFSET_COMMIT: _rule(
        *((O.WRITE, TXN), (O.READ, GROUP), (O.READ, TOPIC)),
        checks=(
            Whole(O.WRITE, TXN, "transactional_id", spread=_COMMITTED.spread),
            Whole(O.READ, GROUP, "group_id", spread=_COMMITTED.spread),
            _COMMITTED,
        ),
    ),
    K.WRITE_TXN_MARKERS: _rule((O.ALTER, CLUSTER), (O.CLUSTER_ACTION, CLUSTER), checks=(groups.write_txn_markers,)),
    K.DESCRIBE_TRANSACTIONS: _rule(
        *((O.DESCRIBE, TXN), (O.DESCRIBE, TOPIC)),
        checks=(
            groups.described_transactions,
            Each(O.DESCRIBE, TXN, "transactional_ids", "transaction_states"),
        ),
    ),
    K.LIST_TRANSACTIONS: _rule((O.DESCRIBE, TXN), checks=(Shown(O.DESCRIBE, TXN, "transaction_states"),)),
    # ---- administration
    K.DESCRIBE_CLUSTER: _rule((O.DESCRIBE, CLUSTER), checks=(Operations(CLUSTER, "cluster_authorized_operations"),)),
    K.DESCRIBE_CONFIGS: _rule(
        *((O.DESCRIBE_CONFIGS, CLUSTER), (O.DESCRIBE_CONFIGS, TOPIC), (O.DESCRIBE_CONFIGS, GROUP)),
        checks=(topics.configs(O.DESCRIBE_CONFIGS, "results"),),
    ),
    K.ALTER_CONFIGS: _rule(
        *((O.ALTER_CONFIGS, CLUSTER), (O.ALTER_CONFIGS, TOPIC), (O.ALTER_CONFIGS, GROUP)),
        checks=(topics.configs(O.ALTER_CONFIGS, "responses"),),
    ),
    K.INCREMENTAL_ALTER_CONFIGS: _rule(
        *((O.ALTER_CONFIGS, CLUSTER), (O.ALTER_CONFIGS, TOPIC), (O.ALTER_CONFIGS, GROUP)),
        checks=(topics.configs(O.ALTER_CONFIGS, "responses"),),
    ),
    K.LIST_CONFIG_RESOURCES: _cluster(O.DESCRIBE_CONFIGS),
    K.DESCRIBE_ACLS: _cluster(O.DESCRIBE),
    K.CREATE_ACLS: _cluster(O.ALTER, _RESULTS.spread),
    K.DELETE_ACLS: _cluster(O.ALTER, _FILTERS.spread),
    K.ALTER_REPLICA_LOG_DIRS: _cluster(O.ALTER, _spread_log_dirs),
    K.DESCRIBE_LOG_DIRS: _cluster(O.DESCRIBE),
    K.ELECT_LEADERS: _cluster(O.ALTER, _spread_elections),
    K.ALTER_PARTITION_REASSIGNMENTS: _cluster(O.ALTER, _REASSIGNED.spread),
    K.LIST_PARTITION_REASSIGNMENTS: _cluster(O.DESCRIBE, _spread_listed),
    K.DESCRIBE_CLIENT_QUOTAS: _cluster(O.DESCRIBE_CONFIGS, _spread_described_quotas),
    K.ALTER_CLIENT_QUOTAS: _cluster(O.ALTER_CONFIGS, _spread_quotas),
    K.DESCRIBE_USER_SCRAM_CREDENTIALS: _cluster(O.DESCRIBE, _spread_described_users),
    K.ALTER_USER_SCRAM_CREDENTIALS: _cluster(O.ALTER, _spread_users),
    K.DESCRIBE_QUORUM: _cluster(O.DESCRIBE),
    K.UPDATE_FEATURES: _cluster(O.ALTER),
    K.UNREGISTER_BROKER: _cluster(O.ALTER),
    K.ADD_RAFT_VOTER: _cluster(O.ALTER),
    K.REMOVE_RAFT_VOTER: _cluster(O.ALTER),
    # ---- delegation tokens: owners and renewers need no right to their own, the handlers look
    K.CREATE_DELEGATION_TOKEN: _rule((O.CREATE_TOKENS, R.USER), in_handler=True),
    K.RENEW_DELEGATION_TOKEN: _rule(in_handler=True),
    K.EXPIRE_DELEGATION_TOKEN: _rule(in_handler=True),
    K.DESCRIBE_DELEGATION_TOKEN: _rule((O.DESCRIBE, R.DELEGATION_TOKEN), (O.DESCRIBE_TOKENS, R.USER), in_handler=True),
    # ---- everybody may
    K.API_VERSIONS: _NOBODY_ASKED,
    K.SASL_HANDSHAKE: _NOBODY_ASKED,
    K.SASL_AUTHENTICATE: _NOBODY_ASKED,
    K.GET_TELEMETRY_SUBSCRIPTIONS: _NOBODY_ASKED,
    K.PUSH_TELEMETRY: _NOBODY_ASKED,
    # ---- between brokers
    K.LEADER_AND_ISR: _BROKERS_ALONE,
    K.STOP_REPLICA: _BROKERS_ALONE,
    K.UPDATE_METADATA: _BROKERS_ALONE,
    K.CONTROLLED_SHUTDOWN: _BROKERS_ALONE,
    K.ALTER_PARTITION: _BROKERS_ALONE,
    K.ALLOCATE_PRODUCER_IDS: _BROKERS_ALONE,
    K.ENVELOPE: _BROKERS_ALONE,
    K.VOTE: _BROKERS_ALONE,
    K.BEGIN_QUORUM_EPOCH: _BROKERS_ALONE,
    K.END_QUORUM_EPOCH: _BROKERS_ALONE,
    K.FETCH_SNAPSHOT: _BROKERS_ALONE,
    K.BROKER_REGISTRATION: _BROKERS_ALONE,
    K.BROKER_HEARTBEAT: _BROKERS_ALONE,
    K.CONTROLLER_REGISTRATION: _BROKERS_ALONE,
    K.ASSIGN_REPLICAS_TO_DIRS: _BROKERS_ALONE,
    K.UPDATE_RAFT_VOTER: _BROKERS_ALONE,
}
