"""Throttled replicas: which are named, and when there was enough."""

from pykbroker.cluster.replication_quota import ReplicationQuota, is_named


def test_which_replicas_are_named() -> None:
    assert not is_named((), 0, 1)
    assert is_named(("*",), 7, 1)
    assert is_named(("0:1", "1:2"), 0, 1)
    assert not is_named(("0:1", "1:2"), 1, 1)
    assert not is_named(("none",), 0, 1)


def test_a_rate_over_windows_that_pass() -> None:
    quota = ReplicationQuota(11, 1.0)
    assert not quota.is_exceeded(0, 0.0)
    quota.record(5000, 0.0)
    assert quota.rate(0.0) == 500.0
    quota.record(5000, 5.0)
    assert quota.is_exceeded(999, 10.0)
    assert not quota.is_exceeded(1000, 10.0)
    assert quota.rate(11.0) == 500.0
    assert quota.rate(16.0) == 0.0
