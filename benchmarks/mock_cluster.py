"""librdkafka's mock cluster of one broker, until the process is ended."""

from __future__ import annotations

import threading

from confluent_kafka import Producer


def main() -> None:
    # The mock cluster lives as long as the client that asked for it.
    client = Producer({"test.mock.num.brokers": 1, "log_level": 0})
    (broker,) = client.list_topics(timeout=10).brokers.values()
    print(f"ready {broker.host}:{broker.port}", flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
