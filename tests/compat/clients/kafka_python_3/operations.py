"""What kafka-python's admin client has for operators: no quotas, no delegation tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from driver import BrokerError, Partition, error_name
from kafka.admin import (
    ConfigResource,
    ConfigResourceType,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from kafka.errors import BrokerResponseError
from kafka.structs import TopicPartition
from kafka_python_common import KafkaPythonOperations

ELECTIONS = {"PREFERRED": 0, "UNCLEAN": 1}


class KafkaPython3Operations(KafkaPythonOperations):
    def alter(self, topic: str, key: str, operation: str, value: str = "") -> str:
        resource = ConfigResource(ConfigResourceType.TOPIC, topic, configs={key: (operation, value)})
        answer = self._admin.alter_configs([resource])["topic"][topic]
        return "NONE" if answer in ("OK", None) else name_in(str(answer))

    def delete_records(self, partition: Partition, offset: int) -> int:
        tp = TopicPartition(*partition)
        try:
            return int(self._admin.delete_records({tp: offset})[tp]["low_watermark"])
        except BrokerResponseError as error:
            raise BrokerError(error.errno) from error

    def elect(self, partition: Partition, kind: str) -> str:
        topic, number = partition
        answer = self._admin.elect_leaders(ELECTIONS[kind], {topic: [number]}, raise_errors=False)
        return error_name(answer.replica_election_results[0].partition_result[0].error_code)

    def sizes(self, topic: str) -> dict[int, int]:
        found: dict[int, int] = {}
        for broker in self._admin.describe_log_dirs([topic]):
            for directory in broker["log_dirs"]:
                for one in directory["topics"]:
                    for part in one["partitions"] if one["name"] == topic else ():
                        found[part["partition_index"]] = part["partition_size"]
        return found

    def reassign(self, partition: Partition, replicas: Sequence[int] | None) -> str:
        tp = TopicPartition(*partition)
        wanted = None if replicas is None else list(replicas)
        refused = self._admin.alter_partition_reassignments({tp: wanted})[tp]
        return "NONE" if refused is None else error_name(refused.errno)

    def under_way(self) -> list[Partition]:
        return [(tp.topic, tp.partition) for tp in self._admin.list_partition_reassignments()]

    def set_scram(self, user: str, mechanism: str, iterations: int) -> str:
        asked = UserScramCredentialUpsertion(user, scram(mechanism), "secret", iterations=iterations)
        return self._scram_answer(user, asked)

    def delete_scram(self, user: str, mechanism: str) -> str:
        return self._scram_answer(user, UserScramCredentialDeletion(user, scram(mechanism)))

    def _scram_answer(self, user: str, asked: Any) -> str:
        """It tells the message of an error, and not which one it is."""
        return "NONE" if self._admin.alter_user_scram_credentials([asked])[user] is None else "refused"

    def scram(self, user: str) -> dict[str, int]:
        found = self._admin.describe_user_scram_credentials([user])[user]["credential_infos"]
        return {one["mechanism"].name.replace("_", "-"): one["iterations"] for one in found}


def scram(mechanism: str) -> ScramMechanism:
    return ScramMechanism[mechanism.replace("-", "_")]


def name_in(answer: str) -> str:
    """The name of the error that an answer of its tells: `[Error 40] InvalidConfigurationError: …`."""
    found = re.match(r"\[Error (-?\d+)\]", answer)
    assert found is not None, answer
    return error_name(int(found[1]))
