"""The behaviour table: what each behaviour should come to, with any client, and where a client can't take part.

The expected outcomes are Apache Kafka's: the table is run against it with `--bootstrap`, too. A client's program and
its behaviours are in clients/.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

CLIENTS = {
    "kafka_python_3": "kafka-python 3.0",
    "kafka_python_2": "kafka-python 2.0.2",
    "confluent_kafka": "confluent-kafka",
    "aiokafka": "aiokafka",
    "kcat": "kcat",
    "java_4": "Java 4",
    "java_3_9": "Java 3.9",
    "java_2_0": "Java 2.0",
    "java_1_0": "Java 1.0",
    "franz_go": "franz-go",
    "sarama": "sarama",
    "kafka_go": "kafka-go",
    "kafkajs": "KafkaJS",
    "rdkafka": "rdkafka",
}

QUICK = frozenset(("kafka_python_3", "kafka_python_2", "confluent_kafka", "aiokafka", "kcat"))
"""The clients of `make test`; `make compat` takes all."""


class Behaviour(NamedTuple):
    """A row: its words in the matrix, and the outcome expected of every client."""

    title: str
    expected: Any


def numbers(first: int, end: int) -> list[str]:
    return [str(number) for number in range(first, end)]


def murmur2(data: bytes) -> int:
    """The hash that Java's default partitioner takes of a key, as an unsigned number of 32 bits."""
    mask, multiplier = 0xFFFFFFFF, 0x5BD1E995
    value = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for start in range(0, whole, 4):
        k = int.from_bytes(data[start : start + 4], "little") * multiplier & mask
        k = (k ^ k >> 24) * multiplier & mask
        value = value * multiplier & mask ^ k
    if rest := data[whole:]:
        value = (value ^ int.from_bytes(rest, "little")) * multiplier & mask
    value = (value ^ value >> 13) * multiplier & mask
    return value ^ value >> 15


KEYS = [f"key-{number}" for number in range(20)]
PLACED = {key: (murmur2(key.encode()) & 0x7FFFFFFF) % 7 for key in KEYS}
PRODUCED = {"values": numbers(0, 10), "offsets": list(range(10))}
COMMITTED = {"before": None, "committed": [4, "a note"], "values": numbers(4, 10)}

TABLE: Mapping[str, Behaviour] = {
    "produce_acks_0": Behaviour("Produce with acks=0", {"values": numbers(0, 10)}),
    "produce_acks_1": Behaviour("Produce with acks=1", PRODUCED),
    "produce_acks_all": Behaviour("Produce with acks=all", PRODUCED),
    "idempotent_producer": Behaviour(
        "Idempotent producer",
        {"offsets_in_order": True, "values_in_order": True, "stored_with_producer_id": True},
    ),
    "transactions": Behaviour(
        "Transactions: commit and abort", {"committed": ["0", "1", "2", "5"], "all": numbers(0, 6)}
    ),
    "read_committed_waits": Behaviour(
        "read_committed waits for the end of a transaction", {"before": [], "after": numbers(0, 3)}
    ),
    "transactional_id_fences": Behaviour(
        "A second producer with the transactional id fences the first", {"fenced": True, "committed": ["second"]}
    ),
    "offsets_in_a_transaction": Behaviour(
        "Offsets are committed with a transaction", {"committed": [None, 5], "values": ["moved"]}
    ),
    "compression_gzip": Behaviour("Compression: gzip", {"intact": True, "stored_as": "gzip"}),
    "compression_snappy": Behaviour("Compression: snappy", {"intact": True, "stored_as": "snappy"}),
    "compression_lz4": Behaviour("Compression: lz4", {"intact": True, "stored_as": "lz4"}),
    "compression_zstd": Behaviour("Compression: zstd", {"intact": True, "stored_as": "zstd"}),
    "headers": Behaviour("Headers", [[["a", "1"], ["b", "2"], ["a", "3"], ["empty", ""]], []]),
    "null_header_value": Behaviour("A header without value", [[["null", None], ["a", "1"]]]),
    "null_keys_and_values": Behaviour(
        "Null and empty keys and values", [[None, "v"], ["k", None], ["k", ""], ["", "v"]]
    ),
    "records_of_1_mb": Behaviour("Records of 1 MB", {"intact": True}),
    "record_too_large": Behaviour(
        "A record larger than the topic takes is refused", {"error": "MESSAGE_TOO_LARGE", "values": ["small"]}
    ),
    "create_time": Behaviour("Timestamps: CreateTime", [["create", 7], ["create", 0]]),
    "log_append_time": Behaviour("Timestamps: LogAppendTime", {"type": "log_append", "is_now": True, "reported": True}),
    "partition_by_key": Behaviour("Partition by key", {"placed": PLACED, "as_reported": True}),
    "produce_to_unknown_topic": Behaviour(
        "Producing creates the topic", {"offsets": [0, 1, 2], "values": numbers(0, 3)}
    ),
    "subscribe": Behaviour(
        "Subscribe to a topic",
        {"assigned": [0, 1, 2], "values": numbers(0, 9), "in_order_by_partition": True},
    ),
    "subscribe_pattern": Behaviour("Subscribe to a pattern", ["a", "b"]),
    "assign": Behaviour("Assign partitions", {"assigned": [0, 2], "values": ["0", "2", "3", "5", "6", "8"]}),
    "seek": Behaviour(
        "Seek to an offset, the beginning, the end",
        {
            "first": numbers(0, 10),
            "offset_5": numbers(5, 10),
            "beginning": numbers(0, 10),
            "end": [],
            "after_end": ["10"],
        },
    ),
    "seek_out_of_range": Behaviour("An offset out of range is reset", numbers(0, 5)),
    "reset_to_latest": Behaviour("A new group starts at the latest offset", ["5"]),
    "pause_and_resume": Behaviour(
        "Pause and resume", {"paused": ["1", "3", "5", "7", "9"], "resumed": ["0", "2", "4", "6", "8"]}
    ),
    "offsets_for_times": Behaviour(
        "Offsets for times",
        {"before": 0, "first": 0, "inside_a_batch": 3, "between": 5, "last": 9, "after": None},
    ),
    "beginning_and_end_offsets": Behaviour("Beginning and end offsets", {"filled": [0, 10], "empty": [0, 0]}),
    "consume_unknown_topic": Behaviour("Subscribe before the topic is there", numbers(0, 2)),
    "consumer_creates_topic": Behaviour("Consuming creates the topic", {"partitions": 1}),
    "commit_sync": Behaviour("Commit, and come back where it was", COMMITTED),
    "commit_async": Behaviour("Commit asynchronously", COMMITTED),
    "commit_at_close": Behaviour("Commit at close", {"first": numbers(0, 5), "second": numbers(5, 10)}),
    "commit_without_subscription": Behaviour(
        "Commit without a subscription", {"committed": [2, ""], "values": numbers(2, 5)}
    ),
    "group_shares_partitions": Behaviour(
        "Two consumers share partitions; one takes over when the other leaves",
        {"shared": [0, 1, 2, 3], "received": numbers(0, 8), "after_close": [0, 1, 2, 3]},
    ),
    "group_takes_over_from_killed": Behaviour(
        "One takes over when the other is killed", {"shared": [0, 1], "after_kill": [0, 1]}
    ),
    "static_member_returns": Behaviour(
        "A static member comes back to its partition", {"same_partition": True, "other_undisturbed": True}
    ),
    "cooperative_rebalance": Behaviour(
        "Cooperative rebalance", {"shared": [0, 1, 2, 3], "revoked": 2, "kept_the_rest": True}
    ),
    "consumer_protocol": Behaviour(
        "The newer consumer protocol (KIP-848), assignor range",
        {"ranges": [[0, 1], [2, 3]], "after_close": [0, 1, 2, 3]},
    ),
    "consumer_protocol_pattern": Behaviour("Newer consumer protocol: a regular expression", {"matching": True}),
    "consumer_protocol_static": Behaviour(
        "Newer consumer protocol: static members", {"same_partition": True, "other_undisturbed": True}
    ),
    "consumer_protocol_migration": Behaviour(
        "Newer consumer protocol: online migration", {"shared": [0, 1], "after_close": [0, 1]}
    ),
    "share_accepts_implicitly": Behaviour(
        "Share groups (KIP-932): accept implicitly", {"values": numbers(0, 10), "again": []}
    ),
    "share_answers": Behaviour(
        "Share groups: accept, release, reject",
        {
            "first": [[offset, 1] for offset in range(6)],
            "second": [[2, 2], [3, 2]],
            "third": [[2, 3], [3, 3]],
            "left": [],
        },
    ),
    "share_renews": Behaviour("Share groups: renew a lock", {"held": [[0, 1]], "other": [], "left": []}),
    "share_lock_is_over": Behaviour(
        "Share groups: a lock is over, and another gets the record",
        {"held": [[0, 1], [1, 1]], "handed_on": [[0, 2], [1, 2]], "left": []},
    ),
    "share_one_partition": Behaviour(
        "Share groups: two share one partition", {"each": [3, 3], "all": [[offset, 1] for offset in range(6)]}
    ),
    "share_takes_over_from_killed": Behaviour(
        "Share groups: one is killed, and another gets its records", {"handed_on": [[0, 2]], "left": []}
    ),
    "share_delivers_so_often": Behaviour(
        "Share groups: a record is delivered so often",
        {"seen": [[0, 1], [0, 2], [0, 3], [1, 1], [1, 2], [1, 3]], "left": []},
    ),
    "share_begins_at_latest": Behaviour(
        "Share groups: a new group starts at the latest offset", {"before": [], "after": [[3, 1]]}
    ),
    "share_admin": Behaviour(
        "Share groups: list, describe, offsets, delete",
        {
            "listed": True,
            "described": {"state": "Stable", "members": [[0]]},
            "in_use": ["NON_EMPTY_GROUP", "NON_EMPTY_GROUP", "NON_EMPTY_GROUP"],
            "empty": {"state": "Empty", "members": []},
            "offsets": {"0": [2, 3]},
            "altered": ["NONE", {"0": [4, 1]}],
            "from_there": [[4, 1]],
            "offsets_deleted": ["NONE", {}],
            "deleted": ["NONE", "GROUP_ID_NOT_FOUND", False],
        },
    ),
    "streams_word_count": Behaviour("Kafka Streams: word count, exactly once", {"totals_right": True, "wrong": {}}),
    "streams_word_count_killed": Behaviour(
        "Kafka Streams: word count, exactly once, killed and started again", {"totals_right": True, "wrong": {}}
    ),
    "admin_create_topics": Behaviour(
        "Admin: create topics",
        {
            "created": ["NONE", "NONE"],
            "again": ["TOPIC_ALREADY_EXISTS"],
            "bad_name": ["INVALID_TOPIC_EXCEPTION"],
            "bad_partitions": ["INVALID_PARTITIONS"],
            "bad_config": ["INVALID_CONFIG"],
            "partitions": [0, 1, 2],
        },
    ),
    "admin_list_topics": Behaviour("Admin: list topics", ["-a", "-b"]),
    "admin_describe_topic": Behaviour(
        "Admin: describe a topic", {"partitions": [0, 1], "led_by_brokers": True, "leader_in_sync": True}
    ),
    "admin_delete_topics": Behaviour(
        "Admin: delete topics", {"deleted": "NONE", "unknown": "UNKNOWN_TOPIC_OR_PARTITION"}
    ),
    "recreated_topic_is_empty": Behaviour(
        "A topic made again has no old data",
        {
            "first": {"offsets": [0, 1, 2, 3, 4], "values": numbers(0, 5)},
            "second": {"offsets": [0, 1], "values": numbers(0, 2)},
        },
    ),
    "admin_add_partitions": Behaviour(
        "Admin: add partitions",
        {
            "fewer": "INVALID_PARTITIONS",
            "unknown": "UNKNOWN_TOPIC_OR_PARTITION",
            "more": "NONE",
            "partitions": [0, 1, 2, 3],
            "values": numbers(0, 4),
        },
    ),
    "admin_topic_configs": Behaviour(
        "Admin: describe a topic's configs",
        {
            "retention.ms": ["12345", True],
            "cleanup.policy": ["compact", True],
            "segment.bytes": ["1073741824", False],
            "max.message.bytes": ["1048588", False],
        },
    ),
    "admin_broker_configs": Behaviour(
        "Admin: describe a broker's configs",
        {
            "auto.create.topics.enable": "true",
            "message.max.bytes": "1048588",
            "group.max.session.timeout.ms": "1800000",
        },
    ),
    "admin_alter_configs": Behaviour(
        "Admin: change a topic's and a broker's configs while they are in use", {"retention.ms": ["54321", True]}
    ),
    "admin_describe_cluster": Behaviour(
        "Admin: describe the cluster",
        {"has_cluster_id": True, "controller_is_a_broker": True, "bootstrap_among_brokers": True},
    ),
    "admin_groups": Behaviour(
        "Admin: list and describe groups",
        {
            "listed": True,
            "members": [[0, 1]],
            "assigned": [0, 1],
            "left": {"state": "Empty", "members": []},
        },
    ),
    "admin_delete_groups": Behaviour(
        "Admin: delete groups",
        {
            "in_use": "NON_EMPTY_GROUP",
            "empty": "NONE",
            "unknown": "GROUP_ID_NOT_FOUND",
            "committed": None,
            "listed": False,
        },
    ),
    "admin_incremental_configs": Behaviour(
        "Admin: set, append, subtract, delete in a topic's configs",
        {
            "set": ["NONE", "1000", True],
            "append": ["NONE", "delete,compact", True],
            "subtract": ["NONE", "compact", True],
            "delete": ["NONE", "604800000", False],
            "append_to_a_number": "INVALID_CONFIG",
            "bad_value": "INVALID_CONFIG",
        },
    ),
    "admin_delete_records": Behaviour(
        "Admin: delete records",
        {"low": 4, "range": [4, 10], "beyond": "OFFSET_OUT_OF_RANGE", "all": 10, "left": [10, 10]},
    ),
    "admin_elect_leaders": Behaviour(
        "Admin: elect leaders",
        {
            "preferred": "ELECTION_NOT_NEEDED",
            "unclean": "ELECTION_NOT_NEEDED",
            "unknown": "UNKNOWN_TOPIC_OR_PARTITION",
        },
    ),
    "admin_log_dirs": Behaviour("Admin: describe log directories", {"partitions": [0, 1], "has_bytes": True}),
    "admin_reassignments": Behaviour(
        "Admin: reassign a partition, list what is under way",
        {
            "same": "NONE",
            "under_way": [],
            "elsewhere": "INVALID_REPLICA_ASSIGNMENT",
            "taken_back": "NO_REASSIGNMENT_IN_PROGRESS",
            "unknown": "UNKNOWN_TOPIC_OR_PARTITION",
        },
    ),
    "admin_acls": Behaviour(
        "Admin: create, find and delete ACLs",
        {
            "created": ["NONE", "NONE", "NONE"],
            "all": [
                ["GROUP", "-group", "LITERAL", "ALL", "ALLOW"],
                ["TOPIC", "", "PREFIXED", "WRITE", "DENY"],
                ["TOPIC", "-one", "LITERAL", "READ", "ALLOW"],
            ],
            "groups": [["GROUP", "-group", "LITERAL", "ALL", "ALLOW"]],
            "prefixed": [["TOPIC", "", "PREFIXED", "WRITE", "DENY"]],
            "matching": [
                ["TOPIC", "", "PREFIXED", "WRITE", "DENY"],
                ["TOPIC", "-one", "LITERAL", "READ", "ALLOW"],
            ],
            "deleted": 2,
            "rest": 1,
            "none": 0,
        },
    ),
    "admin_scram_users": Behaviour(
        "Admin: users' SCRAM credentials",
        {
            "set": ["NONE", "NONE"],
            "both": {"SCRAM-SHA-256": 4096, "SCRAM-SHA-512": 8192},
            "weak": "UNACCEPTABLE_CREDENTIAL",
            "nobody": "RESOURCE_NOT_FOUND",
            "deleted": "NONE",
            "left": {"SCRAM-SHA-512": 8192},
            "gone": "RESOURCE_NOT_FOUND",
            "last": "NONE",
        },
    ),
    "admin_quotas": Behaviour(
        "Admin: quotas of users, client ids, both, defaults, addresses",
        {
            **{
                entity: ["NONE", [{"producer_byte_rate": 1e9, "request_percentage": 200.0}]]
                for entity in ("user", "client", "both", "user_and_default", "default_and_client")
            },
            "address": ["NONE", [{"connection_creation_rate": 1000.0}]],
            "of_the_user": [1, 2, 2],
            "no_address": "INVALID_REQUEST",
            "no_such_key": "INVALID_REQUEST",
            "of_another_kind": "INVALID_REQUEST",
            "two_kinds": "INVALID_REQUEST",
            "one_less": "NONE",
        },
    ),
    "admin_delegation_tokens": Behaviour(
        "Admin: delegation tokens are for those who have logged in",
        dict.fromkeys(("create", "describe", "renew", "expire"), "DELEGATION_TOKEN_REQUEST_NOT_ALLOWED"),
    ),
}

KCAT_HAS_NO = "kcat has no option for it"
TRANSACTIONAL = ("transactions", "read_committed_waits", "transactional_id_fences", "offsets_in_a_transaction")

NEWER_PROTOCOL = (
    "consumer_protocol",
    "consumer_protocol_pattern",
    "consumer_protocol_static",
    "consumer_protocol_migration",
)

OPERATIONS: Mapping[str, tuple[str, ...]] = {
    "admin_incremental_configs": ("kafka_python_3", "confluent_kafka", "java_4", "java_3_9"),
    "admin_delete_records": ("kafka_python_3", "confluent_kafka", "aiokafka", "java_4", "java_3_9"),
    "admin_elect_leaders": ("kafka_python_3", "confluent_kafka", "java_4", "java_3_9"),
    "admin_log_dirs": ("kafka_python_3", "java_4", "java_3_9"),
    "admin_reassignments": ("kafka_python_3", "java_4", "java_3_9"),
    "admin_acls": ("kafka_python_3", "kafka_python_2", "confluent_kafka", "java_4", "java_3_9"),
    "admin_scram_users": ("kafka_python_3", "confluent_kafka", "java_4", "java_3_9"),
    "admin_quotas": ("java_4", "java_3_9"),
    "admin_delegation_tokens": ("java_4", "java_3_9"),
}
"""What operators ask for, and the admin clients by which it is asked: those of Python that have it, and Java's."""

SHARING = tuple(behaviour for behaviour in TABLE if behaviour.startswith("share_"))

# What a client's own interface doesn't offer: no cell in the matrix.
UNSUPPORTED: Mapping[tuple[str, str], str] = {
    **{
        (client, behaviour): reason
        for client, reason in {
            "kafka_python_2": "came with 3.0",
            "kcat": KCAT_HAS_NO,
            "kafka_go": "has no transactions",
        }.items()
        for behaviour in TRANSACTIONAL
    },
    **{
        (client, behaviour): "doesn't speak it"
        for client in CLIENTS
        if client not in ("confluent_kafka", "rdkafka", "java_4", "java_3_9")
        for behaviour in NEWER_PROTOCOL
    },
    ("java_3_9", "consumer_protocol_pattern"): "came with 4.0",
    **{
        (client, behaviour): "is of Java, since 3.0 in this form"
        for client in CLIENTS
        if client not in ("java_4", "java_3_9")
        for behaviour in ("streams_word_count", "streams_word_count_killed")
    },
    **{
        (client, behaviour): "has no share consumer"
        for client in CLIENTS
        if client not in ("confluent_kafka", "java_4")
        for behaviour in SHARING
    },
    ("confluent_kafka", "share_renews"): "renews nothing yet",
    ("confluent_kafka", "share_admin"): "its admin client knows of no share groups",
    **{
        (client, behaviour): "has no such call, or isn't asked"
        for behaviour, asked in OPERATIONS.items()
        for client in CLIENTS
        if client not in asked
    },
    ("kafka_python_3", "null_header_value"): "its producer takes no null",
    ("kafka_python_2", "null_header_value"): "its producer takes no null",
    ("kafka_python_2", "idempotent_producer"): "came with 2.1",
    ("kafka_python_2", "static_member_returns"): "came with 2.1",
    ("kafka_python_2", "cooperative_rebalance"): "came with 3.0",
    ("confluent_kafka", "consumer_creates_topic"): "librdkafka's subscribe() doesn't ask for it",
    ("aiokafka", "cooperative_rebalance"): "has eager assignors only",
    ("aiokafka", "admin_delete_groups"): "its admin client has no such call",
    ("rdkafka", "consumer_creates_topic"): "librdkafka's subscribe() doesn't ask for it",
    ("kcat", "consume_unknown_topic"): "its group consumer doesn't look again",
    ("kcat", "consumer_creates_topic"): "librdkafka's subscribe() doesn't ask for it",
    ("sarama", "partition_by_key"): "hashes keys in its own way",
    ("sarama", "create_time"): "doesn't tell what kind of timestamp it is",
    ("sarama", "subscribe_pattern"): "has no patterns",
    ("sarama", "seek_out_of_range"): "leaves the reset to its user",
    ("sarama", "cooperative_rebalance"): "has eager assignors only",
    ("kafka_go", "idempotent_producer"): "has no idempotent producer",
    ("kafka_go", "headers"): "doesn't tell empty from null",
    ("kafka_go", "null_keys_and_values"): "doesn't tell empty from null",
    ("kafka_go", "log_append_time"): "tells the producer's time all the same",
    ("kafka_go", "create_time"): "doesn't tell what kind of timestamp it is",
    ("kafka_go", "subscribe_pattern"): "has no patterns",
    ("kafka_go", "seek_out_of_range"): "leaves the reset to its user",
    ("kafka_go", "pause_and_resume"): "has no such call",
    ("kafka_go", "static_member_returns"): "has no static members",
    ("kafka_go", "cooperative_rebalance"): "has eager assignors only",
    **dict.fromkeys(
        (
            ("kafkajs", behaviour)
            for behaviour in (
                "assign",
                "seek",
                "seek_out_of_range",
                "pause_and_resume",
                "commit_without_subscription",
            )
        ),
        "consumes in groups alone",
    ),
    ("kafkajs", "headers"): "its headers are an object by key",
    ("kafkajs", "null_header_value"): "its producer takes no null",
    ("kafkajs", "consume_unknown_topic"): "its subscribe() refuses a topic that isn't there",
    ("kafkajs", "compression_zstd"): "has no codec of its own",
    ("kafkajs", "record_too_large"): "has no such limit to raise",
    ("kafkajs", "static_member_returns"): "has no static members",
    ("kafkajs", "cooperative_rebalance"): "has eager assignors only",
    **{
        (client, behaviour): "came with 2.4"
        for client in ("java_2_0", "java_1_0")
        for behaviour in ("static_member_returns", "cooperative_rebalance")
    },
    ("java_2_0", "compression_zstd"): "came with 2.1",
    ("java_1_0", "compression_zstd"): "came with 2.1",
    ("java_1_0", "admin_groups"): "came with 2.0",
    ("java_1_0", "admin_delete_groups"): "came with 2.0",
    **dict.fromkeys(
        (
            ("kcat", behaviour)
            for behaviour in (
                "create_time",
                "pause_and_resume",
                "commit_sync",
                "commit_async",
                "commit_without_subscription",
                "recreated_topic_is_empty",
                "admin_create_topics",
                "admin_delete_topics",
                "admin_add_partitions",
                "admin_topic_configs",
                "admin_broker_configs",
                "admin_alter_configs",
                "admin_groups",
                "admin_delete_groups",
            )
        ),
        KCAT_HAS_NO,
    ),
}

# Parts of an outcome that a client doesn't tell its user.
UNTOLD: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("kcat", "produce_acks_1"): ("offsets",),
    ("kcat", "produce_acks_all"): ("offsets",),
    ("kcat", "idempotent_producer"): ("offsets_in_order",),
    ("kcat", "log_append_time"): ("reported",),
    ("kcat", "partition_by_key"): ("as_reported",),
    ("kcat", "produce_to_unknown_topic"): ("offsets",),
    ("kcat", "assign"): ("assigned",),
    ("kcat", "offsets_for_times"): ("inside_a_batch", "last"),
    ("kcat", "admin_describe_cluster"): ("has_cluster_id",),
    ("kafka_python_3", "admin_scram_users"): ("weak", "nobody", "gone"),
    ("franz_go", "log_append_time"): ("reported",),
    ("sarama", "log_append_time"): ("type", "reported"),
    ("sarama", "admin_describe_cluster"): ("has_cluster_id",),
    ("rdkafka", "admin_describe_cluster"): ("controller_is_a_broker",),
    ("kafkajs", "log_append_time"): ("type",),
    ("kafkajs", "partition_by_key"): ("as_reported",),
}


def cells() -> list[tuple[str, str]]:
    """Every (client, behaviour) that can be run, in the table's order."""
    pairs = ((client, behaviour) for client in CLIENTS for behaviour in TABLE)
    return [pair for pair in pairs if pair not in UNSUPPORTED]


def expected(client: str, behaviour: str) -> Any:
    """The outcome expected of a behaviour, less what this client can't tell."""
    return told(client, behaviour, TABLE[behaviour].expected)


def told(client: str, behaviour: str, outcome: Any) -> Any:
    """An outcome less what this client can't tell."""
    untold = UNTOLD.get((client, behaviour), ())
    return {key: value for key, value in outcome.items() if key not in untold} if untold else outcome
