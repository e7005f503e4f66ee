"""Count a database's rows in several sessions at once, beside its dump."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import psycopg

from edurise_backup.errors import CancelledError
from edurise_backup.model.database import CHECKSUM_RULE, LargeObjects
from edurise_backup.postgres.counting import count_large_objects, count_rows
from edurise_backup.postgres.facts import Relation
from edurise_backup.postgres.session import Connection, close_quietly, translated


@dataclass(slots=True)
class Counted:
    """Row counts and checksums by the relation's object id."""

    tables: dict[int, tuple[int, str]] = field(default_factory=dict)
    large_objects: LargeObjects = field(default_factory=lambda: LargeObjects(0, "0"))


class Counting:
    """Counting that has begun. The first error stops it, and is raised by `result`."""

    def __init__(
        self,
        relations: Iterable[Relation],
        *,
        open_session: Callable[[], Connection],
        workers: int,
        keep_on: Callable[[], None],
        rule: str = CHECKSUM_RULE,
    ) -> None:
        """`rule`: how checksums are made, one of `CHECKSUM_RULES`."""
        self._rule = rule
        self._open_session = open_session
        self._keep_on = keep_on
        self._counted = Counted()
        self._guard = threading.Lock()
        self._waiting: deque[Relation | None] = deque([None, *relations])  # None: the large objects
        self._sessions: list[Connection] = []
        self._stopped = False
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="count")
        self._futures: list[Future[None]] = [self._pool.submit(self._work) for _ in range(workers)]

    def result(self) -> Counted:
        """Wait for the end and return the counts; raises SourceError, TransientError, UnreachableError."""
        done, _ = wait(self._futures, return_when=FIRST_EXCEPTION)
        failed = [future for future in done if future.exception() is not None]
        if failed:
            self.stop()
            failed[0].result()
        return self._counted

    def stop(self) -> None:
        """End the sessions and wait for the threads."""
        with self._guard:
            self._stopped = True
            self._waiting.clear()
            sessions, self._sessions = self._sessions, []
        for session in sessions:
            close_quietly(session)
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _work(self) -> None:
        session = self._open_session()
        with self._guard:
            self._sessions.append(session)
        try:
            while (relation := self._next()) is not False:
                self._keep_on()
                self._count(session, relation)
        finally:
            close_quietly(session)

    def _next(self) -> Relation | bool | None:
        with self._guard:
            return self._waiting.popleft() if self._waiting else False

    def _count(self, session: Connection, relation: Relation | bool | None) -> None:
        what = relation.full_name if isinstance(relation, Relation) else "the large objects"
        try:
            if isinstance(relation, Relation):
                counted = count_rows(session, relation, self._rule)
                with self._guard:
                    self._counted.tables[relation.oid] = counted
            else:
                self._counted.large_objects = count_large_objects(session)
        except psycopg.Error as error:
            if self._stopped:
                raise CancelledError("counting was stopped") from None
            raise translated(error, what) from error
