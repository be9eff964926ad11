"""kafka-python 2.0.2 through the behaviours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import vendored_six  # noqa: F401  (before kafka)

# isort: split
import admin_behaviours  # noqa: F401  (registers its behaviours)
import kafka
import operations_behaviours  # noqa: F401
from behaviours import BEHAVIOURS
from driver import Admin, error_name, main
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewPartitions, NewTopic
from kafka.errors import BrokerResponseError
from kafka_python_common import KafkaPythonConsumer, KafkaPythonDriver, KafkaPythonOperations

TOPIC_CONFIG_SOURCE = 1


class KafkaPython2Admin(Admin):
    def __init__(self, bootstrap: str) -> None:
        self._admin = KafkaAdminClient(bootstrap_servers=bootstrap)

    def _refused(self, call: Any, argument: Any, names: Sequence[str]) -> dict[str, str]:
        """The client raises at the first error in an answer, so each name goes alone."""
        try:
            call(argument)
        except BrokerResponseError as error:
            return {name: error_name(error.errno) for name in names}
        return dict.fromkeys(names, "NONE")

    def create_topics(self, topics: Mapping[str, tuple[int, Mapping[str, str]]]) -> dict[str, str]:
        new = [NewTopic(name, count, 1, topic_configs=dict(config)) for name, (count, config) in topics.items()]
        return self._refused(self._admin.create_topics, new, list(topics))

    def delete_topics(self, topics: Sequence[str]) -> dict[str, str]:
        return self._refused(self._admin.delete_topics, list(topics), topics)

    def create_partitions(self, totals: Mapping[str, int]) -> dict[str, str]:
        new = {name: NewPartitions(total) for name, total in totals.items()}
        return self._refused(self._admin.create_partitions, new, list(totals))

    def list_topics(self) -> set[str]:
        return set(self._admin.list_topics())

    def describe_topic(self, topic: str) -> dict[int, dict[str, Any]]:
        (described,) = self._admin.describe_topics([topic])
        return {
            p["partition"]: {"leader": p["leader"], "replicas": p["replicas"], "isr": p["isr"]}
            for p in described["partitions"]
        }

    def describe_cluster(self) -> dict[str, Any]:
        cluster = self._admin.describe_cluster()
        brokers = [{"id": b["node_id"], "address": f"{b['host']}:{b['port']}"} for b in cluster["brokers"]]
        return {"cluster_id": cluster.get("cluster_id"), "controller": cluster["controller_id"], "brokers": brokers}

    def _config(self, kind: ConfigResourceType, name: str) -> list[tuple[Any, ...]]:
        (answer,) = self._admin.describe_configs([ConfigResource(kind, name)])
        return list(answer.resources[0][4])

    def topic_config(self, topic: str) -> dict[str, tuple[str, bool]]:
        entries = self._config(ConfigResourceType.TOPIC, topic)
        return {key: (value, source == TOPIC_CONFIG_SOURCE) for key, value, _, source, *_ in entries}

    def broker_config(self, broker: int) -> dict[str, str]:
        return {key: value for key, value, *_ in self._config(ConfigResourceType.BROKER, str(broker))}

    def alter_config(self, kind: str, name: str, config: Mapping[str, str]) -> None:
        resource = ConfigResource(ConfigResourceType[kind.upper()], name, configs=dict(config))
        answer = self._admin.alter_configs([resource])
        assert [code for code, *_ in answer.resources] == [0], answer

    def list_groups(self) -> set[str]:
        return {group for group, _ in self._admin.list_consumer_groups()}

    def describe_group(self, group: str) -> dict[str, Any]:
        (described,) = self._admin.describe_consumer_groups([group])
        members = [
            sorted((topic, p) for topic, partitions in member.member_assignment.assignment for p in partitions)
            for member in described.members
            if member.member_assignment
        ]
        return {"state": described.state, "members": sorted(members)}

    def delete_group(self, group: str) -> str:
        ((_, error),) = self._admin.delete_consumer_groups([group])
        return error_name(error.errno)

    def close(self) -> None:
        self._admin.close()


class KafkaPython2Operations(KafkaPythonOperations):
    """Of all that operators ask for it has ACLs."""


class KafkaPython2Driver(KafkaPythonDriver):
    name = "kafka_python_2"
    version = kafka.__version__

    def consumer(self, group: str | None = None, **options: Any) -> KafkaPythonConsumer:
        return KafkaPythonConsumer(self.consumer_config(group, options), options.get("on_revoke"))

    def admin(self) -> KafkaPython2Admin:
        return KafkaPython2Admin(self.bootstrap)

    def operations(self) -> KafkaPython2Operations:
        return KafkaPython2Operations(self.bootstrap)


if __name__ == "__main__":
    main(KafkaPython2Driver, BEHAVIOURS)
