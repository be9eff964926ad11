"""The form of a declaration: slots, defaults, equality, what can't be built."""

import pickle
from uuid import UUID

import pytest

from pykbroker.protocol.errors import UnbuildableMessage, UnsupportedField
from pykbroker.protocol.message import OFTEN, Array, Int32, Message, Nested, String, Struct
from pykbroker.protocol.messages.fetch import FetchRequest, FetchResponse
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorRequest
from pykbroker.protocol.messages.heartbeat import HeartbeatRequest
from pykbroker.protocol.messages.metadata import MetadataRequest, MetadataResponse
from pykbroker.protocol.messages.offset_fetch import OffsetFetchRequest


class Tree(Message, key=99, versions="0-2", flexible="2+"):
    class Leaf(Struct):
        name = String()

    leaf = Nested(Leaf)
    leaves = Array(Leaf)
    numbers = Array(Int32, nullable="0+", default=None)


def test_defaults():
    request = FetchRequest()
    assert request.max_bytes == 2**31 - 1
    assert request.replica_state == FetchRequest.ReplicaState(replica_id=-1)
    assert request.topics == []
    assert MetadataRequest.Topic().topic_id == UUID(int=0)
    with pytest.raises(AttributeError):
        request.nothing = 1


def test_mutable_defaults_are_never_shared():
    made = [Tree() for _ in range(OFTEN + 3)]  # Both kinds of constructor.
    made += [Tree.decode(made[0].encode(1), 1) for _ in range(5)]  # Both kinds of codec.
    made += [MetadataResponse.decode(MetadataResponse().encode(0), 0) for _ in range(5)]
    lists = [each.leaves if isinstance(each, Tree) else each.topics for each in made]
    assert len({id(each) for each in lists}) == len(lists)
    leaves = [each.leaf for each in made if isinstance(each, Tree)]
    assert len({id(each) for each in leaves}) == len(leaves)
    assert made[0].numbers is None


def test_absent_fields_are_fresh_when_decoded():
    requests = [OffsetFetchRequest.decode(OffsetFetchRequest().encode(1), 1) for _ in range(5)]
    requests[-1].groups.append(OffsetFetchRequest.Group())
    assert all(request.groups == [] for request in requests[:-1])


def test_both_constructors_take_keywords_alone():
    for _ in range(OFTEN + 2):
        assert Tree(leaves=[Tree.Leaf(name="a")]).leaves[0].name == "a"
        with pytest.raises(TypeError, match="branch"):
            Tree(branch=1)


def test_a_field_may_be_called_key():
    request = FindCoordinatorRequest(key="group")
    assert request.key == "group"
    assert FindCoordinatorRequest.key == 10
    assert str(FindCoordinatorRequest.versions) == "0-6"
    assert str(FindCoordinatorRequest.flexible) == "3+"


def test_equality_and_repr():
    one, other = Tree(leaves=[Tree.Leaf(name="a")]), Tree(leaves=[Tree.Leaf(name="a")])
    assert one == other
    assert one == Tree(leaves=(Tree.Leaf(name="a"),))
    assert one != Tree()
    assert one != "tree"
    assert repr(one) == "Tree(leaf=Tree.Leaf(name=''), leaves=[Tree.Leaf(name='a')], numbers=None)"
    other.unknown_tags = ((3, b"x"),)
    assert one != other
    assert "unknown_tags=((3, b'x'),)" in repr(other)
    with pytest.raises(TypeError):
        hash(one)


def test_objects_can_be_copied():
    request = FetchRequest(topics=[FetchRequest.Topic(topic="a")])
    assert pickle.loads(pickle.dumps(request)) == request


@pytest.mark.parametrize("tries", [1, 5], ids=["plain", "compiled"])
def test_a_field_that_the_version_lacks(tries):
    for _ in range(tries):
        HeartbeatRequest(group_id="g").encode(0)
    with pytest.raises(UnsupportedField) as caught:
        HeartbeatRequest(group_instance_id="static").encode(2)
    assert str(caught.value) == "Heartbeat v2 request: group_instance_id is set, but this version has no such field"
    ignorable = FetchRequest(rack_id="r", max_bytes=3)
    assert FetchRequest.decode(ignorable.encode(0), 0) == FetchRequest()


def wrong_values():
    topic, partition = FetchResponse.Response, FetchResponse.Response.Partition
    yield FetchResponse(throttle_time_ms=2**31), "throttle_time_ms can't be 2147483648: "
    yield FetchResponse(responses=None), "responses null where this version has none"
    yield FetchResponse(responses=[topic(topic="x" * 32768)]), "responses[0].topic length 32768 is more than 32767"
    yield FetchResponse(responses=[topic(), topic(topic="\ud800")]), "responses[1].topic can't be '\\ud800': "
    yield FetchResponse(responses=[topic(partitions=[7])]), "responses[0].partitions[0] int where FetchResponse."
    wrong = [topic(partitions=[partition(error_code="no")])]
    yield FetchResponse(responses=wrong), "responses[0].partitions[0].error_code can't be 'no': "


@pytest.mark.parametrize(("value", "text"), list(wrong_values()))
@pytest.mark.parametrize("tries", [0, 4], ids=["plain", "compiled"])
def test_values_that_cannot_be_built(value, text, tries):
    for _ in range(tries):
        FetchResponse().encode(11)
    with pytest.raises(UnbuildableMessage) as caught:
        value.encode(11)
    assert str(caught.value).startswith(f"Fetch v11 response: {text}")


def test_record_pieces():
    records = memoryview(bytearray(b"batch"))
    partition = FetchResponse.Response.Partition(records=records)
    response = FetchResponse(responses=[FetchResponse.Response(topic="t", partitions=[partition] * 2)])
    for version in (4, 12):
        pieces = response.encode_parts(version)
        assert [piece is records for piece in pieces] == [False, True, False, True, False][: len(pieces)]
        assert b"".join(pieces) == response.encode(version)
        frame = bytearray(response.encode(version))
        shown = FetchResponse.decode(frame, version).responses[0].partitions[1].records
        assert shown == b"batch"
        frame[frame.rindex(b"batch")] = ord("B")
        assert shown == b"Batch"  # The frame itself, not a copy.
