from pykbroker.protocol.errors import (
    ErrorCode,
    KafkaError,
    MalformedMessage,
    UnbuildableMessage,
    UnsupportedField,
    UnsupportedRequest,
)


def test_codes_know_whether_to_retry():
    assert ErrorCode.NOT_LEADER_OR_FOLLOWER.retriable
    assert not ErrorCode.TOPIC_ALREADY_EXISTS.retriable
    assert ErrorCode(-1) is ErrorCode.UNKNOWN_SERVER_ERROR


def test_a_code_that_a_newer_peer_sends_is_an_error_all_the_same():
    assert ErrorCode(30000) is ErrorCode.UNKNOWN_SERVER_ERROR


def test_kafka_error_reads_well():
    assert str(KafkaError(ErrorCode.INVALID_PARTITIONS, "0 is not a number of partitions")) == (
        "INVALID_PARTITIONS: 0 is not a number of partitions"
    )
    assert str(KafkaError(ErrorCode.INVALID_PARTITIONS)) == "INVALID_PARTITIONS"


def test_kinds():
    assert issubclass(UnsupportedRequest, MalformedMessage)
    assert issubclass(UnsupportedField, UnbuildableMessage)
    assert issubclass(UnbuildableMessage, ValueError)
