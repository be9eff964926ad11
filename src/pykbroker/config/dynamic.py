"""Which of a broker's keys may be changed while it runs, for one broker or for all, and with which values (KIP-226).

Messages are Kafka's. It never looks at a store.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from pykbroker.config.broker import BROKER_KEYS
from pykbroker.config.dynamic_listeners import ADDRESSES, contradictory, refusal
from pykbroker.config.keys import PER_BROKER, READ_ONLY, ConfigError
from pykbroker.config.live import LiveConfig

_LISTENER = re.compile(r"listener\.name\.[^.]*\.(.*)")

# With a listener's prefix only: what a listener's TLS can take up without a restart.
LISTENER_SECURITY = frozenset(
    (
        "ssl.key.password",
        "ssl.keystore.certificate.chain",
        "ssl.keystore.key",
        "ssl.keystore.location",
        "ssl.keystore.password",
        "ssl.keystore.type",
        "ssl.truststore.certificates",
        "ssl.truststore.location",
        "ssl.truststore.password",
        "ssl.truststore.type",
    )
)
# The keys of a listener that may be set for all brokers at once.
_CLUSTER_LEVEL_OF_LISTENERS = frozenset(("max.connections", "max.connection.creation.rate", "num.network.threads"))
_THREADS = (
    "background.threads",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
)


# Kafka can change these while it runs; this broker reads them at its start.
FIXED = ("principal.builder.class", "metric.reporters")


class NotDynamic(ValueError):
    """A change that can't be made while the broker runs; its text is Kafka's."""


def base_name(name: str) -> str:
    """A key without a listener's prefix."""
    found = _LISTENER.fullmatch(name)
    return name if found is None else found[1]


def check_broker_change(config: LiveConfig, overrides: Mapping[str, str], *, per_broker: bool) -> None:
    """Checks all that a broker, or the cluster, will have set dynamically. Raises NotDynamic, ConfigError.

    Unknown keys are let through, as plugins may have some.
    """
    _refuse("Cannot update these configs dynamically", _static(overrides))
    _refuse(
        "These security configs can be dynamically updated only per-listener using the listener prefix",
        LISTENER_SECURITY & overrides.keys(),
    )
    for name, text in overrides.items():
        key = BROKER_KEYS.get(base_name(name))
        if key is not None:
            _parsed(name, text)
    if not per_broker:
        _refuse(
            "Cannot update these configs at default cluster level, broker id must be specified",
            _per_broker(overrides),
        )
    _check_together(config, config.with_update(**({"own": overrides} if per_broker else {"default": overrides})))


def usable(config: LiveConfig, overrides: Mapping[str, str], *, per_broker: bool) -> tuple[dict[str, str], list[str]]:
    """What a broker follows of what is stored, and a line for each part that it doesn't."""
    wrong: dict[str, str] = {}
    for name, text in overrides.items():
        try:
            _parsed(name, text)
        except ConfigError as error:
            wrong[name] = f"invalid values are ignored: {error}"
    for names, why in (
        (_static(overrides), "can't be set dynamically"),
        (LISTENER_SECURITY & overrides.keys(), "can be set dynamically for one listener only"),
        (() if per_broker else _per_broker(overrides), "can't be set for all brokers"),
        (overrides.keys() & set(FIXED), "can't be set dynamically"),
    ):
        wrong.update({name: f"{name} is ignored: it {why}" for name in names})
    if not wrong.keys() >= ADDRESSES & overrides.keys():
        followed = {name: text for name, text in overrides.items() if name not in wrong}
        contradiction = _contradiction(config.with_update(own=followed))
        if contradiction is not None:
            wrong.update({name: f"{name} is ignored: {contradiction}" for name in ADDRESSES & followed.keys()})
    return {name: text for name, text in overrides.items() if name not in wrong}, list(wrong.values())


def _contradiction(config: LiveConfig) -> str | None:
    try:
        return contradictory(config)
    except ConfigError as error:
        return str(error)


def is_dynamic(name: str) -> bool:
    """Whether a key, with or without a listener's prefix, may change while the broker runs."""
    key = BROKER_KEYS.get(base_name(name))
    return key is not None and key.mode != READ_ONLY


def _static(names: Iterable[str]) -> set[str]:
    return {name for name in names if name in BROKER_KEYS and BROKER_KEYS[name].mode == READ_ONLY}


def _per_broker(names: Iterable[str]) -> set[str]:
    found = set()
    for name in names:
        base = base_name(name)
        if base != name:
            if base not in _CLUSTER_LEVEL_OF_LISTENERS:
                found.add(name)
        elif name in BROKER_KEYS and BROKER_KEYS[name].mode == PER_BROKER:
            found.add(name)
    return found


def _parsed(name: str, text: str) -> None:
    key = BROKER_KEYS.get(base_name(name))
    if key is None:
        return
    try:
        key.parse(text)
    except ConfigError as error:
        if key.sensitive:
            raise ConfigError(key.name, "[hidden]", error.allowed) from None
        raise


def _refuse(why: str, names: Iterable[str]) -> None:
    found = sorted(names)
    if found:
        raise NotDynamic(f"{why}: [{', '.join(found)}]")


def _check_together(before: LiveConfig, after: LiveConfig) -> None:
    """What one value alone doesn't tell: steps of thread pools, listeners, and values that contradict each other."""
    for name in FIXED:
        if after.value(name) != before.value(name):
            raise NotDynamic(f"{name} can't be changed while this broker runs: set it in its properties and restart")
    refused = refusal(before, after, LISTENER_SECURITY | _CLUSTER_LEVEL_OF_LISTENERS)
    if refused is not None:
        raise NotDynamic(refused)
    for name in _THREADS:
        old, new = before.value(name), after.value(name)
        failed = f"Dynamic thread count update validation failed for {name}={new}, value should"
        if new < old // 2:
            raise NotDynamic(f"{failed} be at least half the current value {old}")
        if new > old * 2:
            raise NotDynamic(f"{failed} not be greater than double the current value {old}")
    old, new = before.log_cleaner_threads, after.log_cleaner_threads
    if new < 1:
        raise NotDynamic("Log cleaner threads should be at least 1")
    if new < old // 2:
        raise NotDynamic(f"Log cleaner threads cannot be reduced to less than half the current value {old}")
    if new > old * 2:
        raise NotDynamic(f"Log cleaner threads cannot be increased to more than double the current value {old}")
    for path in after.cordoned_log_dirs:
        if path not in after.log_directories:
            raise NotDynamic(
                f"Invalid entry in cordoned.log.dirs: {path}. All cordoned log dirs must be entries of log.dirs or "
                "log.dir."
            )
