"""One client's way through listeners that ask who comes: logs in, produces a record, reads it back.

Takes the client's name and, as JSON on stdin, the ways: each a `kind` with `bootstrap`, `protocol`, `ca`, `topic`, and
`mechanism`, `user` and `password`, or `token`, or `certificate`. Prints a line of JSON for each: `served`, `denied` (by
the ACLs) or `refused` (at the door). To be run with the client's packages on PYTHONPATH.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

SERVED, DENIED, REFUSED = "served", "denied", "refused"
VALUE = b"a secret message"
SECONDS = 10.0


def librdkafka(way: dict[str, Any]) -> dict[str, str]:
    """Its configuration."""
    found = {"bootstrap.servers": way["bootstrap"], "security.protocol": way["protocol"], "ssl.ca.location": way["ca"]}
    if way.get("certificate"):
        found |= {"ssl.certificate.location": way["certificate"], "ssl.key.location": way["certificate"]}
    if way.get("mechanism"):
        found["sasl.mechanisms"] = way["mechanism"]
        if "token" not in way:
            found |= {"sasl.username": way["user"], "sasl.password": way["password"]}
    return found


def confluent_kafka(way: dict[str, Any]) -> str:
    from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

    errors: list[Any] = []
    config: dict[str, Any] = librdkafka(way) | {"error_cb": errors.append}
    if "token" in way:
        config["oauth_cb"] = lambda _: (way["token"], time.time() + 600)
    reports: list[Any] = []
    producer = Producer(config)
    producer.produce(way["topic"], VALUE, on_delivery=lambda error, message: reports.append((error, message)))
    deadline = time.monotonic() + SECONDS
    while not reports and time.monotonic() < deadline:
        producer.poll(0.05)
        if any(one.code() == KafkaError._AUTHENTICATION or "SSL alert" in one.str() for one in errors):
            producer.purge()
            return REFUSED
    ((error, message),) = reports
    if error is not None:
        return DENIED if error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED else str(error)
    consumer = Consumer(config | {"group.id": "none", "enable.auto.commit": False})
    consumer.assign([TopicPartition(way["topic"], message.partition(), message.offset())])
    read = None
    while read is None and time.monotonic() < deadline:
        read = consumer.poll(0.1)
    consumer.close()
    return SERVED if read is not None and read.value() == VALUE else "nothing read"


def kcat(way: dict[str, Any]) -> str:
    options = [option for pair in librdkafka(way).items() for option in ("-X", "=".join(pair))]
    command = ["kcat", *options, "-t", way["topic"], "-p", "0"]
    done = subprocess.run([*command, "-P"], input=VALUE, capture_output=True, timeout=30)
    said = done.stderr.decode()
    if "Authentication fail" in said or "SSL alert" in said:
        return REFUSED
    if done.returncode:
        return DENIED if "authorization failed" in said else said
    read = subprocess.run([*command, "-C", "-o", "-1", "-c", "1", "-e"], capture_output=True, timeout=30)
    return SERVED if read.stdout.strip() == VALUE else read.stderr.decode()


def python_options(way: dict[str, Any], provider: Any) -> dict[str, Any]:
    """What kafka-python and aiokafka take alike."""
    found = {"bootstrap_servers": way["bootstrap"], "security_protocol": way["protocol"]}
    if way["protocol"].endswith("SSL"):
        found["ssl_context"] = context = ssl.create_default_context(cafile=way["ca"])
        if way.get("certificate"):
            context.load_cert_chain(way["certificate"])
    if way.get("mechanism"):
        found["sasl_mechanism"] = way["mechanism"]
        if "token" in way:
            found["sasl_oauth_token_provider"] = provider(way["token"])
        else:
            found |= {"sasl_plain_username": way["user"], "sasl_plain_password": way["password"]}
    return found


def kafka_python(way: dict[str, Any]) -> str:
    from kafka import KafkaConsumer, KafkaProducer, TopicPartition
    from kafka import errors as kafka_errors

    try:
        from kafka.net.sasl.oauth import AbstractTokenProvider
    except ImportError:
        from kafka.oauth.abstract import AbstractTokenProvider

    class Provider(AbstractTokenProvider):
        def __init__(self, token: str) -> None:
            self._token = token

        def token(self) -> str:
            return self._token

    options = python_options(way, Provider)
    if "bootstrap_timeout_ms" in KafkaProducer.DEFAULT_CONFIG:
        options["bootstrap_timeout_ms"] = int(SECONDS / 3 * 1000)
    try:
        producer = KafkaProducer(**options, max_block_ms=SECONDS * 1000)
    except (kafka_errors.KafkaError, ssl.SSLError):
        return REFUSED
    try:
        sent = producer.send(way["topic"], VALUE).get(SECONDS)
    except kafka_errors.TopicAuthorizationFailedError:
        return DENIED
    finally:
        producer.close(1)
    consumer = KafkaConsumer(**options, group_id=None, consumer_timeout_ms=SECONDS * 1000)
    partition = TopicPartition(way["topic"], sent.partition)
    consumer.assign([partition])
    consumer.seek(partition, sent.offset)
    read = next(iter(consumer), None)
    consumer.close()
    return SERVED if read is not None and read.value == VALUE else "nothing read"


def kafka_python_2(way: dict[str, Any]) -> str:
    import vendored_six  # noqa: F401 - what kafka-python 2.0.2 imports

    return kafka_python(way)


def aiokafka(way: dict[str, Any]) -> str:
    return asyncio.run(_aiokafka(way))


async def _aiokafka(way: dict[str, Any]) -> str:
    from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
    from aiokafka import errors as aiokafka_errors
    from aiokafka.abc import AbstractTokenProvider

    class Provider(AbstractTokenProvider):
        def __init__(self, token: str) -> None:
            self._token = token

        async def token(self) -> str:
            return self._token

    options = python_options(way, Provider)
    producer = AIOKafkaProducer(**options, request_timeout_ms=int(SECONDS * 1000))
    try:
        await producer.start()
        sent = await producer.send_and_wait(way["topic"], VALUE)
    except (aiokafka_errors.AuthenticationFailedError, aiokafka_errors.KafkaConnectionError):
        return REFUSED
    except aiokafka_errors.TopicAuthorizationFailedError:
        return DENIED
    finally:
        await producer.stop()
    consumer = AIOKafkaConsumer(**options, group_id=None)
    await consumer.start()
    try:
        partition = TopicPartition(way["topic"], sent.partition)
        consumer.assign([partition])
        consumer.seek(partition, sent.offset)
        read = await asyncio.wait_for(consumer.getone(), SECONDS)
    finally:
        await consumer.stop()
    return SERVED if read.value == VALUE else "nothing read"


CLIENTS: dict[str, Callable[[dict[str, Any]], str]] = {
    "kafka_python_3": kafka_python,
    "kafka_python_2": kafka_python_2,
    "confluent_kafka": confluent_kafka,
    "aiokafka": aiokafka,
    "kcat": kcat,
}


def main() -> None:
    client = CLIENTS[sys.argv[1]]
    for way in json.load(sys.stdin):
        try:
            outcome = client(way)
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
        print(json.dumps({"kind": way["kind"], "outcome": outcome}), flush=True)


if __name__ == "__main__":
    main()
