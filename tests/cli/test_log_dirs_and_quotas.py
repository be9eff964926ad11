"""`pykbroker log-dirs` and `quotas`, and the kinds of configs that few use."""

from pathlib import Path

from tests.cli.conftest import Command


def test_log_dirs(pykbroker: Command) -> None:
    pykbroker("topics", "create", "sized", "--partitions", 2)
    pykbroker("produce", "sized", "--value", "x" * 100, "--partition", 1)
    (directory,) = pykbroker("log-dirs", "describe", "--json").document
    assert (directory["broker"], directory["error"], Path(directory["log_dir"]).is_dir()) == (1, None, True)
    assert directory["size"] == sum(one["size"] for one in directory["replicas"])
    assert directory["total_bytes"] > directory["usable_bytes"] > 0
    assert pykbroker("log-dirs", "describe").rows[0] == [
        *("BROKER", "LOG-DIR", "ERROR", "REPLICAS", "SIZE", "TOTAL-BYTES", "USABLE-BYTES")
    ]
    empty, full = pykbroker("log-dirs", "describe", "--topic", "sized").rows[1:]
    assert empty == ["1", directory["log_dir"], "sized", "0", "0", "0", "no"]
    assert (full[3], int(full[4]) > 100) == ("1", True)
    ran = pykbroker("log-dirs", "describe", "--topic", "nowhere")
    assert (ran.status, "(UNKNOWN_TOPIC_OR_PARTITION); `pykbroker topics list`" in ran.err) == (1, True)
    ran = pykbroker("log-dirs", "describe", "--broker", 7)
    assert (ran.status, "there is no broker 7 (BROKER_NOT_AVAILABLE); `pykbroker cluster info`" in ran.err) == (1, True)


def test_quotas(pykbroker: Command) -> None:
    alter = ("quotas", "alter")
    ran = pykbroker(*alter, "user=alice", "client-id=app", "--set", "producer_byte_rate=1000")
    assert ran == (0, "changed the quotas of user alice, client-id app\n", "")
    assert pykbroker(*alter, "user-default", "--set", "request_percentage=12.5").status == 0
    assert pykbroker(*alter, "ip=127.0.0.9", "--set", "connection_creation_rate=7").status == 0
    assert pykbroker("quotas", "describe").rows == [
        ["USER", "CLIENT-ID", "IP", "QUOTA", "VALUE"],
        ["-", "-", "127.0.0.9", "connection_creation_rate", "7"],
        ["<default>", "-", "-", "request_percentage", "12.5"],
        ["alice", "app", "-", "producer_byte_rate", "1000"],
    ]
    words = ("quotas", "describe", "user=alice", "client-id=app", "--json")
    assert pykbroker(*words).document == [
        {"user": "alice", "client_id": "app", "ip": None, "quota": "producer_byte_rate", "value": 1000}
    ]
    ran = pykbroker(*alter, "user=alice", "--set", "nonsense=1")
    assert (ran.status, "user alice: " in ran.err, ran.err.count("\n")) == (1, True, 1)
    ran = pykbroker(*alter, "user-default", "--delete", "request_percentage", "--validate-only")
    assert ran.out == "could change the quotas of user <default>\n"
    for words in (["user=alice", "client-id=app"], ["user-default"], ["ip=127.0.0.9"]):
        for quota in ("producer_byte_rate", "request_percentage", "connection_creation_rate"):
            pykbroker(*alter, *words, "--delete", quota)
    assert pykbroker("quotas", "describe").out == ""


def test_loggers_and_client_metrics(pykbroker: Command) -> None:
    words = ("broker-logger", "1")
    name = pykbroker("configs", "describe", *words, "--all", "--json").document[0]["key"]
    assert pykbroker("configs", "alter", *words, "--set", f"{name}=ERROR").status == 0
    assert pykbroker("configs", "describe", *words, "--key", name).rows[1:] == [
        ["broker-logger", "1", name, "ERROR", "DYNAMIC_BROKER_LOGGER_CONFIG"]
    ]
    assert pykbroker("configs", "alter", *words, "--delete", name).status == 0
    ran = pykbroker("configs", "alter", *words, "--set", "nobody=ERROR")
    assert (ran.status, "(INVALID_CONFIG)" in ran.err) == (1, True)
    assert pykbroker("configs", "alter", "client-metrics", "mine", "--set", "interval.ms=1000").status == 0
    assert pykbroker("configs", "list", "--type", "client-metrics").rows[1:] == [["client-metrics", "mine"]]
    assert pykbroker("configs", "describe", "client-metrics").rows[1:] == [
        ["client-metrics", "mine", "interval.ms", "1000", "DYNAMIC_CLIENT_METRICS_CONFIG"]
    ]


def test_what_another_thing_has_set_is_not_shown(pykbroker: Command) -> None:
    pykbroker("topics", "create", "modest")
    pykbroker("configs", "alter", "broker", "default", "--set", "log.retention.ms=5000")
    ran = pykbroker("configs", "describe", "topic", "modest")
    assert ran == (0, "", "nothing is set: --all shows defaults, too\n")
    (row,) = pykbroker("configs", "describe", "topic", "modest", "--key", "retention.ms", "--json").document
    assert (row["value"], row["source"]) == ("5000", "DYNAMIC_DEFAULT_BROKER_CONFIG")
    pykbroker("configs", "alter", "broker", "default", "--delete", "log.retention.ms")
