"""`__consumer_offsets` under the cleaner: what is left of it makes the same groups and offsets.

The records are those of real decisions, in batches as the coordinator appends them; tombstones go, too, in the end.
"""

from __future__ import annotations

from typing import Any

import pytest
from tests.coordinator.consumers import Cluster, Consumer, settle

from pykbroker.coordinator.group.shard import GroupShard
from pykbroker.coordinator.result import Record
from pykbroker.protocol.records.batch import build_batch
from pykbroker.storage.log import UnifiedLog
from pykbroker.storage.log_cleaner import LogCleaner

NOW = 1_700_000_000_000
LATER = NOW + 10_000


def replayed(talk: Cluster, records: list[Record]) -> GroupShard:
    shard = talk.new_shard()
    for record in records:
        shard.replay(record)
    return shard


def shown(shard: GroupShard) -> dict[str, Any]:
    """All that matters of a shard."""
    groups: dict[str, Any] = {}
    for name in shard.groups:
        group: Any = shard.groups[name]
        state = (group.kind, group.state_name, dict(shard.offsets.of(name)))
        members = {
            member_id: getattr(member, "assigned", None) or getattr(member, "assignment", None)
            for member_id, member in group.members.items()
        }
        groups[name] = (*state, members, getattr(group, "targets", None), getattr(group, "epoch", None))
    return groups


def written(talk: Cluster, log: UnifiedLog) -> None:
    """The conversation's records, few to a segment."""
    for start in range(0, len(talk.records), 5):
        batch = build_batch(talk.records[start : start + 5], timestamp=NOW)
        log.append_as_leader(batch, 0, NOW)
        if start % 20 == 0:
            log.roll(NOW)
    log.roll(NOW)


def left(log: UnifiedLog) -> list[Record]:
    found = []
    for segment in log.segments:
        for _, batch in segment.read_batches(0):
            found += [Record(record.key, record.value) for record in batch.records() if record.key is not None]
    return found


@pytest.mark.slow
def test_groups_and_offsets_outlive_the_cleaner(logs: Any) -> None:
    talk = Cluster({"t": 4, "u": 2})
    generation, (leader,) = talk.stable(b"all", group="classic", session=1000)
    for number in range(20):
        talk.commit(leader, generation, group="classic", offset=number)
        talk.commit(group="alone", topic="u", offset=number)
    talk.commit(group="deleted")
    talk.take(talk.shard.delete("deleted"))
    members = [Consumer(talk, name) for name in ("a", "b", "c")]
    settle(talk, members)
    members[1].leave()
    pattern = Consumer(talk, "d", topics=None, subscribed_topic_regex="t|u")
    settle(talk, [members[0], members[2], pattern])
    pattern.leave()
    settle(talk, [members[0], members[2]])
    gone = Consumer(talk, "e")
    log: UnifiedLog = logs.create(cleanup_policy=["compact"], min_cleanable_dirty_ratio=0.0, delete_retention_ms=1000)
    written(talk, log)
    expected = shown(talk.restarted())
    assert shown(talk.shard) == expected
    assert "deleted" not in expected
    assert LogCleaner([log]).run_once(LATER) is not None
    kept = left(log)
    assert len(kept) < len(talk.records) / 2
    assert len(kept) == len({record.key for record in kept})
    assert shown(replayed(talk, kept)) == expected
    talk.records, before = [], kept
    gone.beat()
    written(talk, log)
    for later in (LATER + 2000, LATER + 4000, LATER + 6000):
        talk.records = []
        LogCleaner([log]).run_once(later)
        log.append_as_leader(build_batch([(b"\x00\x63x", None)], timestamp=later), 0, later)
        log.roll(later)
    kept = left(log)
    assert [record for record in kept if record.value is None and record.key != b"\x00\x63x"] == []
    assert any(record.value is None for record in before), "there were tombstones to go"
    assert shown(replayed(talk, kept)) == shown(talk.shard)
