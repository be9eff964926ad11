"""Conversations about what a broker lists, and about APIs and versions that no broker has: each API at such a one."""

from __future__ import annotations

import struct

from wire_connection import NO_ANSWER
from wire_talk import Talk, conversation

from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.connection import decode_response
from pykbroker.protocol.messages import message_classes
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest

CONTROLLERS = frozenset(
    (
        *(ApiKey.VOTE, ApiKey.BEGIN_QUORUM_EPOCH, ApiKey.END_QUORUM_EPOCH, ApiKey.DESCRIBE_QUORUM),
        *(ApiKey.ALTER_PARTITION, ApiKey.ENVELOPE, ApiKey.FETCH_SNAPSHOT, ApiKey.BROKER_REGISTRATION),
        *(ApiKey.BROKER_HEARTBEAT, ApiKey.ALLOCATE_PRODUCER_IDS, ApiKey.CONTROLLER_REGISTRATION),
        *(ApiKey.ASSIGN_REPLICAS_TO_DIRS, ApiKey.ADD_RAFT_VOTER, ApiKey.REMOVE_RAFT_VOTER, ApiKey.UPDATE_RAFT_VOTER),
    )
)
"""APIs of a quorum of controllers: this project's brokers have a ZooKeeper instead."""
NOT_HERE = CONTROLLERS | {ApiKey.STREAMS_GROUP_HEARTBEAT, ApiKey.STREAMS_GROUP_DESCRIBE}
"""What isn't served here: see apis/gaps.py, too."""
FEATURES = ("group.version", "share.version", "transaction.version")
"""Those that aren't about a quorum of controllers, or Kafka Streams' groups."""


@conversation(0, 4)
def versions_listed(talk: Talk) -> None:
    answer = talk.ask(ApiVersionsRequest(client_software_name="wire", client_software_version="1.0"))
    listed = {ApiKey(one.api_key).name: one for one in answer.api_keys if one.api_key not in NOT_HERE}
    others = [ApiKey(one.api_key).name for one in answer.api_keys if one.api_key in NOT_HERE]
    talk.said["APIs of a quorum or of Kafka Streams' groups"] = " ".join(sorted(others))
    talk.said["APIs"] = " ".join(sorted(listed))
    talk.said["oldest"] = " ".join(f"{name}={one.min_version}" for name, one in sorted(listed.items()))
    talk.said["newest"] = " ".join(f"{name}={one.max_version}" for name, one in sorted(listed.items()))
    if talk.version >= 3:
        known = {one.name: f"{one.min_version}-{one.max_version}" for one in answer.supported_features}
        final = {one.name: one.max_version_level for one in answer.finalized_features}
        for name in FEATURES:
            talk.said[name] = f"{known.get(name)}, in force: {final.get(name)}"
        talk.said["other features"] = " ".join(sorted(known.keys() - set(FEATURES)))


@conversation(0, 0)
def unsupported_versions(talk: Talk) -> None:
    """Each API in the version after its newest, before its oldest, and far from both."""
    for key in ApiKey:
        newest = message_classes(key)[0].versions.high
        versions = {"one too new": newest + 1, "-1": -1, "the last there could be": 2**15 - 1}
        said = {label: _answer(talk, key, version) for label, version in versions.items()}
        for label, answer in said.items():
            talk.said[f"{key.name} {label}"] = answer
    talk.said["INIT_PRODUCER_ID 6"] = _answer(talk, ApiKey.INIT_PRODUCER_ID, 6)


def _answer(talk: Talk, key: int, version: int) -> str:
    """What a header alone is answered with."""
    talk.wire.send_bytes(struct.pack(">hhih", key, version, 77, 4) + b"wire" + b"\0" * 20)
    frame = talk.wire.frame()
    if frame is None:
        talk.reconnect()
        return NO_ANSWER
    if key != ApiKey.API_VERSIONS:
        return f"<{len(frame)} bytes>"
    _, decoded = decode_response(frame, key, 0)
    return f"error_code={decoded.error_code} lists ApiVersions: {18 in [one.api_key for one in decoded.api_keys]}"


@conversation(0, 0)
def unserved(talk: Talk) -> None:
    """APIs that a broker's listener has no more, or never had."""
    asked = (*CONTROLLERS, ApiKey.LEADER_AND_ISR, ApiKey.STOP_REPLICA, ApiKey.UPDATE_METADATA)
    for key in sorted((*asked, ApiKey.CONTROLLED_SHUTDOWN, ApiKey.GET_TELEMETRY_SUBSCRIPTIONS, ApiKey.PUSH_TELEMETRY)):
        talk.said[key.name] = _answer(talk, key, message_classes(key)[0].versions.low)
