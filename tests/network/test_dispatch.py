"""From a frame to the answer's pieces: versions, contexts, and what becomes of errors."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from pykbroker.network.dispatch import Dispatcher, Peer
from pykbroker.protocol.connection import decode_response, encode_request
from pykbroker.protocol.errors import ErrorCode, KafkaError, MalformedMessage
from pykbroker.protocol.message import as_bytes
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from pykbroker.protocol.messages.create_topics import CreateTopicsRequest
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest, HeartbeatResponse
from pykbroker.server.request import CloseConnection, RequestContext, handles

PEER = Peer(("10.0.0.7", 4242), ("10.0.0.1", 9092), "PLAINTEXT", 5)


def frame(request: Any, version: int, correlation_id: int = 1, client_id: str | None = "test") -> memoryview:
    return memoryview(b"".join(map(as_bytes, encode_request(request, version, correlation_id, client_id)))[4:])


async def dispatch(call: Callable[..., Awaitable[Any]], request: Any, version: int, **sent: Any) -> Any:
    """The answer to a request with this handler behind it."""
    handler = handles(type(request), "0-4")(call)
    dispatcher = Dispatcher(None, {type(request).key: handler})  # type: ignore[arg-type]
    pieces = await dispatcher.answer(frame(request, version, **sent), PEER)
    if pieces is None:
        return None
    data = b"".join(map(as_bytes, pieces))
    assert len(data) == 4 + struct.unpack_from(">i", data)[0]
    return decode_response(data[4:], type(request).key, version)


def raising(error: Exception) -> Callable[..., Awaitable[Any]]:
    async def call(request: Any, context: RequestContext) -> Any:
        raise error

    return call


@pytest.mark.parametrize("version", range(5))
async def test_the_handler_is_told_who_asks(version: int) -> None:
    seen: list[tuple[HeartbeatRequest, RequestContext]] = []

    async def call(request: HeartbeatRequest, context: RequestContext) -> HeartbeatResponse:
        seen.append((request, context))
        return HeartbeatResponse(error_code=ErrorCode.REBALANCE_IN_PROGRESS)

    request = HeartbeatRequest(group_id="g", generation_id=3, member_id="m")
    correlation_id, answer = await dispatch(call, request, version, correlation_id=-9, client_id=None)
    assert (correlation_id, answer.error_code) == (-9, ErrorCode.REBALANCE_IN_PROGRESS)
    ((given, context),) = seen
    assert given == request
    assert (context.api_key, context.api_version, context.correlation_id) == (12, version, -9)
    assert (context.client_id, context.client_host) == (None, "/10.0.0.7")
    assert (context.listener, context.local_address, context.connection_id) == ("PLAINTEXT", ("10.0.0.1", 9092), 5)


async def test_none_is_no_answer() -> None:
    async def call(request: HeartbeatRequest, context: RequestContext) -> None:
        return None

    assert await dispatch(call, HeartbeatRequest(), 0) is None


async def test_an_error_becomes_the_answers_code() -> None:
    error = KafkaError(ErrorCode.COORDINATOR_NOT_AVAILABLE, "not yet")
    assert (await dispatch(raising(error), HeartbeatRequest(), 0))[1].error_code == error.code
    answer = (await dispatch(raising(error), FindCoordinatorRequest(key="g"), 2))[1]
    assert (answer.error_code, answer.error_message) == (error.code, "not yet")


async def test_an_unforeseen_error_is_a_server_error() -> None:
    answer = (await dispatch(raising(ValueError("oh")), HeartbeatRequest(), 0))[1]
    assert answer.error_code == ErrorCode.UNKNOWN_SERVER_ERROR


async def test_an_answer_without_a_place_for_the_error_is_none() -> None:
    with pytest.raises(CloseConnection, match="CreateTopicsRequest failed with NOT_CONTROLLER"):
        await dispatch(raising(KafkaError(ErrorCode.NOT_CONTROLLER)), CreateTopicsRequest(), 0)


async def test_a_connection_can_be_closed_from_a_handler() -> None:
    with pytest.raises(CloseConnection, match="enough"):
        await dispatch(raising(CloseConnection("enough")), HeartbeatRequest(), 0)


async def test_only_served_versions_are_served() -> None:
    handler = handles(HeartbeatRequest, "1-3")(raising(AssertionError()))
    dispatcher = Dispatcher(None, {12: handler})  # type: ignore[arg-type]
    for version in (0, 4):
        with pytest.raises(CloseConnection, match=f"HEARTBEAT version {version} is not supported"):
            await dispatcher.answer(frame(HeartbeatRequest(), version), PEER)


async def test_an_unknown_version_of_api_versions_is_answered_without_its_body() -> None:
    async def call(request: ApiVersionsRequest, context: RequestContext) -> ApiVersionsResponse:
        raise AssertionError

    dispatcher = Dispatcher(None, {18: handles(ApiVersionsRequest, "0-4")(call)})  # type: ignore[arg-type]
    pieces = await dispatcher.answer(memoryview(struct.pack(">hhi", 18, 77, 5) + b"\xff\xff garbage"), PEER)
    assert pieces is not None
    _, answer = decode_response(b"".join(map(as_bytes, pieces))[4:], 18, 0)
    assert answer == ApiVersionsResponse(
        error_code=ErrorCode.UNSUPPORTED_VERSION,
        api_keys=[ApiVersionsResponse.ApiKey(api_key=18, min_version=0, max_version=4)],
    )


async def test_bytes_that_do_not_parse() -> None:
    dispatcher = Dispatcher(None, {12: handles(HeartbeatRequest, "0-4")(raising(AssertionError()))})  # type: ignore[arg-type]
    with pytest.raises(MalformedMessage):
        await dispatcher.answer(frame(HeartbeatRequest(group_id="group"), 0)[:-5], PEER)
