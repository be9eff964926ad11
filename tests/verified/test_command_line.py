"""The same commands to this broker and to Apache Kafka: the same answers and errors, but for what is each one's own."""

from __future__ import annotations

import io
import re
import shlex
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from tests.verified import apache_kafka

from pykbroker.cli import main
from pykbroker.testing import KafkaBroker

AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
CONFIG = {
    "authorizer.class.name": AUTHORIZER,
    "super.users": "User:ANONYMOUS",
    "num.partitions": "2",
    "auto.create.topics.enable": "false",
    "group.initial.rebalance.delay.ms": "0",
    "log.cleaner.backoff.ms": "100",
}


class Step(NamedTuple):
    """A command line, and what it reads."""

    words: str
    stdin: str = ""


FIVE = "\n".join(f'{{"key": "k{one}", "value": "v{one}", "timestamp": {one}000}}' for one in range(1, 6))
PLAN = '{"version": 1, "partitions": [{"topic": "orders", "partition": 0, "replicas": [1]}]}'
STEPS = (
    Step("topics create orders --partitions 1 --config retention.ms=-1 --config cleanup.policy=delete"),
    Step("topics create defaults"),
    Step("topics create orders"),
    Step("topics create orders --if-not-exists"),
    Step("topics create bad/name"),
    Step("topics create large --replication-factor 3"),
    Step("topics create wrong --config retention.ms=soon"),
    Step("topics create wrong --config retenton.ms=5"),
    Step("topics create assigned --replica-assignment 1,1 --validate-only"),
    Step("topics create assigned --replica-assignment 7"),
    Step("topics list --exclude-internal"),
    Step("topics describe orders"),
    Step("topics describe --with-overrides --exclude-internal"),
    Step("topics describe nowhere"),
    Step("topics alter defaults --partitions 3"),
    Step("topics alter defaults --partitions 1"),
    Step("topics alter nowhere --partitions 2"),
    Step("topics describe defaults --at-min-isr"),
    Step("produce orders --from-json --header from=test", FIVE),
    Step("produce orders --value x --partition 9"),
    Step("consume orders --print timestamp,partition,offset,headers,key,value"),
    Step("consume orders --json --tail 2"),
    Step("consume orders --since 1970-01-01T00:00:03 --until 1970-01-01T00:00:04"),
    Step("consume nowhere"),
    Step("offsets orders defaults:0-1 nowhere"),
    Step("offsets orders --time 2500"),
    Step("offsets orders --time max-timestamp"),
    Step("consume orders --group readers --max-messages 2"),
    Step("groups list"),
    Step("groups describe readers"),
    Step("groups describe readers --state"),
    Step("groups describe readers --members"),
    Step("groups describe nobody"),
    Step("groups reset-offsets readers --topic orders --to-datetime 1970-01-01T00:00:04"),
    Step("groups reset-offsets readers --all-topics --shift-by 1 --execute"),
    Step("groups reset-offsets readers --topic orders --to-earliest --export"),
    Step("groups reset-offsets newcomer --topic orders --to-latest --execute"),
    Step("groups reset-offsets readers --topic nowhere --to-latest"),
    Step("groups describe --all"),
    Step("groups delete-offsets newcomer --topic orders"),
    Step("groups delete readers nobody"),
    Step("configs describe topic orders"),
    Step("configs describe topic orders --key retention.ms --key segment.bytes"),
    Step("configs alter topic orders --set retention.ms=9000000000000 --delete cleanup.policy"),
    Step("configs alter topic orders --append cleanup.policy=compact"),
    Step("configs alter topic orders --subtract cleanup.policy=delete"),
    Step("configs alter topic orders --set retention.ms=soon"),
    Step("configs alter topic orders --set retenton.ms=1"),
    Step("configs alter topic orders --append retention.ms=1"),
    Step("configs alter topic nowhere --set retention.ms=5"),
    Step("configs describe topic orders"),
    Step("configs describe topic nowhere"),
    Step("configs alter broker 1 --set log.cleaner.threads=2"),
    Step("configs alter broker default --set max.connections=1000"),
    Step("configs alter broker 1 --set node.id=2"),
    Step("configs alter broker 1 --set log.cleaner.threads=many"),
    Step("configs describe broker"),
    Step("configs describe broker 1 --key max.connections --key node.id"),
    Step("configs alter broker 7 --set log.cleaner.threads=2"),
    Step("configs alter group readers --set consumer.session.timeout.ms=50000"),
    Step("configs alter group readers --set consumer.session.timeout.ms=1"),
    Step("configs alter group readers --set nonsense=1"),
    Step("configs describe group readers"),
    Step("configs alter client-metrics mine --set interval.ms=1000 --set metrics=org.apache.kafka."),
    Step("configs alter client-metrics mine --set interval.ms=1"),
    Step("configs describe client-metrics mine"),
    Step("configs list --type group"),
    Step("configs list --type client-metrics"),
    Step("acls add --topic orders --allow User:bob --consumer --group readers"),
    Step("acls add --topic ord --prefixed --deny User:carol --operation write --deny-host 10.0.0.1"),
    Step("acls list"),
    Step("acls list --topic orders --pattern match"),
    Step("acls list --principal User:carol"),
    Step("acls remove --topic orders --yes"),
    Step("acls remove --topic orders --yes"),
    Step("users add alice:secret --mechanism SCRAM-SHA-256 --iterations 8192"),
    Step("users add alice:secret --mechanism SCRAM-SHA-512"),
    Step("users add alice:secret --mechanism SCRAM-SHA-512 --iterations 5"),
    Step("users list"),
    Step("users list nobody"),
    Step("users delete alice nobody"),
    Step("quotas alter user=alice client-id=app --set producer_byte_rate=1000 --set request_percentage=12.5"),
    Step("quotas alter user-default --set consumer_byte_rate=5000"),
    Step("quotas alter ip=127.0.0.9 --set connection_creation_rate=7"),
    Step("quotas alter user=alice --set nonsense=1"),
    Step("quotas alter ip=127.0.0.9 --set producer_byte_rate=7"),
    Step("quotas describe"),
    Step("quotas describe user=alice client-id=app"),
    Step("quotas alter user-default --delete consumer_byte_rate"),
    Step("quotas describe"),
    Step("transactions list"),
    Step("transactions describe nobody"),
    Step("transactions producers orders:0"),
    Step("tokens list"),
    Step("delete-records orders:0:2 --yes"),
    Step("delete-records orders:0:99 --yes"),
    Step("delete-records nowhere:0:1 --yes"),
    Step("offsets orders"),
    Step("reassign generate orders --brokers 1"),
    Step("reassign execute - --wait", PLAN),
    Step("reassign execute -", PLAN.replace("[1]", "[7]")),
    Step("reassign verify -", PLAN),
    Step("reassign cancel -", PLAN),
    Step("reassign list"),
    Step("elect-leaders orders"),
    Step("elect-leaders --all"),
    Step("log-dirs describe --topic orders"),
    Step("cluster info"),
    Step("topics delete orders nowhere"),
    Step("topics list --exclude-internal"),
)

WORDS = {
    # Since 4.1, when it is formatted, with the default of eligible leader replicas (KIP-966).
    r"(topic|broker) (orders|default|1) min\.insync\.replicas 1 DYNAMIC_DEFAULT_BROKER_CONFIG\n": "",
    r" or some brokers have all their log directories cordoned": "",
    r"broker 1 node\.id 1 STATIC_BROKER_CONFIG": "broker 1 node.id 1 DEFAULT_CONFIG",
    # A cluster on ZooKeeper has other words than one without.
    r"orders-0: The manual partition assignment includes broker 7, but no such broker is registered \(": (
        "orders-0: Replica assignment has brokers that are not alive. Replica list: [7], dead: [7] ("
    ),
    r"orders-0: no reassignment is in progress \(": "orders-0: No partition reassignment is in progress (",
}
"""What Apache Kafka says, and what is said here."""


class Ran(NamedTuple):
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str


Talk = dict[str, tuple[Ran, Ran]]


def run(step: Step, bootstrap: str, patch: pytest.MonkeyPatch) -> Ran:
    """Runs one command."""
    out, err = io.StringIO(), io.StringIO()
    patch.setenv("PYKBROKER_BOOTSTRAP", bootstrap)
    patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(step.stdin.encode())))
    patch.setattr("sys.stdout", out)
    patch.setattr("sys.stderr", err)
    try:
        status = main(shlex.split(step.words))
    except SystemExit as ended:
        pytest.fail(f"{step.words}: {err.getvalue()} ({ended})")
    return Ran(status, out.getvalue(), err.getvalue())


def plain(ran: Ran, own: str) -> Ran:
    """Without what is each one's own: addresses, ids, directories, and how wide columns are for them."""

    def text(written: str) -> str:
        written = re.sub(" +", " ", written)
        return re.sub(own, "OWN", re.sub(r"(?m)^(orders|defaults|cluster) [\w-]{22}\b", r"\1 ID", written))

    return Ran(ran.status, text(ran.out), text(ran.err))


@pytest.fixture(scope="module")
def talk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Talk]:
    """All steps in a row, to both; what ours said, what Apache Kafka said."""
    try:
        apache_kafka.jars()
    except apache_kafka.Unavailable as reason:
        pytest.skip(str(reason))
    found: Talk = {}
    folder = tmp_path_factory.mktemp("kafka")
    with (
        apache_kafka.ApacheKafka(folder, config=CONFIG) as kafka,
        KafkaBroker(config=CONFIG) as ours,
        pytest.MonkeyPatch.context() as patch,
    ):
        for number, step in enumerate(STEPS):
            pair = run(step, ours.bootstrap_servers, patch), run(step, kafka.bootstrap_servers, patch)
            found[f"{number} {step.words}"] = (
                plain(pair[0], rf"127\.0\.0\.1 {ours.port}|/\S*/pykbroker-\S+"),
                plain(pair[1], rf"127\.0\.0\.1 {kafka.bootstrap_servers.split(':')[1]}|{kafka.data}"),
            )
        yield found


@pytest.mark.slow
@pytest.mark.parametrize("step", [f"{number} {step.words}" for number, step in enumerate(STEPS)])
def test_the_same_answer(step: str, talk: Talk) -> None:
    ours, theirs = talk[step]
    out, err = theirs.out, theirs.err
    for said, here in WORDS.items():
        out, err = re.sub(said, lambda _, here=here: here, out), re.sub(said, lambda _, here=here: here, err)
    assert ours == theirs._replace(out=out, err=err)
    assert ours.err.count("\n") <= 2


@pytest.mark.slow
def test_every_difference_is_one(talk: Talk) -> None:
    said = "".join(theirs.out + theirs.err for _, theirs in talk.values())
    assert [words for words in WORDS if not re.search(words, said)] == []
