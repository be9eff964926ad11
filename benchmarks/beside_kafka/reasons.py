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
        "One thread for all requests",
        r"1,000 clients|acks|producer to consumer",
        """\
One thread of Python reads, decides and answers all requests. A Produce of one small record takes it some 160 µs of CPU,
so 10,000 a second are more than a core gives: some 6,000 are answered, the rest wait. Apache Kafka uses hardly less CPU
for one (130 µs), but on several threads and both cores. The profile (cProfile, 8,000 requests) has no summit: the
append with its checks and its write 25 %, frames and system calls on the socket 22 %, the handler and the dispatcher
20 %, parsing and building the messages 18 %, trio's loop 15 %. Clients that put several records into a request don't
come near this: see the throughput.""",
    ),
    Reason(
        "Most of a start is importing",
        r"^start to the first",
        """\
Three quarters of the time until the first acknowledged record go into importing modules (`python -X importtime`). Of
that, 40 % are trio with what it needs, 45 % the broker's own 170 modules; the rules of share groups, transactions and
security and most APIs are left out until they are asked for. The rest is Python itself, opening the log and building
the first messages' codecs.""",
    ),
    Reason(
        "The client takes most of the time, Python the last tenth",
        r"MB/s$",
        """\
librdkafka and the program around it take a core of the two, for compression and for records as Python sees them; the
broker's share of the time is the product of both tables (consuming 500 MB/s at 0.5 CPU s/GB: a quarter of a core).
Consuming is about a tenth behind in most lines: while an answer leaves in pieces, and until the next fetch is decided,
the client waits for one thread of Python. Single lines swing by more than that from round to round.""",
    ),
    Reason(
        "Waking up for a part of what is under way",
        r"CPU s/GB$",
        """\
Record bytes take the same way in both brokers: page cache to socket by sendfile, socket to page cache with one copy. A
large request comes, and a large answer leaves, in pieces as the other side is ready for them, and each piece is a turn
of trio's loop. How many turns that are depends on who is ahead: the same load costs pykbroker 0.9 CPU s/GB in one round
and 4 in another.""",
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
- **Many partitions**: a broker of its own with topics of 1,000 each. Created: until every partition has its leader.
  Started: after a clean stop, to the first acknowledged record. 10,000 partitions are measured once, after the rounds.
- **Groups**: 99 members join a group of one that is stable, heartbeats every 100 ms, until each of 100 partitions has
  its one owner again."""
