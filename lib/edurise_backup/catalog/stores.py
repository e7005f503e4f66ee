"""The rows of `stores`: where repositories lie, how registered ones are opened, what was last seen there."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from edurise_backup.catalog.audit import add_row
from edurise_backup.catalog.sessions import Connection, Sessions
from edurise_backup.errors import ConflictError, DamageError, NotFoundError
from edurise_backup.model.people import Actor
from edurise_backup.model.probe import Probe
from edurise_backup.model.settings import CopySettings
from edurise_backup.model.stores import PRIMARY, KnownStore, Origin
from edurise_backup.ports import Clock, utc_now


@dataclass(frozen=True, slots=True)
class StoreRow:
    """A row of `stores`; sizes in bytes."""

    name: str
    role: str
    origin: Origin
    location: str
    settings: Mapping[str, Any]
    registered_at: datetime
    registered_by: str
    repository_id: str
    own_key: bool | None
    own_place: bool | None
    snapshots: int | None
    bytes: int | None
    seen_at: datetime | None
    trouble: str
    unreachable_since: datetime | None
    probe: Mapping[str, Any] | None
    probed_at: datetime | None

    @property
    def known(self) -> KnownStore:
        """Return a registered store as the configuration would tell it; raises DamageError."""
        try:
            found = msgspec.convert(dict(self.settings), CopySettings)
        except msgspec.ValidationError as error:
            raise DamageError(
                f"the row of the store {self.name} is not readable: {error}",
                hint=f"a later release wrote it: install that, or `edurise-backup store remove {self.name}`",
            ) from error
        return KnownStore(self.name, found, Origin.REGISTER)

    @property
    def probed(self) -> Probe | None:
        """What the probe has found; None without one, or when another release wrote it."""
        try:
            return msgspec.convert(dict(self.probe), Probe) if self.probe else None
        except msgspec.ValidationError:
            return None


@dataclass(frozen=True, slots=True)
class Seen:
    """What opening a store has shown."""

    repository_id: str
    snapshots: int
    bytes: int | None = None
    own_key: bool | None = None
    own_place: bool | None = None


class Stores:
    """The rows of `stores`."""

    def __init__(self, sessions: Sessions, *, clock: Clock = utc_now) -> None:
        self._sessions = sessions
        self._clock = clock

    def all(self) -> tuple[StoreRow, ...]:
        """Return every row: the primary, then the copies as they came."""

        def read(connection: Connection) -> tuple[StoreRow, ...]:
            with connection.cursor(row_factory=dict_row) as cursor:
                rows = cursor.execute("SELECT * FROM stores ORDER BY role DESC, registered_at, name").fetchall()
            return msgspec.convert(rows, tuple[StoreRow, ...])

        return self._sessions.run(read)

    def get(self, name: str) -> StoreRow:
        """Return one row; raises NotFoundError."""
        found = next((row for row in self.all() if row.name == name), None)
        if found is None:
            raise NotFoundError(
                f"no store is named {name!r}",
                safe="nothing was changed",
                hint="`edurise-backup store list` shows them",
            )
        return found

    def note_configured(self, stores: Collection[KnownStore]) -> None:
        """Have a row for each store that the configuration names; what was seen of it stays."""
        now = self._clock()

        def work(connection: Connection) -> None:
            for store in stores:
                connection.execute(
                    """INSERT INTO stores (name, role, origin, location, registered_at, registered_by)
                       VALUES (%s, %s, 'configuration', %s, %s, 'configuration')
                       ON CONFLICT (name) DO UPDATE SET origin = 'configuration', location = excluded.location,
                           settings = '{}'
                       WHERE stores.origin <> 'configuration' OR stores.location <> excluded.location""",
                    (store.name, "primary" if store.name == PRIMARY else "copy", store.settings.location, now),
                )

        self._sessions.run(work)

    def register(self, store: KnownStore, actor: Actor, *, probe: Probe | None) -> None:
        """Write the row of a copy with the audit row of who did it; raises ConflictError for a name that is there."""
        now = self._clock()
        settings = {name: value for name, value in msgspec.to_builtins(store.settings).items() if value}

        def work(connection: Connection) -> None:
            done = connection.execute(
                """INSERT INTO stores (name, role, origin, location, settings, registered_at, registered_by)
                   VALUES (%s, 'copy', 'register', %s, %s, %s, %s) ON CONFLICT DO NOTHING""",
                (store.name, store.settings.location, Jsonb(settings), now, actor.name),
            )
            if not done.rowcount:
                raise ConflictError(
                    f"a store is named {store.name!r} already",
                    safe="no store was registered",
                    hint="choose another name; `edurise-backup store list` shows them",
                )
            add_row(
                connection, actor, "store.register", store.name, detail={"location": store.settings.location}, at=now
            )

        self._sessions.run(work)
        if probe is not None:
            self.note_probe(store.name, probe)

    def remove(self, name: str, actor: Actor) -> None:
        """Remove a row with what is known of its copies; the repository itself is not touched."""
        now = self._clock()

        def work(connection: Connection) -> None:
            connection.execute("DELETE FROM stores WHERE name = %s", (name,))
            add_row(connection, actor, "store.remove", name, at=now)

        self._sessions.run(work)

    def adopt(self, name: str, repository_id: str, actor: Actor) -> None:
        """Have another repository in a store's place; what a copy was known to hold is forgotten."""
        now = self._clock()

        def work(connection: Connection) -> None:
            before = connection.execute(
                """SELECT repository_id, location FROM stores WHERE name = %s FOR UPDATE""", (name,)
            ).fetchone()
            assert before is not None
            if before[0] == repository_id:
                return  # it is the one that is known
            connection.execute("DELETE FROM backup_copies WHERE store = %s", (name,))
            connection.execute("UPDATE stores SET repository_id = %s WHERE name = %s", (repository_id, name))
            detail = {"before": before[0], "now": repository_id, "location": before[1]}
            add_row(connection, actor, "store.adopt", name, detail=detail, at=now)

        self._sessions.run(work)

    def note_seen(self, name: str, seen: Seen) -> None:
        """Note that a store opened, and what is there; what is not known now stays as it was.

        Which repository is whose is noted once: only `adopt` changes it, and of another one nothing is noted.
        """
        query = """UPDATE stores SET repository_id = %(id)s, snapshots = %(snapshots)s,
                       bytes = coalesce(%(bytes)s, bytes), own_key = coalesce(%(own_key)s, own_key),
                       own_place = coalesce(%(own_place)s, own_place), seen_at = %(at)s,
                       trouble = '', unreachable_since = NULL
                   WHERE name = %(name)s AND repository_id IN ('', %(id)s)"""
        values = {
            "id": seen.repository_id,
            "snapshots": seen.snapshots,
            "bytes": seen.bytes,
            "own_key": seen.own_key,
            "own_place": seen.own_place,
            "at": self._clock(),
            "name": name,
        }
        self._sessions.run(lambda connection: connection.execute(query, values) and None)

    def note_opened(self, name: str, repository_id: str) -> None:
        """Note which repository a store opened as; what it holds was not looked at."""
        query = """UPDATE stores SET repository_id = %(id)s, seen_at = %(at)s, trouble = '', unreachable_since = NULL
                   WHERE name = %(name)s AND repository_id IN ('', %(id)s)"""
        values = {"id": repository_id, "at": self._clock(), "name": name}
        self._sessions.run(lambda connection: connection.execute(query, values) and None)

    def note_size(self, name: str, size: int) -> None:
        """Note how many bytes a store's packs have, as the job that has just ended knows it."""
        query = "UPDATE stores SET bytes = %s WHERE name = %s"
        self._sessions.run(lambda connection: connection.execute(query, (size, name)) and None)

    def note_trouble(self, name: str, trouble: str, *, unreachable: bool) -> None:
        """Note what was wrong with a store when it was used."""
        query = """UPDATE stores SET trouble = %s,
                       unreachable_since = CASE WHEN %s THEN coalesce(unreachable_since, %s) END
                   WHERE name = %s"""
        self._sessions.run(lambda c: c.execute(query, (trouble, unreachable, self._clock(), name)) and None)

    def note_probe(self, name: str, probe: Probe) -> None:
        """Keep what a probe has found."""
        values = (Jsonb(msgspec.to_builtins(probe)), probe.at, name)
        self._sessions.run(
            lambda c: c.execute("UPDATE stores SET probe = %s, probed_at = %s WHERE name = %s", values) and None
        )
