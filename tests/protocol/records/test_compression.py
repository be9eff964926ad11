import gzip
import os
import struct
from collections.abc import Callable

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykbroker.protocol.errors import ErrorCode, KafkaError
from pykbroker.protocol.records.compression import Compression, compress, compression_named, decompress

Outcome = Callable[[Callable[[], object]], ErrorCode | None]

CODECS = [codec for codec in Compression if codec]


@pytest.mark.parametrize("codec", list(Compression))
@given(data=st.binary(max_size=300) | st.integers(0, 200_000).map(lambda size: b"ab" * size))
def test_there_and_back(codec: Compression, data: bytes) -> None:
    assert bytes(decompress(codec, compress(codec, data))) == data


@pytest.mark.parametrize("codec", CODECS)
def test_data_that_does_not_compress_of_several_blocks(codec: Compression) -> None:
    data = os.urandom(200_000)
    assert bytes(decompress(codec, memoryview(compress(codec, data)))) == data


@pytest.mark.parametrize("codec", CODECS)
def test_what_grows_beyond_the_limit_is_refused(codec: Compression) -> None:
    data = compress(codec, bytes(1_000_000))
    with pytest.raises(KafkaError) as caught:
        decompress(codec, data, limit=500_000)
    assert caught.value.code is ErrorCode.CORRUPT_MESSAGE
    assert len(decompress(codec, data, limit=1_000_000)) == 1_000_000


@pytest.mark.parametrize("codec", CODECS)
@given(data=st.binary(max_size=100))
def test_garbage_is_corrupt(outcome: Outcome, codec: Compression, data: bytes) -> None:
    assert outcome(lambda: decompress(codec, data)) in (None, ErrorCode.CORRUPT_MESSAGE)


def test_unknown_codec() -> None:
    for call in (compress, decompress):
        with pytest.raises(KafkaError) as caught:
            call(5, b"")
        assert caught.value.code is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE


def test_snappy_is_written_in_xerial_blocks_and_read_raw_too() -> None:
    data = b"kafka" * 20_000
    written = compress(Compression.SNAPPY, data)
    assert written[:16] == b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
    (first,) = struct.unpack_from(">i", written, 16)
    assert len(bytes(cramjam.snappy.decompress_raw(written[20 : 20 + first]))) == 32 * 1024
    assert bytes(decompress(Compression.SNAPPY, bytes(cramjam.snappy.compress_raw(data)))) == data


def test_lz4_frame_has_independent_blocks_as_kafka_demands() -> None:
    assert compress(Compression.LZ4, b"x")[:7].hex() == "04224d18604082"
    assert bytes(cramjam.lz4.decompress(compress(Compression.LZ4, b"x" * 100_000))) == b"x" * 100_000


def test_lz4_of_format_0_sums_up_the_frames_magic_too() -> None:
    data = compress(Compression.LZ4, b"x" * 100, legacy_lz4=True)
    assert data[:7].hex() != "04224d18604082"
    assert bytes(decompress(Compression.LZ4, data)) == b"x" * 100


def test_gzip_of_another_library() -> None:
    assert bytes(decompress(Compression.GZIP, gzip.compress(b"y" * 1000))) == b"y" * 1000


def test_names_of_compression_type() -> None:
    assert compression_named("producer") is None
    assert compression_named("uncompressed") is Compression.NONE
    assert compression_named("zstd") is Compression.ZSTD
