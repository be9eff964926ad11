"""ApiVersions over the wire, down to its bytes. The outcomes are Apache Kafka 4.3's; the table is our own."""

from __future__ import annotations

import struct
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

import pytest

from pykbroker import apis
from pykbroker.apis import FAMILIES, served
from pykbroker.protocol.api_keys import ApiKey
from pykbroker.protocol.errors import ErrorCode as E
from pykbroker.protocol.messages.api_versions import ApiVersionsRequest, ApiVersionsResponse
from pykbroker.protocol.messages.metadata import MetadataRequest
from pykbroker.server.request import Handler

SERVED = served(clustered=False)

VERSIONS = range(5)


def named(name: str = "a-client", version: str = "1.0.0") -> ApiVersionsRequest:
    return ApiVersionsRequest(client_software_name=name, client_software_version=version)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_table_is_what_is_served(wire: Any, version: int) -> None:
    answer = wire.request(named(), version)
    assert (answer.error_code, answer.throttle_time_ms) == (0, 0)
    assert {one.api_key: (one.min_version, one.max_version) for one in answer.api_keys} == {
        key: (handler.versions.low, handler.versions.high) for key, handler in SERVED.items()
    }
    assert [one.api_key for one in answer.api_keys] == sorted(SERVED)


SHARE_APIS = {
    ApiKey.SHARE_GROUP_HEARTBEAT,
    ApiKey.SHARE_GROUP_DESCRIBE,
    ApiKey.SHARE_FETCH,
    ApiKey.SHARE_ACKNOWLEDGE,
}
"""Version 0 of these was Kafka 4.0's early access, which no later release speaks."""


def test_floors_are_at_0() -> None:
    assert {handler.versions.low for key, handler in SERVED.items() if key not in SHARE_APIS} == {0}
    assert {handler.versions.low for key, handler in SERVED.items() if key in SHARE_APIS} == {1}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_header_is_always_version_0(wire: Any, version: int) -> None:
    wire.send(named(), version, correlation_id=77)
    frame = wire.receive_frame()
    assert struct.unpack_from(">i", frame) == (77,)
    answer = ApiVersionsResponse.decode(memoryview(frame), version, 4)
    assert len(answer.api_keys) == len(SERVED)


@pytest.mark.parametrize("version", [5, 99, 32767, -1])
def test_an_unknown_version_is_answered_in_version_0(wire: Any, version: int) -> None:
    body = struct.pack(">hhih", ApiKey.API_VERSIONS, version, 5, -1) + b"whatever"
    wire.socket.sendall(struct.pack(">i", len(body)) + body)
    # Error, one API: this one.
    assert wire.receive_frame() == struct.pack(">ihihhh", 5, E.UNSUPPORTED_VERSION, 1, ApiKey.API_VERSIONS, 0, 4)
    assert wire.request(named(), 4).error_code == 0, "the connection goes on"


@pytest.mark.parametrize("version", [3, 4])
@pytest.mark.parametrize("name", ["", "a ", "-a", "a-", "a_b", "ä"])
def test_what_a_client_may_call_itself(wire: Any, version: int, name: str) -> None:
    for request in (named(name), named(version=name)):
        answer = wire.request(request, version)
        assert (answer.error_code, answer.api_keys) == (E.INVALID_REQUEST, [])
    assert wire.request(named("apache-kafka-java", "4.3.0"), version).error_code == 0


def test_it_is_not_required_first(wire: Any) -> None:
    assert wire.request(MetadataRequest(topics=[]), 9).brokers


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_told_of_a_family_is_what_its_handlers_say(family: str) -> None:
    handlers = [one for one in vars(import_module(f"pykbroker.apis.{family}")).values() if isinstance(one, Handler)]
    assert {one.request.key: str(one.versions) for one in handlers} == FAMILIES[family]


def test_every_family_is_in_the_table() -> None:
    modules = {one.name for one in iter_modules(apis.__path__)}
    assert modules - {"gaps"} == set(FAMILIES)
