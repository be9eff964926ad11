"""The messages that a busy broker reads and writes, as large as everyday clients make them."""

from __future__ import annotations

from typing import NamedTuple
from uuid import UUID

from pykbroker.protocol.message import Message
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from pykbroker.protocol.messages.fetch import FetchRequest, FetchResponse
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest, FindCoordinatorResponse
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from pykbroker.protocol.messages.join_group import JoinGroupRequest, JoinGroupResponse
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest, ListOffsetsResponse
from pykbroker.protocol.messages.metadata import MetadataRequest, MetadataResponse
from pykbroker.protocol.messages.offset_commit import OffsetCommitRequest, OffsetCommitResponse
from pykbroker.protocol.messages.offset_fetch import OffsetFetchRequest, OffsetFetchResponse
from pykbroker.protocol.messages.produce import ProduceRequest, ProduceResponse
from pykbroker.protocol.messages.sync_group import SyncGroupRequest, SyncGroupResponse
from pykbroker.protocol.records.batch import build_batch

MEMBER = "consumer-7f8a1d3e-5b1c-4f0e-9d5b-0a4c2f1e6b77"
BATCH = build_batch([(b"key", b"v" * 1000)] * 16, timestamp=1_700_000_000_000)


class Sample(NamedTuple):
    """A message, and the newest version that every codec here has."""

    message: Message
    version: int
    size: str = ""

    @property
    def name(self) -> str:
        size = f" ({self.size})" if self.size else ""
        return f"{type(self.message).__name__} v{self.version}{size}"


def metadata(topics: int) -> MetadataResponse:
    """What a client asks for first: three brokers, topics of one partition."""
    topic, partition = MetadataResponse.Topic, MetadataResponse.Topic.Partition
    return MetadataResponse(
        brokers=[MetadataResponse.Broker(node_id=n, host="127.0.0.1", port=9092 + n) for n in range(3)],
        cluster_id="MkU3OEVBNTcwNTJENDM2Qg",
        controller_id=0,
        topics=[
            topic(
                name=f"topic-{n}",
                topic_id=UUID(int=n + 1),
                partitions=[
                    partition(partition_index=0, leader_id=0, leader_epoch=3, replica_nodes=[0, 1], isr_nodes=[0, 1])
                ],
            )
            for n in range(topics)
        ],
    )


def samples() -> list[Sample]:
    """Everything that is measured."""
    return [*_data(), *_group(), *_lookups()]


def _data() -> list[Sample]:
    produced, wanted = ProduceRequest.TopicData, FetchRequest.Topic
    stored, answered = ProduceResponse.Response, FetchResponse.Response
    partition = produced.PartitionData
    return [
        Sample(
            ProduceRequest(
                acks=-1,
                timeout_ms=30_000,
                topic_data=[
                    produced(name="orders", partition_data=[partition(index=n, records=BATCH) for n in range(3)])
                ],
            ),
            9,
            "3 partitions",
        ),
        Sample(
            ProduceResponse(
                responses=[
                    stored(
                        name="orders",
                        partition_responses=[
                            stored.PartitionResponse(index=n, base_offset=10**6 + n, log_start_offset=0)
                            for n in range(3)
                        ],
                    )
                ]
            ),
            8,
            "3 partitions",
        ),
        *(
            Sample(
                FetchRequest(
                    max_wait_ms=500,
                    min_bytes=1,
                    max_bytes=50 << 20,
                    topics=[
                        wanted(
                            topic="orders",
                            partitions=[
                                wanted.Partition(partition=n, fetch_offset=10**6, partition_max_bytes=1 << 20)
                                for n in range(count)
                            ],
                        )
                    ],
                ),
                11,
                f"{count} partitions",
            )
            for count in (3, 100)
        ),
        Sample(
            FetchResponse(
                session_id=7,
                responses=[
                    answered(
                        topic="orders",
                        partitions=[
                            answered.Partition(
                                partition_index=n,
                                high_watermark=10**6,
                                last_stable_offset=10**6,
                                log_start_offset=0,
                                aborted_transactions=[],
                                records=BATCH,
                            )
                            for n in range(3)
                        ],
                    )
                ],
            ),
            11,
            "3 partitions",
        ),
    ]


def _group() -> list[Sample]:
    committed, stored = OffsetCommitRequest.Topic, OffsetCommitResponse.Topic
    asked, known = OffsetFetchRequest.Topic, OffsetFetchResponse.Topic
    subscription = b"\0\1\0\0\0\1\0\6orders\xff\xff\xff\xff\0\0\0\0"
    return [
        Sample(HeartbeatRequest(group_id="billing", generation_id=5, member_id=MEMBER), 4),
        Sample(HeartbeatResponse(), 4),
        Sample(
            JoinGroupRequest(
                group_id="billing",
                session_timeout_ms=45_000,
                rebalance_timeout_ms=300_000,
                member_id=MEMBER,
                protocol_type="consumer",
                protocols=[
                    JoinGroupRequest.Protocol(name=name, metadata=subscription) for name in ("range", "roundrobin")
                ],
            ),
            7,
        ),
        Sample(
            JoinGroupResponse(
                generation_id=5,
                protocol_type="consumer",
                protocol_name="range",
                leader=MEMBER,
                member_id=MEMBER,
                members=[JoinGroupResponse.Member(member_id=f"{MEMBER}{n}", metadata=subscription) for n in range(10)],
            ),
            7,
            "10 members",
        ),
        Sample(
            SyncGroupRequest(
                group_id="billing",
                generation_id=5,
                member_id=MEMBER,
                assignments=[
                    SyncGroupRequest.Assignment(member_id=f"{MEMBER}{n}", assignment=subscription) for n in range(10)
                ],
            ),
            4,
            "10 members",
        ),
        Sample(SyncGroupResponse(assignment=subscription), 4),
        Sample(
            OffsetCommitRequest(
                group_id="billing",
                generation_id_or_member_epoch=5,
                member_id=MEMBER,
                topics=[
                    committed(
                        name="orders",
                        partitions=[
                            committed.Partition(partition_index=n, committed_offset=10**6, committed_metadata="")
                            for n in range(10)
                        ],
                    )
                ],
            ),
            8,
            "10 partitions",
        ),
        Sample(
            OffsetCommitResponse(
                topics=[stored(name="orders", partitions=[stored.Partition(partition_index=n) for n in range(10)])]
            ),
            8,
            "10 partitions",
        ),
        Sample(
            OffsetFetchRequest(group_id="billing", topics=[asked(name="orders", partition_indexes=list(range(10)))]),
            7,
            "10 partitions",
        ),
        Sample(
            OffsetFetchResponse(
                topics=[
                    known(
                        name="orders",
                        partitions=[
                            known.Partition(partition_index=n, committed_offset=10**6, metadata="") for n in range(10)
                        ],
                    )
                ]
            ),
            7,
            "10 partitions",
        ),
    ]


def _lookups() -> list[Sample]:
    listed, found = ListOffsetsRequest.Topic, ListOffsetsResponse.Topic
    return [
        Sample(MetadataRequest(topics=[MetadataRequest.Topic(name="orders")]), 8, "1 topic"),
        Sample(metadata(1), 8, "1 topic"),
        Sample(metadata(1000), 8, "1,000 topics"),
        Sample(
            ListOffsetsRequest(
                topics=[
                    listed(
                        name="orders",
                        partitions=[listed.Partition(partition_index=n, timestamp=-1) for n in range(10)],
                    )
                ]
            ),
            5,
            "10 partitions",
        ),
        Sample(
            ListOffsetsResponse(
                topics=[
                    found(
                        name="orders", partitions=[found.Partition(partition_index=n, offset=10**6) for n in range(10)]
                    )
                ]
            ),
            5,
            "10 partitions",
        ),
        Sample(FindCoordinatorRequest(key="billing"), 3),
        Sample(FindCoordinatorResponse(node_id=1, host="127.0.0.1", port=9092), 3),
        Sample(ApiVersionsRequest(client_software_name="librdkafka", client_software_version="2.16.1"), 3),
        Sample(
            ApiVersionsResponse(
                api_keys=[ApiVersionsResponse.ApiKey(api_key=n, min_version=0, max_version=9) for n in range(60)]
            ),
            3,
            "60 APIs",
        ),
    ]
