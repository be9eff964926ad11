"""The admin behaviours, for every Python client whose Driver has an Admin."""

from __future__ import annotations

from typing import Any

import raw
from behaviours import behaviour, numbered, partitions_of, read, read_for, read_topic, values
from driver import Admin, Driver, Record
from group_member import Member, wait_for


def visible(admin: Admin, topic: str, partitions: int) -> list[int]:
    """A topic's partitions as the client describes them, once they are as many as asked for and all led."""

    def ready() -> bool:
        described = admin.describe_topic(topic)
        return len(described) == partitions and all(p["leader"] >= 0 for p in described.values())

    wait_for(ready, f"{topic} has {partitions} partitions, each with a leader")
    return sorted(admin.describe_topic(topic))


@behaviour
def admin_create_topics(driver: Driver, prefix: str) -> Any:
    admin = driver.admin()
    outcome: dict[str, Any] = {
        "created": list(
            admin.create_topics({f"{prefix}-a": (3, {}), f"{prefix}-b": (1, {"retention.ms": "1"})}).values()
        ),
        "again": list(admin.create_topics({f"{prefix}-a": (3, {})}).values()),
        "bad_name": list(admin.create_topics({f"{prefix} ä": (1, {})}).values()),
        "bad_partitions": list(admin.create_topics({f"{prefix}-c": (0, {})}).values()),
        "bad_config": list(admin.create_topics({f"{prefix}-d": (1, {"retention.ms": "soon"})}).values()),
        "partitions": visible(admin, f"{prefix}-a", 3),
    }
    admin.close()
    return outcome


@behaviour
def admin_list_topics(driver: Driver, prefix: str) -> Any:
    for name in ("a", "b"):
        raw.create_topic(driver.bootstrap, f"{prefix}-{name}")
    admin = driver.admin()
    outcome = sorted(topic.removeprefix(prefix) for topic in admin.list_topics() if topic.startswith(prefix))
    admin.close()
    return outcome


@behaviour
def admin_describe_topic(driver: Driver, prefix: str) -> Any:
    raw.create_topic(driver.bootstrap, prefix, partitions=2)
    admin = driver.admin()
    brokers = {broker["id"] for broker in admin.describe_cluster()["brokers"]}
    described = admin.describe_topic(prefix)
    admin.close()
    return {
        "partitions": sorted(described),
        "led_by_brokers": all(p["leader"] in brokers for p in described.values()),
        "leader_in_sync": all(p["leader"] in p["isr"] and p["leader"] in p["replicas"] for p in described.values()),
    }


@behaviour
def admin_delete_topics(driver: Driver, prefix: str) -> Any:
    raw.create_topic(driver.bootstrap, prefix)
    admin = driver.admin()
    deleted = admin.delete_topics([prefix])[prefix]
    wait_for(lambda: prefix not in admin.list_topics(), "the topic is gone")
    unknown = admin.delete_topics([prefix])[prefix]
    admin.close()
    return {"deleted": deleted, "unknown": unknown}


@behaviour
def admin_add_partitions(driver: Driver, prefix: str) -> Any:
    raw.create_topic(driver.bootstrap, prefix, partitions=2)
    admin = driver.admin()
    outcome: dict[str, Any] = {
        "fewer": admin.create_partitions({prefix: 1})[prefix],
        "unknown": admin.create_partitions({f"{prefix}-unknown": 3})[f"{prefix}-unknown"],
        "more": admin.create_partitions({prefix: 4})[prefix],
        "partitions": visible(admin, prefix, 4),
    }
    admin.close()
    wait_for(lambda: raw.leaders(driver.bootstrap, prefix) == 4, "all four partitions have leaders")
    driver.produce(prefix, [Record(str(n).encode(), partition=n) for n in range(4)])
    return outcome | {"values": sorted(values(read_topic(driver, prefix, 4, partitions=4)), key=str)}


@behaviour
def admin_topic_configs(driver: Driver, prefix: str) -> Any:
    raw.create_topic(driver.bootstrap, prefix, config={"retention.ms": "12345", "cleanup.policy": "compact"})
    admin = driver.admin()
    config = admin.topic_config(prefix)
    admin.close()
    return {key: list(config[key]) for key in ("retention.ms", "cleanup.policy", "segment.bytes", "max.message.bytes")}


@behaviour
def admin_broker_configs(driver: Driver, prefix: str) -> Any:
    admin = driver.admin()
    broker = admin.describe_cluster()["brokers"][0]["id"]
    config = admin.broker_config(broker)
    admin.close()
    return {
        key: config.get(key)
        for key in ("auto.create.topics.enable", "message.max.bytes", "group.max.session.timeout.ms")
    }


@behaviour
def admin_alter_configs(driver: Driver, prefix: str) -> Any:
    raw.create_topic(driver.bootstrap, prefix, config={"flush.ms": "9"})
    admin = driver.admin()
    broker = next(iter(admin.describe_cluster()["brokers"]))["id"]
    admin.alter_config("topic", prefix, {"retention.ms": "54321"})
    admin.alter_config("broker", str(broker), {"log.cleaner.backoff.ms": "16000"})
    wait_for(lambda: admin.topic_config(prefix)["retention.ms"][0] == "54321", "the topic's config is changed")
    wait_for(lambda: admin.broker_config(broker)["log.cleaner.backoff.ms"] == "16000", "the broker's is changed")
    outcome = {"retention.ms": list(admin.topic_config(prefix)["retention.ms"])}
    admin.close()
    return outcome


@behaviour
def admin_describe_cluster(driver: Driver, prefix: str) -> Any:
    admin = driver.admin()
    cluster = admin.describe_cluster()
    admin.close()
    addresses = [broker["address"] for broker in cluster["brokers"]]
    return {
        "has_cluster_id": bool(cluster["cluster_id"]),
        "controller_is_a_broker": cluster["controller"] in {broker["id"] for broker in cluster["brokers"]},
        "bootstrap_among_brokers": driver.bootstrap.replace("localhost", "127.0.0.1") in addresses,
    }


@behaviour
def admin_groups(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix, partitions=2)
    driver.produce(topic, numbered(2))
    admin = driver.admin()
    # Apache Kafka 3.9 forgets empty groups without offsets whenever a topic is deleted, be it another's.
    member = Member(driver, prefix, topic, auto_commit=True)
    wait_for(lambda: len(member.assigned) == 2, "the member has both partitions")
    wait_for(lambda: len(member.messages) == 2, "the member has read the two records")
    wait_for(lambda: admin.describe_group(prefix)["state"] == "Stable", "the group is stable")
    outcome: dict[str, Any] = {
        "listed": prefix in admin.list_groups(),
        "members": [[p for _, p in assigned] for assigned in admin.describe_group(prefix)["members"]],
        "assigned": partitions_of(member),
    }
    member.close()
    described = admin.describe_group(prefix)
    admin.close()
    return outcome | {"left": {"state": described["state"], "members": described["members"]}}


@behaviour
def admin_delete_groups(driver: Driver, prefix: str) -> Any:
    topic = raw.create_topic(driver.bootstrap, prefix)
    driver.produce(topic, numbered(2))
    admin = driver.admin()
    member = Member(driver, prefix, topic, auto_commit=True)
    wait_for(lambda: len(member.messages) == 2, "the member has read the two records")
    outcome = {"in_use": admin.delete_group(prefix)}
    member.close()
    outcome |= {"empty": admin.delete_group(prefix), "unknown": admin.delete_group(prefix)}
    consumer = driver.consumer(prefix)
    outcome["committed"] = consumer.committed((topic, 0))
    consumer.close()
    outcome["listed"] = prefix in admin.list_groups()
    admin.close()
    return outcome


@behaviour
def recreated_topic_is_empty(driver: Driver, prefix: str) -> Any:
    admin = driver.admin()
    outcome: dict[str, Any] = {}
    for turn, count in (("first", 5), ("second", 2)):
        wait_for(lambda: admin.create_topics({prefix: (1, {})})[prefix] == "NONE", "the topic can be made")
        visible(admin, prefix, 1)
        reports = driver.produce(prefix, numbered(count))
        consumer = driver.consumer()
        consumer.assign([(prefix, 0)])
        messages = read(consumer, count) + read_for(consumer, 0.3)
        consumer.close()
        outcome[turn] = {"offsets": [report.offset for report in reports], "values": values(messages)}
        admin.delete_topics([prefix])
        wait_for(lambda: prefix not in admin.list_topics(), "the topic is gone")
    admin.close()
    return outcome
