"""librdkafka writes a record twice where several partitions meet trouble at once, with Apache Kafka as with us.

Behind a batch that was refused, the next one of its partition is out of sequence. librdkafka then gives itself a new
epoch for all its partitions, and sends again under it what another partition may have stored already
(confluentinc/librdkafka#4953). The history checker relies on this: what it excuses is what happens here.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from tests.verified import apache_kafka

from pykbroker.protocol.connection import decode_request, encode_response
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.message import as_bytes
from pykbroker.protocol.messages.find_coordinator import FindCoordinatorResponse
from pykbroker.protocol.messages.metadata import MetadataResponse
from pykbroker.protocol.messages.produce import ProduceRequest, ProduceResponse
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient

TOPIC = "epochs"
PATIENCE = 30.0


class Interposer:
    """Passes requests on to a broker and answers back, but for produce requests while `stage` holds them."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = host, int(port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self.bootstrap_servers = f"127.0.0.1:{self._port}"
        self.stage: list[Callable[[WireClient, Any, int], ProduceResponse]] = []
        """What is to become of the next produce requests, which are answered together."""
        self.held: list[tuple[Any, int, int]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            with client, client.makefile("rb") as requests, WireClient(*self._target) as broker:
                while size := requests.read(4):
                    header, request = decode_request(requests.read(int.from_bytes(size, "big")))
                    version, correlation_id = header.request_api_version, header.correlation_id
                    if isinstance(request, ProduceRequest) and self.stage:
                        self.held.append((request, version, correlation_id))
                        if len(self.held) < len(self.stage):
                            continue
                        todo = list(zip(self.stage, self.held, strict=True))
                        self.stage = []
                        for act, (held, held_version, held_id) in todo:
                            answer(client, held_id, act(broker, held, held_version), held_version)
                    else:
                        answer(client, correlation_id, self._pass_on(broker, request, version), version)
        except OSError:
            pass

    def _pass_on(self, broker: WireClient, request: Any, version: int) -> Any:
        response = broker.request(request, version)
        places = response.brokers if isinstance(response, MetadataResponse) else []
        if isinstance(response, FindCoordinatorResponse):
            places = response.coordinators or [response]
        for place in places:
            place.host, place.port = "127.0.0.1", self._port
        return response


def answer(client: socket.socket, correlation_id: int, response: Any, version: int) -> None:
    client.sendall(b"".join(as_bytes(piece) for piece in encode_response(correlation_id, response, version)))


def refused(broker: WireClient, request: Any, version: int) -> ProduceResponse:
    """As a leader whose ISR is too small: nothing is stored."""
    response: ProduceResponse = broker.request(ProduceRequest(acks=-1, topic_data=[]), version)
    for topic in request.topic_data:
        answers = [
            ProduceResponse.Response.PartitionResponse(
                index=one.index, error_code=ErrorCode.NOT_ENOUGH_REPLICAS, base_offset=-1
            )
            for one in topic.partition_data
        ]
        response.responses.append(
            ProduceResponse.Response(name=topic.name, topic_id=topic.topic_id, partition_responses=answers)
        )
    return response


def stored_but_refused(broker: WireClient, request: Any, version: int) -> ProduceResponse:
    """As a leader whose ISR became too small meanwhile: the records stay."""
    response: ProduceResponse = broker.request(request, version)
    for topic in response.responses:
        for one in topic.partition_responses:
            assert one.error_code == ErrorCode.NONE
            one.error_code = ErrorCode.NOT_ENOUGH_REPLICAS_AFTER_APPEND
    return response


def out_of_sequence(broker: WireClient, request: Any, version: int) -> ProduceResponse:
    """The broker's own answer."""
    response: ProduceResponse = broker.request(request, version)
    codes = [one.error_code for topic in response.responses for one in topic.partition_responses]
    assert codes == [ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER]
    return response


def wait_until(ready: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(params=["Apache Kafka", "pykbroker"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "pykbroker":
        with KafkaBroker() as ours:
            yield ours.bootstrap_servers
        return
    try:
        with apache_kafka.ApacheKafka(tmp_path) as theirs:
            yield theirs.bootstrap_servers
    except apache_kafka.Unavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.slow
def test_a_new_epoch_for_one_partition_doubles_a_record_of_another(broker: str) -> None:
    confluent_kafka = pytest.importorskip("confluent_kafka")
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": broker})
    admin.create_topics([NewTopic(TOPIC, 2, 1)])[TOPIC].result(PATIENCE)
    with Interposer(broker) as between:
        producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": between.bootstrap_servers,
                "enable.idempotence": True,
                "linger.ms": 0,
                "log_level": 2,
            }
        )
        for partition in (0, 1):
            producer.produce(TOPIC, b"first", partition=partition)
        assert producer.flush(PATIENCE) == 0
        between.stage = [refused, out_of_sequence, stored_but_refused]
        for count, (partition, value) in enumerate([(0, b"second"), (0, b"third"), (1, b"twice")], 1):
            producer.produce(TOPIC, value, partition=partition)
            wait_until(lambda count=count: len(between.held) == count)  # type: ignore[misc]
        assert producer.flush(PATIENCE) == 0
    assert values(confluent_kafka, broker, 0) == [b"first", b"second", b"third"]
    assert values(confluent_kafka, broker, 1) == [b"first", b"twice", b"twice"]


def values(confluent_kafka: Any, bootstrap_servers: str, partition: int) -> list[bytes]:
    """A partition's records, by a consumer."""
    consumer = confluent_kafka.Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "reader"})
    try:
        at = confluent_kafka.TopicPartition(TOPIC, partition, 0)
        _, end = consumer.get_watermark_offsets(at, PATIENCE)
        consumer.assign([at])
        return [message.value() for message in consumer.consume(end, PATIENCE)]
    finally:
        consumer.close()
