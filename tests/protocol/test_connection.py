import struct

import pytest

from pykbroker.protocol.connection import (
    decode_request,
    decode_response,
    encode_request,
    encode_response,
    parse_request_header,
)
from pykbroker.protocol.errors import MalformedMessage, UnsupportedRequest
from pykbroker.protocol.header import RequestHeader, request_header_version, response_header_version
from pykbroker.protocol.messages.api_versions import ApiVersionsResponse
from pykbroker.protocol.messages.controlled_shutdown import ControlledShutdownRequest
from pykbroker.protocol.messages.fetch import FetchResponse
from pykbroker.protocol.messages.metadata import MetadataRequest


def framed(pieces):
    """What is sent, without the size, which must be right."""
    sent = b"".join(pieces)
    assert struct.unpack_from(">i", sent) == (len(sent) - 4,)
    return memoryview(sent)[4:]


@pytest.mark.parametrize(("version", "header"), [(0, 1), (8, 1), (9, 2), (13, 2)])
def test_requests(version, header):
    request = MetadataRequest(topics=[MetadataRequest.Topic(name="a")])
    frame = framed(encode_request(request, version, -5, "me"))
    read, offset = parse_request_header(frame)
    expected = RequestHeader(request_api_key=3, request_api_version=version, correlation_id=-5, client_id="me")
    assert read == expected
    assert offset == 12 + (header == 2)
    assert MetadataRequest.decode(frame, version, offset) == request
    assert decode_request(frame) == (expected, request)
    assert frame[8:12] == b"\0\2me"  # Never compact.


def test_client_id_may_be_null():
    frame = framed(encode_request(MetadataRequest(), 9, 1, None))
    assert parse_request_header(frame)[0].client_id is None


def test_header_0_has_no_client_id():
    frame = framed(encode_request(ControlledShutdownRequest(broker_id=7), 0, 1, None))
    assert bytes(frame) == struct.pack(">hhii", 7, 0, 1, 7)
    assert decode_request(frame)[1] == ControlledShutdownRequest(broker_id=7)


@pytest.mark.parametrize(("key", "version"), [(3, 14), (3, -1), (18, 77), (1000, 0), (-1, 0)])
def test_unsupported_requests_say_whose_they_are(key, version):
    with pytest.raises(UnsupportedRequest) as caught:
        parse_request_header(struct.pack(">hhi", key, version, 42) + b"anything")
    assert (caught.value.key, caught.value.version, caught.value.correlation_id) == (key, version, 42)
    assert str(key) in str(caught.value)


@pytest.mark.parametrize(
    "frame", [b"", b"\0\3\0", b"\0\3\0\1\0\0\0\1", b"\0\3\0\1\0\0\0\1\0\5ab", b"\0\3\0\x0c\0\0\0\1\0\0"]
)
def test_malformed_headers(frame):
    with pytest.raises(MalformedMessage):
        parse_request_header(frame)


def test_responses():
    for version in (0, 11, 12, 17):
        response = FetchResponse(throttle_time_ms=version)
        frame = framed(encode_response(9, response, version))
        assert decode_response(frame, 1, version) == (9, response if version else FetchResponse())
        assert len(frame) == 4 + (version >= 12) + len(response.encode(version))


def test_api_versions_response_always_has_header_0():
    response = ApiVersionsResponse(error_code=35)
    for version in ApiVersionsResponse.versions:
        assert bytes(framed(encode_response(1, response, version))) == b"\0\0\0\1" + response.encode(version)
        assert response_header_version(18, version) == 0
    assert request_header_version(18, 3) == 2
    assert decode_response(framed(encode_response(1, response, 3)), 18, 3) == (1, response)


def test_record_pieces_are_sent_as_they_are():
    records = memoryview(b"batches")
    partition = FetchResponse.Response.Partition(records=records)
    response = FetchResponse(responses=[FetchResponse.Response(topic="t", partitions=[partition])])
    pieces = encode_response(1, response, 11)
    assert pieces[1] is records
    assert decode_response(framed(pieces), 1, 11) == (1, response)
