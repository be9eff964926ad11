"""Where a leader's ISR changes are stored: the partition's own znode, if nobody has changed it meanwhile.

A leader then tells the controller by a node below `/isr_change_notification`, as Kafka does where
inter.broker.protocol.version is below 2.7; that is what makes other brokers hear of it. It decides no ISR.
"""

from __future__ import annotations

import trio

from pykbroker.cluster.image import PartitionState
from pykbroker.metadata import znodes
from pykbroker.metadata.store import BadVersion, MetadataStore, NoNode, StoreError
from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.topic_partition import TopicPartition

RETRIES = 5
RETRY_S = 0.2


class IsrStore:
    """Writes ISRs, and says that they changed."""

    def __init__(self, store: MetadataStore) -> None:
        self._store = store
        self._untold: dict[TopicPartition, None] = {}
        self._telling = False

    async def propose(self, tp: TopicPartition, state: PartitionState) -> PartitionState:
        """Stores a leader's state with another ISR in the place of its `partition_epoch`; answers it with the new one.

        Raises KafkaError: INVALID_UPDATE_VERSION where another state is stored by now, UNKNOWN_TOPIC_OR_PARTITION
        where none is, NETWORK_EXCEPTION where the store can't be asked.
        """
        path, data = znodes.state_path(tp.topic, tp.partition), znodes.encode_state(state)
        try:
            version = await self._written(path, data, state.partition_epoch)
        except BadVersion:
            raise KafkaError(ErrorCode.INVALID_UPDATE_VERSION) from None
        except NoNode:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION) from None
        except StoreError as error:
            raise KafkaError(ErrorCode.NETWORK_EXCEPTION, str(error)) from error
        self._untold[tp] = None
        await self._tell()
        return state._replace(partition_epoch=version)

    async def _written(self, path: str, data: bytes, expected: int) -> int:
        """The node's version with this content; it may have it already, written by a call whose answer was lost."""
        try:
            return (await self._store.set(path, data, expected)).version
        except BadVersion:
            node = await self._store.get(path)
            if node.data != data:
                raise
            return node.stat.version

    async def _tell(self) -> None:
        """One node for all that was stored while the last one was being made.

        What can't be told now is told with the next change; a new controller reads all states anyhow.
        """
        failures = 0
        while self._untold and not self._telling:
            told, self._untold = self._untold, {}
            self._telling = True
            try:
                path = f"{znodes.ISR_CHANGES}/isr_change_"
                await self._store.create(path, znodes.encode_partitions(list(told)), sequential=True)
            except StoreError:
                self._untold = told | self._untold
                failures += 1
                if failures > RETRIES:
                    return
                await trio.sleep(RETRY_S)
            finally:
                self._telling = False
