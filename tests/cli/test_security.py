"""`pykbroker acls`, `users`, `tokens`, and what the commands say to those who may not."""

from collections.abc import Callable, Iterator

import pytest
from tests.cli.conftest import Command, Ran

from pykbroker.testing import KafkaBroker

AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"


@pytest.fixture(scope="module")
def broker() -> Iterator[KafkaBroker]:
    """TLS and SASL; alice may do all, bob nothing that isn't allowed to him."""
    config = {
        "authorizer.class.name": AUTHORIZER,
        "super.users": "User:alice",
        "delegation.token.secret.key": "a secret of the brokers",
    }
    with KafkaBroker(users={"alice": "secret", "bob": "hidden"}, tls=True, config=config) as broker:
        yield broker


@pytest.fixture
def login(pykbroker: Command, broker: KafkaBroker) -> Callable[[str], Command]:
    """The command line for a user."""

    def login(user: str) -> Command:
        def run(*words: object, stdin: bytes = b"") -> Ran:
            return pykbroker(*words, "--ca", broker.tls.ca_file, "--user", user, stdin=stdin)

        return run

    return login


@pytest.fixture
def alice(login: Callable[[str], Command]) -> Command:
    return login("alice:secret")


@pytest.fixture
def bob(login: Callable[[str], Command]) -> Command:
    return login("bob:hidden")


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", None])
def test_logging_in(mechanism: str | None, login: Callable[[str], Command]) -> None:
    words = [] if mechanism is None else ["--sasl-mechanism", mechanism]
    assert login("alice:secret")("topics", "list", *words).status == 0
    ran = login("alice:wrong")("topics", "list", *words)
    assert (ran.status, ran.out, ran.err.count("\n")) == (1, "", 1)
    assert ran.err.startswith("pykbroker topics: 127.0.0.1:")
    assert " refuses alice: Authentication failed" in ran.err
    assert ran.err.endswith("; check --user, password and --sasl-mechanism\n")


def test_passwords_from_the_environment_and_files(
    broker: KafkaBroker, run: Command, monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setenv("PYKBROKER_PASSWORD", "secret")
    words = ["topics", "list", "--bootstrap", broker.bootstrap_servers, "--ca", broker.tls.ca_file]
    assert run(*words, "--user", "alice").status == 0
    file = f"{tmp_path}/client.properties"
    with open(file, "w", encoding="utf-8") as out:
        out.write(
            f"security.protocol=SASL_SSL\nssl.truststore.type=PEM\nssl.truststore.location={broker.tls.ca_file}\n"
            f"bootstrap.servers={broker.bootstrap_servers}\nsasl.mechanism=SCRAM-SHA-256\nsasl.jaas.config="
            'org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="secret";\n'
        )
    assert run("topics", "list", "--command-config", file).status == 0


def test_the_wrong_way_in(broker: KafkaBroker, run: Command) -> None:
    words = ["topics", "list", "--bootstrap", broker.bootstrap_servers]
    ran = run(*words)
    assert ran.err.endswith("closes a new connection without an answer; the listener may want --tls or --user\n")
    ran = run(*words, "--tls", "--user", "alice:secret")
    assert " isn't trusted: self-signed certificate in certificate chain; check --ca" in ran.err
    ran = run(*words, "--ca", broker.tls.ca_file)
    assert ran.err.endswith("closed the connection; the listener may want --user\n")
    ran = run(*words, "--ca", broker.tls.ca_file, "--token", "x")
    assert "doesn't offer OAUTHBEARER, but PLAIN, SCRAM-SHA-256, SCRAM-SHA-512; check --user" in ran.err


def test_a_login_where_nobody_logs_in(run: Command) -> None:
    with KafkaBroker() as open_to_all:
        ran = run("topics", "list", "--bootstrap", open_to_all.bootstrap_servers, "--user", "alice:secret")
    assert ran.err.startswith(
        f"pykbroker topics: {open_to_all.bootstrap_servers} asks nobody to log in; leave --user away"
    )


def test_rules(alice: Command, bob: Command) -> None:
    alice("topics", "create", "orders")
    assert alice("acls", "list", "--topic", "orders") == (0, "", "no access rules\n")
    ran = bob("topics", "describe", "orders")
    assert (ran.status, "(TOPIC_AUTHORIZATION_FAILED); this user may not do that: have an adm" in ran.err) == (1, True)
    ran = bob("produce", "orders", "--value", "x")
    assert (ran.status, "(TOPIC_AUTHORIZATION_FAILED)" in ran.err) == (1, True)

    added = alice("acls", "add", "--producer", "--topic", "orders", "--allow", "User:bob")
    assert added.lines == [f"allow User:bob to {verb} topic orders" for verb in ("write", "describe", "create")]
    assert bob("produce", "orders", "--value", "x").status == 0
    ran = bob("consume", "orders")
    assert (ran.status, "(TOPIC_AUTHORIZATION_FAILED)" in ran.err) == (1, True)

    words = ["--consumer", "--topic", "ord", "--group", "ord", "--prefixed", "--allow", "User:bob"]
    assert alice("acls", "add", *words).lines[0] == "allow User:bob to read topic names beginning with ord"
    assert bob("consume", "orders", "--group", "orderly").lines == ["x"]
    ran = bob("consume", "orders", "--group", "other")
    assert (ran.status, "(GROUP_AUTHORIZATION_FAILED); this user may not" in ran.err) == (1, True)

    listed = alice("acls", "list", "--topic", "orders", "--principal", "User:bob").rows
    assert listed[0] == ["PRINCIPAL", "PERMISSION", "OPERATION", "RESOURCE", "NAME", "PATTERN", "HOST"]
    assert ["User:bob", "allow", "read", "topic", "ord", "prefixed", "*"] in listed
    assert ["User:bob", "allow", "write", "topic", "orders", "literal", "*"] in listed
    assert len(listed) == 6

    ran = alice("acls", "remove", "--topic", "orders")
    assert (ran.status, "3 access rules would be removed: --yes says so" in ran.err) == (2, True)
    removed = alice("acls", "remove", "--topic", "orders", "--allow", "User:bob", "--operation", "write", "--yes")
    assert removed.rows[1:] == [["User:bob", "allow", "write", "topic", "orders", "literal", "*"]]
    assert alice("acls", "remove", "--topic", "orders", "--yes", "--json").document[0] == {
        "resource": "topic",
        "name": "orders",
        "pattern": "literal",
        "principal": "User:bob",
        "host": "*",
        "operation": "create",
        "permission": "allow",
    }
    assert alice("acls", "remove", "--topic", "orders").err == "no access rules like that\n"


def test_only_those_who_may_see_and_change_rules(bob: Command) -> None:
    for words in (["list"], ["add", "--cluster", "--allow", "User:bob"], ["remove", "--cluster", "--yes"]):
        ran = bob("acls", *words)
        assert ran.status == 1
        assert "(CLUSTER_AUTHORIZATION_FAILED); this user may not do that" in ran.err


def test_users(alice: Command, bob: Command, login: Callable[[str], Command]) -> None:
    assert alice("users", "add", "carol:one").out == "the password of user carol is set\n"
    assert alice("users", "add", "dave:x", "--mechanism", "SCRAM-SHA-256", "--iterations", 5000).status == 0
    assert alice("users", "list").rows == [
        ["USER", "MECHANISM", "ITERATIONS"],
        ["carol", "SCRAM-SHA-256", "4096"],
        ["carol", "SCRAM-SHA-512", "4096"],
        ["dave", "SCRAM-SHA-256", "5000"],
    ]
    assert login("carol:one")("topics", "list").status == 0
    alice("users", "add", "carol:two")
    assert login("carol:one")("topics", "list").status == 1
    assert login("carol:two")("topics", "list").status == 0
    ran = alice("users", "delete", "carol", "nobody")
    assert (ran.status, ran.out) == (1, "deleted user carol\n")
    assert "(RESOURCE_NOT_FOUND); the `list` or `describe` verb shows what is there" in ran.err
    assert login("carol:two")("topics", "list").status == 1
    assert alice("users", "delete", "dave", "--json").document == [{"user": "dave", "error": None}]
    ran = alice("users", "add", "erin")
    assert (ran.status, "give a password as erin:PASSWORD, or in PYKBROKER_NEW_PASSWORD" in ran.err) == (2, True)
    ran = bob("users", "list")
    assert "(CLUSTER_AUTHORIZATION_FAILED)" in ran.err


def test_tokens(alice: Command, bob: Command, broker: KafkaBroker, run: Command, tmp_path: object) -> None:
    made = alice("tokens", "create", "--renewer", "User:bob", "--max-lifetime", "1d", "--json").document
    assert made["owner"] == "User:alice"
    (listed,) = alice("tokens", "list", "--json").document
    assert (listed["token_id"], listed["renewers"]) == (made["token_id"], ["User:bob"])
    assert made["hmac"] not in alice("tokens", "list").out
    file = f"{tmp_path}/token.properties"
    with open(file, "w", encoding="utf-8") as out:
        out.write(
            f"security.protocol=SASL_SSL\nssl.truststore.location={broker.tls.ca_file}\nsasl.mechanism=SCRAM-SHA-512\n"
            f"bootstrap.servers={broker.bootstrap_servers}\nsasl.jaas.config=org.apache.kafka.common.security.scram."
            f'ScramLoginModule required username="{made["token_id"]}" password="{made["hmac"]}" tokenauth="true";\n'
        )
    assert run("users", "list", "--command-config", file).status == 0  # as alice, who may
    assert bob("tokens", "renew", made["hmac"], "--period", "1h").out.startswith("the token expires: ")
    assert alice("tokens", "expire", made["hmac"]).status == 0
    assert alice("tokens", "list") == (0, "", "no tokens\n")
    ran = run("topics", "list", "--command-config", file)
    assert (ran.status, "refuses" in ran.err) == (1, True)
    ran = alice("tokens", "expire", "nonsense!")
    assert (ran.status, "HMAC: expected base64" in ran.err) == (2, True)


@pytest.mark.parametrize(
    "words",
    [
        ["acls", "add", "--topic", "t"],
        ["acls", "add", "--allow", "User:a"],
        ["acls", "add", "--topic", "t", "--allow", "alice"],
        ["acls", "add", "--topic", "t", "--allow", "User:a", "--operation", "fly"],
        ["acls", "add", "--topic", "t", "--allow", "User:a", "--pattern", "match"],
        ["acls", "add", "--consumer", "--topic", "t", "--allow", "User:a"],
        ["acls", "add", "--producer", "--group", "g", "--allow", "User:a"],
        ["acls", "add", "--producer", "--topic", "t", "--allow", "User:a", "--operation", "read"],
        ["acls", "remove", "--yes"],
        ["users", "add", ":x"],
        ["users", "delete"],
        ["tokens", "create", "--renewer", "bob"],
    ],
)
def test_bad_usage(words: list[str], alice: Command) -> None:
    ran = alice(*words)
    assert (ran.status, ran.out, ran.err.count("\n")) == (2, "", 1)
