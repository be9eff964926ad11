"""Where answers differ on purpose, by conversation and step, and why.

What isn't here doesn't differ, and what is here does: the tests and the run beside Apache Kafka
(tests.verified.conversations) fail on anything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

Lines = Mapping[tuple[str, str], str]


def _lines(*groups: tuple[str, Mapping[str, tuple[str, ...]]]) -> Lines:
    """A reason, and the steps it holds for by conversation."""
    return dict(_pairs(groups))


def _pairs(groups: tuple[tuple[str, Mapping[str, tuple[str, ...]]], ...]) -> Iterator[tuple[tuple[str, str], str]]:
    for why, conversations in groups:
        for name, steps in conversations.items():
            for step in steps:
                yield (name, step), why


FAILS = "Apache Kafka fails over it (-1)"
NO_QUORUM = "there is no quorum of controllers, and Kafka Streams' own groups aren't served"

OURS: Lines = _lines(
    (f"{FAILS}; here it is an unknown topic", {"share_fetch": ("a topic that isn't there",)}),
    (
        f"{FAILS} before it checks the batch; here the batch is corrupt",
        {"compressed": ("unknown codec 5", "unknown codec 7")},
    ),
    (f"{FAILS}; here it is an unsupported codec", {"message_sets": ("an unknown codec",)}),
    (
        f"{FAILS}; here the request is invalid",
        {"acls": ("any type", "any operation", "any permission", "pattern type 1", "pattern type 2")},
    ),
    ("both batches are kept; Apache Kafka drops one without a word", {"produce_errors": ("a partition twice",)}),
    (
        "offsets of version 0 are kept as all others are, not in the ZooKeeper",
        {"offsets_of_the_first_version": ("fetched", "fetched in another version", "nothing committed")},
    ),
    (
        "what is wrong with the whole request is said once, not for each partition, too",
        {
            "leader_and_isr": ("an older controller", "an older broker"),
            "refused": (
                *(f"LEADER_AND_ISR {version}" for version in range(8)),
                *(f"STOP_REPLICA {version}" for version in range(5)),
            ),
        },
    ),
    ("all that 4.3 has, and the versions that it has dropped", {"versions_listed": ("oldest",)}),
    (NO_QUORUM, {"versions_listed": ("APIs of a quorum or of Kafka Streams' groups",)}),
    (
        "Apache Kafka 3.9 doesn't fill the field that the clients of this version read",
        {"describe_configs": ("topic (version 0)", "broker (version 0)")},
    ),
)
"""As neither Apache Kafka 4.3 nor 3.9."""

OLDER: Lines = _lines(
    (NO_QUORUM, {"versions_listed": ("other features",)}),
    (
        "served where something takes clients' metrics; 4.3 answers without listing it",
        {"unserved": ("GET_TELEMETRY_SUBSCRIPTIONS",)},
    ),
)
"""As Apache Kafka 3.9 on a ZooKeeper, and not as 4.3."""

NEWER: Lines = _lines(
    (
        "4.3 has other codes for it",
        {
            "create_topics": (
                "assignment to an unknown broker",
                "assignment to a broker twice",
                "assignment to nobody",
            ),
            "delete_topics": ("neither name nor id", "by id again"),
            "alter_configs": ("unknown topic, unknown key", "bad topic name"),
            "incremental_alter_configs": ("subtract from an unknown key", "bad topic name"),
            "elect_leaders": ("an unknown kind",),
            "reassignments": ("an unknown partition, cancelled", "an unknown topic, cancelled"),
            "offset_commit_errors": ("no group yet, a generation",),
            "produce_in_a_transaction": ("newer epoch within",),
            "txn_offset_commit": ("unknown generation",),
            "acls": (
                *("no principal", "a principal without type"),
                *("of an unknown operation deleted", "an unknown pattern type deleted"),
            ),
        },
    ),
    (
        "4.3 answers once, or with more of it",
        {
            "create_topics": ("twice in a request", "validate only"),
            "delete_topics": ("one fine, one unknown",),
            "elect_leaders": ("no partition",),
        },
    ),
    ("4.3 takes no records from far in the future by default", {"produce_errors": ("far future",)}),
    ("4.3 has other keys", {"describe_configs": ("topic, no keys",)}),
    ("4.3 knows more operations on groups", {"describe_groups": ("operations",)}),
    (
        "a user is changed once in a request",
        {
            "scram_users": (
                "made and deleted in a request",
                "two mechanisms of a user",
                "one fine and one bad of a user",
            )
        },
    ),
    (
        "3.9 fails over it (-1)",
        {
            "alter_dynamic_configs": (
                *("a broker: subtract from an unknown key", "all brokers: subtract from an unknown key"),
                *("a logger that isn't there", "a level that isn't", "the root's level deleted"),
            ),
        },
    ),
    (
        "3.9 has no configs of groups or of clients' metrics on a ZooKeeper",
        {
            "alter_dynamic_configs": (
                *("a group: fine", "a group: too low", "a group: unknown key", "a group: one of few"),
                *("a group: a duration", "a group: append", "client metrics: fine", "client metrics: append"),
                *("client metrics: interval no number", "client metrics: bad pattern", "client metrics: unknown match"),
            ),
        },
    ),
    (
        "4.3 checks quotas more",
        {
            "client_quotas": (
                *("producer_byte_rate 0.0", "exactly null", "the default by name", "any by name", "an unknown way"),
                "nobody of the name",
            ),
        },
    ),
    ("4.3 doesn't look at the topic's codec", {"fetch_compressed": ("in a topic of this codec",)}),
    (
        "newer APIs, versions and features are served on a ZooKeeper, too",
        {
            "versions_listed": (*("APIs", "newest", "group.version", "share.version", "transaction.version"),),
            "update_features": (
                *("as it is", "unknown level", "negative level", "unknown feature", "downgrade without saying so"),
                *("safe downgrade, only asked", "downgrade to what is newer", "unknown kind", "still as it was"),
            ),
            "refused": ("CONSUMER_GROUP_HEARTBEAT 0", "CONSUMER_GROUP_DESCRIBE 0"),
        },
    ),
    (
        "4.3 has no expiry beside an error",
        {
            "refused": (
                *(f"RENEW_DELEGATION_TOKEN {version}" for version in range(3)),
                *(f"EXPIRE_DELEGATION_TOKEN {version}" for version in range(3)),
            ),
            "delegation_tokens": (
                *("an unknown one renewed", "an unknown one expired", "expired by another", "expired again"),
            ),
        },
    ),
    ("it is for controllers of the kind that 4.3 has", {"unserved": ("ALLOCATE_PRODUCER_IDS",)}),
    (
        "4.3 says less, or more, to who may not",
        {
            "refused": ("OFFSET_FETCH 1", "CREATE_TOPICS 5", "CREATE_TOPICS 6", "CREATE_TOPICS 7"),
            "some_rights": ("CreateTopics 5", "CreateTopics 7"),
        },
    ),
)
"""As Apache Kafka 4.3, and not as 3.9."""


def differing(major: str) -> Lines:
    """The steps whose answers aren't those of Apache Kafka of a major version."""
    return {**OURS, **(NEWER if major == "3" else OLDER)}


def without_known_differences(name: str, steps: Mapping[str, str], major: str = "4") -> dict[str, str]:
    """The answers that have to be the same."""
    known = differing(major)
    return {label: answer for label, answer in steps.items() if (name, label) not in known}
