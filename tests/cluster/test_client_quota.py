"""Client quotas: precedence, windows, waits, and what may be set and asked."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pykbroker.cluster.client_quota import (
    ANY_NAME,
    CLIENT_ID,
    DEFAULT,
    DEFAULT_NAME,
    EXACT,
    IP,
    USER,
    Bounds,
    Entity,
    Name,
    QuotaError,
    Rate,
    TokenBucket,
    check_entity,
    check_filter,
    matching,
    plan_quotas,
    quotas_of,
)


def bounds(*entries: tuple[Name, Name, float]) -> Bounds:
    made = Bounds()
    for user, client_id, bound in entries:
        made.set(user, client_id, bound)
    return made


ALL = [
    (("u", "c"), ("u", "c")),
    (("u", DEFAULT), ("u", "c")),
    (("u", None), ("u", "")),
    ((DEFAULT, "c"), ("u", "c")),
    ((DEFAULT, DEFAULT), ("u", "c")),
    ((DEFAULT, None), ("u", "")),
    ((None, "c"), ("", "c")),
    ((None, DEFAULT), ("", "c")),
]


@pytest.mark.parametrize("first", range(len(ALL)))
def test_the_most_special_quota_counts(first: int) -> None:
    made = bounds(*((*entity, float(at)) for at, (entity, _) in enumerate(ALL) if at >= first))
    assert made.find("u", "c") == (ALL[first][1], float(first))


def test_without_a_quota_for_it_a_client_is_free() -> None:
    made = bounds(("u", "c", 1.0), (None, "d", 2.0))
    assert made.find("u", "x") is None
    assert made.find("x", "c") is None
    made.set("u", "c", None)
    assert made.find("u", "c") is None
    assert len(made) == 1


def test_a_rate_is_over_all_windows_but_one_at_least() -> None:
    rate = Rate(samples=11, window_ms=1000)
    rate.record(500, 0)
    assert rate.span_ms(0) == 10_000
    assert rate.measure(0) == 50
    rate.record(500, 2500)
    assert rate.span_ms(2500) == 10_500, "two full windows and a half, and eight that are missing"
    assert rate.measure(2500) == pytest.approx(1000 / 10.5)


def test_samples_leave_the_window() -> None:
    rate = Rate(samples=2, window_ms=1000)
    rate.record(100, 0)
    rate.record(100, 1000)
    assert rate.measure(1000) == 200
    assert rate.measure(2000) == 100
    assert rate.measure(3000) == 0
    assert rate.is_forgotten(3000)


def test_how_long_to_wait() -> None:
    rate = Rate(samples=11, window_ms=1000)
    rate.record(1000, 0)
    assert rate.throttle_ms(100, 0) == 0, "the bound itself is fine"
    rate.record(500, 0)
    assert rate.throttle_ms(100, 0) == 5000
    rate.record(-500, 0)
    assert rate.throttle_ms(100, 0) == 0


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3000), st.integers(1, 10_000)), min_size=1, max_size=50),
    st.floats(10, 10_000),
)
def test_whoever_waits_as_told_keeps_to_the_bound(steps: list[tuple[int, int]], bound: float) -> None:
    rate = Rate(samples=11, window_ms=1000)
    now, total = 0.0, 0
    for pause, value in steps:
        now += pause
        rate.record(value, now)
        total += value
        now += rate.throttle_ms(bound, now)
    # A burst of all windows is free, the largest value comes on top before its wait is over.
    assert total <= bound * (now / 1000 + 11) * 1.1 + 10_000


def test_a_token_bucket_may_be_overdrawn_once() -> None:
    bucket = TokenBucket(samples=2, window_ms=1000)
    bucket.spend(5, bound=1, now_ms=0)
    assert bucket.throttle_ms(1, 0) == 3000
    assert bucket.throttle_ms(1, 2999) == 1
    assert bucket.throttle_ms(1, 3000) == 0
    assert not bucket.is_forgotten(3000)
    assert bucket.throttle_ms(1, 9000) == 0
    bucket.spend(2, bound=1, now_ms=9000)
    assert bucket.throttle_ms(1, 9000) == 0, "no more than a burst was saved up"
    bucket.spend(1, bound=1, now_ms=9000)
    assert bucket.throttle_ms(1, 9000) == 1000
    assert bucket.is_forgotten(math.inf) is False


def anything(text: str) -> bool:
    return True


@pytest.mark.parametrize(
    ("parts", "entity"),
    [
        ([(USER, "u")], Entity("u")),
        ([(USER, None)], Entity(DEFAULT)),
        ([(USER, "u"), (CLIENT_ID, None)], Entity("u", DEFAULT)),
        ([(CLIENT_ID, "c")], Entity(None, "c")),
        ([(IP, "127.0.0.1")], Entity(ip="127.0.0.1")),
        ([(IP, None)], Entity(ip=DEFAULT)),
    ],
)
def test_entities(parts: list[tuple[str, str | None]], entity: Entity) -> None:
    assert check_entity(parts, anything) == entity


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ([], "Invalid empty client quota entity"),
        ([(USER, "")], "Empty user not supported"),
        ([("colour", "red")], "Unhandled client quota entity type: colour"),
        ([(USER, "u"), (USER, "v")], "Invalid client quota entity, duplicate entity entry user"),
        (
            [(IP, "::1"), (USER, "u")],
            "Invalid quota entity combination, IP entity should not be combined with User or ClientId",
        ),
        ([(IP, "no.such.host")], "no.such.host is not a valid IP or resolvable host."),
    ],
)
def test_entities_that_can_not_be(parts: list[tuple[str, str | None]], said: str) -> None:
    with pytest.raises(QuotaError) as caught:
        check_entity(parts, lambda text: text == "::1")
    assert str(caught.value) == said


def test_quotas_beside_credentials() -> None:
    current = {"SCRAM-SHA-256": "salt=…", "producer_byte_rate": "1"}
    ops = [("producer_byte_rate", None), ("consumer_byte_rate", 1024.0), ("request_percentage", 12.5)]
    changed = plan_quotas(Entity("u"), ops, current)
    assert changed == {"SCRAM-SHA-256": "salt=…", "consumer_byte_rate": "1024", "request_percentage": "12.5"}
    assert quotas_of(changed) == {"consumer_byte_rate": 1024.0, "request_percentage": 12.5}
    assert quotas_of({"producer_byte_rate": "many"}) == {}


@pytest.mark.parametrize(
    ("entity", "ops", "said"),
    [
        (Entity("u"), [("no.such", 1.0)], "Invalid configuration key no.such"),
        (Entity("u"), [("connection_creation_rate", 1.0)], "Invalid configuration key connection_creation_rate"),
        (Entity(ip="::1"), [("producer_byte_rate", 1.0)], "Invalid configuration key producer_byte_rate"),
        (Entity("u"), [("producer_byte_rate", 0.0)], "Quota producer_byte_rate must be greater than 0"),
        (Entity("u"), [("producer_byte_rate", math.nan)], "Quota producer_byte_rate must be greater than 0"),
        (Entity("u"), [("producer_byte_rate", 1.5)], "producer_byte_rate cannot be a fractional value."),
        (Entity("u"), [("producer_byte_rate", 1e19)], "Proposed value for producer_byte_rate is too large for a LONG."),
        (
            Entity(ip="::1"),
            [("connection_creation_rate", 3e9)],
            "Proposed value for connection_creation_rate is too large for an INT.",
        ),
        (
            Entity("u"),
            [("producer_byte_rate", 1.0), ("producer_byte_rate", None)],
            "Duplicate quota key producer_byte_rate",
        ),
    ],
)
def test_quotas_that_can_not_be(entity: Entity, ops: list[tuple[str, float | None]], said: str) -> None:
    with pytest.raises(QuotaError) as caught:
        plan_quotas(entity, ops, {})
    assert str(caught.value) == said


ENTITIES = [Entity("u"), Entity("u", "c"), Entity(DEFAULT), Entity(None, "c"), Entity(ip="::1"), Entity(ip=DEFAULT)]


@pytest.mark.parametrize(
    ("components", "strict", "found"),
    [
        ([], False, [0, 1, 2, 3, 4, 5]),
        ([], True, []),
        ([(USER, EXACT, "u")], False, [0, 1]),
        ([(USER, EXACT, "u")], True, [0]),
        ([(USER, DEFAULT_NAME, None)], False, [2]),
        ([(USER, ANY_NAME, None)], False, [0, 1, 2]),
        ([(USER, ANY_NAME, None), (CLIENT_ID, EXACT, "c")], True, [1]),
        ([(IP, ANY_NAME, None)], True, [4, 5]),
    ],
)
def test_what_a_filter_finds(components: list[tuple[str, int, str | None]], strict: bool, found: list[int]) -> None:
    assert list(matching(ENTITIES, check_filter(components), strict=strict)) == [ENTITIES[at] for at in found]


@pytest.mark.parametrize(
    "components",
    [
        [("", EXACT, "u")],
        [(USER, EXACT, "u"), (USER, ANY_NAME, None)],
        [(USER, EXACT, None)],
        [(USER, DEFAULT_NAME, "u")],
        [(USER, ANY_NAME, "u")],
        [(USER, 9, None)],
        [(IP, ANY_NAME, None), (USER, ANY_NAME, None)],
    ],
)
def test_filters_that_can_not_be(components: list[tuple[str, int, str | None]]) -> None:
    with pytest.raises(QuotaError):
        check_filter(components)


def test_a_type_that_nobody_knows() -> None:
    with pytest.raises(KeyError):
        check_filter([("colour", EXACT, "red")])
