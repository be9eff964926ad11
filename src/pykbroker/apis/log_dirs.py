"""DescribeLogDirs and AlterReplicaLogDirs: the data directories, what lies in them and where it shall lie (KIP-113)."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Collection

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.messages.alter_replica_log_dirs import AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse
from pykbroker.protocol.messages.describe_log_dirs import DescribeLogDirsRequest, DescribeLogDirsResponse
from pykbroker.protocol.topic_partition import TopicPartition
from pykbroker.server.request import RequestContext, handles
from pykbroker.storage.log import UnifiedLog

log = logging.getLogger(__name__)

Result = DescribeLogDirsResponse.Result
Altered = AlterReplicaLogDirsResponse.Result.Partition


@handles(DescribeLogDirsRequest, "0-5")
async def describe_log_dirs(request: DescribeLogDirsRequest, context: RequestContext) -> DescribeLogDirsResponse:
    """DescribeLogDirs 0-5 (KIP-827): sizes in bytes; null topics ask for all, an empty list for the directories alone.

    Total and usable bytes from version 4 on. A directory that is offline answers KAFKA_STORAGE_ERROR.
    """
    asked = None
    if request.topics is not None:
        asked = {TopicPartition(one.topic, index) for one in request.topics for index in one.partitions}
    manager = context.services.replica_manager
    results = []
    for path, logs in manager.log_directories().items():
        if logs is None:
            results.append(Result(error_code=ErrorCode.KAFKA_STORAGE_ERROR, log_dir=path))
            continue
        wanted = [log for log in logs if asked is None or log.topic_partition in asked]
        try:
            total, usable = await context.services.disk.run(_space, path)
        except OSError as error:
            lost = error.errno in (errno.ENOENT, errno.EIO, errno.ESTALE)
            code = ErrorCode.KAFKA_STORAGE_ERROR if lost else ErrorCode.UNKNOWN_SERVER_ERROR
            results.append(Result(error_code=code, log_dir=path))
            continue
        results.append(
            Result(
                log_dir=path,
                topics=_topics(wanted, context),
                total_bytes=total,
                usable_bytes=usable,
                is_cordoned=path in context.services.config.cordoned_log_dirs,
            )
        )
    return DescribeLogDirsResponse(results=results)


def _space(path: str) -> tuple[int, int]:
    """The size of a directory's file system, and what of it the broker may still use."""
    found = os.statvfs(path)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def _topics(logs: Collection[UnifiedLog], context: RequestContext) -> list[Result.Topic]:
    topics: dict[str, Result.Topic] = {}
    for log in sorted(logs, key=lambda one: one.topic_partition):
        tp = log.topic_partition
        topic = topics.setdefault(tp.topic, Result.Topic(name=tp.topic))
        topic.partitions.append(
            Result.Topic.Partition(
                partition_index=tp.partition,
                partition_size=sum(segment.size for segment in log.segments),
                offset_lag=_lag(log, context),
                is_future_key=context.services.replica_manager.moves.is_future(log),
            )
        )
    return list(topics.values())


def _lag(log: UnifiedLog, context: RequestContext) -> int:
    """How far a log's end is behind the high watermark: only a follower's can be.

    A future log's is behind that of the current one. -1 where the partition isn't hosted.
    """
    replica = context.services.replica_manager.find(log.topic_partition)
    if replica is None:
        return -1
    if context.services.replica_manager.moves.is_future(log):
        return replica.log.log_end_offset - log.log_end_offset
    return max(0, replica.partition.high_watermark - log.log_end_offset)


@handles(AlterReplicaLogDirsRequest, "0-2")
async def alter_replica_log_dirs(
    request: AlterReplicaLogDirsRequest, context: RequestContext
) -> AlterReplicaLogDirsResponse:
    """AlterReplicaLogDirs 0-2: moves replicas of this broker to other data directories; answers once that has begun.

    An error for each partition, see `LogDirMoves.alter`. The last directory named for a partition counts.
    """
    wanted = {
        TopicPartition(topic.name, index): one.path
        for one in request.dirs
        for topic in one.topics
        for index in topic.partitions
    }
    results: dict[str, AlterReplicaLogDirsResponse.Result] = {}
    for tp, path in wanted.items():
        code = ErrorCode.NONE
        try:
            await context.services.replica_manager.moves.alter(tp, path)
        except KafkaError as error:
            code = error.code
            log.warning("%s doesn't move to %s: %s", tp, path, error)
        result = results.setdefault(tp.topic, AlterReplicaLogDirsResponse.Result(topic_name=tp.topic))
        result.partitions.append(Altered(partition_index=tp.partition, error_code=code))
    return AlterReplicaLogDirsResponse(results=list(results.values()))
