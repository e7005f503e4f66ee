"""Stream archives into a database: definitions, then rows in parallel, then indexes, constraints and triggers.

The main archive's table of contents is kept in memory (not on a disk): it is
all that pg_restore needs for the definitions, and lets it work in parallel on
the indexes. Rows go straight from the repository into the server.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Protocol

from edurise_backup.errors import CancelledError
from edurise_backup.model.database import DatabaseRecord
from edurise_backup.postgres.programs import Program, warnings_of
from edurise_backup.postgres.tools import Tools


class ArchiveReader(Protocol):
    """Gives the files of a snapshot."""

    def open(self, path: str) -> Iterator[bytes]:
        """Yield the file's bytes from front to back; called from several threads. Raises NotFoundError, DamageError."""


class ArchiveLoader:
    """Runs pg_restore for the parts of one database; programs that still run at the end are killed."""

    def __init__(
        self,
        reader: ArchiveReader,
        record: DatabaseRecord,
        *,
        tools: Tools,
        environment: dict[str, str],
        database: str,
        tablespaces: bool,
        parallel: int,
        keep_on: Callable[[int], None],
    ) -> None:
        """`keep_on` is told how many bytes were loaded, and may raise to stop."""
        self.notes: list[str] = []
        self._reader = reader
        self._record = record
        self._pg_restore = tools.pg_restore
        # what is written here is made durable by the synchronous commits that follow in the caller's session
        self._environment = environment | {"PGOPTIONS": "-c synchronous_commit=off"}
        self._database = "dbname='" + database.replace("\\", "\\\\").replace("'", "\\'") + "'"
        self._tablespaces = tablespaces
        self._parallel = parallel
        self._keep_on = keep_on
        self._running: set[Program] = set()
        self._guard = threading.Lock()
        self._stopped = False

    def load(self) -> None:
        """Restore everything; raises ToolError, and what the reader raises."""
        main = self._record.archives[0]
        with self._head(main) as head:
            self._restore("--section=pre-data", file=head)
            self._load_rows()
            # a materialized view is filled again as its owner, under the policies that applied before
            options = ("--enable-row-security", f"--jobs={self._parallel}")
            self._restore("--section=post-data", *options, file=head)

    @contextmanager
    def _head(self, archive: str) -> Iterator[str]:
        """Yield the path of a file in memory that begins like the archive and holds its table of contents."""
        descriptor = os.memfd_create("archive", os.MFD_CLOEXEC)
        try:
            with Program([self._pg_restore, "--list"], environment=self._environment, feed=True) as listing:
                for piece in self._pieces(archive):
                    _write_all(descriptor, piece)
                    if not listing.write(piece):
                        break
                listing.finish()
            yield f"/proc/{os.getpid()}/fd/{descriptor}"
        finally:
            os.close(descriptor)

    def _load_rows(self) -> None:
        main, *large = self._record.archives
        sizes = {table.archive: table.bytes for table in self._record.tables}
        large.sort(key=lambda archive: -sizes.get(archive, 0))
        with ThreadPoolExecutor(self._parallel, thread_name_prefix="load") as pool:
            try:
                futures = [pool.submit(self._load, archive) for archive in (main, *large)]
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                failed = [error for future in done if (error := future.exception()) is not None]
                if failed:
                    # whoever was killed because of the first error says so too; the first one counts
                    raise next((one for one in failed if not isinstance(one, CancelledError)), failed[0])
            except BaseException:
                self._stop()
                pool.shutdown(wait=True, cancel_futures=True)
                raise

    def _load(self, archive: str) -> None:
        with self._started("--section=data") as program:
            for piece in self._pieces(archive):
                self._keep_on(len(piece))
                if not program.write(piece):
                    break
            self._finish(program)

    def _pieces(self, archive: str) -> Iterator[bytes]:
        return self._reader.open(f"{self._record.folder}/{archive}")

    def _restore(self, *options: str, file: str) -> None:
        self._keep_on(0)
        with self._started(*options, file=file) as program:
            self._finish(program)

    def _finish(self, program: Program) -> None:
        program.finish()
        with self._guard:
            self.notes += warnings_of(program.words())

    @contextmanager
    def _started(self, *options: str, file: str | None = None) -> Iterator[Program]:
        command = [
            *(self._pg_restore, "--exit-on-error", "--no-password", f"--dbname={self._database}"),
            *(() if self._tablespaces else ("--no-tablespaces",)),
            *options,
            *((file,) if file else ()),
        ]
        with Program(command, environment=self._environment, feed=True) as program:
            with self._guard:
                if self._stopped:
                    raise CancelledError("the restore was stopped")
                self._running.add(program)
            try:
                yield program
            finally:
                with self._guard:
                    self._running.discard(program)

    def _stop(self) -> None:
        with self._guard:
            self._stopped = True
            for program in self._running:
                program.kill()


def _write_all(descriptor: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(descriptor, view) :]
