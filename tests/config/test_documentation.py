"""Every key is explained in one line, and nothing else is."""

from pykbroker.config.broker import BROKER_KEYS
from pykbroker.config.client_metrics import CLIENT_METRICS_KEYS
from pykbroker.config.documentation import FAMILIES, TEXTS, documentation
from pykbroker.config.group import GROUP_KEYS
from pykbroker.config.topic import TOPIC_KEYS

KEYS = BROKER_KEYS.keys() | TOPIC_KEYS.keys() | GROUP_KEYS.keys() | CLIENT_METRICS_KEYS.keys()


def test_every_key_is_explained_in_a_line() -> None:
    for name in KEYS:
        text = documentation(name)
        assert text, name
        assert "\n" not in text
        assert len(text) <= 110, name
        assert text.endswith("."), name


def test_nothing_else_is() -> None:
    assert not TEXTS.keys() - KEYS
    assert all(any(name.startswith(prefix) for name in KEYS) for prefix in FAMILIES)
    assert documentation("never.heard.of") is None


def test_a_listeners_own_key() -> None:
    assert documentation("listener.name.internal.ssl.keystore.location") == TEXTS["ssl.keystore.location"]
