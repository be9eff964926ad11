"""What operators do with an admin client: configs, records, leaders, directories, replicas, rights, users, quotas."""

from __future__ import annotations

from typing import Any

import raw
from behaviours import behaviour, numbered
from driver import BrokerError, Driver, Operations
from group_member import wait_for


def prepared(driver: Driver, topic: str, records: int = 0, partitions: int = 1) -> Operations:
    """A topic, all of whose partitions are led, with so many records in the first."""
    raw.create_topic(driver.bootstrap, topic, partitions=partitions)
    wait_for(lambda: raw.leaders(driver.bootstrap, topic) == partitions, "all partitions have leaders")
    if records:
        driver.produce(topic, numbered(records))
    return driver.operations()


@behaviour
def admin_incremental_configs(driver: Driver, prefix: str) -> Any:
    operations, admin = prepared(driver, prefix), driver.admin()

    def changed(key: str, operation: str, value: str, own: tuple[str, bool]) -> list[Any]:
        answer = operations.alter(prefix, key, operation, value)
        wait_for(lambda: tuple(admin.topic_config(prefix)[key]) == own, f"{key} is {own}")
        return [answer, *admin.topic_config(prefix)[key]]

    outcome = {
        "set": changed("retention.ms", "SET", "1000", ("1000", True)),
        "append": changed("cleanup.policy", "APPEND", "compact", ("delete,compact", True)),
        "subtract": changed("cleanup.policy", "SUBTRACT", "delete", ("compact", True)),
        "delete": changed("retention.ms", "DELETE", "", ("604800000", False)),
        "append_to_a_number": operations.alter(prefix, "retention.ms", "APPEND", "5"),
        "bad_value": operations.alter(prefix, "retention.ms", "SET", "soon"),
    }
    admin.close()
    return outcome


@behaviour
def admin_delete_records(driver: Driver, prefix: str) -> Any:
    operations = prepared(driver, prefix, records=10)
    consumer = driver.consumer()
    consumer.assign([(prefix, 0)])
    outcome: dict[str, Any] = {"low": operations.delete_records((prefix, 0), 4)}
    outcome["range"] = list(consumer.beginning_and_end((prefix, 0)))
    try:
        outcome["beyond"] = operations.delete_records((prefix, 0), 11)
    except BrokerError as error:
        outcome["beyond"] = str(error)
    outcome["all"] = operations.delete_records((prefix, 0), -1)
    outcome["left"] = list(consumer.beginning_and_end((prefix, 0)))
    consumer.close()
    return outcome


@behaviour
def admin_elect_leaders(driver: Driver, prefix: str) -> Any:
    operations = prepared(driver, prefix)
    return {
        "preferred": operations.elect((prefix, 0), "PREFERRED"),
        "unclean": operations.elect((prefix, 0), "UNCLEAN"),
        "unknown": operations.elect((prefix, 7), "PREFERRED"),
    }


@behaviour
def admin_log_dirs(driver: Driver, prefix: str) -> Any:
    operations = prepared(driver, prefix, records=5, partitions=2)
    driver.produce(prefix, numbered(5))
    sizes = operations.sizes(prefix)
    return {"partitions": sorted(sizes), "has_bytes": sum(sizes.values()) > 0}


@behaviour
def admin_reassignments(driver: Driver, prefix: str) -> Any:
    operations, admin = prepared(driver, prefix), driver.admin()
    (broker,) = (one["id"] for one in admin.describe_cluster()["brokers"])
    admin.close()
    return {
        "same": operations.reassign((prefix, 0), [broker]),
        "under_way": [partition for topic, partition in operations.under_way() if topic == prefix],
        "elsewhere": operations.reassign((prefix, 0), [broker + 1]),
        "taken_back": operations.reassign((prefix, 0), None),
        "unknown": operations.reassign((prefix, 7), [broker]),
    }


@behaviour
def admin_acls(driver: Driver, prefix: str) -> Any:
    operations, user = driver.operations(), f"User:{prefix}"
    created = operations.create_acls(
        [
            ("TOPIC", f"{prefix}-one", "LITERAL", "READ", "ALLOW", user),
            ("TOPIC", prefix, "PREFIXED", "WRITE", "DENY", user),
            ("GROUP", f"{prefix}-group", "LITERAL", "ALL", "ALLOW", user),
        ]
    )

    def found(*asked: Any) -> list[Any]:
        return sorted([*acl[:1], acl[1].removeprefix(prefix), *acl[2:5]] for acl in operations.acls(*asked))

    wait_for(lambda: len(found("ANY", None, "ANY", user)) == 3, "the three are there")
    outcome = {
        "created": created,
        "all": found("ANY", None, "ANY", user),
        "groups": found("GROUP", None, "ANY", user),
        "prefixed": found("TOPIC", prefix, "PREFIXED", user),
        "matching": found("TOPIC", f"{prefix}-one", "MATCH", user),
        "deleted": len(operations.delete_acls("TOPIC", None, "ANY", user)),
    }
    wait_for(lambda: len(found("ANY", None, "ANY", user)) == 1, "one is left")
    outcome["rest"] = len(operations.delete_acls("ANY", None, "ANY", user))
    outcome["none"] = len(operations.delete_acls("ANY", None, "ANY", user))
    return outcome


@behaviour
def admin_scram_users(driver: Driver, prefix: str) -> Any:
    operations = driver.operations()

    def found(user: str = prefix) -> Any:
        try:
            return operations.scram(user)
        except BrokerError as error:
            return str(error)

    set_up = [operations.set_scram(prefix, f"SCRAM-SHA-{bits}", count) for bits, count in ((256, 4096), (512, 8192))]
    wait_for(lambda: len(found()) == 2, "both are there")
    outcome: dict[str, Any] = {
        "set": set_up,
        "both": found(),
        "weak": operations.set_scram(prefix, "SCRAM-SHA-256", 100),
        "nobody": found(f"{prefix}-nobody"),
        "deleted": operations.delete_scram(prefix, "SCRAM-SHA-256"),
    }
    wait_for(lambda: len(found()) == 1, "one is left")
    outcome |= {
        "left": found(),
        "gone": operations.delete_scram(prefix, "SCRAM-SHA-256"),
        "last": operations.delete_scram(prefix, "SCRAM-SHA-512"),
    }
    wait_for(lambda: found() == found(f"{prefix}-nobody"), "nothing is left")
    return outcome


@behaviour
def admin_quotas(driver: Driver, prefix: str) -> Any:
    operations, user, client = driver.operations(), f"{prefix}-user", f"{prefix}-client"
    address = ".".join(map(str, (10, *hash_bytes(prefix))))
    entities: dict[str, dict[str, str | None]] = {
        "user": {"user": user},
        "client": {"client-id": client},
        "both": {"user": user, "client-id": client},
        "user_and_default": {"user": user, "client-id": None},
        "default_and_client": {"user": None, "client-id": client},
        "address": {"ip": address},
    }
    rates: dict[str, float | None] = {"producer_byte_rate": 1e9, "request_percentage": 200.0}
    quotas = dict.fromkeys(entities, rates) | {"address": {"connection_creation_rate": 1000.0}}
    outcome: dict[str, Any] = {name: [operations.set_quotas(entities[name], quotas[name])] for name in entities}
    for name, parts in entities.items():
        wait_for(lambda parts=parts: bool(operations.quotas(parts, strict=True)), f"the quotas of {name} are there")
        outcome[name] += [[found for _, found in operations.quotas(parts, strict=True)]]
    outcome |= {
        "of_the_user": sorted(len(parts) for parts, _ in operations.quotas({"user": user})),
        "no_address": operations.set_quotas({"ip": "nowhere.invalid"}, {"connection_creation_rate": 5.0}),
        "no_such_key": operations.set_quotas({"user": user}, {"nonsense_rate": 5.0}),
        "of_another_kind": operations.set_quotas({"user": user}, {"connection_creation_rate": 5.0}),
        "two_kinds": operations.set_quotas({"user": user, "ip": address}, {"producer_byte_rate": 5.0}),
        "one_less": operations.set_quotas({"user": user}, {"producer_byte_rate": None}),
    }
    wait_for(lambda: [*operations.quotas({"user": user}, strict=True)[0][1]] == ["request_percentage"], "one is gone")
    for name, parts in entities.items():
        operations.set_quotas(parts, dict.fromkeys(quotas[name]))
        wait_for(lambda parts=parts: not operations.quotas(parts, strict=True), f"the quotas of {name} are gone")
    return outcome


def hash_bytes(text: str) -> bytes:
    """Three bytes that are this run's own, none of them 0 or 255."""
    return bytes(1 + sum(map(ord, text[offset::3])) * (offset + 7) % 250 for offset in range(3))


@behaviour
def admin_delegation_tokens(driver: Driver, prefix: str) -> Any:
    return driver.operations().tokens()
