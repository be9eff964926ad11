"""What compaction must know of transactions while it walks through a log: whose data is aborted, which markers count.

It is told of every batch in order and says which can go; it reads no files.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heappop, heappush

from pykbroker.protocol.records.batch import RecordBatch
from pykbroker.protocol.records.control import ControlType, read_marker
from pykbroker.storage.transaction_index import AbortedTransaction


class CleanedTransactions:
    """The transactions that are open at the batch that was seen last."""

    def __init__(self) -> None:
        self.retained: list[AbortedTransaction] = []
        """Aborted transactions of which something is left, in the order of their markers: the new index."""
        self._coming: list[tuple[int, AbortedTransaction]] = []
        self._known: set[AbortedTransaction] = set()
        self._committed: set[int] = set()
        self._aborted: dict[int, tuple[AbortedTransaction, bool]] = {}

    def add_aborted(self, transactions: Iterable[AbortedTransaction]) -> None:
        """Announces the aborted transactions that overlap the batches to come; one may be announced repeatedly."""
        for transaction in transactions:
            if transaction not in self._known:
                self._known.add(transaction)
                heappush(self._coming, (transaction.first_offset, transaction))

    def can_discard(self, batch: RecordBatch) -> bool:
        """Whether nobody needs a batch: data of an aborted transaction, or a marker that has no data left.

        Every batch must come here, in the order of offsets.
        """
        if batch.producer_id < 0:
            return False
        while self._coming and self._coming[0][0] <= batch.last_offset:
            transaction = heappop(self._coming)[1]
            self._aborted.setdefault(transaction.producer_id, (transaction, False))
        if batch.is_control:
            return self._marker(batch)
        if not batch.is_transactional:
            return False
        found = self._aborted.get(batch.producer_id)
        if found is None:
            self._committed.add(batch.producer_id)
            return False
        self._aborted[batch.producer_id] = found[0], True
        return True

    def _marker(self, batch: RecordBatch) -> bool:
        if batch.count == 0:
            return True  # all of its transaction went before
        marker = read_marker(batch)
        if marker is None:
            return False
        producer_id = batch.producer_id
        if marker.type is ControlType.COMMIT:
            seen = producer_id in self._committed
            self._committed.discard(producer_id)
            return not seen
        aborted = self._aborted.pop(producer_id, None)
        if aborted is None or not aborted[1]:
            return True
        self.retained.append(aborted[0])
        return False
