"""Every way to come to a broker: what Apache Kafka 4.3.0 did, cell by cell (tests/security/apache_kafka.json)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.security import matrix
from tests.security.materials import Materials
from tests.verified.record_security import free_port, listener_properties

from pykbroker.testing import KafkaBroker

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[matrix.Setup]:
    """One broker with every listener, and what its clients hold."""
    materials = Materials(tmp_path_factory.mktemp("materials"))
    ports = {listener: free_port() for listener in matrix.LISTENERS}
    with KafkaBroker(config=listener_properties(materials, ports)):
        made = matrix.Setup(ports, materials.trust, materials.certificates, materials.jwt)
        made.prepare()
        yield made


def test_the_matrix(setup: matrix.Setup) -> None:
    said = {str(cell): matrix.outcome(cell, setup) for cell in matrix.cells()}
    expected = matrix.recorded()
    assert {cell: answer for cell, answer in said.items() if answer != expected[cell]} == {}
    assert said.keys() == expected.keys()
