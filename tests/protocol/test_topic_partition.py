from pykbroker.protocol.topic_partition import TopicPartition


def test_reads_as_its_directory():
    assert str(TopicPartition("orders", 3)) == "orders-3"
    assert TopicPartition("orders", 3) == ("orders", 3)
