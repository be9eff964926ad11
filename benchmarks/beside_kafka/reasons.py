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
One thread of Python reads, decides and answers all requests. A Produce of one small record takes it some 100 µs of
CPU (160 on a busy machine), so 10,000 a second are all that a core gives: they are answered, but wait for each other.
Apache Kafka uses no less CPU for one, but on several threads and both cores. Where requests come one at a time its
median is better by less than 0.1 ms once Java has compiled everything; its tail is worse. The profile (py-spy, 8,000
requests a second) has no summit: the system call that sends the answer and wakes the client 19 %, the append with its
checks and its write 22 %, parsing and building the messages 15 %, the handler and the dispatcher 17 %, reading frames
8 %, trio's loop and its system calls the rest. Clients that put several records into a request don't come near this:
see the throughput.""",
    ),
    Reason(
        "Most of a start is importing",
        r"^start to the first",
        """\
Of 190 ms of CPU until the first acknowledged record 64 go into importing trio with what it needs, 51 into the
broker's own 170 modules (`python -X importtime`), 39 into Python, the command line and the configuration, 15 into
opening, 18 into the first messages' codecs. The rules of share groups, transactions and security and most APIs are
left out until they are asked for (`docs/decisions/0008`).""",
    ),
    Reason(
        "The client takes most of the time",
        r"MB/s$",
        """\
librdkafka and the program around it take a core of the two, for compression and for records as Python sees them; the
broker's share of the time is the product of both tables (consuming 800 MB/s at 0.3 CPU s/GB: a quarter of a core).
Seen from the client (strace), pykbroker's first byte of an answer comes after 1 to 2 ms, Apache Kafka's after 2 to 8;
48 MB then take 20 to 60 ms from either, and the client 8 to 65 ms until it asks again. Lines differ by what is in the
client's and the processor's caches.""",
    ),
    Reason(
        "The kernel's part, and pages that are new",
        r"CPU s/GB$",
        """\
Record bytes take the same way in both brokers: page cache to socket by sendfile, socket to page cache with one copy.
With large records the broker's CPU is all but the kernel's (perf: copying and TCP; Python's own is a tenth). A large
answer leaves as the client takes it, in pieces of some 400 kB, and every third of them is a turn of trio's loop
(strace). Half a gigabyte costs a tenth of a second, of which CPU clocks tell ten ticks. A copy into a page that the
machine hasn't had lately costs up to four times that of another (74 % of all CPU in one function of the kernel,
copy_folio_from_iter_atomic): the figures of plain records swing by it.""",
    ),
]

NOTES = """\
- Both brokers stand through the whole run, each with its data on the same disk, and one of them is loaded at a time.
  In every measurement they take turns; which of them is first changes from round to round. An unrecorded round before
  the first one lets Java compile what it will run.
- Apache Kafka has the defaults of its configuration, and the heap (1 GB) and collector of its start script; beyond
  that only what a node alone can't do without (internal topics with one replica). It logs warnings only. pykbroker
  has its defaults, and keeps its data as Kafka does: neither waits for the disk before it acknowledges. Both delete a
  topic's files after 0.1 s instead of a minute: else one's files are written to the disk while the other is measured.
- **Start** is from the process's creation to the first acknowledged record (acks=1) in a topic that is created by
  asking for it. Apache Kafka's directory was formatted before. Idle memory is read two seconds later.
- **Throughput**: values are lines of JSON. librdkafka with `linger.ms=5` and acks=1, a new topic each time; produced
  records are counted by the topic's end offsets, and all are consumed. 100 MB of 100 B, 500 MB of 1 KB and 800 MB of
  10 KB a round, a megabyte to each partition in turn. The client's own work on the same cores is part of every figure;
  it keeps the memory that it has had (mallopt), and asks again at once where its queue was full.
- **CPU** is the broker's process, user and system, over the same runs.
- **Latency**: 500 records of 100 B a second from one producer (`linger.ms=0`) to one partition, 1,500 a round, sent
  on time whether or not those before are back.
- **Many clients**: 1,000 connections in one program send a record of 100 B each, two or ten times a second, to 12
  partitions, whether or not answers come back: behind a broker that can't keep up latencies grow for 3 s.
- **Many partitions**: a broker of its own with topics of 1,000 each. Created: until every partition has its leader.
  Started: after a clean stop, to the first acknowledged record. 10,000 partitions are measured once, after the rounds.
- **Groups**: 99 members join a group of one that is stable, heartbeats every 100 ms, until each of 100 partitions has
  its one owner again."""
