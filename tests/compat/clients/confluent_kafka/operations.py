"""What librdkafka's admin client has for operators: no log directories, reassignments, quotas, delegation tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import confluent_kafka as ck
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from driver import Acl, BrokerError, Operations, Partition, error_name

SECONDS = 30


class ConfluentOperations(Operations):
    def __init__(self, bootstrap: str) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap})

    def alter(self, topic: str, key: str, operation: str, value: str = "") -> str:
        entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType[operation])
        resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
        return refused(self._admin.incremental_alter_configs([resource]))

    def delete_records(self, partition: Partition, offset: int) -> int:
        (future,) = self._admin.delete_records([ck.TopicPartition(*partition, offset)]).values()
        try:
            return int(future.result(SECONDS).low_watermark)
        except ck.KafkaException as error:
            raise BrokerError(error.args[0].code()) from error

    def elect(self, partition: Partition, kind: str) -> str:
        asked = self._admin.elect_leaders(ck.ElectionType[kind], [ck.TopicPartition(*partition)])
        (refusal,) = asked.result(SECONDS).values()
        return "NONE" if refusal is None else error_name(refusal.code())

    def create_acls(self, acls: Sequence[Acl]) -> list[str]:
        asked = self._admin.create_acls([as_acl(acl) for acl in acls])
        return [refused({acl: future}) for acl, future in asked.items()]

    def acls(self, kind: str, name: str | None, pattern: str, principal: str | None) -> list[Acl]:
        found = self._admin.describe_acls(as_filter(kind, name, pattern, principal)).result(SECONDS)
        return [acl_of(acl) for acl in found]

    def delete_acls(self, kind: str, name: str | None, pattern: str, principal: str | None) -> list[Acl]:
        (future,) = self._admin.delete_acls([as_filter(kind, name, pattern, principal)]).values()
        return [acl_of(acl) for acl in future.result(SECONDS)]

    def set_scram(self, user: str, mechanism: str, iterations: int) -> str:
        info = ScramCredentialInfo(scram(mechanism), iterations)
        asked = UserScramCredentialUpsertion(user, info, b"secret")
        return refused(self._admin.alter_user_scram_credentials([asked]))

    def delete_scram(self, user: str, mechanism: str) -> str:
        asked = UserScramCredentialDeletion(user, scram(mechanism))
        return refused(self._admin.alter_user_scram_credentials([asked]))

    def scram(self, user: str) -> dict[str, int]:
        try:
            found = self._admin.describe_user_scram_credentials([user])[user].result(SECONDS)
        except ck.KafkaException as error:
            raise BrokerError(error.args[0].code()) from error
        return {one.mechanism.name.replace("_", "-"): one.iterations for one in found.scram_credential_infos}


def refused(futures: dict[Any, Any]) -> str:
    (future,) = futures.values()
    try:
        future.result(SECONDS)
    except ck.KafkaException as error:
        return error_name(error.args[0].code())
    return "NONE"


def scram(mechanism: str) -> ScramMechanism:
    return ScramMechanism[mechanism.replace("-", "_")]


def as_acl(told: Acl) -> AclBinding:
    kind, name, pattern, operation, permission, principal = told
    where = ResourceType[kind], name, ResourcePatternType[pattern]
    return AclBinding(*where, principal, "*", AclOperation[operation], AclPermissionType[permission])


def as_filter(kind: str, name: str | None, pattern: str, principal: str | None) -> AclBindingFilter:
    where = ResourceType[kind], name, ResourcePatternType[pattern]
    return AclBindingFilter(*where, principal, None, AclOperation.ANY, AclPermissionType.ANY)


def acl_of(acl: AclBinding) -> Acl:
    kind, pattern = acl.restype.name, acl.resource_pattern_type.name
    return kind, acl.name, pattern, acl.operation.name, acl.permission_type.name, acl.principal
