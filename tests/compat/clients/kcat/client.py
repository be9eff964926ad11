"""kcat through the behaviours: every step is a process of its own, and what can't be said on its command line is
left out of the table (tests/compat/table.py says which and why)."""

from __future__ import annotations

import json
import random
import re
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import raw
from driver import Behaviour, main
from group_member import wait_for

BEHAVIOURS: dict[str, Behaviour] = {}
SMALLEST_SESSION = ["-X", "session.timeout.ms=6000", "-X", "heartbeat.interval.ms=500"]


def behaviour(function: Behaviour) -> Behaviour:
    BEHAVIOURS[function.__name__] = function
    return function


class Kcat:
    """The kcat command against one broker."""

    name = "kcat"

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        text = subprocess.run(["kcat", "-V"], capture_output=True, text=True).stdout
        found = re.search(r"Version (\S+) .*librdkafka (\S+)", text)
        self.version = f"{found[1]} (librdkafka {found[2]})" if found else "?"

    def run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = ["kcat", "-b", self.bootstrap, *arguments]
        return subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=30)

    def checked(self, *arguments: str, stdin: str = "") -> str:
        done = self.run(*arguments, stdin=stdin)
        if done.returncode:
            raise AssertionError(f"kcat {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def produce(self, topic: str, lines: list[str], *arguments: str) -> None:
        self.checked("-P", "-t", topic, *arguments, stdin="\n".join(lines))

    def consume(self, topic: str, *arguments: str) -> list[dict[str, Any]]:
        """All messages of a topic, as kcat's JSON envelopes."""
        return envelopes(self.checked("-C", "-t", topic, "-e", "-q", "-J", *(arguments or ["-o", "beginning"])))

    def metadata(self, *arguments: str) -> dict[str, Any]:
        return dict(json.loads(self.checked("-L", "-J", *arguments)))


class KcatMember:
    """A consuming kcat process; what it prints is followed as it comes."""

    def __init__(self, kcat: Kcat, *arguments: str) -> None:
        self.assigned: set[int] = set()
        self.revoked: list[set[int]] = []
        self.assignments = 0
        self.at_end = False
        self.messages: list[dict[str, Any]] = []
        self._log: list[str] = []
        command = [
            "kcat",
            "-b",
            kcat.bootstrap,
            *arguments,
            "-J",
            "-u",
            "-E",
            "-X",
            "topic.metadata.refresh.interval.ms=500",
        ]
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True)
        for target in (self._read_messages, self._read_log):
            threading.Thread(target=target, daemon=True).start()

    def _read_messages(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.messages.append(json.loads(line))

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._log.append(line)
            self.at_end = self.at_end or "Reached end of topic" in line
            partitions = {int(number) for number in re.findall(r"\[(\d+)\]", line.rpartition("): ")[2])}
            if "): assigned" in line or "incremental assignment" in line:
                self.assignments += 1
                self.assigned = self.assigned | partitions
            elif "): revoked" in line or "incremental revoke" in line:
                self.revoked.append(partitions)
                self.assigned = self.assigned - partitions

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(20)


def envelopes(output: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in output.splitlines()]


def values(messages: list[dict[str, Any]]) -> list[str | None]:
    return [message["payload"] for message in messages]


def numbers(count: int, first: int = 0) -> list[str]:
    return [str(number) for number in range(first, first + count)]


def spread(kcat: Kcat, topic: str, count: int, partitions: int) -> None:
    """Produce numbers to partitions in turn."""
    for partition in range(partitions):
        lines = [str(number) for number in range(count) if number % partitions == partition]
        kcat.produce(topic, lines, "-p", str(partition))


# Producing


def produce_with_acks(kcat: Kcat, prefix: str, acks: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix)
    kcat.produce(topic, numbers(10), "-X", f"acks={acks}")
    return {"values": values(kcat.consume(topic))}


@behaviour
def produce_acks_0(kcat: Kcat, prefix: str) -> Any:
    return produce_with_acks(kcat, prefix, "0")


@behaviour
def produce_acks_1(kcat: Kcat, prefix: str) -> Any:
    return produce_with_acks(kcat, prefix, "1")


@behaviour
def produce_acks_all(kcat: Kcat, prefix: str) -> Any:
    return produce_with_acks(kcat, prefix, "all")


def compressed(kcat: Kcat, prefix: str, codec: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix)
    lines = [f"{number}:{number:04d}" + "0123456789" * 20 for number in range(200)]
    kcat.produce(topic, lines, "-K:", "-z", codec)
    intact = [f"{m['key']}:{m['payload']}" for m in kcat.consume(topic)] == lines
    return {"intact": intact, "stored_as": raw.first_batch(kcat.bootstrap, topic).codec}


@behaviour
def compression_gzip(kcat: Kcat, prefix: str) -> Any:
    return compressed(kcat, prefix, "gzip")


@behaviour
def compression_snappy(kcat: Kcat, prefix: str) -> Any:
    return compressed(kcat, prefix, "snappy")


@behaviour
def compression_lz4(kcat: Kcat, prefix: str) -> Any:
    return compressed(kcat, prefix, "lz4")


@behaviour
def compression_zstd(kcat: Kcat, prefix: str) -> Any:
    return compressed(kcat, prefix, "zstd")


def header_pairs(messages: list[dict[str, Any]]) -> list[list[list[str | None]]]:
    """kcat prints names and values in one flat list."""
    flat = [message.get("headers", []) for message in messages]
    return [[list(pair) for pair in zip(names[::2], names[1::2], strict=True)] for names in flat]


@behaviour
def headers(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix)
    kcat.produce(topic, ["v"], "-H", "a=1", "-H", "b=2", "-H", "a=3", "-H", "empty=")
    kcat.produce(topic, ["w"])
    return header_pairs(kcat.consume(topic))


@behaviour
def null_header_value(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix)
    kcat.produce(topic, ["v"], "-H", "null", "-H", "a=1")
    return header_pairs(kcat.consume(topic))


@behaviour
def null_keys_and_values(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix)
    kcat.produce(topic, ["v"])
    kcat.produce(topic, ["k:"], "-K:", "-Z")
    kcat.produce(topic, ["k:"], "-K:")
    kcat.produce(topic, [":v"], "-K:")
    return [[message["key"], message["payload"]] for message in kcat.consume(topic)]


@behaviour
def records_of_1_mb(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix)
    sent = [random.Random(number).randbytes(500_000).hex() for number in range(3)]
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{number}") for number in range(3)]
        for path, text in zip(paths, sent, strict=True):
            path.write_text(text)
        kcat.checked("-P", "-t", topic, "-X", "message.max.bytes=1048588", *map(str, paths))
    return {"intact": values(kcat.consume(topic)) == sent}


@behaviour
def record_too_large(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix)
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(random.Random(0).randbytes(1_000_000).hex())
        file.flush()
        done = kcat.run("-P", "-t", topic, "-X", "message.max.bytes=8000000", file.name)
    kcat.produce(topic, ["small"])
    refused = "Message size too large" in done.stderr
    return {"error": "MESSAGE_TOO_LARGE" if refused else done.stderr, "values": values(kcat.consume(topic))}


@behaviour
def log_append_time(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix, config={"message.timestamp.type": "LogAppendTime"})
    kcat.produce(topic, ["v"])
    (message,) = kcat.consume(topic)
    kind = {"logappend": "log_append"}.get(message["tstype"], message["tstype"])
    return {"type": kind, "is_now": abs(message["ts"] - time.time() * 1000) < 60_000}


@behaviour
def partition_by_key(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix, partitions=7)
    lines = [f"key-{number}:v" for number in range(20)]
    kcat.produce(topic, lines, "-K:", "-X", "topic.partitioner=murmur2_random")
    return {"placed": {message["key"]: message["partition"] for message in kcat.consume(topic)}}


@behaviour
def idempotent_producer(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix)
    kcat.produce(topic, numbers(300), "-X", "enable.idempotence=true")
    return {
        "values_in_order": values(kcat.consume(topic)) == numbers(300),
        "stored_with_producer_id": raw.first_batch(kcat.bootstrap, topic).producer_id >= 0,
    }


@behaviour
def produce_to_unknown_topic(kcat: Kcat, prefix: str) -> Any:
    kcat.produce(prefix, numbers(3))
    return {"values": values(kcat.consume(prefix))}


# Consuming


@behaviour
def subscribe(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix, partitions=3)
    spread(kcat, topic, 9, 3)
    member = KcatMember(kcat, "-G", prefix, "-X", "auto.offset.reset=earliest", topic)
    wait_for(lambda: len(member.messages) == 9, "nine messages")
    assigned = sorted(member.assigned)
    member.close()
    by_partition = {p: values([m for m in member.messages if m["partition"] == p]) for p in range(3)}
    in_order = all(by_partition[p] == [str(n) for n in range(p, 9, 3)] for p in range(3))
    return {"assigned": assigned, "values": sorted(values(member.messages), key=str), "in_order_by_partition": in_order}


@behaviour
def subscribe_pattern(kcat: Kcat, prefix: str) -> Any:
    for name in ("a", "b", "other"):
        kcat.produce(raw.create_topic(kcat.bootstrap, f"{prefix}-{name}"), [name])
    output = kcat.checked("-G", prefix, "-J", "-c", "2", "-X", "auto.offset.reset=earliest", f"^{prefix}-[ab]$")
    return sorted(values(envelopes(output)), key=str)


@behaviour
def assign(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix, partitions=3)
    spread(kcat, topic, 9, 3)
    messages = [m for p in ("0", "2") for m in kcat.consume(topic, "-p", p, "-o", "beginning")]
    return {"values": sorted(values(messages), key=str)}


@behaviour
def seek(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix)
    kcat.produce(topic, numbers(10))
    outcome = {
        "first": values(kcat.consume(topic)),
        "offset_5": values(kcat.consume(topic, "-o", "5")),
        "beginning": values(kcat.consume(topic, "-o", "beginning")),
    }
    member = KcatMember(kcat, "-C", "-t", topic, "-o", "end")
    wait_for(lambda: member.at_end, "the consumer is at the end")
    outcome["end"] = values(member.messages)
    kcat.produce(topic, numbers(1, first=10))
    wait_for(lambda: bool(member.messages), "the record after the end")
    member.close()
    return outcome | {"after_end": values(member.messages)}


@behaviour
def seek_out_of_range(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix)
    kcat.produce(topic, numbers(5))
    return values(kcat.consume(topic, "-o", "1000", "-X", "topic.auto.offset.reset=earliest"))


@behaviour
def reset_to_latest(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix)
    kcat.produce(topic, numbers(5))
    member = KcatMember(kcat, "-G", prefix, "-X", "auto.offset.reset=latest", topic)
    wait_for(lambda: member.at_end, "the consumer is at the end")
    kcat.produce(topic, numbers(1, first=5))
    wait_for(lambda: bool(member.messages), "the record after the end")
    member.close()
    return values(member.messages)


def queried(kcat: Kcat, topic: str, timestamp: int) -> int | None:
    found = re.search(r"offset (-?\d+)", kcat.checked("-Q", "-t", f"{topic}:0:{timestamp}"))
    return int(found[1]) if found and int(found[1]) >= 0 else None


@behaviour
def offsets_for_times(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix)
    for first in (0, 5):
        kcat.produce(topic, numbers(5, first=first))
        time.sleep(0.02)
    times = [message["ts"] for message in kcat.consume(topic)]
    asked = {"before": times[0] - 1, "first": times[0], "between": times[4] + 1, "after": times[9] + 60_000}
    return {name: queried(kcat, topic, timestamp) for name, timestamp in asked.items()}


@behaviour
def beginning_and_end_offsets(kcat: Kcat, prefix: str) -> Any:
    filled = raw.create_topic(kcat.bootstrap, prefix)
    empty = raw.create_topic(kcat.bootstrap, f"{prefix}-empty")
    kcat.produce(filled, numbers(10))
    topics = {"filled": filled, "empty": empty}
    return {name: [queried(kcat, topic, -2), queried(kcat, topic, -1)] for name, topic in topics.items()}


# Groups


@behaviour
def commit_at_close(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix)
    kcat.produce(topic, numbers(5))
    outcome = {}
    for turn in ("first", "second"):
        output = kcat.checked("-G", prefix, "-J", "-c", "5", "-X", "auto.offset.reset=earliest", topic)
        outcome[turn] = values(envelopes(output))
        kcat.produce(topic, numbers(5, first=5))
    return outcome


@behaviour
def group_shares_partitions(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix, partitions=4)
    members = [
        KcatMember(kcat, "-G", prefix, *SMALLEST_SESSION, "-X", "auto.offset.reset=earliest", topic) for _ in "ab"
    ]
    wait_for(lambda: [len(m.assigned) for m in members] == [2, 2], "each of two members has two partitions")
    shared = sorted(members[0].assigned | members[1].assigned)
    spread(kcat, topic, 8, 4)
    wait_for(lambda: sum(len(m.messages) for m in members) >= 8, "eight records reach the two")
    received = sorted(values(members[0].messages + members[1].messages), key=str)
    members[1].close()
    wait_for(lambda: len(members[0].assigned) == 4, "the one left has all four partitions")
    outcome = {"shared": shared, "received": received, "after_close": sorted(members[0].assigned)}
    members[0].close()
    return outcome


@behaviour
def group_takes_over_from_killed(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix, partitions=2)
    arguments = ["-G", prefix, *SMALLEST_SESSION, "-X", "auto.offset.reset=earliest", topic]
    survivor, victim = KcatMember(kcat, *arguments), KcatMember(kcat, *arguments)
    try:
        wait_for(lambda: len(survivor.assigned) == len(victim.assigned) == 1, "the two share the two partitions")
        shared = sorted(survivor.assigned | victim.assigned)
    finally:
        victim.kill()
    spread(kcat, topic, 6, 2)
    wait_for(lambda: len({m["payload"] for m in survivor.messages}) == 6, "the survivor has all records")
    outcome = {"shared": shared, "after_kill": sorted(survivor.assigned)}
    survivor.close()
    return outcome


@behaviour
def static_member_returns(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix, partitions=2)

    def member(instance: str) -> KcatMember:
        settings = [f"group.instance.id={instance}", "session.timeout.ms=30000", "heartbeat.interval.ms=500"]
        arguments = [word for setting in settings for word in ("-X", setting)]
        return KcatMember(kcat, "-G", prefix, *arguments, "-X", "auto.offset.reset=earliest", topic)

    stays = member("stays")
    wait_for(lambda: len(stays.assigned) == 2, "the first member has both partitions")
    returns = member("returns")
    wait_for(lambda: len(stays.assigned) == len(returns.assigned) == 1, "the two share the two partitions")
    before, assignments = returns.assigned, stays.assignments
    returns.close()
    returns = member("returns")
    wait_for(lambda: bool(returns.assigned), "the member that came back has an assignment")
    spread(kcat, topic, 2, 2)
    wait_for(lambda: len(stays.messages) == len(returns.messages) == 1, "each gets the record of its partition")
    outcome = {"same_partition": returns.assigned == before, "other_undisturbed": stays.assignments == assignments}
    stays.close()
    returns.close()
    return outcome


@behaviour
def cooperative_rebalance(kcat: Kcat, prefix: str) -> Any:
    topic = raw.create_topic(kcat.bootstrap, prefix, partitions=4)
    strategy = ["-X", "partition.assignment.strategy=cooperative-sticky", *SMALLEST_SESSION]
    first = KcatMember(kcat, "-G", prefix, *strategy, topic)
    wait_for(lambda: len(first.assigned) == 4, "the first member has all four partitions")
    second = KcatMember(kcat, "-G", prefix, *strategy, topic)
    wait_for(lambda: len(first.assigned) == len(second.assigned) == 2, "each of two members has two partitions")
    shared = sorted(first.assigned | second.assigned)
    revoked = set().union(*first.revoked)
    outcome = {"shared": shared, "revoked": len(revoked), "kept_the_rest": not revoked & first.assigned}
    second.close()
    wait_for(lambda: len(first.assigned) == 4, "the one left has all four partitions")
    first.close()
    return outcome


# Metadata


@behaviour
def admin_list_topics(kcat: Kcat, prefix: str) -> Any:
    for name in ("a", "b"):
        raw.create_topic(kcat.bootstrap, f"{prefix}-{name}")
    topics = [topic["topic"] for topic in kcat.metadata()["topics"]]
    return sorted(topic.removeprefix(prefix) for topic in topics if topic.startswith(prefix))


@behaviour
def admin_describe_topic(kcat: Kcat, prefix: str) -> Any:
    raw.create_topic(kcat.bootstrap, prefix, partitions=2)
    metadata = kcat.metadata("-t", prefix)
    brokers = {broker["id"] for broker in metadata["brokers"]}
    partitions = metadata["topics"][0]["partitions"]
    in_sync = ({entry["id"] for entry in p["isrs"]} & {entry["id"] for entry in p["replicas"]} for p in partitions)
    return {
        "partitions": sorted(p["partition"] for p in partitions),
        "led_by_brokers": all(p["leader"] in brokers for p in partitions),
        "leader_in_sync": all(p["leader"] in ids for p, ids in zip(partitions, in_sync, strict=True)),
    }


@behaviour
def admin_describe_cluster(kcat: Kcat, prefix: str) -> Any:
    metadata = kcat.metadata()
    brokers = {broker["id"]: broker["name"] for broker in metadata["brokers"]}
    return {
        "controller_is_a_broker": metadata["controllerid"] in brokers,
        "bootstrap_among_brokers": kcat.bootstrap.replace("localhost", "127.0.0.1") in brokers.values(),
    }


if __name__ == "__main__":
    main(Kcat, BEHAVIOURS)
