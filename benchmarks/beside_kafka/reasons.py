"""What the page says in words: how it is measured, and what stands behind a target that isn't reached."""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """Covers the lines in whose words `pattern` (a regular expression) is found."""

    title: str
    pattern: str
    text: str


REASONS: list[Reason] = []

NOTES = """\
- Both brokers stand through the whole run, each with its data on the same disk, and one of them is loaded at a time.
  In every measurement they take turns; which of them is first changes from round to round. An unrecorded round before
  the first one lets Java compile what it will run.
- Apache Kafka has the defaults of its configuration, and the heap (1 GB) and collector of its start script; beyond
  that only what a node alone can't do without (internal topics with one replica). It logs warnings only. pykbroker
  has its defaults, and keeps its data as Kafka does: neither waits for the disk before it acknowledges.
- **Start** is from the process's creation to the first acknowledged record (acks=1) in a topic that is created by
  asking for it. Apache Kafka's directory was formatted before. Idle memory is read two seconds later.
- **Throughput**: values are lines of JSON. librdkafka with `linger.ms=5` and acks=1, a new topic each time; produced
  records are counted by the topic's end offsets, and all are consumed. 80 MB of 100 B, 250 MB of 1 KB and 300 MB of
  10 KB a round. The client's own work on the same cores is part of every figure.
- **CPU** is the broker's process, user and system, over the same runs.
- **Latency**: 500 records of 100 B a second from one producer (`linger.ms=0`) to one partition, 1,500 a round, sent
  on time whether or not those before are back.
- **Many clients**: 1,000 connections in one program send a record of 100 B each, two or ten times a second, to 12
  partitions, whether or not answers come back: behind a broker that can't keep up latencies grow for 3 s.
- **Many partitions**: a broker of its own with one topic. Created: until every partition has its leader. Started:
  after a clean stop, to the first acknowledged record. 10,000 partitions are measured once, in the last round.
- **Groups**: 99 members join a group of one that is stable, heartbeats every 100 ms, until each of 100 partitions has
  its one owner again."""
