"""Every node that a cluster leaves in a real ZooKeeper against Apache Kafka's layout: names, kinds, JSON keys."""

import json
import re
from typing import Any

import pytest
from tests.scenarios.real_cluster import RealCluster, eventually, real_cluster

from pykbroker.metadata.zookeeper_server import ZooKeeperServer
from pykbroker.protocol.messages.alter_partition_reassignments import AlterPartitionReassignmentsRequest
from pykbroker.protocol.messages.create_acls import CreateAclsRequest
from pykbroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest

pytestmark = pytest.mark.slow

PARENT, TEXT = "no data", "text"
REGISTRATION = {
    "features",
    "listener_security_protocol_map",
    "endpoints",
    "jmx_port",
    "port",
    "host",
    "version",
    "timestamp",
}
LAYOUT: list[tuple[str, Any, bool]] = [
    # path, JSON keys (or none), whether it is ephemeral
    (r"/consumers|/brokers|/config|/admin|/cluster", PARENT, False),
    (r"/brokers/(ids|topics|seqid)", PARENT, False),
    (r"/(isr_change_notification|log_dir_event_notification)", PARENT, False),
    (r"/config/(changes|topics|clients|users|brokers|ips)|/admin/delete_topics", PARENT, False),
    (r"/cluster/id", {"version", "id"}, False),
    (r"/brokers/ids/\d+", REGISTRATION, True),
    (r"/brokers/topics/[\w.-]+", {"version", "topic_id", "partitions", "adding_replicas", "removing_replicas"}, False),
    (r"/brokers/topics/[\w.-]+/partitions(/\d+)?", PARENT, False),
    (
        r"/brokers/topics/[\w.-]+/partitions/\d+/state",
        {"controller_epoch", "leader", "version", "leader_epoch", "isr"},
        False,
    ),
    (r"/controller", {"version", "brokerid", "timestamp", "kraftControllerEpoch"}, True),
    (r"/controller_epoch", TEXT, False),
    (r"/config/topics/[\w.-]+", {"version", "config"}, False),
    (r"/config/changes/config_change_\d{10}", {"version", "entity_path"}, False),
    (r"/isr_change_notification/isr_change_\d{10}", {"version", "partitions"}, False),
    (r"/latest_producer_id_block", {"version", "broker", "block_start", "block_end"}, False),
    (r"/feature", {"version", "status", "features"}, False),
    (r"/kafka-acl(-extended)?|/kafka-acl(-extended)?-changes|/kafka-acl-extended/prefixed", PARENT, False),
    (r"/kafka-acl(-extended/prefixed)?/(Topic|Group|Cluster|TransactionalId|DelegationToken|User)", PARENT, False),
    (r"/kafka-acl(-extended/prefixed)?/\w+/[\w.-]+", {"version", "acls"}, False),
    (r"/kafka-acl-changes/acl_changes_\d{10}", TEXT, False),
    (r"/kafka-acl-extended-changes/acl_changes_\d{10}", {"version", "resourceType", "name", "patternType"}, False),
    (r"/delegation_token(/(tokens|token_changes))?", PARENT, False),
]


def walk(address: str) -> dict[str, tuple[bytes | None, int]]:
    """Every node: its data, and the session that it ends with."""
    from kazoo.client import KazooClient

    client = KazooClient(hosts=address)
    client.start()
    found: dict[str, tuple[bytes | None, int]] = {}
    try:
        waiting = ["/"]
        while waiting:
            path = waiting.pop()
            waiting += [f"{path.rstrip('/')}/{name}" for name in client.get_children(path)]
            data, stat = client.get(path)
            found[path] = data or None, stat.ephemeralOwner
    finally:
        client.stop()
        client.close()
    del found["/"]
    return found


def busy(cluster: RealCluster) -> None:
    """Has something written everywhere."""
    cluster.create("t", [1, 2], retention_ms="500000")
    cluster.produce("t", b"x")
    controller = cluster.controller(1)
    change = IncrementalAlterConfigsRequest.Resource.Config(name="flush.ms", config_operation=0, value="9")
    resource = IncrementalAlterConfigsRequest.Resource(resource_type=2, resource_name="t", configs=[change])
    cluster.ask(1, IncrementalAlterConfigsRequest(resources=[resource]), 1)
    for pattern in (3, 4):
        acl = CreateAclsRequest.Creation(
            resource_type=2,
            resource_name="x",
            resource_pattern_type=pattern,
            principal="User:a",
            host="*",
            operation=3,
            permission_type=3,
        )
        cluster.ask(controller, CreateAclsRequest(creations=[acl]), 2)
    cluster.ask(2, InitProducerIdRequest(transactional_id=None, transaction_timeout_ms=1000), 4)
    one = AlterPartitionReassignmentsRequest.Topic.Partition(partition_index=0, replicas=[2, 1])
    topic = AlterPartitionReassignmentsRequest.Topic(name="t", partitions=[one])
    cluster.ask(controller, AlterPartitionReassignmentsRequest(topics=[topic]), 0)
    eventually("the other order is in force", lambda: cluster.partition(1, "t").replica_nodes == [2, 1])


@pytest.fixture(scope="module")
def cluster_and_nodes(
    tmp_path_factory: pytest.TempPathFactory, zookeeper: ZooKeeperServer
) -> tuple[RealCluster, dict[str, tuple[bytes | None, int]]]:
    """What two busy brokers have written."""
    config = {"authorizer_class_name": "kafka.security.authorizer.AclAuthorizer"}
    config["allow_everyone_if_no_acl_found"] = "true"
    address = f"{zookeeper.address}/layout"
    with real_cluster(tmp_path_factory.mktemp("layout"), address, 2, **config) as cluster:
        busy(cluster)
        return cluster, walk(address)


Found = tuple[RealCluster, dict[str, tuple[bytes | None, int]]]


def test_every_node_is_kafkas(cluster_and_nodes: Found) -> None:
    _, nodes = cluster_and_nodes
    unknown, wrong, met = [], [], set()
    for path, (data, owner) in nodes.items():
        line = next((one for one in LAYOUT if re.fullmatch(one[0], path)), None)
        if line is None:
            unknown.append(path)
            continue
        met.add(line[0])
        keys = PARENT if data is None else TEXT
        if data is not None and data.startswith(b"{"):
            keys = set(json.loads(data))
        if keys != line[1] or bool(owner) != line[2]:
            wrong.append((path, data, owner))
    assert unknown == []
    assert wrong == []
    assert nodes["/controller_epoch"][0] == b"1"
    never = {line[0] for line in LAYOUT} - met
    assert not {one for one in never if "isr_change_\\" not in one and "delegation" not in one}, (
        "nothing was made there"
    )


def test_versions_and_kinds_of_values(cluster_and_nodes: Found) -> None:
    cluster, nodes = cluster_and_nodes

    def body(path: str) -> Any:
        return json.loads(nodes[path][0] or b"")

    assert body("/cluster/id")["version"] == "1"
    registration = body("/brokers/ids/1")
    assert registration["version"] == 5
    assert registration["listener_security_protocol_map"] == {"PLAINTEXT": "PLAINTEXT"}
    assert registration["endpoints"] == [f"PLAINTEXT://127.0.0.1:{cluster.ports[1]}"]
    assert (registration["host"], registration["port"]) == ("127.0.0.1", cluster.ports[1])
    assert registration["timestamp"].isdecimal()
    assert body("/brokers/topics/t")["version"] == 3
    assert body("/brokers/topics/t")["partitions"] == {"0": [2, 1]}
    state = body("/brokers/topics/t/partitions/0/state")
    assert (state["version"], state["controller_epoch"], sorted(state["isr"])) == (1, 1, [1, 2])
    assert body("/controller")["brokerid"] == 1
    assert (body("/feature")["version"], body("/feature")["status"]) == (2, 1)
