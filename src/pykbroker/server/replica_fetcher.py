"""Replicates the partitions that other brokers lead: one task a leader (`num.replica.fetchers`), each a long poll.

Decides when to ask, and what a leader's answer means for the follower's log: append, cut, begin anew, wait. How far a
log is cut is `cluster.replica`'s rule; that records are written as they came is `storage.log`'s. Nothing polls: with
nothing to fetch a task sleeps until there is.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from math import ceil
from typing import Any
from zlib import crc32

import trio

from pykbroker.cluster.fetch_session import PartitionKey
from pykbroker.cluster.fetch_session_client import Asked, FetchSessionClient, SessionRequest
from pykbroker.cluster.image import NO_EPOCH
from pykbroker.cluster.replica import truncation_offset
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.fetch import FetchRequest, FetchResponse
from pykbroker.protocol.messages.list_offsets import ListOffsetsRequest
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.broker_channel import BrokerChannel, BrokerChannels, ChannelError
from pykbroker.server.clock import Clock
from pykbroker.server.disk import Disk
from pykbroker.server.metadata_cache import MetadataCache
from pykbroker.server.replica import Replica
from pykbroker.server.replica_manager import ReplicaManager

log = logging.getLogger(__name__)

HIGHEST_FETCH = 17
"""18 tells the high watermark, which KRaft's voters alone use (KIP-1166)."""
FIRST_WITH_TOPIC_IDS = 13
FIRST_WITH_REPLICA_STATE = 15
HIGHEST_LIST_OFFSETS = 9
LATEST, EARLIEST = -1, -2
FIRST_BACKOFF_S = 0.01
"""A leader that hasn't heard of its leadership yet will in a moment; up to `replica.fetch.backoff.ms` for the next."""
SESSION_ERRORS = frozenset(
    (
        ErrorCode.FETCH_SESSION_ID_NOT_FOUND,
        ErrorCode.INVALID_FETCH_SESSION_EPOCH,
        ErrorCode.FETCH_SESSION_TOPIC_ID_ERROR,
    )
)
"""The session is gone or out of step, as after a leader's restart: another one is begun."""
THROTTLED_S = 1.0
"""How long a partition over its quota is left out before the rate is looked at again."""
FOREVER = float("inf")
PASSING = frozenset(
    (
        ErrorCode.NOT_LEADER_OR_FOLLOWER,
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        ErrorCode.UNKNOWN_TOPIC_ID,
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        ErrorCode.FENCED_LEADER_EPOCH,
    )
)
"""What is answered while the controller's decision is still on its way to one of the two: told when it lasts."""

Answer = FetchResponse.Response.Partition


class _Followed:
    """A partition that is fetched, in one leader epoch."""

    __slots__ = ("backoff", "error", "in_sync", "key", "leader_epoch", "not_before", "replica")

    def __init__(self, replica: Replica) -> None:
        self.replica = replica
        self.leader_epoch = replica.partition.leader_epoch
        self.key: PartitionKey = (replica.partition.topic_id, replica.partition.topic_partition.partition)
        self.not_before = 0.0
        self.backoff = 0.0
        self.error = ErrorCode.NONE
        self.in_sync = False
        """Whether the last answer left nothing to fetch: such a replica is never throttled."""

    def asked(self) -> Asked:
        replica_log = self.replica.log
        epoch = replica_log.latest_epoch
        return Asked(
            replica_log.log_end_offset,
            replica_log.log_start_offset,
            self.leader_epoch,
            NO_EPOCH if epoch is None else epoch,
        )

    def delay(self, now: float, longest: float) -> None:
        """Nothing is asked for a while, the longer the more often it has failed."""
        self.backoff = min(max(2 * self.backoff, FIRST_BACKOFF_S), longest)
        self.not_before = now + self.backoff


class ReplicaFetchers:
    """Every fetcher of a broker. The replica manager says what to follow; `run` first."""

    def __init__(
        self, channels: BrokerChannels, metadata: MetadataCache, replicas: ReplicaManager, disk: Disk, clock: Clock
    ) -> None:
        self.channels = channels
        self.metadata = metadata
        self.replicas = replicas
        self.disk = disk
        self.clock = clock
        self._fetchers: dict[tuple[int, int], ReplicaFetcher] = {}
        self._where: dict[TopicPartition, ReplicaFetcher] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Fetches until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            for fetcher in self._fetchers.values():
                nursery.start_soon(fetcher.run)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._nursery = None

    def follow(self, replica: Replica) -> None:
        """Fetches from the leader that the partition names, from now on; the caller has released it before."""
        tp, leader = replica.partition.topic_partition, replica.partition.state.leader
        count = self.metadata.config.num_replica_fetchers
        index = crc32(str(tp).encode()) % count
        fetcher = self._fetchers.get((leader, index))
        if fetcher is None:
            fetcher = self._fetchers[leader, index] = ReplicaFetcher(self, leader, index)
            if self._nursery is not None:
                self._nursery.start_soon(fetcher.run)
        self._where[tp] = fetcher
        fetcher.add(tp, replica)

    async def release(self, tps: Iterable[TopicPartition]) -> None:
        """Stops fetching these; when it returns nothing touches their logs any more."""
        gone: dict[ReplicaFetcher, list[TopicPartition]] = {}
        for tp in tps:
            fetcher = self._where.pop(tp, None)
            if fetcher is not None:
                gone.setdefault(fetcher, []).append(tp)
        for fetcher, released in gone.items():
            await fetcher.remove(released)

    def forget(self, tps: Iterable[TopicPartition]) -> None:
        """Stops fetching what can't be stored any more; doesn't wait."""
        for tp in tps:
            fetcher = self._where.pop(tp, None)
            if fetcher is not None:
                fetcher.forget(tp)


class ReplicaFetcher:
    """Fetches from one leader. A fetcher without partitions sleeps."""

    def __init__(self, fetchers: ReplicaFetchers, leader: int, index: int) -> None:
        self._fetchers = fetchers
        self._config = fetchers.metadata.config
        self._leader = leader
        self._channel: BrokerChannel = fetchers.channels.channel(leader, f"fetcher-{index}")
        self._session = FetchSessionClient()
        self._partitions: dict[TopicPartition, _Followed] = {}
        self._cutting = trio.Lock()
        """Held while a log is in a thread's hands."""
        self._changed = trio.Event()
        self._request: trio.CancelScope | None = None
        self._reachable = True
        self._backoff = 0.0

    # ---- what is followed ------------------------------------------------------------------------------------------

    def add(self, tp: TopicPartition, replica: Replica) -> None:
        """Follows a partition; a long poll that is under way without it is broken off."""
        self._partitions[tp] = _Followed(replica)
        self._backoff = 0.0
        self._changed.set()
        if self._request is not None:
            self._request.cancel()

    def forget(self, tp: TopicPartition) -> None:
        """Follows a partition no longer."""
        self._partitions.pop(tp, None)

    async def remove(self, tps: Iterable[TopicPartition]) -> None:
        """Follows these no longer, and waits for the one that is being cut."""
        for tp in tps:
            self.forget(tp)
        async with self._cutting:
            pass

    # ---- the loop --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Fetches until cancelled."""
        while True:
            wanted = self._due()
            if not wanted:
                await self._sleep(self._next_due())
                continue
            answer = await self._fetch(wanted)
            if answer is not None:
                await self._work_off(answer, wanted)
            elif self._backoff:
                await self._sleep(self._fetchers.clock.monotonic() + self._backoff)

    def _due(self) -> dict[PartitionKey, tuple[_Followed, Asked]]:
        now, followers = self._fetchers.clock.monotonic(), self._fetchers.replicas.followers
        due = {}
        for one in self._partitions.values():
            if one.not_before > now:
                continue
            if not one.in_sync and followers.must_not_receive(one.replica):
                one.not_before = now + THROTTLED_S
            else:
                due[one.key] = one, one.asked()
        return due

    def _next_due(self) -> float:
        """When the next partition that is delayed may be asked for."""
        now = self._fetchers.clock.monotonic()
        return min((one.not_before for one in self._partitions.values() if one.not_before > now), default=FOREVER)

    async def _sleep(self, until: float) -> None:
        self._changed = trio.Event()
        with trio.move_on_after(max(0.0, until - self._fetchers.clock.monotonic())):
            await self._changed.wait()

    async def _fetch(self, wanted: dict[PartitionKey, tuple[_Followed, Asked]]) -> FetchResponse | None:
        """The leader's answer; None where there is none, or the partitions have changed meanwhile."""
        scope = self._request = trio.CancelScope()
        try:
            with scope:
                version = await self._channel.version(FetchRequest, HIGHEST_FETCH)
                if version < FIRST_WITH_TOPIC_IDS:
                    raise ChannelError(f"broker {self._leader} fetches without topic ids: {version}")
                asked = self._session.next_request({key: asked for key, (_, asked) in wanted.items()})
                answer: FetchResponse = await self._channel.request(self._message(asked, wanted, version), version)
                if self._session.answered(answer.error_code, answer.session_id):
                    self._say_reachable(None)
                    self._backoff = 0.0
                    return answer
                if answer.error_code not in SESSION_ERRORS:
                    raise ChannelError(f"broker {self._leader} answers {ErrorCode(answer.error_code).name}")
                self._delay()
                return None
        except ChannelError as error:
            self._say_reachable(error)
            self._delay()
        finally:
            self._request = None
        self._session.lost()
        return None

    def _delay(self) -> None:
        longest = self._config.replica_fetch_backoff_ms / 1000
        self._backoff = min(max(2 * self._backoff, FIRST_BACKOFF_S), longest)

    def _say_reachable(self, error: ChannelError | None) -> None:
        if self._reachable and error is not None:
            log.warning("can't fetch from broker %d: %s", self._leader, error)
        elif not self._reachable and error is None:
            log.info("fetching from broker %d again", self._leader)
        self._reachable = error is None

    def _message(
        self, asked: SessionRequest, wanted: dict[PartitionKey, tuple[_Followed, Asked]], version: int
    ) -> FetchRequest:
        config, node_id = self._config, self._config.node_id
        # A long poll must not outlast the delay of those that it leaves out.
        wait = min(config.replica_fetch_wait_max_ms / 1000, self._next_due() - self._fetchers.clock.monotonic())
        request = FetchRequest(
            max_wait_ms=max(0, ceil(1000 * wait)),
            min_bytes=config.replica_fetch_min_bytes,
            max_bytes=config.replica_fetch_response_max_bytes,
            session_id=asked.session_id,
            session_epoch=asked.session_epoch,
        )
        if version >= FIRST_WITH_REPLICA_STATE:
            epoch = self._fetchers.metadata.broker_epoch
            request.replica_state = FetchRequest.ReplicaState(replica_id=node_id, replica_epoch=epoch)
        else:
            request.replica_id = node_id
        topics: dict[Any, FetchRequest.Topic] = {}
        for key, one in asked.named.items():
            topic = topics.get(key[0])
            if topic is None:
                name = wanted[key][0].replica.partition.topic_partition.topic
                topic = topics[key[0]] = FetchRequest.Topic(topic=name, topic_id=key[0])
                request.topics.append(topic)
            topic.partitions.append(
                FetchRequest.Topic.Partition(
                    partition=key[1],
                    current_leader_epoch=one.current_leader_epoch,
                    fetch_offset=one.fetch_offset,
                    last_fetched_epoch=one.last_fetched_epoch,
                    log_start_offset=one.log_start_offset,
                    partition_max_bytes=config.replica_fetch_max_bytes,
                )
            )
        for topic_id, index in asked.forgotten:
            forgotten = FetchRequest.ForgottenTopicData(topic_id=topic_id, partitions=[index])
            request.forgotten_topics_data.append(forgotten)
        return request

    # ---- answers ---------------------------------------------------------------------------------------------------

    async def _work_off(self, answer: FetchResponse, wanted: dict[PartitionKey, tuple[_Followed, Asked]]) -> None:
        for topic in answer.responses:
            for partition in topic.partitions:
                found = wanted.get((topic.topic_id, partition.partition_index))
                if found is None:
                    continue
                followed, asked = found
                if self._follows(followed) and followed.replica.log.log_end_offset == asked.fetch_offset:
                    await self._take(followed, partition)

    def _follows(self, followed: _Followed) -> bool:
        return self._partitions.get(followed.replica.partition.topic_partition) is followed

    async def _take(self, followed: _Followed, answer: Answer) -> None:
        """What one partition's answer asks for. An error delays this partition alone."""
        replica = followed.replica
        code = ErrorCode(answer.error_code)
        try:
            if code is ErrorCode.OFFSET_OUT_OF_RANGE:
                await self._find_place(followed)
            elif code is not ErrorCode.NONE:
                raise KafkaError(code)
            elif answer.diverging_epoch.epoch >= 0:
                await self._cut(followed, answer.diverging_epoch.epoch, answer.diverging_epoch.end_offset)
            else:
                self._fetchers.replicas.replicate(
                    replica, answer.records, answer.high_watermark, answer.log_start_offset
                )
                self._fetchers.replicas.followers.received(replica, len(answer.records or b""))
                followed.in_sync = replica.log.log_end_offset >= answer.high_watermark
        except KafkaError as error:
            self._failed(followed, error)
        except ChannelError as error:
            self._failed(followed, KafkaError(ErrorCode.NETWORK_EXCEPTION, str(error)))
        except OSError as error:
            self._failed(followed, KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, str(error)))
        else:
            if followed.error is not ErrorCode.NONE:
                log.info("%s is replicated from broker %d again", replica.partition.topic_partition, self._leader)
            followed.error, followed.backoff = ErrorCode.NONE, 0.0

    def _failed(self, followed: _Followed, error: KafkaError) -> None:
        tp, now = followed.replica.partition.topic_partition, self._fetchers.clock.monotonic()
        longest = self._config.replica_fetch_backoff_ms / 1000
        passing = error.code in PASSING and followed.backoff < longest
        if followed.error is not error.code and not passing:
            followed.error = error.code
            log.info("%s can't be fetched from broker %d: %s", tp, self._leader, error)
        followed.delay(now, longest)
        if error.code is ErrorCode.FENCED_LEADER_EPOCH:
            followed.not_before = FOREVER  # The controller's next decision is on its way.

    async def _cut(self, followed: _Followed, epoch: int, end_offset: int) -> None:
        """The leader's history is another one from some offset on: what this log has of it goes."""
        replica_log, partition = followed.replica.log, followed.replica.partition
        own_epoch, own_end = replica_log.end_offset_for_epoch(epoch)
        offset = truncation_offset(
            epoch, end_offset, own_epoch, own_end, replica_log.log_end_offset, partition.high_watermark
        )
        await self._truncate(followed, offset)

    async def _truncate(self, followed: _Followed, offset: int) -> None:
        replica_log, partition = followed.replica.log, followed.replica.partition
        end = replica_log.log_end_offset
        if await self._in_thread(followed, replica_log.truncate_to, offset):
            if replica_log.log_end_offset < end:
                log.info("cut %s from %d to %d, as its leader's", partition.topic_partition, end, offset)
            if partition.truncated(replica_log.log_end_offset):
                log.warning("committed records of %s are gone: it was cut to %d", partition.topic_partition, offset)
            self._fetchers.replicas.log_changed(followed.replica)

    async def _in_thread(self, followed: _Followed, cut: Callable[[int, int], None], offset: int) -> bool:
        """Cuts a log, unless it isn't followed any more. Raises OSError."""
        async with self._cutting:
            if not self._follows(followed):
                return False
            await self._fetchers.disk.run(self._fetchers.replicas.cut, followed.replica, cut, offset)
            return True

    async def _find_place(self, followed: _Followed) -> None:
        """The log's end isn't in the leader's log: below it, beyond it, or in between by now."""
        replica_log = followed.replica.log
        latest = await self._leaders_offset(followed, LATEST)
        if latest < replica_log.log_end_offset:
            await self._truncate(followed, latest)
            return
        start = await self._leaders_offset(followed, EARLIEST)
        if start <= replica_log.log_end_offset:
            return
        if await self._in_thread(followed, replica_log.truncate_fully, start):
            tp = followed.replica.partition.topic_partition
            log.info("%s begins anew at %d, where its leader's log does", tp, start)
            followed.replica.partition.restarted(start)
            self._fetchers.replicas.log_changed(followed.replica)

    async def _leaders_offset(self, followed: _Followed, timestamp: int) -> int:
        tp = followed.replica.partition.topic_partition
        asked = ListOffsetsRequest.Topic.Partition(
            partition_index=tp.partition, current_leader_epoch=followed.leader_epoch, timestamp=timestamp
        )
        topic = ListOffsetsRequest.Topic(name=tp.topic, partitions=[asked])
        request = ListOffsetsRequest(replica_id=self._config.node_id, topics=[topic])
        answer = await self._channel.request(request, highest=HIGHEST_LIST_OFFSETS)
        (found,) = answer.topics[0].partitions
        if found.error_code != ErrorCode.NONE:
            raise KafkaError(ErrorCode(found.error_code))
        offset: int = found.offset
        return offset
