"""Apache Kafka's own Java client through the behaviours: runs Bridge.java against the jars in its folder."""

from __future__ import annotations

import os
from pathlib import Path

import admin_behaviours  # noqa: F401  (registers its behaviours)
import operations_behaviours  # noqa: F401
import share_behaviours  # noqa: F401
import streams_behaviours  # noqa: F401
from behaviours import BEHAVIOURS
from bridge import BridgeDriver
from driver import main

FOLDER = Path(os.environ["COMPAT_FOLDER"])


class JavaDriver(BridgeDriver):
    name = FOLDER.name
    command = ("java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", f"{FOLDER}/*:{FOLDER}", "Bridge")


if __name__ == "__main__":
    main(JavaDriver, BEHAVIOURS)
