"""Open the catalog that the settings name: a PostgreSQL database, or an embedded server of our own."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from edurise_backup.catalog.accounts import Accounts
from edurise_backup.catalog.alarms import Alarms
from edurise_backup.catalog.approvals import Approvals
from edurise_backup.catalog.audit import AuditTrail
from edurise_backup.catalog.clocks import present
from edurise_backup.catalog.copies import BackupCopies
from edurise_backup.catalog.expected_runs import ExpectedRuns
from edurise_backup.catalog.jobs import BackupJobs
from edurise_backup.catalog.leases import SILENCE, Leases
from edurise_backup.catalog.maintenance import MaintenanceJobs
from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.processes import this_process
from edurise_backup.catalog.protections import Protections
from edurise_backup.catalog.reconcile import EndedJob, reconcile_dead
from edurise_backup.catalog.recoveries import RecoveryJobs
from edurise_backup.catalog.schedules import Schedules
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.catalog.shards import Shards
from edurise_backup.catalog.signed_in import SignedIn
from edurise_backup.catalog.store_use import StoreUse
from edurise_backup.catalog.stores import Stores
from edurise_backup.catalog.verifications import Verifications
from edurise_backup.catalog.wal import WalCatalog
from edurise_backup.config import FILE_NAME, Settings
from edurise_backup.errors import ConfigError, InputError
from edurise_backup.operations.secrets import kept_secret, known, read_secret
from edurise_backup.ports import Clock, utc_now
from edurise_backup.postgres.connection import Address, parse_address
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.tools import find_server

_USER = "edurise_catalog"
_EMBEDDED = "catalog"


class Catalog:
    """The job tables; jobs whose process has died are ended when it is opened."""

    def __init__(
        self,
        sessions: Sessions,
        held: ExitStack,
        *,
        clock: Clock = utc_now,
        host: str = "",
        silence: timedelta = SILENCE,
    ) -> None:
        self.sessions = sessions
        self.clock = clock
        self.host = host
        self.silence = silence
        """Who gives no sign of life for so long counts as dead."""
        self.jobs = BackupJobs(sessions, clock=clock, host=host)
        self.verifications = Verifications(sessions, clock=clock, host=host)
        self.recoveries = RecoveryJobs(sessions, clock=clock, host=host)
        self.maintenance = MaintenanceJobs(sessions, clock=clock, host=host)
        self.audit = AuditTrail(sessions, clock=clock)
        self.alarms = Alarms(sessions, clock=clock)
        self.leases = Leases(sessions, clock=clock, length=silence, host=host)
        self.schedules = Schedules(sessions)
        self.expected_runs = ExpectedRuns(sessions)
        self.protections = Protections(sessions)
        self.accounts = Accounts(sessions, clock=clock)
        self.signed_in = SignedIn(sessions, clock=clock)
        self.approvals = Approvals(sessions, clock=clock)
        self.shards = Shards(sessions, clock=clock)
        self.stores = Stores(sessions, clock=clock)
        self.copies = BackupCopies(sessions)
        self.store_use = StoreUse(sessions)
        self.wal = WalCatalog(sessions)
        self.primary_looked_at: datetime | None = None
        """When whoever holds this catalog open last looked whether the primary is there."""
        self._held = held

    def reconcile(self) -> tuple[EndedJob, ...]:
        """Mark jobs as failed whose process died or that were never started; return them."""
        now = self.sessions.run(lambda connection: present(connection, self.clock))
        return reconcile_dead(self.sessions, now, heartbeat_timeout=self.silence, seen_from=this_process(self.host))

    def close(self) -> None:
        """Let go of the connections; an embedded server that nobody else uses is stopped."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_catalog(settings: Settings) -> Catalog:
    """Open the catalog, brought to this release's schema; raises UnreachableError, UnsupportedVersionError.

    Raises ConfigError where no configuration is in force: a new, empty catalog would say that all is well.
    """
    if settings.path is None and not settings.repository.location and not catalog_is_there(settings):
        raise ConfigError(
            f"no configuration is named, and there is no {FILE_NAME} in this directory",
            safe="nothing was made or changed",
            hint="name it with --config or EDURISE_CONFIG, or go to its directory",
        )
    with ExitStack() as stack:
        address = _address(settings, stack)
        sessions = Sessions.to(address)
        stack.callback(sessions.close)
        migrate(sessions)
        catalog = Catalog(
            sessions,
            stack.pop_all(),
            clock=settings.around.clock,
            host=settings.host,
            silence=timedelta(seconds=settings.catalog.silence_seconds),
        )
    catalog.reconcile()
    return catalog


def catalog_is_there(settings: Settings) -> bool:
    """Whether opening the catalog would open one that exists; one with a URL is taken to."""
    return bool(settings.catalog.url) or (settings.data_directory / _EMBEDDED).is_dir()


def _address(settings: Settings, stack: ExitStack) -> Address:
    if settings.catalog.url:
        place = settings.catalog.password("catalog")
        password = read_secret(place, spaces_count=True) if place else None
        return parse_address(settings.catalog.url, password=password, allow_plaintext=settings.catalog.allow_plaintext)
    return stack.enter_context(_embedded(settings.data_directory))


@contextmanager
def _embedded(data_directory: Path) -> Iterator[Address]:
    """Have the embedded server run; whoever leaves last stops it."""
    try:
        data_directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        password = known(kept_secret(data_directory / "catalog.password"))
        users = os.open(data_directory / "catalog.users", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(
            f"the data directory {data_directory} cannot be used: {error.strerror}",
            hint="set data_directory to a folder that this user may write",
        ) from error
    try:
        fcntl.flock(users, fcntl.LOCK_SH)
        server = Server(data_directory / _EMBEDDED, binaries=find_server(), password=password, user=_USER)
        server.initialise()
        yield server.start()
        try:
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return  # somebody else uses it
        server.stop()
    finally:
        os.close(users)
