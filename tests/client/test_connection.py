"""A connection to peers that misbehave, over memory streams."""

import struct

import pytest
import trio
import trio.testing

from pykbroker.client.connection import Connection
from pykbroker.client.errors import ClientError, ConnectionLost, NoKafka, NotSupported, TimedOut
from pykbroker.client.settings import ClientSettings
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.connection import encode_response
from pykbroker.protocol.message import as_bytes
from pykbroker.protocol.messages.api_versions import ApiVersionsResponse
from pykbroker.protocol.messages.list_groups import ListGroupsRequest, ListGroupsResponse

SETTINGS = ClientSettings(request_timeout=5.0)


def pair() -> tuple[Connection, trio.StapledStream]:
    ours, theirs = trio.testing.memory_stream_pair()
    return Connection(ours, ("host", 9092), SETTINGS), theirs


def offering(**versions: int) -> ApiVersionsResponse:
    of = ApiVersionsResponse.ApiKey
    return ApiVersionsResponse(
        api_keys=[of(api_key=ApiKey[name], min_version=0, max_version=high) for name, high in versions.items()]
    )


async def request(stream: trio.StapledStream) -> bytes:
    (size,) = struct.unpack(">i", await exactly(stream, 4))
    return await exactly(stream, size)


async def exactly(stream: trio.StapledStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += await stream.receive_some(size - len(data))
    return data


async def answer(stream: trio.StapledStream, message: ApiVersionsResponse | ListGroupsResponse, version: int) -> bytes:
    """Answers the next request; what it was."""
    frame = await request(stream)
    (correlation_id,) = struct.unpack_from(">i", frame, 4)
    await stream.send_all(b"".join(map(as_bytes, encode_response(correlation_id, message, version))))
    return frame


async def negotiated(connection: Connection, stream: trio.StapledStream, **versions: int) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.negotiate)
        await answer(stream, offering(**versions), 4)


async def test_the_highest_version_that_both_know() -> None:
    connection, stream = pair()
    await negotiated(connection, stream, LIST_GROUPS=3, METADATA=99)
    assert (connection.version_of(ApiKey.LIST_GROUPS), connection.version_of(ApiKey.METADATA)) == (3, 13)
    with pytest.raises(NotSupported, match="doesn't serve Fetch"):
        connection.version_of(ApiKey.FETCH)


async def test_an_old_broker_is_asked_again_in_version_0() -> None:
    """KIP-511: the answer to an unknown version of ApiVersions is one of version 0, with an error."""
    connection, stream = pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(connection.negotiate)
        refused = offering()
        refused.error_code = 35
        assert (await answer(stream, refused, 0))[2:4] == b"\0\4"
        assert (await answer(stream, offering(LIST_GROUPS=1), 0))[2:4] == b"\0\0"
    assert connection.versions == {ApiKey.LIST_GROUPS: (0, 1)}


async def test_a_value_that_the_version_lacks() -> None:
    connection, stream = pair()
    await negotiated(connection, stream, LIST_GROUPS=3)
    with pytest.raises(NotSupported, match="ListGroups up to version 3 only"):
        await connection.call(ListGroupsRequest(states_filter=["Stable"]))
    assert not connection.closed


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", NoKafka),
        (b"\0\0\0\5\0\0\0\1\xff", NoKafka),
        (b"\0\0\0\4\0\0\0\1", NoKafka),
        (b"\0\0\0\0", NoKafka),
        (b"", ConnectionLost),
        (b"\0\0", ConnectionLost),
    ],
)
async def test_peers_that_are_no_kafka(said: bytes, kind: type[ClientError]) -> None:
    connection, stream = pair()
    async with trio.open_nursery() as nursery:

        async def speak() -> None:
            await request(stream)
            await stream.send_all(said)
            await stream.aclose()

        nursery.start_soon(speak)
        with pytest.raises(kind):
            await connection.negotiate()
    assert connection.closed


async def test_no_answer_in_time_ends_the_connection(autojump_clock: trio.testing.MockClock) -> None:
    connection, stream = pair()
    await negotiated(connection, stream, LIST_GROUPS=3)
    with pytest.raises(TimedOut, match="no answer to ListGroups from host:9092 in 5 s"):
        await connection.call(ListGroupsRequest())
    with pytest.raises(ConnectionLost):
        await connection.call(ListGroupsRequest())


async def test_an_answer_to_another_request() -> None:
    connection, stream = pair()
    await negotiated(connection, stream, LIST_GROUPS=0)
    async with trio.open_nursery() as nursery:

        async def confuse() -> None:
            await request(stream)
            await stream.send_all(b"".join(map(as_bytes, encode_response(77, ListGroupsResponse(), 0))))

        nursery.start_soon(confuse)
        with pytest.raises(NoKafka, match="it answers request 77, not 2"):
            await connection.call(ListGroupsRequest())
