"""`pykbroker produce` and `pykbroker consume`: records in and out again."""

import json
import struct

import pytest
from tests.cli.conftest import Command

from pykbroker.client.partitioner import partition_of_key


@pytest.fixture
def topic(pykbroker: Command, request: pytest.FixtureRequest) -> str:
    name = request.node.name.replace("[", ".").replace("]", "")
    pykbroker("topics", "create", name)
    return name


def test_lines(pykbroker: Command, topic: str) -> None:
    ran = pykbroker("produce", topic, stdin=b"one\ntwo\r\nthree")
    assert ran.rows == [["PARTITION", "RECORDS", "FIRST-OFFSET", "LAST-OFFSET"], ["0", "3", "0", "2"]]
    assert pykbroker("consume", topic) == (0, "one\ntwo\nthree\n", "")
    assert pykbroker("produce", topic, "--json", "--value", "four").document == {
        "topic": topic,
        "records": 1,
        "partitions": [{"partition": 0, "records": 1, "first_offset": 3, "last_offset": 3}],
    }


def test_nothing_to_send_or_to_print(pykbroker: Command, topic: str) -> None:
    assert pykbroker("produce", topic).out == "nothing was sent: stdin had no line\n"
    assert pykbroker("consume", topic) == (0, "", "")


def test_keys_headers_and_nulls(pykbroker: Command, topic: str) -> None:
    words = ["--headers", "--key-separator", ":", "--null", "NULL", "--timestamp", 7]
    ran = pykbroker("produce", topic, *words, stdin=b"a:1,b:\tk:v\n\tNULL:NULL\n")
    assert ran.status == 0
    printed = pykbroker("consume", topic, "--print", "timestamp,partition,offset,headers,key,value")
    assert printed.lines == [
        "CreateTime:7\tPartition:0\tOffset:0\ta:1,b:\tk\tv",
        "CreateTime:7\tPartition:0\tOffset:1\tNO_HEADERS\tnull\tnull",
    ]
    first, second = (json.loads(line) for line in pykbroker("consume", topic, "--json").lines)
    assert first == {
        "topic": topic,
        "partition": 0,
        "offset": 0,
        "timestamp": 7,
        "timestamp_type": "CreateTime",
        "key": "k",
        "value": "v",
        "headers": [{"name": "a", "value": "1"}, {"name": "b", "value": ""}],
    }
    assert (second["key"], second["value"], second["headers"]) == (None, None, [])


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_bytes_come_out_as_they_went_in(codec: str, pykbroker: Command, topic: str) -> None:
    pykbroker("produce", topic, "--compression", codec, stdin=b"\xff\x00\n" + b"x" * 100_000)
    copied = pykbroker("consume", topic, "--json").out
    assert json.loads(copied.splitlines()[0])["value"] == {"base64": "/wA="}
    pykbroker("topics", "create", topic + ".copy")
    assert pykbroker("produce", topic + ".copy", "--from-json", stdin=copied.encode()).status == 0
    assert pykbroker("consume", topic + ".copy", "--json").out.replace(".copy", "") == copied


@pytest.mark.parametrize(
    "line",
    [
        b'{"headers": [{"x": 1}]}',
        b'{"headers": 5}',
        b'{"headers": ["a"]}',
        b'{"headers": [{"name": "\\ud800"}]}',
        b'{"timestamp": 9223372036854775808}',
        b'{"value": {"base64": "!"}}',
    ],
    ids=range(6),
)
def test_an_object_that_is_no_record(line: bytes, pykbroker: Command, topic: str) -> None:
    ran = pykbroker("produce", topic, "--from-json", stdin=line)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "line 1: " in ran.err


def test_a_line_that_is_none(pykbroker: Command, topic: str) -> None:
    words = ("produce", topic, "--key-separator", ":")
    ran = pykbroker(*words, stdin=b"a:1\nb\nc:3\n")
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "line 2: no ':' after a key; the lines before it were sent (see pykbroker produce --help)" in ran.err
    assert pykbroker("consume", topic).lines == ["1"]
    assert "line 1: no ':' after a key (see" in pykbroker(*words, stdin=b"b\n").err


def test_numbers(pykbroker: Command, topic: str) -> None:
    pykbroker("produce", topic, "--value-format", "long", "--key-format", "integer", "--key", "-5", stdin=b"1\n-2\n")
    printed = pykbroker("consume", topic, "--print", "key,value", "--value-format", "long", "--key-format", "hex")
    assert printed.lines == ["fffffffb\t1", "fffffffb\t-2"]
    raw = pykbroker("consume", topic, "--value-format", "hex").lines[1]
    assert bytes.fromhex(raw) == struct.pack(">q", -2)
    ran = pykbroker("consume", topic, "--value-format", "short")
    assert (ran.status, ran.err.startswith("pykbroker consume: --key-format, --value-format: 8 bytes")) == (2, True)
    ran = pykbroker("produce", topic, "--value-format", "long", stdin=b"1\nx\n")
    assert (ran.status, "line 2: 'x' is no long" in ran.err) == (2, True)


def test_where_to_begin_and_end(pykbroker: Command, topic: str) -> None:
    for number in range(5):
        pykbroker("produce", topic, "--value", number, "--timestamp", 1000 * (number + 1))

    def consumed(*words: object) -> list[str]:
        return pykbroker("consume", topic, *words).lines

    assert consumed("--offset", 3) == ["3", "4"]
    assert consumed("--tail", 2) == ["3", "4"]
    assert consumed("--tail", 9) == ["0", "1", "2", "3", "4"]
    assert consumed("--since", 2500) == ["2", "3", "4"]
    assert consumed("--since", "1970-01-01T00:00:05") == ["4"]
    assert consumed("--since", "10m") == []
    assert consumed("--since", 2000, "--until", 4000) == ["1", "2"]
    assert consumed("--max-messages", 2) == ["0", "1"]
    assert consumed("--follow", "--max-messages", 5) == ["0", "1", "2", "3", "4"]
    assert consumed("--from-end", "--idle-timeout", 0.01) == []
    assert consumed("--partition", 0, "--offset", 4) == ["4"]


def test_several_partitions_and_topics(pykbroker: Command, topic: str) -> None:
    pykbroker("topics", "alter", topic, "--partitions", 4)
    pykbroker("topics", "create", topic + ".2")
    pykbroker("produce", topic, "--key-separator", ":", stdin=b"".join(b"%d:%d\n" % (n, n) for n in range(40)))
    pykbroker("produce", topic + ".2", "--value", "other")
    found = pykbroker("consume", topic, topic + ".2").lines
    assert sorted(found) == sorted([*map(str, range(40)), "other"])
    placed = pykbroker("consume", topic, "--partition", 3, "--print", "key").lines
    assert placed == [str(n) for n in range(40) if partition_of_key(b"%d" % n, 4) == 3]
    assert pykbroker("produce", topic, "--partition", 9, "--value", "x").status == 1
    ran = pykbroker("consume", topic, "--partition", 9)
    assert "there is no partition 9 (UNKNOWN_TOPIC_OR_PARTITION)" in ran.err


def test_a_group_goes_on_where_it_was(pykbroker: Command, topic: str) -> None:
    pykbroker("produce", topic, stdin=b"1\n2\n3\n")
    assert pykbroker("consume", topic, "--group", topic, "--max-messages", 2).lines == ["1", "2"]
    assert pykbroker("consume", topic, "--group", topic, "--no-commit").lines == ["3"]
    assert pykbroker("consume", topic, "--group", topic).lines == ["3"]
    assert pykbroker("consume", topic, "--group", topic).lines == []
    ran = pykbroker("consume", topic, "--group", topic, "--offset", 0)
    assert (ran.status, "reset-offsets" in ran.err) == (2, True)


@pytest.mark.parametrize("acks", ["all", "1", "0"])
def test_acks(acks: str, pykbroker: Command, topic: str) -> None:
    ran = pykbroker("produce", topic, "--acks", acks, "--value", "x", "--no-idempotence")
    assert ran.rows[1] == (["0", "1", "-", "-"] if acks == "0" else ["0", "1", "0", "0"])
    assert pykbroker("consume", topic, "--follow", "--max-messages", 1).lines == ["x"]


def test_a_topic_that_is_not_there(pykbroker: Command) -> None:
    ran = pykbroker("consume", "nowhere")
    assert ran.err == (
        "pykbroker consume: topic nowhere: there is no such topic (UNKNOWN_TOPIC_OR_PARTITION); "
        "`pykbroker topics list` shows what is there\n"
    )
    ran = pykbroker("produce", "nowhere", "--value", "x")
    assert ran.status == 1
    assert "there is no such topic, and brokers make none by themselves" in ran.err


def test_a_record_that_is_too_large(pykbroker: Command, topic: str) -> None:
    ran = pykbroker("produce", topic, stdin=b"x" * 2_000_000)
    assert ran.status == 1
    assert "(MESSAGE_TOO_LARGE); raise max.message.bytes of the topic, or send smaller records" in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ["produce"],
        ["produce", "t", "--acks", "2"],
        ["produce", "t", "--key", "k", "--key-separator", ":"],
        ["produce", "t", "--from-json", "--key", "k"],
        ["consume", "t", "--print", "colour"],
        ["consume", "t", "--offset", "1", "--tail", "1"],
        ["consume", "t", "--group", "g", "--partition", "1"],
        ["consume", "t", "--no-commit"],
        ["consume", "t", "--since", "yesterday"],
        ["consume", "t", "--offset", str(1 << 63)],
        ["produce", "t", "--timestamp", str(1 << 63)],
    ],
)
def test_bad_usage(words: list[str], pykbroker: Command) -> None:
    ran = pykbroker(*words)
    assert (ran.status, ran.err.count("\n")) == (2, 1)
    assert ran.err.startswith(f"pykbroker {words[0]}: ")
