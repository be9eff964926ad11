"""Changing a partition's replicas while it serves (KIP-455): what is allowed, what comes first, when it is done.

All replicas, old and new, are assigned until the new ones are in sync; then the old ones go. It writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from pykbroker.cluster.image import PartitionState
from pykbroker.protocol.errors import ErrorCode, KafkaError


def origin(state: PartitionState) -> tuple[int, ...]:
    """The replicas as they were before a reassignment that is under way; else as they are."""
    return tuple(node for node in state.replicas if node not in state.adding)


def target(state: PartitionState) -> tuple[int, ...]:
    """The replicas as they will be."""
    return tuple(node for node in state.replicas if node not in state.removing)


def check_target(
    state: PartitionState, wanted: tuple[int, ...], live: Collection[int], *, allow_factor_change: bool = True
) -> None:
    """Refuses replicas that can't be; raises INVALID_REPLICA_ASSIGNMENT, INVALID_REPLICATION_FACTOR (KIP-860)."""
    wrong = None
    if not wanted:
        wrong = "Empty replica list specified in partition reassignment."
    elif len(set(wanted)) < len(wanted):
        wrong = f"Duplicate replica ids in partition reassignment replica list: [{', '.join(map(str, wanted))}]"
    elif min(wanted) < 0:
        wrong = f"Invalid broker id in replica list: [{', '.join(map(str, wanted))}]"
    else:
        dead = [node for node in wanted if node not in live and node not in state.replicas]
        if dead:
            wrong = f"Replica assignment has brokers that are not alive. Replica list: {list(wanted)}, dead: {dead}"
    if wrong is not None:
        raise KafkaError(ErrorCode.INVALID_REPLICA_ASSIGNMENT, wrong)
    if not allow_factor_change and len(wanted) != len(origin(state)):
        raise KafkaError(
            ErrorCode.INVALID_REPLICATION_FACTOR,
            f"The replication factor is changed from {len(origin(state))} to {len(wanted)}",
        )


def begun(state: PartitionState, wanted: tuple[int, ...], controller_epoch: int) -> PartitionState:
    """The state with old and new replicas, a new leader epoch, and nobody in the ISR who isn't assigned any more.

    A reassignment that is under way is replaced: its new replicas that aren't wanted any more are left out.
    """
    before = origin(state)
    replicas = wanted + tuple(node for node in before if node not in wanted)
    adding = tuple(node for node in wanted if node not in before)
    removing = tuple(node for node in before if node not in wanted)
    isr = tuple(node for node in state.isr if node in replicas)
    return state._replace(
        replicas=replicas,
        adding=adding,
        removing=removing,
        isr=isr or state.isr,
        leader_epoch=state.leader_epoch + 1,
        controller_epoch=controller_epoch,
    )


def is_caught_up(state: PartitionState) -> bool:
    """Whether all that stay are in sync, so that the others can go."""
    return set(target(state)) <= set(state.isr)


def ended(state: PartitionState) -> PartitionState:
    """The state with the new replicas alone."""
    return state._replace(replicas=target(state), adding=(), removing=())
