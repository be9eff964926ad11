"""Producer ids, unique in the cluster: this broker takes blocks of a thousand from the metadata store.

A block that isn't used up at a stop is skipped, as in Kafka.
"""

from __future__ import annotations

import trio

from pykbroker.metadata.store import BadVersion, MetadataStore, StoreError
from pykbroker.metadata.znodes import PRODUCER_ID_BLOCK, decode_producer_id_block, encode_producer_id_block
from pykbroker.protocol.errors import ErrorCode, KafkaError

BLOCK_SIZE = 1000


class ProducerIds:
    """Hands out producer ids, each once."""

    def __init__(self, store: MetadataStore, node_id: int) -> None:
        self._store = store
        self._node_id = node_id
        self._next = self._end = 0
        self._lock = trio.Lock()

    async def next(self) -> int:
        """An id that nobody was given before. Raises COORDINATOR_LOAD_IN_PROGRESS, at which producers try again."""
        async with self._lock:
            if self._next == self._end:
                try:
                    self._next = await self._take_block()
                except StoreError as error:
                    raise KafkaError(ErrorCode.COORDINATOR_LOAD_IN_PROGRESS, str(error)) from error
                self._end = self._next + BLOCK_SIZE
            self._next += 1
            return self._next - 1

    async def _take_block(self) -> int:
        while True:
            node = await self._store.get(PRODUCER_ID_BLOCK)
            start = decode_producer_id_block(node.data)
            block = encode_producer_id_block(self._node_id, start, start + BLOCK_SIZE - 1)
            try:
                await self._store.set(PRODUCER_ID_BLOCK, block, node.stat.version)
            except BadVersion:  # Another broker took it.
                continue
            return start
