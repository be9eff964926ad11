"""DescribeCluster."""

from collections.abc import Callable
from typing import Any

import pytest

from pykbroker.apis.cluster import describe_cluster
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.describe_cluster import DescribeClusterRequest


@pytest.mark.parametrize("version", range(3))
async def test_every_version(start_broker: Callable[..., Any], version: int) -> None:
    broker = await start_broker(node_id=4, broker_rack="r")
    answer = await broker.ask(describe_cluster, DescribeClusterRequest(), version, local_address=("10.0.0.1", 5))
    assert (answer.error_code, answer.controller_id) == (ErrorCode.NONE, 4)
    assert answer.cluster_id == broker.services.metadata.image.cluster_id
    assert [(one.broker_id, one.host, one.port, one.rack) for one in answer.brokers] == [(4, "10.0.0.1", 5, "r")]
    assert answer.cluster_authorized_operations == -(1 << 31)


async def test_authorized_operations_where_asked_for(one_broker: Any) -> None:
    request = DescribeClusterRequest(include_cluster_authorized_operations=True)
    assert (await one_broker.ask(describe_cluster, request, 1)).cluster_authorized_operations == 8096


@pytest.mark.parametrize(("kind", "code"), [(2, "MISMATCHED_ENDPOINT_TYPE"), (3, "UNSUPPORTED_ENDPOINT_TYPE")])
async def test_controllers_are_not_described_here(one_broker: Any, kind: int, code: str) -> None:
    answer = await one_broker.ask(describe_cluster, DescribeClusterRequest(endpoint_type=kind), 1)
    assert answer.error_code == ErrorCode[code]
