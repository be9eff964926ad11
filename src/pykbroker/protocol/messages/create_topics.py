"""CreateTopics: its request and its response."""

from pykbroker.protocol.message import Array, Bool, Int8, Int16, Int32, Message, String, Struct, Uuid


class CreateTopicsRequest(Message, key=19, versions="0-7", flexible="5+"):
    """Topics by a number of partitions and of replicas, or by manual assignments."""

    class Topic(Struct):
        class Assignment(Struct):
            partition_index = Int32()
            broker_ids = Array(Int32)

        class Config(Struct):
            name = String()
            value = String(nullable="0+")

        name = String()
        num_partitions = Int32()
        replication_factor = Int16()
        assignments = Array(Assignment)
        configs = Array(Config)

    topics = Array(Topic)
    timeout_ms = Int32(default=60000)
    validate_only = Bool("1+")


class CreateTopicsResponse(Message, key=19, versions="0-7", flexible="5+"):
    """From version 5 with the configs of the topic made (KIP-525), from version 7 with its id."""

    class Topic(Struct):
        class Config(Struct):
            name = String("5+")
            value = String("5+", nullable="5+")
            read_only = Bool("5+")
            config_source = Int8("5+", default=-1, ignorable=True)
            is_sensitive = Bool("5+")

        name = String()
        topic_id = Uuid("7+", ignorable=True)
        error_code = Int16()
        error_message = String("1+", nullable="0+", ignorable=True)
        topic_config_error_code = Int16("5+", ignorable=True, tag=0)
        num_partitions = Int32("5+", default=-1, ignorable=True)
        replication_factor = Int16("5+", default=-1, ignorable=True)
        configs = Array(Config, "5+", nullable="5+", ignorable=True)

    throttle_time_ms = Int32("2+", ignorable=True)
    topics = Array(Topic)
