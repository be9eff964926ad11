"""Which partitions should get their preferred leader back: those of brokers that lead too few of theirs.

It elects nobody.
"""

from __future__ import annotations

from pykbroker.controller.context import ControllerContext
from pykbroker.protocol.topic_partition import TopicPartition


def unbalanced(context: ControllerContext, percentage: int) -> list[TopicPartition]:
    """The partitions to hand back: of each broker that doesn't lead more than `percentage` of what it is preferred for.

    Only where the preferred replica is live and in sync and the partition isn't being reassigned.
    """
    preferred: dict[int, list[TopicPartition]] = {}
    away: dict[int, list[TopicPartition]] = {}
    for tp, state in context.partitions():
        first = state.replicas[0]
        preferred.setdefault(first, []).append(tp)
        if state.leader != first:
            away.setdefault(first, []).append(tp)
    found = []
    for broker, tps in away.items():
        if broker in context.live and len(tps) * 100 > percentage * len(preferred[broker]):
            for tp in tps:
                now = context.state(tp)
                if now is not None and broker in now.isr and not (now.adding or now.removing):
                    found.append(tp)
    return found
