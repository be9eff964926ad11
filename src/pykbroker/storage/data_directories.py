"""The data directories of a broker: whose they are, and which of them an error has taken out of use.

What lies in them is the log manager's.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable

from pykbroker.storage.checkpoints import CheckpointFormatError
from pykbroker.storage.data_directory import DataDirectory, DataDirectoryError, InconsistentDirectory
from pykbroker.storage.files import is_temporary
from pykbroker.storage.meta_properties import (
    META_PROPERTIES,
    MetaProperties,
    read_meta_properties,
    write_meta_properties,
)


class DataDirectories:
    """All entries of `log.dirs`."""

    def __init__(self, dirs: Iterable[str | os.PathLike[str]]) -> None:
        self._dirs = [DataDirectory(os.path.abspath(path)) for path in dirs]
        self._locked = False
        self._failures: deque[tuple[DataDirectory, OSError]] = deque()
        self.on_failure: Callable[[], None] = lambda: None
        """Called, in any thread, when there is something for `take_failures`."""

    # -- whose directories -------------------------------------------------------------------------------------

    def lock(self) -> None:
        """Takes all directories, making those that are missing. Raises LockedDirectory or DataDirectoryError."""
        if self._locked:
            return
        try:
            for directory in self._dirs:
                directory.lock()
        except DataDirectoryError:
            self.unlock()
            raise
        self._locked = True

    def unlock(self) -> None:
        """Gives the directories back without any of a clean end: what a crash does."""
        for directory in self._dirs:
            directory.unlock()
        self._locked = False

    def identity(self) -> MetaProperties | None:
        """What `meta.properties` says, the same in all directories; None when all are new. Usable before `open`.

        Raises InconsistentDirectory where two contradict each other or one can't be understood.
        """
        known: MetaProperties | None = None
        for directory in self._dirs:
            meta = self._read_meta(directory)
            if meta is None:
                continue
            if known is None:
                known = meta
            elif (meta.broker_id, meta.cluster_id) != (known.broker_id, known.cluster_id):
                raise InconsistentDirectory(
                    f"{directory.file(META_PROPERTIES)} has broker.id={meta.broker_id}, cluster.id={meta.cluster_id}; "
                    f"another data directory has broker.id={known.broker_id}, cluster.id={known.cluster_id}"
                )
        return known

    def write_identity(self, broker_id: int, cluster_id: str) -> None:
        """Completes `meta.properties` in every directory. Raises InconsistentDirectory where it says otherwise.

        Blocks on fsync where something is written.
        """
        for directory in self._dirs:
            meta = self._read_meta(directory) or MetaProperties()
            if meta.broker_id == broker_id and meta.cluster_id == cluster_id:
                continue
            for key, stored, wanted in (
                ("broker.id", meta.broker_id, broker_id),
                ("cluster.id", meta.cluster_id, cluster_id),
            ):
                if stored is not None and stored != wanted:
                    raise InconsistentDirectory(f"{directory.file(META_PROPERTIES)} has {key}={stored}, not {wanted}")
            write_meta_properties(directory.path, MetaProperties(broker_id, cluster_id, meta.others))

    def _read_meta(self, directory: DataDirectory) -> MetaProperties | None:
        try:
            return read_meta_properties(directory.path)
        except CheckpointFormatError as error:
            raise InconsistentDirectory(str(error)) from None

    # -- failing directories -----------------------------------------------------------------------------------

    @property
    def failed(self) -> bool:
        """Whether `take_failures` has something to give."""
        return bool(self._failures)

    @property
    def all_offline(self) -> bool:
        """Whether no directory is left."""
        return all(directory.offline for directory in self._dirs)

    def _fail(self, directory: DataDirectory, error: OSError) -> None:
        if not directory.offline:
            self._failures.append((directory, error))
            self.on_failure()

    def _at(self, path: str) -> DataDirectory | None:
        return next((one for one in self._dirs if one.path == path), None)

    def _usable(self) -> list[DataDirectory]:
        return [directory for directory in self._dirs if not directory.offline]

    def _each_directory(self, work: Callable[[DataDirectory], None]) -> None:
        """Has each usable directory worked on; an error that doesn't pass by itself takes only its own offline.

        Raises the last error that does, once all have had their turn.
        """
        passing: OSError | None = None
        for directory in self._usable():
            try:
                work(directory)
            except OSError as error:
                if is_temporary(error):
                    passing = error
                else:
                    self._fail(directory, error)
        if passing is not None:
            raise passing
