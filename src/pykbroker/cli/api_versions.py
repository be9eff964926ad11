"""`pykbroker api-versions`: what brokers serve; what kafka-broker-api-versions.sh does."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pykbroker.cli.options import add_connection, command, number
from pykbroker.cli.output import Report, table

if TYPE_CHECKING:
    from pykbroker.cli.options import Parser
    from pykbroker.client.cluster import Cluster

COLUMNS = ("broker", "key", "api", "versions", "usable")


def parser() -> Parser:
    """The command's options."""
    made = command("api-versions", "Show which APIs brokers serve, in which versions.")
    made.add_argument("--broker", metavar="ID", type=number, action="append", help="only this one (may be repeated)")
    add_connection(made, api_versions)
    return made


async def api_versions(cluster: Cluster, options: argparse.Namespace) -> Report:
    """A line for each API of each broker; `usable` is the version that this client takes."""
    from pykbroker.client.connection import api_name
    from pykbroker.client.errors import NotSupported

    await cluster.metadata([])
    rows = []
    for broker in options.broker or sorted(cluster.brokers):
        connection = await cluster.connection(broker)
        for key, (lowest, highest) in sorted(connection.versions.items()):
            try:
                name, usable = api_name(key), connection.version_of(key)
            except (ValueError, NotSupported):
                name, usable = "unknown", None
            versions = str(lowest) if lowest == highest else f"{lowest}-{highest}"
            rows.append({"broker": broker, "key": key, "api": name, "versions": versions, "usable": usable})
    return table(COLUMNS, rows)
