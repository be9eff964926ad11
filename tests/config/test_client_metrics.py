"""Client metrics subscriptions: what they match."""

import pytest

from pykbroker.config.client_metrics import Subscription, parse_match

CLIENT = {"client_id": "app-7", "client_software_name": "librdkafka", "client_source_port": "4711"}


def test_the_defaults() -> None:
    subscription = Subscription({})
    assert (subscription.interval_ms, subscription.metrics, subscription.match) == (300_000, (), ())
    assert subscription.matches(CLIENT)


@pytest.mark.parametrize(
    ("match", "matches"),
    [
        ("client_id=app-.*", True),
        ("client_id=app", False),
        ("client_id=app-.*,client_software_name=librdkafka", True),
        ("client_id=app-.*,client_software_name=java", False),
        ("client_source_port=47[0-9]*", True),
        ("client_instance_id=.+", False),
    ],
)
def test_every_pattern_matches_as_a_whole(match: str, matches: bool) -> None:
    assert Subscription({"match": match}).matches(CLIENT) is matches


@pytest.mark.parametrize("pattern", ["client_id", "client_id=", "client_id=a=b", "colour=red", "client_id=("])
def test_patterns_that_can_not_be_read(pattern: str) -> None:
    with pytest.raises(ValueError, match=r".*"):
        parse_match((pattern,))
