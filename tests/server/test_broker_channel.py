"""Requests between brokers, over streams in memory: versions, order, what a failure costs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock, memory_stream_pair

from pykbroker.cluster.image import BrokerImage, ClusterImage, Endpoint
from pykbroker.config.broker import BrokerConfig
from pykbroker.protocol.connection import decode_request, encode_response
from pykbroker.protocol.message import Message
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest, FindCoordinatorResponse
from pykbroker.server.broker_channel import BrokerChannels, ChannelError
from pykbroker.server.metadata_cache import MetadataCache

PEER = BrokerImage(2, {"PLAINTEXT": Endpoint("peer", 9092, "PLAINTEXT")})
Answer = Callable[[Message], Awaitable[Message | None]]


class Peer:
    """The other broker: answers what it is told to, or refuses connections."""

    def __init__(self, nursery: trio.Nursery, answer: Answer) -> None:
        self._nursery = nursery
        self._answer = answer
        self.refusing = 0
        self.attempts: list[float] = []
        self.asked: list[tuple[str, int]] = []
        self.streams: list[trio.StapledStream] = []

    async def connect(self, broker_id: int, endpoint: Endpoint) -> trio.abc.Stream:
        assert (broker_id, endpoint) == (2, PEER.endpoints["PLAINTEXT"])
        self.attempts.append(trio.current_time())
        if self.refusing:
            self.refusing -= 1
            raise ConnectionRefusedError("nobody listens")
        ours, theirs = memory_stream_pair()
        self.streams.append(theirs)
        self._nursery.start_soon(self._serve, theirs)
        return ours

    async def _serve(self, stream: trio.StapledStream) -> None:
        buffer = b""
        try:
            async for data in stream:
                buffer += data
                while len(buffer) >= 4 and len(buffer) >= 4 + (size := int.from_bytes(buffer[:4], "big")):
                    header, request = decode_request(buffer[4 : 4 + size])
                    buffer = buffer[4 + size :]
                    self.asked.append((type(request).__name__, header.request_api_version))
                    response = await self._answer(request)
                    if response is not None:
                        pieces = encode_response(header.correlation_id, response, header.request_api_version)
                        await stream.send_all(b"".join(bytes(piece) for piece in pieces))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


async def echo(request: Message) -> Message | None:
    """FindCoordinator is answered with its key; ApiVersions with one range of it."""
    if isinstance(request, ApiVersionsRequest):
        key = ApiVersionsResponse.ApiKey(api_key=FindCoordinatorRequest.key, min_version=1, max_version=3)
        return ApiVersionsResponse(api_keys=[key])
    assert isinstance(request, FindCoordinatorRequest)
    if request.key == "slow":
        await trio.sleep(10)
    return None if request.key == "silence" else FindCoordinatorResponse(host=request.key)


def channels(peer: Peer) -> BrokerChannels:
    config = BrokerConfig()
    metadata = MetadataCache(config)
    metadata.publish(ClusterImage("c").with_brokers(PEER))
    return BrokerChannels(config, metadata, peer.connect)


def find(key: str) -> FindCoordinatorRequest:
    return FindCoordinatorRequest(key=key)


async def test_the_highest_version_that_both_know_or_the_one_asked_for(nursery: trio.Nursery) -> None:
    peer = Peer(nursery, echo)
    channel = channels(peer).channel(2, "test")
    assert (await channel.request(find("a"), 1)).host == "a"
    assert (await channel.request(find("b"))).host == "b"
    assert (await channel.request(find("c"), highest=2)).host == "c"
    assert await channel.version(FindCoordinatorRequest) == 3
    name = "FindCoordinatorRequest"
    assert peer.asked == [(name, 1), ("ApiVersionsRequest", 3), (name, 3), (name, 2)]
    assert len(peer.attempts) == 1
    with pytest.raises(ChannelError, match="no version of ApiVersionsRequest in common"):
        await channel.version(ApiVersionsRequest)


async def test_each_purpose_has_a_connection(nursery: trio.Nursery) -> None:
    peer = Peer(nursery, echo)
    made = channels(peer)
    assert made.channel(2, "a") is made.channel(2, "a")
    await made.channel(2, "a").request(find("a"), 1)
    await made.channel(2, "b").request(find("a"), 1)
    assert len(peer.attempts) == 2
    await made.aclose()
    await made.channel(2, "b").request(find("a"), 1)
    assert len(peer.attempts) == 3


async def test_requests_follow_each_other_without_waiting(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    peer = Peer(nursery, echo)
    channel = channels(peer).channel(2, "test")
    answers: list[str] = []

    async def ask(key: str) -> None:
        answers.append((await channel.request(find(key), 1)).host)

    async with trio.open_nursery() as asking:
        for key in ("slow", "slow", "quick"):
            asking.start_soon(ask, key)
    assert sorted(answers[:2]) in (["quick", "slow"], ["slow", "slow"])
    assert len(peer.attempts) == 1
    assert len(answers) == 3


async def test_a_late_answer_ends_the_connection_for_those_behind_too(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    peer = Peer(nursery, echo)
    channel = channels(peer).channel(2, "test")
    failed: list[str] = []

    async def ask(key: str, timeout: float | None) -> None:
        try:
            await channel.request(find(key), 1, timeout=timeout)
        except ChannelError as error:
            failed.append(str(error))

    async with trio.open_nursery() as asking:
        asking.start_soon(ask, "silence", 5)
        await trio.testing.wait_all_tasks_blocked()
        asking.start_soon(ask, "silence", None)
    assert len(failed) == 2
    assert any("within 5 s" in reason for reason in failed)
    assert trio.current_time() == 5
    assert (await channel.request(find("again"), 1)).host == "again"


async def test_a_cancelled_request_costs_the_connection(nursery: trio.Nursery) -> None:
    peer = Peer(nursery, echo)
    channel = channels(peer).channel(2, "test")
    with trio.CancelScope() as scope:
        nursery.start_soon(_cancel_when_blocked, scope)
        await channel.request(find("silence"), 1)
    assert (await channel.request(find("next"), 1)).host == "next"
    assert len(peer.attempts) == 2


async def _cancel_when_blocked(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


async def test_a_peer_that_breaks_off(nursery: trio.Nursery) -> None:
    peer = Peer(nursery, echo)
    channel = channels(peer).channel(2, "test")
    await channel.request(find("a"), 1)
    await peer.streams[0].aclose()
    with pytest.raises(ChannelError):
        await channel.request(find("b"), 1)
    assert (await channel.request(find("c"), 1)).host == "c"


async def test_attempts_to_connect_come_less_and_less_often(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    peer = Peer(nursery, echo)
    peer.refusing = 7
    channel = channels(peer).channel(2, "test")
    for _ in range(7):
        with pytest.raises(ChannelError, match="can't connect to broker 2 at peer:9092: nobody listens"):
            await channel.request(find("a"), 1)
    assert (await channel.request(find("a"), 1)).host == "a"
    waits = [round(after - before, 3) for before, after in zip(peer.attempts, peer.attempts[1:], strict=False)]
    assert waits == [0.05, 0.1, 0.2, 0.4, 0.8, 1.0, 1.0]


async def test_a_broker_that_nobody_knows(nursery: trio.Nursery) -> None:
    with pytest.raises(ChannelError, match="broker 9 isn't known to be alive"):
        await channels(Peer(nursery, echo)).channel(9, "test").request(find("a"), 1)


async def test_bytes_that_are_no_answer(nursery: trio.Nursery) -> None:
    async def silence(request: Message) -> None:
        await peer.streams[0].send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    peer = Peer(nursery, silence)
    with pytest.raises(ChannelError, match="an answer of 1213486160 bytes"):
        await channels(peer).channel(2, "test").request(find("a"), 1)
