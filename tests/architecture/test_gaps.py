"""Each line of `apis.gaps` is true: when one isn't any more, it has to go."""

from pykbroker.apis import HANDLERS, gaps
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient


def test_unserved_apis_are_not_in_the_table() -> None:
    assert gaps.UNSERVED
    assert not gaps.UNSERVED_APIS & HANDLERS.keys()


def test_transactional_ids_are_refused(kafka_broker: KafkaBroker) -> None:
    assert gaps.TRANSACTIONS
    with WireClient(kafka_broker.host, kafka_broker.port) as client:
        answer = client.request(InitProducerIdRequest(transactional_id="t", transaction_timeout_ms=1000), 4)
    assert answer.error_code == ErrorCode.UNSUPPORTED_VERSION
