"""`pykbroker groups`: what groups are, and new offsets for them."""

import argparse
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import Mock

import pytest
import trio
from tests.cli.conftest import Command
from trio.testing import MockClock

from pykbroker.cli.consume import Reading
from pykbroker.client.consumer import Consumer
from pykbroker.testing import KafkaBroker


@pytest.fixture
def group(pykbroker: Command, request: pytest.FixtureRequest) -> str:
    """A group that has read two of the five records of the topic of its name."""
    name = request.node.name.replace("[", ".").replace("]", "")
    pykbroker("topics", "create", name)
    for number in range(5):
        pykbroker("produce", name, "--value", number, "--timestamp", 1000 * (number + 1))
    assert len(pykbroker("consume", name, "--group", name, "--max-messages", 2).lines) == 2
    return name


@contextmanager
def member(broker: KafkaBroker, group: str, topic: str) -> Iterator[None]:
    """Somebody who reads with a group."""
    words = ["consume", topic, "--group", group, "--follow", "--bootstrap", broker.bootstrap_servers]
    with subprocess.Popen(
        [sys.executable, "-m", "pykbroker", *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ
    ) as reader:
        try:
            assert reader.stdout is not None
            assert reader.stdout.readline()
            yield
        finally:
            reader.terminate()


def test_list(pykbroker: Command, group: str) -> None:
    listed = pykbroker("groups", "list").rows
    assert listed[0] == ["GROUP", "TYPE", "PROTOCOL", "STATE"]
    assert [group, "classic", "consumer", "Empty"] in listed
    (found,) = [one for one in pykbroker("groups", "list", "--json").document if one["group"] == group]
    assert found == {"group": group, "type": "classic", "protocol": "consumer", "state": "Empty", "coordinator": 1}
    assert pykbroker("groups", "list", "--state", "stable,dead") == (0, "", "no such groups\n")
    assert group in pykbroker("groups", "list", "--type", "Classic", "--state", "Empty").out


def test_describe_an_empty_group(pykbroker: Command, group: str) -> None:
    ran = pykbroker("groups", "describe", group)
    assert ran.rows[0][:6] == ["GROUP", "TOPIC", "PARTITION", "CURRENT-OFFSET", "LOG-END-OFFSET", "LAG"]
    assert ran.rows[1] == [group, group, "0", "2", "5", "3", "-", "-", "-"]
    assert ran.err == f"group {group} has no active members\n"
    assert pykbroker("groups", "describe", group, "--json").document == [
        {
            "group": group,
            "topic": group,
            "partition": 0,
            "current_offset": 2,
            "log_end_offset": 5,
            "lag": 3,
            "consumer_id": None,
            "host": None,
            "client_id": None,
        }
    ]
    assert pykbroker("groups", "describe", group, "--members") == (0, "", "no members\n")
    assert pykbroker("groups", "describe", group, "--state").rows[1] == [group, "classic", "1", "-", "Empty", "0"]
    assert group in pykbroker("groups", "describe", "--all").out


@pytest.mark.slow
def test_a_group_that_is_read_with(pykbroker: Command, group: str, broker: KafkaBroker) -> None:
    with member(broker, group, group):
        (row,) = pykbroker("groups", "describe", group, "--json").document
        assert row["consumer_id"].startswith("pykbroker-")
        assert (row["host"], row["client_id"]) == ("/127.0.0.1", "pykbroker")
        (found,) = pykbroker("groups", "describe", group, "--members", "--json").document
        assert (found["consumer_id"], found["partitions"], found["assignment"]) == (row["consumer_id"], 1, f"{group}:0")
        state = pykbroker("groups", "describe", group, "--state").rows[1]
        assert state == [group, "classic", "1", "range", "Stable", "1"]
        ran = pykbroker("groups", "reset-offsets", group, "--all-topics", "--to-earliest", "--execute")
        assert ran.status == 1
        assert "is Stable, and can only be reset while nobody reads with it (NON_EMPTY_GROUP); stop" in ran.err
        ran = pykbroker("groups", "delete", group)
        assert (ran.status, "the group has members (NON_EMPTY_GROUP); stop its members first" in ran.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "offset"),
    [
        (["--to-earliest"], 0),
        (["--to-latest"], 5),
        (["--to-current"], 2),
        (["--to-offset", "3"], 3),
        (["--to-offset", "99"], 5),
        (["--shift-by", "2"], 4),
        (["--shift-by=-1"], 1),
        (["--shift-by=-9"], 0),
        (["--to-datetime", "1970-01-01T00:00:03.500"], 3),
        (["--to-datetime", "1970-01-01T01:00:03.500+01:00"], 3),
        (["--by-duration", "PT1H"], 5),
        (["--by-duration", "99999d"], 0),
    ],
)
def test_new_offsets(words: list[str], offset: int, pykbroker: Command) -> None:
    """One group for all, each strategy from 2 on."""
    if ["reset"] not in pykbroker("topics", "list").rows and "reset" not in pykbroker("topics", "list").out:
        pykbroker("topics", "create", "reset")
        for number in range(5):
            pykbroker("produce", "reset", "--value", number, "--timestamp", 1000 * (number + 1))
    ran = pykbroker("groups", "reset-offsets", "resetting", "--topic", "reset", "--to-offset", 2, "--execute")
    assert (ran.rows[1], ran.err) == (["resetting", "reset", "0", "2"], "")
    ran = pykbroker("groups", "reset-offsets", "resetting", "--all-topics", *words)
    assert (ran.rows[1], ran.err) == (
        ["resetting", "reset", "0", str(offset)],
        "nothing is changed without --execute\n",
    )
    assert pykbroker("groups", "describe", "resetting").rows[1][3] == "2"
    assert pykbroker("groups", "reset-offsets", "resetting", "--topic", "reset:0", *words, "--execute").err == ""
    assert pykbroker("groups", "describe", "resetting").rows[1][3] == str(offset)


def test_from_a_file_and_back(pykbroker: Command, group: str) -> None:
    exported = pykbroker("groups", "reset-offsets", group, "--all-topics", "--shift-by", 1, "--export").out
    assert exported == f"{group},0,3\n"
    words = ["groups", "reset-offsets", group, "--from-file", "-", "--execute"]
    assert pykbroker(*words, stdin=exported.encode()).rows[1] == [group, group, "0", "3"]
    ran = pykbroker(*words, stdin=b"topic,x,1\n")
    assert (ran.status, "--from-file -: line 1: expected TOPIC,PARTITION,OFFSET" in ran.err) == (2, True)
    ran = pykbroker(*words, stdin=b"nowhere,0,1\n")
    assert (ran.status, "(UNKNOWN_TOPIC_OR_PARTITION)" in ran.err) == (1, True)


def test_forgetting(pykbroker: Command, group: str) -> None:
    ran = pykbroker("groups", "delete-offsets", group, "--topic", f"{group}:0")
    assert ran == (0, f"forgot the offset of {group}-0\n", "")
    assert pykbroker("groups", "describe", group).out == ""
    ran = pykbroker("groups", "delete-offsets", group, "--topic", f"{group}:7")
    assert (ran.status, f"topic {group} has no partition 7" in ran.err) == (1, True)


def test_delete(pykbroker: Command, group: str) -> None:
    ran = pykbroker("groups", "delete", group, "nobody", "--json")
    assert ran.document == [
        {"group": group, "error": None},
        {"group": "nobody", "error": {"code": "GROUP_ID_NOT_FOUND", "message": None}},
    ]
    assert ran.err == (
        "pykbroker groups: nobody: there is no such group (GROUP_ID_NOT_FOUND); "
        "`pykbroker groups list` shows what is there\n"
    )
    ran = pykbroker("groups", "describe", group)
    assert (ran.status, f"there is no group {group} (GROUP_ID_NOT_FOUND)" in ran.err) == (1, True)


@pytest.mark.parametrize(
    "words",
    [
        ["describe"],
        ["describe", "g", "--all"],
        ["describe", "g", "--members", "--state"],
        ["reset-offsets", "g", "--to-earliest"],
        ["reset-offsets", "g", "--topic", "t"],
        ["reset-offsets", "g", "--topic", "t", "--all-topics", "--to-latest"],
        ["reset-offsets", "g", "--topic", "t:x", "--to-latest"],
        ["reset-offsets", "g", "--topic", "t", "--to-latest", "--to-earliest"],
        ["reset-offsets", "g", "--topic", "t", "--to-datetime", "noon"],
        ["reset-offsets", "g", "--topic", "t", "--by-duration", "PT"],
        ["reset-offsets", "g", "--topic", "t", "--to-latest", "--execute", "--export"],
        ["delete-offsets", "g"],
    ],
)
def test_bad_usage(words: list[str], pykbroker: Command) -> None:
    ran = pykbroker("groups", *words)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(("follow", "waited"), [(True, 30), (False, 0)])
async def test_a_member_without_partitions_waits_where_it_follows(
    follow: bool, waited: int, autojump_clock: MockClock
) -> None:
    words = {"max_messages": None, "from_end": False, "until": None, "json": True}
    reading = Reading(argparse.Namespace(follow=follow, idle_timeout=30.0, **words))
    began = trio.current_time()
    await reading.read(Mock(spec=Consumer), {}, {})
    assert trio.current_time() - began == waited
    assert reading.enough
