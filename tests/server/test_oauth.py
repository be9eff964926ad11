"""OAuth tokens against keys from a file and from an address: read again when they change, and never trusted blindly."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt
import pytest
from tests.security.materials import KEY_ID, Materials

from pykbroker.config.broker import BrokerConfig
from pykbroker.config.keys import ConfigError
from pykbroker.config.listener_config import ListenerConfig
from pykbroker.security.sasl import TokenRefused, Validate
from pykbroker.server.oauth import validator_for

pytestmark = pytest.mark.slow

URL = "sasl.oauthbearer.jwks.endpoint.url"


class Quiet(SimpleHTTPRequestHandler):
    """Serves files without a word."""

    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """Where the folder's files are served."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def validator(url: str, **more: str) -> Validate:
    config = BrokerConfig.from_properties({URL: url, **{key.replace("_", "."): value for key, value in more.items()}})
    return validator_for(ListenerConfig(config, "SASL_SSL"))


async def test_keys_from_an_address(tmp_path: Path, address: str) -> None:
    materials = Materials(tmp_path)
    validate = validator(f"{address}/jwks.json")
    proved = await validate(materials.jwt("alice", "right"))
    assert str(proved.principal) == "User:alice"
    for kind in ("wrong", "expired", "missing"):
        with pytest.raises(TokenRefused):
            await validate(materials.jwt("alice", kind))


async def test_keys_in_a_file_are_read_again_when_it_changes(tmp_path: Path) -> None:
    old = Materials(tmp_path)
    validate = validator(old.jwks.as_uri())
    await validate(old.jwt("alice", "right"))
    (tmp_path / "new").mkdir()
    new = Materials(tmp_path / "new")
    new.jwks.replace(old.jwks)
    await validate(new.jwt("alice", "right"))
    with pytest.raises(TokenRefused):
        await validate(old.jwt("alice", "right"))


async def test_keys_that_can_not_be_had_refuse_the_token_alone(address: str, tmp_path: Path) -> None:
    materials = Materials(tmp_path)
    with pytest.raises(TokenRefused):
        await validator(f"{address}/nothing.json")(materials.jwt("alice", "right"))


async def test_known_keys_stay_good_while_they_can_not_be_had(address: str, tmp_path: Path) -> None:
    materials = Materials(tmp_path)
    validate = validator(f"{address}/jwks.json", sasl_oauthbearer_jwks_endpoint_refresh_ms="0")
    await validate(materials.jwt("alice", "right"))
    materials.jwks.unlink()
    await validate(materials.jwt("alice", "right"))
    with pytest.raises(TokenRefused):
        await validate(materials.jwt("alice", "wrong"))


async def test_issuer_and_audience(tmp_path: Path) -> None:
    materials = Materials(tmp_path)
    for key in ("issuer", "audience"):
        validate = validator(materials.jwks.as_uri(), **{f"sasl_oauthbearer_expected_{key}": "somebody"})
        with pytest.raises(TokenRefused):
            await validate(materials.jwt("alice", "right"))


async def test_a_token_without_a_signature(tmp_path: Path) -> None:
    token = jwt.encode({"sub": "alice", "exp": 1 << 32}, None, "none", headers={"kid": KEY_ID})
    with pytest.raises(TokenRefused):
        await validator(Materials(tmp_path).jwks.as_uri())(token)
    handler = "org.apache.kafka.common.security.oauthbearer.internals.unsecured."
    handler += "OAuthBearerUnsecuredValidatorCallbackHandler"
    name = "listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class"
    config = BrokerConfig.from_properties({name: handler})
    proved = await validator_for(ListenerConfig(config, "SASL_SSL"))(token)
    assert str(proved.principal) == "User:alice"


def test_an_address_is_needed() -> None:
    with pytest.raises(ConfigError, match="JSON Web Key Set"):
        validator_for(ListenerConfig(BrokerConfig.from_properties({}), "SASL_SSL"))
