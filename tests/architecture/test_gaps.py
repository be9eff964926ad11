"""Each line of `apis.gaps` is true: when one isn't any more, it has to go."""

from pykbroker.apis import HANDLERS, gaps
from pykbroker.cluster.features import FEATURES
from pykbroker.protocol.errors import ErrorCode
from pykbroker.protocol.messages.alter_configs import AlterConfigsRequest
from pykbroker.protocol.messages.describe_configs import DescribeConfigsRequest
from pykbroker.protocol.messages.incremental_alter_configs import IncrementalAlterConfigsRequest
from pykbroker.protocol.messages.init_producer_id import InitProducerIdRequest
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.protocol.messages.produce import ProduceRequest
from pykbroker.protocol.records.batch import build_batch
from pykbroker.testing import KafkaBroker
from pykbroker.testing.client import WireClient


def test_unserved_apis_are_not_in_the_table() -> None:
    assert gaps.UNSERVED
    assert not gaps.UNSERVED_APIS & HANDLERS.keys()


def test_transactions_are_refused(kafka_broker: KafkaBroker) -> None:
    assert gaps.TRANSACTIONS
    batch = build_batch(
        [(b"k", b"v")], timestamp=1, producer_id=1, producer_epoch=0, base_sequence=0, transactional=True
    )
    data = ProduceRequest.TopicData.PartitionData(index=0, records=batch)
    topic_data = [ProduceRequest.TopicData(name="topic", partition_data=[data])]
    produce = ProduceRequest(transactional_id="t", acks=1, timeout_ms=1000, topic_data=topic_data)
    with WireClient(kafka_broker.host, kafka_broker.port) as client:
        answer = client.request(InitProducerIdRequest(transactional_id="t", transaction_timeout_ms=1000), 4)
        assert answer.error_code == ErrorCode.UNSUPPORTED_VERSION
        client.request(MetadataRequest(topics=[MetadataRequest.Topic(name="topic")]), 8)
        (topic,) = client.request(produce, 9).responses
    assert topic.partition_responses[0].error_code == ErrorCode.NOT_ENOUGH_REPLICAS


def test_the_feature_of_share_groups_is_not_there() -> None:
    assert gaps.FEATURES
    assert "share.version" not in FEATURES


def test_configs_are_not_explained(kafka_broker: KafkaBroker) -> None:
    assert gaps.DOCUMENTATION
    broker = DescribeConfigsRequest.Resource(resource_type=4, resource_name="1", configuration_keys=None)
    with WireClient(kafka_broker.host, kafka_broker.port) as client:
        (result,) = client.request(DescribeConfigsRequest(resources=[broker], include_documentation=True), 4).results
    assert result.configs
    assert {config.documentation for config in result.configs} == {None}


def test_only_topics_configs_are_changed(kafka_broker: KafkaBroker) -> None:
    assert gaps.CONFIG_CHANGES
    others = [(4, "1"), (4, ""), (8, "1"), (16, "metrics"), (32, "group")]
    with WireClient(kafka_broker.host, kafka_broker.port) as client:
        for message, version in ((AlterConfigsRequest, 2), (IncrementalAlterConfigsRequest, 1)):
            resources = [message.Resource(resource_type=kind, resource_name=name) for kind, name in others]
            answers = client.request(message(resources=resources), version).responses
            assert [answer.error_code for answer in answers] == [ErrorCode.INVALID_REQUEST] * len(others)
            assert all("can't be changed" in answer.error_message for answer in answers)
