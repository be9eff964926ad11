"""What the page says in words: how it is measured, and what stands behind a target that isn't reached."""

from __future__ import annotations

from typing import NamedTuple


class Reason(NamedTuple):
    """Covers the lines in whose words `pattern` (a regular expression) is found."""

    title: str
    pattern: str
    text: str


REASONS = [
    Reason(
        "A thread of Python for each request",
        r"1,000 clients",
        """\
Requests are read, decided and answered one after the other by one thread. A Produce of one small record takes it about
100 µs, so that some 10,000 a second are more than a core gives; Apache Kafka spreads them over threads and uses both
cores for it. The profile (cProfile, 20,000 requests) has no summit: the append with its checks and its write 30 %, the
rest of the handler and the dispatcher 20 %, trio and epoll 20 %, reading and writing the socket 15 %, parsing and
building the messages 15 %. Clients that put several records into one request don't come near it: see throughput.""",
    ),
    Reason(
        "Most of a start is importing",
        r"^start to the first",
        """\
Of the time until the first acknowledged record three quarters go into importing modules (`python -X importtime`): 40 %
of that is trio with what it needs, 45 % the broker's own 170 modules, whose rules for share groups, transactions,
security and the APIs are left out until they are asked for. What is left is Python itself, opening the log and
building the first messages' codecs.""",
    ),
]

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
