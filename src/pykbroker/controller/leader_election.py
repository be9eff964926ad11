"""Who leads a partition next: one function for each of Kafka's elections.

Each answers the state to be written, with the next leader epoch and the partition epoch that it was made from, or None
where nobody can lead (or nothing has to change). None of them writes or tells anybody.
"""

from __future__ import annotations

from collections.abc import Collection

from pykbroker.cluster.image import NO_LEADER, PartitionState


def first_state(replicas: tuple[int, ...], live: Collection[int], controller_epoch: int) -> PartitionState:
    """A new partition's state: the first live replica leads, all live ones are in sync."""
    isr = tuple(node for node in replicas if node in live)
    return PartitionState(
        leader=isr[0] if isr else NO_LEADER,
        leader_epoch=0,
        isr=isr or replicas,
        replicas=replicas,
        partition_epoch=0,
        controller_epoch=controller_epoch,
    )


def elect(
    state: PartitionState, live: Collection[int], controller_epoch: int, *, unclean: bool = False
) -> PartitionState | None:
    """A leaderless partition: the first assigned replica that is live and in sync leads, the dead leave the ISR.

    With `unclean` and no such replica, any live one leads, alone in its ISR: committed records may be lost.
    """
    leader = next((node for node in state.replicas if node in live and node in state.isr), None)
    if leader is not None:
        isr = tuple(node for node in state.isr if node in live)
        return led(state, leader, isr, controller_epoch)
    leader = next((node for node in state.replicas if node in live), None) if unclean else None
    return None if leader is None else led(state, leader, (leader,), controller_epoch)


def elect_preferred(state: PartitionState, live: Collection[int], controller_epoch: int) -> PartitionState | None:
    """The first assigned replica leads again, where it is live and in sync; the ISR stays."""
    preferred = state.replicas[0]
    if preferred not in live or preferred not in state.isr:
        return None
    return led(state, preferred, state.isr, controller_epoch)


def elect_for_shutdown(state: PartitionState, live: Collection[int], controller_epoch: int) -> PartitionState | None:
    """A partition whose leader is about to stop: `live` is without brokers that do, and so is the new ISR."""
    leader = next((node for node in state.replicas if node in live and node in state.isr), None)
    if leader is None:
        return None
    return led(state, leader, tuple(node for node in state.isr if node in live), controller_epoch)


def elect_for_reassignment(
    state: PartitionState, target: tuple[int, ...], live: Collection[int], controller_epoch: int
) -> PartitionState | None:
    """A reassignment's end: its leader if that is a target and live, else the first target that is live and in sync."""
    isr = tuple(node for node in state.isr if node in target)
    leader = state.leader
    if leader not in target or leader not in live:
        found = next((node for node in target if node in live and node in isr), None)
        if found is None:
            return None
        leader = found
    return led(state, leader, isr, controller_epoch)


def without_replica(state: PartitionState, replica: int, controller_epoch: int) -> PartitionState | None:
    """A replica that went offline leaves the ISR, and leadership with it; the last one of the ISR stays in it.

    None where nothing changes: it was neither leader nor in sync.
    """
    if replica not in state.isr and replica != state.leader:
        return None
    isr = tuple(node for node in state.isr if node != replica) or state.isr
    return led(state, NO_LEADER if replica == state.leader else state.leader, isr, controller_epoch)


def led(state: PartitionState, leader: int, isr: tuple[int, ...], controller_epoch: int) -> PartitionState:
    """A new decision about a partition: the leader epoch goes up, by whomever it was led."""
    return state._replace(
        leader=leader, isr=isr, leader_epoch=state.leader_epoch + 1, controller_epoch=controller_epoch
    )
