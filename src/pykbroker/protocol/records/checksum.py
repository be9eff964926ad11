"""CRC-32C (Castagnoli) of record batches and producer snapshots.

The package `crc32c` imports importlib.metadata and a command line, 60 ms of a start of 350; only its compiled
module is wanted here, so that alone is loaded. Where it isn't found the package is imported in the ordinary way.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from typing import cast

Checksum = Callable[[bytes | bytearray | memoryview], int]


def _load() -> Checksum:
    package = PathFinder.find_spec("crc32c")
    if package is not None and package.submodule_search_locations is not None:
        spec = PathFinder.find_spec("_crc32c", package.submodule_search_locations)
        if spec is not None and spec.loader is not None:
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            return cast(Checksum, module.crc32c)
    import crc32c

    return cast(Checksum, crc32c.crc32c)


crc32c = _load()
"""The checksum of a buffer as an unsigned 32-bit integer; `123456789` gives 0xe3069283."""
