"""The states of share groups, as brokers ask each other for them (KIP-932): begun, read, summed up, written, deleted.

A request may name many share-partitions; each is answered by itself, in the order of the request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from pykbroker.cluster.in_flight import StateBatch
from pykbroker.coordinator.share.shard import ShareWrite
from pykbroker.coordinator.share.state import ShareKey
from pykbroker.protocol.errors import KafkaError
from pykbroker.protocol.message import Message
from pykbroker.protocol.messages.delete_share_group_state import (
    DeleteShareGroupStateRequest,
    DeleteShareGroupStateResponse,
)
from pykbroker.protocol.messages.initialize_share_group_state import (
    InitializeShareGroupStateRequest,
    InitializeShareGroupStateResponse,
)
from pykbroker.protocol.messages.read_share_group_state import ReadShareGroupStateRequest, ReadShareGroupStateResponse
from pykbroker.protocol.messages.read_share_group_state_summary import (
    ReadShareGroupStateSummaryRequest,
    ReadShareGroupStateSummaryResponse,
)
from pykbroker.protocol.messages.write_share_group_state import (
    WriteShareGroupStateRequest,
    WriteShareGroupStateResponse,
)
from pykbroker.server.request import RequestContext, handles

R = TypeVar("R", bound=Message)


@handles(InitializeShareGroupStateRequest, "0")
async def initialize_share_group_state(
    request: InitializeShareGroupStateRequest, context: RequestContext
) -> InitializeShareGroupStateResponse:
    """InitializeShareGroupState 0: a state begins at an offset, or (-1) where the group's config says."""
    coordinator = context.services.share_coordinator

    async def ask(key: ShareKey, asked: Any) -> dict[str, Any]:
        await coordinator.ask(key, lambda shard, now: shard.initialize(key, asked.state_epoch, asked.start_offset, now))
        return {}

    return await _each(request, InitializeShareGroupStateResponse, ask)


@handles(ReadShareGroupStateRequest, "0")
async def read_share_group_state(
    request: ReadShareGroupStateRequest, context: RequestContext
) -> ReadShareGroupStateResponse:
    """ReadShareGroupState 0: the whole state, for a new leader; those before it are fenced."""
    coordinator = context.services.share_coordinator
    batch = ReadShareGroupStateResponse.Result.Partition.StateBatch

    async def ask(key: ShareKey, asked: Any) -> dict[str, Any]:
        state = await coordinator.ask(key, lambda shard, now: shard.read(key, asked.leader_epoch, now))
        return {
            "state_epoch": state.state_epoch,
            "start_offset": state.start_offset,
            "state_batches": [
                batch(first_offset=first, last_offset=last, delivery_state=one, delivery_count=count)
                for first, last, one, count in state.batches
            ],
        }

    return await _each(request, ReadShareGroupStateResponse, ask)


@handles(ReadShareGroupStateSummaryRequest, "0-1")
async def read_share_group_state_summary(
    request: ReadShareGroupStateSummaryRequest, context: RequestContext
) -> ReadShareGroupStateSummaryResponse:
    """ReadShareGroupStateSummary 0-1: offsets and epochs, from 1 on with what is done beyond the start (KIP-1226)."""
    coordinator = context.services.share_coordinator

    async def ask(key: ShareKey, asked: Any) -> dict[str, Any]:
        state = await coordinator.ask(key, lambda shard, now: shard.summary(key))
        return {
            "state_epoch": state.state_epoch,
            "leader_epoch": state.leader_epoch,
            "start_offset": state.start_offset,
            "delivery_complete_count": state.completed_count,
        }

    return await _each(request, ReadShareGroupStateSummaryResponse, ask)


@handles(WriteShareGroupStateRequest, "0-1")
async def write_share_group_state(
    request: WriteShareGroupStateRequest, context: RequestContext
) -> WriteShareGroupStateResponse:
    """WriteShareGroupState 0-1: what has changed, from 1 on with what is done beyond the start (KIP-1226)."""
    coordinator = context.services.share_coordinator

    async def ask(key: ShareKey, asked: Any) -> dict[str, Any]:
        batches = tuple(
            StateBatch(batch.first_offset, batch.last_offset, batch.delivery_state, batch.delivery_count)
            for batch in asked.state_batches
        )
        write = ShareWrite(
            asked.state_epoch, asked.leader_epoch, asked.start_offset, asked.delivery_complete_count, batches
        )
        await coordinator.ask(key, lambda shard, now: shard.write(key, write, now))
        return {}

    return await _each(request, WriteShareGroupStateResponse, ask)


@handles(DeleteShareGroupStateRequest, "0")
async def delete_share_group_state(
    request: DeleteShareGroupStateRequest, context: RequestContext
) -> DeleteShareGroupStateResponse:
    """DeleteShareGroupState 0: a state that isn't there is deleted."""
    coordinator = context.services.share_coordinator

    async def ask(key: ShareKey, asked: Any) -> dict[str, Any]:
        await coordinator.ask(key, lambda shard, now: shard.delete(key))
        return {}

    return await _each(request, DeleteShareGroupStateResponse, ask)


async def _each(request: Any, response: type[R], ask: Callable[[ShareKey, Any], Awaitable[dict[str, Any]]]) -> R:
    """Asks for each share-partition; one without a group, or a topic without partitions, empties the whole answer."""
    answer: Any = response()
    if not request.group_id or not all(topic.partitions for topic in request.topics):
        return _typed(answer, response)
    result = answer.fields["results"].element
    for topic in request.topics:
        answered = [
            await _one(
                result.fields["partitions"].element,
                ShareKey(request.group_id, topic.topic_id, asked.partition),
                asked,
                ask,
            )
            for asked in topic.partitions
        ]
        answer.results.append(result(topic_id=topic.topic_id, partitions=answered))
    return _typed(answer, response)


async def _one(
    partition: Any, key: ShareKey, asked: Any, ask: Callable[[ShareKey, Any], Awaitable[dict[str, Any]]]
) -> Any:
    try:
        return partition(partition=key.partition, **await ask(key, asked))
    except KafkaError as error:
        return partition(partition=key.partition, error_code=error.code, error_message=error.message)


def _typed(answer: Any, response: type[R]) -> R:
    assert isinstance(answer, response)
    return answer
