"""FindCoordinator: its request and its response."""

from pykbroker.protocol.message import Array, Int8, Int16, Int32, Message, String, Struct


class FindCoordinatorRequest(Message, key=10, versions="0-6", flexible="3+"):
    """One key until version 3, any number from version 4 (KIP-699)."""

    key = String("0-3")
    key_type = Int8("1+")
    coordinator_keys = Array(String, "4+")


class FindCoordinatorResponse(Message, key=10, versions="0-6", flexible="3+"):
    """The broker that coordinates each key."""

    class Coordinator(Struct):
        key = String("4+")
        node_id = Int32("4+")
        host = String("4+")
        port = Int32("4+")
        error_code = Int16("4+")
        error_message = String("4+", nullable="4+", ignorable=True)

    throttle_time_ms = Int32("1+", ignorable=True)
    error_code = Int16("0-3")
    error_message = String("1-3", nullable="1-3", ignorable=True)
    node_id = Int32("0-3")
    host = String("0-3")
    port = Int32("0-3")
    coordinators = Array(Coordinator, "4+")
