"""What to do next, said to a person: one sentence for an error that a cluster or the way to it gave."""

from __future__ import annotations

from pykbroker.client.errors import (
    AuthenticationFailed,
    ClosedAtOnce,
    ConnectionLost,
    NobodyLogsIn,
    NoKafka,
    NotSupported,
    TimedOut,
    TlsFailed,
    Unreachable,
)
from pykbroker.client.settings import ClientSettings
from pykbroker.protocol.errors import ErrorCode, KafkaError

_RIGHT = "this user may not do that: have an administrator allow it with `pykbroker acls add`, or log in with --user"
_LEADER = "see `pykbroker topics describe --unavailable`, and try again when its brokers are back"

_NEXT = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: "`pykbroker topics list` shows what is there",
    ErrorCode.UNKNOWN_TOPIC_ID: "`pykbroker topics list` shows what is there",
    ErrorCode.TOPIC_ALREADY_EXISTS: "--if-not-exists passes over topics that exist",
    ErrorCode.INVALID_TOPIC_EXCEPTION: "a name has up to 249 letters, digits, dots, dashes and underscores",
    ErrorCode.INVALID_PARTITIONS: "partitions can be added, never taken away",
    ErrorCode.INVALID_REPLICATION_FACTOR: "`pykbroker cluster info` shows how many brokers there are",
    ErrorCode.INVALID_REPLICA_ASSIGNMENT: "`pykbroker cluster info` shows the brokers",
    ErrorCode.INVALID_CONFIG: "`pykbroker configs describe --all` shows every key with its value",
    ErrorCode.TOPIC_AUTHORIZATION_FAILED: _RIGHT,
    ErrorCode.GROUP_AUTHORIZATION_FAILED: _RIGHT,
    ErrorCode.CLUSTER_AUTHORIZATION_FAILED: _RIGHT,
    ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: _RIGHT,
    ErrorCode.DELEGATION_TOKEN_AUTHORIZATION_FAILED: _RIGHT,
    ErrorCode.SECURITY_DISABLED: "start the brokers with an authorizer (authorizer.class.name)",
    ErrorCode.GROUP_ID_NOT_FOUND: "`pykbroker groups list` shows what is there",
    ErrorCode.NON_EMPTY_GROUP: "stop its members first: `pykbroker groups describe GROUP --members` shows them",
    ErrorCode.UNKNOWN_MEMBER_ID: "stop its members first: `pykbroker groups describe GROUP --members` shows them",
    ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC: "stop the members that read the topic first",
    ErrorCode.TRANSACTIONAL_ID_NOT_FOUND: "`pykbroker transactions list` shows what is there",
    ErrorCode.LEADER_NOT_AVAILABLE: _LEADER,
    ErrorCode.NOT_LEADER_OR_FOLLOWER: _LEADER,
    ErrorCode.NOT_ENOUGH_REPLICAS: "fewer replicas are in sync than min.insync.replicas asks for",
    ErrorCode.BROKER_NOT_AVAILABLE: "`pykbroker cluster info` shows the brokers",
    ErrorCode.NOT_CONTROLLER: "try again in a moment",
    ErrorCode.COORDINATOR_NOT_AVAILABLE: "try again in a moment, or with a longer --timeout",
    ErrorCode.COORDINATOR_LOAD_IN_PROGRESS: "try again in a moment, or with a longer --timeout",
    ErrorCode.REQUEST_TIMED_OUT: "try again, or with a longer --timeout",
    ErrorCode.THROTTLING_QUOTA_EXCEEDED: "a quota holds this user back: try again in a moment",
    ErrorCode.OFFSET_OUT_OF_RANGE: "`pykbroker offsets TOPIC` shows where its partitions begin and end",
    ErrorCode.MESSAGE_TOO_LARGE: "raise max.message.bytes of the topic, or send smaller records",
    ErrorCode.RESOURCE_NOT_FOUND: "the `list` or `describe` verb shows what is there",
    ErrorCode.DELEGATION_TOKEN_AUTH_DISABLED: "set delegation.token.secret.key on the brokers",
    ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED: "log in with --user, over SASL or with --cert",
    ErrorCode.DELEGATION_TOKEN_NOT_FOUND: "`pykbroker tokens list` shows what is there",
    ErrorCode.DELEGATION_TOKEN_EXPIRED: "`pykbroker tokens create` makes another",
    ErrorCode.CONCURRENT_TRANSACTIONS: "what was before is still being ended: try again in a moment",
    ErrorCode.INVALID_UPDATE_VERSION: "`pykbroker features describe` shows the levels that there are",
    ErrorCode.INVALID_TIMESTAMP: "the topic says which it takes: `pykbroker configs describe topic NAME --all`",
    ErrorCode.LOG_DIR_NOT_FOUND: "`pykbroker log-dirs describe` shows the broker's directories",
    ErrorCode.KAFKA_STORAGE_ERROR: "`pykbroker log-dirs describe` shows which directory has failed",
    ErrorCode.PREFERRED_LEADER_NOT_AVAILABLE: _LEADER,
    ErrorCode.ELIGIBLE_LEADERS_NOT_AVAILABLE: _LEADER,
    ErrorCode.REASSIGNMENT_IN_PROGRESS: "`pykbroker reassign list` shows what is under way",
    ErrorCode.TOPIC_DELETION_DISABLED: "set delete.topic.enable on the brokers",
    ErrorCode.UNKNOWN_SERVER_ERROR: "the broker's log says more",
    ErrorCode.ELECTION_NOT_NEEDED: "that leader leads already",
    ErrorCode.NO_REASSIGNMENT_IN_PROGRESS: "`pykbroker reassign list` shows those under way",
    ErrorCode.UNSUPPORTED_VERSION: "`pykbroker api-versions` shows what the broker serves",
}

_SAID = {
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION: "there is no such topic or partition",
    ErrorCode.UNKNOWN_TOPIC_ID: "there is no such topic",
    ErrorCode.TOPIC_AUTHORIZATION_FAILED: "no right to the topic",
    ErrorCode.GROUP_AUTHORIZATION_FAILED: "no right to the group",
    ErrorCode.CLUSTER_AUTHORIZATION_FAILED: "no right to the cluster",
    ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED: "no right to the transactional id",
    ErrorCode.GROUP_ID_NOT_FOUND: "there is no such group",
    ErrorCode.NON_EMPTY_GROUP: "the group has members",
    ErrorCode.UNKNOWN_MEMBER_ID: "the group has members",
    ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC: "the group reads the topic",
    ErrorCode.TRANSACTIONAL_ID_NOT_FOUND: "there is no such transactional id",
    ErrorCode.DELEGATION_TOKEN_NOT_FOUND: "there is no such token",
    ErrorCode.LOG_DIR_NOT_FOUND: "the broker has no such directory",
    ErrorCode.ELECTION_NOT_NEEDED: "no election is needed",
    ErrorCode.NO_REASSIGNMENT_IN_PROGRESS: "no reassignment is in progress",
    ErrorCode.OFFSET_OUT_OF_RANGE: "the partition has no such offset",
    ErrorCode.MESSAGE_TOO_LARGE: "a record is larger than the topic takes",
    ErrorCode.SECURITY_DISABLED: "the brokers have no authorizer",
    ErrorCode.DELEGATION_TOKEN_AUTH_DISABLED: "the brokers take no delegation tokens",
    ErrorCode.DELEGATION_TOKEN_REQUEST_NOT_ALLOWED: "a token needs a user",
    ErrorCode.INVALID_PARTITIONS: "that number of partitions can't be",
}


def of_error(error: KafkaError) -> str:
    """What went wrong, by Kafka's name for it, and what to do next."""
    said = error.message or _SAID.get(error.code)
    text = f"{said.rstrip('.')} ({error.code.name})" if said else error.code.name
    return f"{text}; {_NEXT[error.code]}" if error.code in _NEXT else text


def of_failure(error: Exception, settings: ClientSettings) -> str:
    """The same for what kept a request from its answer."""
    if isinstance(error, KafkaError):
        return of_error(error)
    following = ""
    if isinstance(error, Unreachable):
        following = "start one with `pykbroker start`, or say where it is with --bootstrap HOST:PORT"
    elif isinstance(error, AuthenticationFailed):
        following = "check --user, password and --sasl-mechanism" if settings.sasl is not None else ""
    elif isinstance(error, NobodyLogsIn):
        following = "leave --user away, or ask a listener with SASL (`pykbroker start --user NAME:PASSWORD`)"
    elif isinstance(error, TlsFailed):
        following = "check --ca, or leave --tls away where the listener has none"
    elif isinstance(error, (ClosedAtOnce, ConnectionLost, NoKafka)):
        following = _other_listener(settings)
    elif isinstance(error, NotSupported):
        following = "`pykbroker api-versions` shows what it serves"
    elif isinstance(error, TimedOut):
        following = "try again, or with a longer --timeout"
    return f"{error}; {following}" if following else str(error)


def _other_listener(settings: ClientSettings) -> str:
    if settings.sasl is None and settings.tls is None:
        return "the listener may want --tls or --user"
    if settings.sasl is None:
        return "the listener may want --user"
    return "the listener may want other security options"
