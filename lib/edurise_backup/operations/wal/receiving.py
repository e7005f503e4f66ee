"""Keep one cluster's log coming: received, shipped, told; START HERE.

Each step is short and stands alone: what it cannot do now, the next one does.
The server keeps what was not received, the spool keeps what was not shipped,
so nothing is lost while a part of the way is away; how long, the status says.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, ConflictError
from edurise_backup.model.settings import ClusterSettings
from edurise_backup.model.wal_status import WalState, WalStatus
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.configured import opened_repository
from edurise_backup.operations.leases import HeldLeases
from edurise_backup.operations.servers import cluster_address
from edurise_backup.operations.wal.accepting import Acceptor
from edurise_backup.operations.wal.archiving import IDLE, ArchiverWatch, make_acceptor, received_up_to
from edurise_backup.operations.wal.guarding import Exposure, Parts
from edurise_backup.operations.wal.mapping import LogMap
from edurise_backup.operations.wal.names import sample_names
from edurise_backup.operations.wal.shipping import Shipped, Shipper
from edurise_backup.operations.wal.spool import Spool
from edurise_backup.ports import Clock
from edurise_backup.postgres.cluster_facts import read_cluster, refuse_impossible
from edurise_backup.postgres.connection import connect
from edurise_backup.postgres.receiving import ServerWatch, WalReceiver
from edurise_backup.postgres.replication import ReplicationSession
from edurise_backup.postgres.tools import find_program
from edurise_backup.repository.wal_archive import WalArchive

_LOOK_EVERY = timedelta(seconds=2)
_TRIM_EVERY = timedelta(hours=1)
_SAMPLE_EVERY = timedelta(minutes=10)
"""Which file is which table; what changes in between the log itself tells."""


class Reception:
    """The reception of one cluster's log; `step` is called about once a second, by one thread."""

    def __init__(self, settings: Settings, source: ClusterSettings, catalog: Catalog) -> None:
        """Look at the server; raises UnreachableError, ConfigError, ConflictError for what cannot be begun."""
        self.source = source
        self._settings = settings
        self._catalog = catalog
        self._clock: Clock = settings.around.clock
        address = cluster_address(source)
        with connect(address, autocommit=True) as connection:
            facts = read_cluster(connection)
        refuse_impossible(facts, source.name)
        with ReplicationSession(address) as session:
            system = session.identify()
        handed = source.wal.method == "archive"
        slot = "" if handed else slot_of(source)
        self._watch = ServerWatch(address, slot)
        self._spool = Spool(
            spool_folder(settings, source.name), system=system.identifier, size=facts.segment_size, handed=handed
        )
        self._spool.make()
        self._lease: HeldLeases | None = None
        self._holder = uuid4()
        self._address = address
        self._map = log_map = LogMap(catalog.wal, source.name, system.identifier, facts.segment_size)
        self._shipper = Shipper(
            partial(opened_repository, settings),
            lambda repository: WalArchive(
                repository,
                source.name,
                system.identifier,
                facts.segment_size,
                host=settings.host,
                now=self._clock,
                may_delete=not settings.repository.append_only,
            ),
            self._spool,
            log_map,
            size=facts.segment_size,
            confirm=self._confirm,
            now=self._clock,
        )
        if handed:
            self._receiver: WalReceiver | Acceptor = make_acceptor(
                settings, source, facts, self._spool, self._shipper, system=system.identifier
            )
        else:
            bindir = Path(source.bindir) if source.bindir else None
            program = find_program("pg_receivewal", facts.major, bindir=bindir)
            self._receiver = WalReceiver(program, address, slot=slot, folder=self._spool.folder)
        self._archiver = ArchiverWatch(self._spool, self._shipper, began=bool(self._spool.newest)) if handed else None
        self._parts = Parts()
        self._exposure = Exposure()
        self._advice = ""
        self._conflicts = 0
        """Of publications; those that were refused before lie in the spool."""
        self._first_unshipped: datetime | None = None
        self._looked_at: datetime | None = None
        self._sampled_at: datetime | None = None
        self._trimmed_at = settings.around.clock()
        now = self._clock()
        self.status = WalStatus(
            source=source.name,
            system_identifier=system.identifier,
            segment_size=facts.segment_size,
            timeline=system.timeline,
            method=source.wal.method,
            slot=slot,
            host=settings.host,
            pid=os.getpid(),
            started_at=now,
            seen_at=now,
            state=WalState.STARTING,
            ship_seconds=source.wal.ship_seconds,
            spool_limit_bytes=source.wal.spool_mib * 1024 * 1024,
        )

    def step(self) -> Shipped | None:
        """Do what is due: receive, look, beat, ship, tell; return what was shipped. Raises nothing that passes."""
        now = self._clock()
        guarded = partial(self._parts.guard, now=now)
        guarded("reception", self._keep_receiving)
        guarded("the server", partial(self._look, now))
        guarded("trimming", partial(self._trim, now))
        if self._archiver is not None:
            guarded("the repository", self._shipper.open)
            guarded("archiving", partial(self._look_at_archiver, self._archiver))
        shipped = guarded("shipping", self._ship) if self._is_due(now) else None
        self._tell(now)
        return shipped

    def flush(self) -> Shipped | None:
        """Ship at once what waits; raises what keeps it from that."""
        return self._ship() if self._shipper.anything_new() else None

    def close(self) -> None:
        """Stop receiving in order, ship what waits if that is possible now, and say so."""
        self._receiver.stop()
        with suppress(BackupError):
            self.flush()
        self.status = replace(self.status, state=WalState.STOPPED, seen_at=self._clock())
        self._note()
        if self._lease is not None:
            self._lease.release()
        self._shipper.close()
        self._watch.close()

    # Steps

    def _keep_receiving(self) -> bool:
        """Start what receives when it does not run; whether it did run: one that was just started may end at once."""
        if self._receiver.running:
            return True
        if self.status.state is WalState.RECEIVING:
            self.status = replace(self.status, state=WalState.WAITING)
            raise self._receiver.trouble()
        self._hold()
        if self._archiver is None:
            self._watch.ensure_slot()
        self._receiver.start()
        self.status = replace(self.status, state=WalState.RECEIVING)
        return False

    def _hold(self) -> None:
        """Hold the lease of this log: two receivers would ship two halves of it."""
        if self._lease is None:
            leases = self._catalog.leases
            self._lease = HeldLeases(leases, leases.acquire([f"wal/{self.source.name}"], self._holder))

    def _confirm(self) -> None:
        self._hold()
        assert self._lease is not None
        try:
            self._lease.confirm()
        except ConflictError:
            self._lease.release()
            self._lease = None  # asked for anew the next time, and then refused with who has it
            raise

    def _look(self, now: datetime) -> None:
        if self._looked_at is not None and now - self._looked_at < _LOOK_EVERY:
            return
        self._looked_at = now
        if self._sampled_at is None or now - self._sampled_at >= _SAMPLE_EVERY:
            self._sampled_at = now
            sample_names(self._address, self._map)
        position = self._watch.position()
        self._exposure.seen(position)
        self.status = replace(
            self.status,
            server_lsn=position.lsn,
            server_wal_bytes=position.wal_bytes,
        )
        self._look_at_what_came()
        every = self.source.wal.heartbeat_seconds
        if every and (self.status.beat_at is None or now - self.status.beat_at >= timedelta(seconds=every)):
            self._watch.beat(now.isoformat())
            self.status = replace(self.status, beat_at=now)

    def _look_at_what_came(self) -> None:
        if self._archiver is not None:
            received = received_up_to(self._spool, self.status.segment_size, self.status.shipped_lsn)
            self.status = replace(self.status, received_lsn=received)
            return
        slot = self._watch.slot()
        self.status = replace(
            self.status,
            slot_status=slot.status if slot else "missing",
            slot_safe_bytes=slot.safe_bytes if slot else None,
            received_lsn=slot.restart if slot else None,
        )

    def _look_at_archiver(self, watch: ArchiverWatch) -> None:
        found = self._watch.archiver()
        self._advice = "" if found.timeout else IDLE
        watch.look(found)

    def _is_due(self, now: datetime) -> bool:
        """Whether something waits, and has waited long enough: so long that it is there in time when it goes now."""
        if not self._shipper.anything_new():
            self._first_unshipped = None
            return False
        self._first_unshipped = self._first_unshipped or now
        wait = timedelta(seconds=self.source.wal.ship_seconds) - self._ahead()
        return now - self._first_unshipped >= wait or self._spool.has_several()

    def _ahead(self) -> timedelta:
        return min(timedelta(seconds=5), timedelta(seconds=self.source.wal.ship_seconds) / 3)

    def _ship(self) -> Shipped:
        shipped = self._shipper.ship()
        now = self._clock()
        self._catalog.wal.arrived(shipped.arrivals)
        if shipped.branches:
            self._catalog.wal.branched(self.source.name, self.status.system_identifier, shipped.branches, now)
        self._shipper.told(shipped)
        self._first_unshipped = None
        ends = [end for end in (shipped.end, self.status.shipped_lsn) if end is not None]
        commits = [at for at in (shipped.last_commit, self.status.last_commit_at) if at is not None]
        published = shipped.published
        self._conflicts += len(published.conflicts) if published else 0
        self.status = replace(
            self.status,
            shipped_lsn=max(ends, default=None),
            shipped_at=now if published else self.status.shipped_at,
            last_commit_at=max(commits, default=None),
            timeline=max((one.segment.timeline for one in shipped.arrivals), default=self.status.timeline),
        )
        return shipped

    def _trim(self, now: datetime) -> None:
        """Take away what retention has left no base backup for; only the receiver changes the archive."""
        if now - self._trimmed_at < _TRIM_EVERY:
            return
        system = self.status.system_identifier
        needed = self._catalog.wal.oldest_needed(self.source.name, system, now)
        if needed is not None and self._shipper.trim(needed):
            self._catalog.wal.trimmed(self.source.name, system, needed // self.status.segment_size)
        self._trimmed_at = now

    def _tell(self, now: datetime) -> None:
        shipped = self.status.shipped_lsn
        self.status = replace(
            self.status,
            seen_at=now,
            trouble=self._parts.trouble,
            hint=self._parts.hint or self._advice,
            trouble_since=self._parts.since,
            exposed_since=self.status.started_at if shipped is None else self._exposure.since(shipped),
            spool_bytes=self._spool.used,
            quarantined=self._spool.put_aside,
            conflicts=self._conflicts + self._spool.conflicts,
        )
        self._note()

    def _note(self) -> None:
        """Write the row, unless another receiver has this log: the row is his."""
        if self._lease is not None:
            with suppress(BackupError):  # a catalog that is away is told of by the watch; the log goes on
                self._catalog.wal.note(self.status)


def slot_of(source: ClusterSettings) -> str:
    """Return the name of a source's replication slot."""
    return source.wal.slot or "edurise_backup_" + re.sub(r"[^a-z0-9_]", "_", source.name.lower())


def spool_folder(settings: Settings, source: str) -> Path:
    """Return where a source's log waits until it is in the repository."""
    return settings.data_directory / "wal" / source
