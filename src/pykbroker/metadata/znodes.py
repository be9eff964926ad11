"""Apache Kafka's znodes: their paths and their JSON, both ways.

Readers bear unknown and missing optional keys, as releases differ. It never reads or writes a store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple
from uuid import UUID

from pykbroker.cluster.features import FinalizedFeatures
from pykbroker.cluster.image import BrokerImage, Endpoint, PartitionState, TopicImage, parse_uuid, uuid_text
from pykbroker.protocol.topic_partition import TopicPartition

BROKER_IDS = "/brokers/ids"
TOPICS = "/brokers/topics"
CONFIG = "/config"
CONFIG_CHANGES = "/config/changes"
TOPIC_CONFIGS = "/config/topics"
FEATURES = "/feature"
DELETE_TOPICS = "/admin/delete_topics"
CLUSTER_ID = "/cluster/id"
CONTROLLER = "/controller"
CONTROLLER_EPOCH = "/controller_epoch"
PRODUCER_ID_BLOCK = "/latest_producer_id_block"
ISR_CHANGES = "/isr_change_notification"
LOG_DIR_EVENTS = "/log_dir_event_notification"
REASSIGN = "/admin/reassign_partitions"
PREFERRED_ELECTION = "/admin/preferred_replica_election"

PERSISTENT = (
    "/consumers",
    BROKER_IDS,
    TOPICS,
    CONFIG_CHANGES,
    DELETE_TOPICS,
    "/brokers/seqid",
    ISR_CHANGES,
    PRODUCER_ID_BLOCK,
    LOG_DIR_EVENTS,
    TOPIC_CONFIGS,
    "/config/clients",
    "/config/users",
    "/config/brokers",
    "/config/ips",
    "/cluster",
)
"""What a broker makes at start where it is missing."""


def topic_path(topic: str) -> str:
    """Where a topic's assignment stands."""
    return f"{TOPICS}/{topic}"


def partition_path(topic: str, partition: int) -> str:
    """The parent of a partition's state."""
    return f"{TOPICS}/{topic}/partitions/{partition}"


def state_path(topic: str, partition: int) -> str:
    """Where a partition's leader and ISR stand; its version is the partition epoch."""
    return f"{TOPICS}/{topic}/partitions/{partition}/state"


def config_path(topic: str) -> str:
    """Where a topic's overrides stand."""
    return f"{TOPIC_CONFIGS}/{topic}"


DEFAULT_ENTITY = "<default>"
"""The name that stands for every entity of a kind without a config of its own."""
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._")


def entity(kind: str, name: str | None) -> str:
    """An entity's path below `/config`, its name escaped as Kafka does (`*` too); None is the default entity."""
    return f"{kind}/{DEFAULT_ENTITY if name is None else _escape(name)}"


def entity_name(escaped: str) -> str | None:
    """The name that one part of an entity's path stands for; None for the default entity."""
    if escaped == DEFAULT_ENTITY:
        return None
    pieces = escaped.split("%")
    raw = pieces[0].encode()
    for piece in pieces[1:]:
        raw += bytes.fromhex(piece[:2]) + piece[2:].encode()
    return raw.decode()


def _escape(name: str) -> str:
    return "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in name.encode())


def entity_path(entity: str) -> str:
    """Where an entity's config stands."""
    return f"{CONFIG}/{entity}"


def encode_config_change(entity: str) -> bytes:
    """A notification, version 2."""
    return _dump({"version": 2, "entity_path": entity})


def decode_config_change(data: bytes) -> str | None:
    """The entity that a notification of version 1 or 2 names; None for one that can't be understood."""
    body = _load(data)
    if "entity_path" in body:
        return str(body["entity_path"])
    kind, name = body.get("entity_type"), body.get("entity_name")
    return f"{kind}/{name}" if kind and name else None


def broker_path(broker: int) -> str:
    """A broker's registration."""
    return f"{BROKER_IDS}/{broker}"


def deletion_path(topic: str) -> str:
    """The mark of a topic that is to be deleted."""
    return f"{DELETE_TOPICS}/{topic}"


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _load(data: bytes) -> Any:
    return json.loads(data) if data else {}


def encode_topic(topic: TopicImage) -> bytes:
    """The topic node, version 3."""
    partitions = topic.partitions
    return _dump(
        {
            "version": 3,
            "topic_id": uuid_text(topic.topic_id),
            "partitions": {str(index): list(state.replicas) for index, state in partitions.items()},
            "adding_replicas": {str(index): list(state.adding) for index, state in partitions.items() if state.adding},
            "removing_replicas": {
                str(index): list(state.removing) for index, state in partitions.items() if state.removing
            },
        }
    )


class TopicNode(NamedTuple):
    """What a topic node says; releases before 2.8 gave no id."""

    topic_id: UUID | None
    replicas: Mapping[int, tuple[int, ...]]
    adding: Mapping[int, tuple[int, ...]]
    removing: Mapping[int, tuple[int, ...]]


def decode_topic(data: bytes) -> TopicNode:
    """A topic node of any version."""
    body = _load(data)
    by_index = [
        {int(index): tuple(replicas) for index, replicas in body.get(key, {}).items()}
        for key in ("partitions", "adding_replicas", "removing_replicas")
    ]
    text = body.get("topic_id")
    return TopicNode(parse_uuid(text) if text else None, *by_index)


def encode_state(state: PartitionState) -> bytes:
    """The state node; the partition epoch isn't in it, being the node's version."""
    return _dump(
        {
            "controller_epoch": state.controller_epoch,
            "leader": state.leader,
            "version": 1,
            "leader_epoch": state.leader_epoch,
            "isr": list(state.isr),
        }
    )


def decode_state(
    data: bytes,
    version: int,
    replicas: tuple[int, ...],
    adding: tuple[int, ...] = (),
    removing: tuple[int, ...] = (),
) -> PartitionState:
    """A partition's state from its own node; who is assigned stands in its topic's."""
    body = _load(data)
    return PartitionState(
        leader=body["leader"],
        leader_epoch=body["leader_epoch"],
        isr=tuple(body["isr"]),
        replicas=replicas,
        partition_epoch=version,
        controller_epoch=body["controller_epoch"],
        adding=adding,
        removing=removing,
    )


def encode_config(config: Mapping[str, str]) -> bytes:
    """An entity's config."""
    return _dump({"version": 1, "config": dict(config)})


def decode_config(data: bytes) -> dict[str, str]:
    """An entity's config; every value is a text."""
    return {name: str(value) for name, value in _load(data).get("config", {}).items()}


def encode_broker(broker: BrokerImage, now_ms: int) -> bytes:
    """A registration, version 5; host and port are those of the first plaintext endpoint, for very old clients."""
    host, port = next(
        ((one.host, one.port) for one in broker.endpoints.values() if one.security_protocol == "PLAINTEXT"), (None, -1)
    )
    body: dict[str, Any] = {
        "features": {},
        "listener_security_protocol_map": {name: one.security_protocol for name, one in broker.endpoints.items()},
        "endpoints": [
            f"{name}://[{one.host}]:{one.port}" if ":" in one.host else f"{name}://{one.host}:{one.port}"
            for name, one in broker.endpoints.items()
        ],
        "jmx_port": -1,
        "port": port,
        "host": host,
        "version": 5,
        "timestamp": str(now_ms),
    }
    if broker.rack is not None:
        body["rack"] = broker.rack
    return _dump(body)


def decode_broker(broker: int, data: bytes, epoch: int) -> BrokerImage:
    """A registration of version 1 to 5; its epoch is the change that created the node."""
    body = _load(data)
    protocols = body.get("listener_security_protocol_map", {})
    texts = body.get("endpoints") or [f"PLAINTEXT://{body['host']}:{body['port']}"]
    endpoints: dict[str, Endpoint] = {}
    for text in texts:
        name, _, address = text.partition("://")
        host, _, port = address.rpartition(":")
        endpoints[name] = Endpoint(host.strip("[]"), int(port), protocols.get(name, name))
    return BrokerImage(broker, endpoints, body.get("rack"), epoch)


def encode_cluster_id(cluster_id: str) -> bytes:
    """The cluster's id; Kafka writes this version as a text."""
    return _dump({"version": "1", "id": cluster_id})


def decode_cluster_id(data: bytes) -> str:
    """The cluster's id."""
    return str(_load(data)["id"])


def encode_controller(broker: int, now_ms: int) -> bytes:
    """Who is controller, version 2 of Kafka 3.4 and later; no controller of a quorum has ever been."""
    return _dump({"version": 2, "brokerid": broker, "timestamp": str(now_ms), "kraftControllerEpoch": -1})


def decode_controller(data: bytes) -> int:
    """Who is controller."""
    return int(_load(data)["brokerid"])


def encode_producer_id_block(broker: int, start: int, end: int) -> bytes:
    """The block of producer ids handed out last; its end is inclusive."""
    return _dump({"version": 1, "broker": broker, "block_start": str(start), "block_end": str(end)})


def decode_producer_id_block(data: bytes) -> int:
    """The first producer id after the last block."""
    return int(_load(data)["block_end"]) + 1 if data else 0


def encode_features(levels: Mapping[str, int]) -> bytes:
    """The finalized feature levels, version 2."""
    features = {name: {"max_version_level": level} for name, level in levels.items()}
    return _dump({"version": 2, "status": 1, "features": features})


def decode_features(data: bytes, epoch: int) -> FinalizedFeatures:
    """The finalized feature levels, of version 1 or 2; their epoch is the node's version."""
    features = _load(data).get("features", {})
    levels = {name: int(one["max_version_level"]) for name, one in features.items()}
    return FinalizedFeatures({name: level for name, level in levels.items() if level}, epoch)


def encode_partitions(tps: Iterable[TopicPartition]) -> bytes:
    """A list of partitions: of changed ISRs, and of the preferred leaders that a tool asks for."""
    partitions = [{"topic": tp.topic, "partition": tp.partition} for tp in tps]
    return _dump({"version": 1, "partitions": partitions})


def decode_partitions(data: bytes) -> list[TopicPartition]:
    """A list of partitions."""
    return [TopicPartition(one["topic"], int(one["partition"])) for one in _load(data).get("partitions", ())]


def decode_log_dir_event(data: bytes) -> int:
    """The broker that has lost a data directory."""
    return int(_load(data)["broker"])


def encode_log_dir_event(broker: int) -> bytes:
    """A broker has lost a data directory."""
    return _dump({"version": 1, "broker": broker, "event": 1})


def decode_reassignments(data: bytes) -> dict[TopicPartition, tuple[int, ...]]:
    """The replicas that a tool of before 2.4 asks for."""
    return {
        TopicPartition(one["topic"], int(one["partition"])): tuple(one["replicas"])
        for one in _load(data).get("partitions", ())
    }


def encode_reassignments(wanted: Mapping[TopicPartition, tuple[int, ...]]) -> bytes:
    """Those that aren't done yet."""
    partitions = [
        {"topic": tp.topic, "partition": tp.partition, "replicas": list(replicas)} for tp, replicas in wanted.items()
    ]
    return _dump({"version": 1, "partitions": partitions})


def decode_broker_time(data: bytes) -> int:
    """When a broker registered, in milliseconds of its own clock; 0 where it doesn't say."""
    return int(_load(data).get("timestamp", 0))
