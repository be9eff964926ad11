"""kafka-python 3.0.x through the behaviours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import admin_behaviours  # noqa: F401  (registers its behaviours)
import kafka
import operations_behaviours  # noqa: F401
from behaviours import BEHAVIOURS
from driver import Admin, Fenced, Partition, Transactions, error_name, main
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.structs import OffsetAndMetadata, TopicPartition
from kafka_python_common import KafkaPythonConsumer, KafkaPythonDriver, code_of
from operations import KafkaPython3Operations

STRATEGIES = {"cooperative-sticky": [CooperativeStickyAssignor]}


class KafkaPython3Admin(Admin):
    def __init__(self, bootstrap: str) -> None:
        self._admin = kafka.KafkaAdminClient(bootstrap_servers=bootstrap)

    def create_topics(self, topics: Mapping[str, tuple[int, Mapping[str, str]]]) -> dict[str, str]:
        new = {
            name: {"num_partitions": count, "replication_factor": 1, "configs": dict(config)}
            for name, (count, config) in topics.items()
        }
        answer = self._admin.create_topics(new, raise_errors=False)
        return {topic["name"]: error_name(topic["error_code"]) for topic in answer["topics"]}

    def delete_topics(self, topics: Sequence[str]) -> dict[str, str]:
        answer = self._admin.delete_topics(list(topics), raise_errors=False)
        return {topic["name"]: error_name(topic["error_code"]) for topic in answer["topics"]}

    def create_partitions(self, totals: Mapping[str, int]) -> dict[str, str]:
        answer = self._admin.create_partitions(dict(totals), raise_errors=False)
        return {result.name: error_name(result.error_code) for result in answer.results}

    def list_topics(self) -> set[str]:
        return set(self._admin.list_topics())

    def describe_topic(self, topic: str) -> dict[int, dict[str, Any]]:
        (described,) = self._admin.describe_topics([topic])
        return {
            p["partition_index"]: {"leader": p["leader_id"], "replicas": p["replica_nodes"], "isr": p["isr_nodes"]}
            for p in described["partitions"]
        }

    def describe_cluster(self) -> dict[str, Any]:
        cluster = self._admin.describe_cluster()
        brokers = [
            {"id": broker.get("broker_id", broker.get("node_id")), "address": f"{broker['host']}:{broker['port']}"}
            for broker in cluster["brokers"]
        ]
        return {"cluster_id": cluster["cluster_id"], "controller": cluster["controller_id"], "brokers": brokers}

    def _config(self, kind: ConfigResourceType, name: str) -> dict[str, Any]:
        answer = self._admin.describe_configs([ConfigResource(kind, name)], config_filter="all")
        return dict(answer[kind.name.lower()][name])

    def topic_config(self, topic: str) -> dict[str, tuple[str, bool]]:
        entries = self._config(ConfigResourceType.TOPIC, topic)
        return {
            key: (entry["value"], entry["config_source"] == "DYNAMIC_TOPIC_CONFIG") for key, entry in entries.items()
        }

    def broker_config(self, broker: int) -> dict[str, str]:
        return {key: entry["value"] for key, entry in self._config(ConfigResourceType.BROKER, str(broker)).items()}

    def alter_config(self, kind: str, name: str, config: Mapping[str, str]) -> None:
        self._admin.alter_configs([ConfigResource(ConfigResourceType[kind.upper()], name, configs=dict(config))])

    def list_groups(self) -> set[str]:
        return {group["group_id"] for group in self._admin.list_groups()}

    def describe_group(self, group: str) -> dict[str, Any]:
        described = self._admin.describe_groups([group])[group]
        members = [
            sorted(
                (topic["topic"], partition)
                for topic in (member["member_assignment"] or {"assigned_partitions": []})["assigned_partitions"]
                for partition in topic["partitions"]
            )
            for member in described["members"]
        ]
        return {"state": described["group_state"], "members": sorted(members)}

    def delete_group(self, group: str) -> str:
        answer = self._admin.delete_groups([group])[group]
        return "NONE" if answer == "OK" else error_name(code_of(getattr(kafka.errors, answer)()))

    def close(self) -> None:
        self._admin.close()


class KafkaPython3Transactions(Transactions):
    def __init__(self, bootstrap: str, transactional_id: str) -> None:
        self._producer = kafka.KafkaProducer(bootstrap_servers=bootstrap, transactional_id=transactional_id)
        self._producer.init_transactions()

    def begin(self) -> None:
        self._producer.begin_transaction()

    def send(self, topic: str, values: Iterable[bytes]) -> None:
        for value in values:
            self._producer.send(topic, value)

    def flush(self) -> None:
        self._producer.flush(30)

    def send_offset(self, consumer: KafkaPythonConsumer, partition: Partition, offset: int) -> None:
        offsets = {TopicPartition(*partition): OffsetAndMetadata(offset, "", -1)}
        self._producer.send_offsets_to_transaction(offsets, consumer._consumer.group_metadata())

    def commit(self) -> None:
        try:
            self._producer.commit_transaction()
        except (kafka.errors.ProducerFencedError, kafka.errors.InvalidProducerEpochError) as error:
            raise Fenced from error

    def abort(self) -> None:
        self._producer.abort_transaction()

    def close(self) -> None:
        self._producer.close(timeout=10)


class KafkaPython3Driver(KafkaPythonDriver):
    name = "kafka_python_3"
    version = kafka.__version__
    # A poll() of 3.0.12 that times out while the group is being joined loses the assignment that comes a moment
    # later, and the member stays without one, with any broker. Long polls make it rare, the second attempt rarer.
    attempts = 2
    producer_config = {"enable_idempotence": False}  # noqa: RUF012

    def consumer(self, group: str | None = None, **options: Any) -> KafkaPythonConsumer:
        config = self.consumer_config(group, options)
        if "instance_id" in options:
            config["group_instance_id"] = options["instance_id"]
        if "strategy" in options:
            config["partition_assignment_strategy"] = STRATEGIES[options["strategy"]]
        config["isolation_level"] = "read_committed" if options.get("committed_only") else "read_uncommitted"
        return KafkaPythonConsumer(config, options.get("on_revoke"), least_poll=0.0 if group is None else 1.0)

    def transactions(self, transactional_id: str) -> KafkaPython3Transactions:
        return KafkaPython3Transactions(self.bootstrap, transactional_id)

    def admin(self) -> KafkaPython3Admin:
        return KafkaPython3Admin(self.bootstrap)

    def operations(self) -> KafkaPython3Operations:
        return KafkaPython3Operations(self.bootstrap)


if __name__ == "__main__":
    main(KafkaPython3Driver, BEHAVIOURS)
