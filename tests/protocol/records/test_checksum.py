from pykbroker.protocol.records.checksum import crc32c


def test_check_value() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_takes_any_buffer() -> None:
    data = bytes(range(256))
    assert crc32c(memoryview(data)[10:]) == crc32c(bytearray(data[10:]))
