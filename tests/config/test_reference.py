"""The keys against a list of Apache Kafka's, where that stands beside the checkout."""

import json
from pathlib import Path
from typing import Any

import pytest

from pykbroker.config.broker import BROKER_KEYS, SYNONYMS
from pykbroker.config.group import GROUP_KEYS
from pykbroker.config.keys import Key
from pykbroker.config.topic import TOPIC_KEYS

REFERENCE = Path(__file__).parents[3] / "shared" / "protocol" / "broker_defaults.json"

OURS = {"group.initial.rebalance.delay.ms": "0", "listeners": "PLAINTEXT://127.0.0.1:9092", "node.id": "1"}


@pytest.fixture(scope="module")
def reference() -> Any:
    if not REFERENCE.exists():
        pytest.skip(f"the reference data of the protocol isn't beside this checkout ({REFERENCE.name})")
    return json.loads(REFERENCE.read_text())


def shown(key: Key[Any]) -> tuple[str, str, str | None]:
    return key.name, key.kind, key.format(key.default)


MODES = {"advertised.listeners": "per-broker"}
"""As with ZooKeeper, up to Apache Kafka 3.9."""


def test_brokers(reference: Any) -> None:
    wanted = [
        (one["name"], one["type"], one["default"], MODES.get(one["name"], one["update_mode"]))
        for one in reference["broker"]
    ]
    assert [(*shown(key), key.mode) for key in BROKER_KEYS.values() if not key.removed] == wanted


def test_what_brokers_had_before_kafka_4(reference: Any) -> None:
    assert [key.name for key in BROKER_KEYS.values() if key.removed] == reference["removed_since_3_9"]["broker"]
    assert [key.name for key in TOPIC_KEYS.values() if key.removed] == reference["removed_since_3_9"]["topic"]


def test_synonyms(reference: Any) -> None:
    for name, synonyms in reference["broker_synonyms"].items():
        if name in SYNONYMS:
            assert list(SYNONYMS[name]) == synonyms


@pytest.mark.parametrize(
    ("section", "source", "keys"), [("topic", "server_default", TOPIC_KEYS), ("group", "broker_default", GROUP_KEYS)]
)
def test_topics_and_groups(reference: Any, section: str, source: str, keys: dict[str, Key[Any]]) -> None:
    wanted = [
        (one["name"], one["type"], one["default"], one[source], one.get("valid", "")) for one in reference[section]
    ]
    assert [(*shown(key), key.source, key.valid) for key in keys.values() if not key.removed] == wanted


def test_the_only_defaults_that_differ_are_these() -> None:
    differing = {name: key.format(key.ours) for name, key in BROKER_KEYS.items() if key.ours != key.default}
    assert differing == OURS


def test_every_default_is_valid() -> None:
    for key in (*BROKER_KEYS.values(), *TOPIC_KEYS.values(), *GROUP_KEYS.values()):
        text = key.format(key.ours)
        if text is not None and not key.sensitive:
            assert key.parse(text) == key.ours, key.name
