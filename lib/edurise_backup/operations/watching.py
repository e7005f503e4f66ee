"""The watch: end dead jobs, judge expected runs, look what is wrong, tell people, say that it works.

It needs no Prefect. Each round stands alone: whatever a round could not do, the next one does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from edurise_backup.catalog.reconcile import EndedJob
from edurise_backup.catalog.signs import write_sign
from edurise_backup.config import Settings
from edurise_backup.errors import BackupError
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.monitoring.logs import log_alarm
from edurise_backup.monitoring.notifications import Send, send
from edurise_backup.operations.alarms import look
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.judging import judge_runs
from edurise_backup.operations.primary import look_at_primary
from edurise_backup.operations.retention_drift import look_for_drift
from edurise_backup.operations.telling import Delivered, deliver, tell_directly
from edurise_backup.ports import Clock

SERVICE = "watch"
"""Under this name the watch says that it works."""
CATALOG_PATIENCE = timedelta(minutes=3)
"""A catalog that does not answer for so long is told of without it."""
CATALOG_AGAIN = timedelta(hours=6)
"""While it stays away, people are told again so often."""


@dataclass(frozen=True, slots=True)
class Watched:
    """What one round found and did."""

    at: datetime
    dead: tuple[EndedJob, ...] = ()
    raised: tuple[Alarm, ...] = ()
    """Alarms that are new."""
    delivered: Delivered = field(default_factory=Delivered)
    unreadable: tuple[str, ...] = ()
    """Schedules that cannot be planned, a sentence each."""

    @property
    def lines(self) -> list[str]:
        """What a log should say of it; nothing when nothing happened."""
        return [
            *(f"{job.kind} {job.id} was found dead and is marked as failed: {job.error}" for job in self.dead),
            *(f"alarm [{alarm.severity.value}] {alarm.message}" for alarm in self.raised),
            *(f"schedule {problem}" for problem in self.unreadable),
            *(f"not told: {problem}" for problem in self.delivered.failed),
        ]


def watch_catalog(
    settings: Settings,
    catalog: Catalog,
    *,
    clock: Clock | None = None,
    host_clock: Clock | None = None,
    send_message: Send = send,
) -> Watched:
    """Do one round with an open catalog; raises what the catalog raises.

    `host_clock` is compared with the catalog server's, the same as `clock`
    unless given. The look comes before the sign: whoever starts again after a
    gap tells of the gap.
    """
    clock = clock or settings.around.clock
    now = clock()
    dead = catalog.reconcile()
    judged = judge_runs(catalog, now)
    look_at_primary(settings, catalog, now)
    raised = (*judged.alarms, *look(settings, catalog, now, clock=host_clock or clock))
    look_for_drift(catalog, now)
    for alarm in raised:
        log_alarm(alarm)
    write_sign(catalog.sessions, SERVICE, now)
    delivered = deliver(settings, catalog, now, send_message=send_message)
    return Watched(now, dead, raised, delivered, judged.unreadable)


def watch_once(settings: Settings, *, send_message: Send = send) -> Watched:
    """Open the catalog, do one round, and return what it found; raises UnreachableError and its kin."""
    with open_catalog(settings) as catalog:
        return watch_catalog(settings, catalog, send_message=send_message)


@dataclass(slots=True)
class Watch:
    """A watch that goes on: keeps the catalog open between rounds, and tells people when that does not answer."""

    settings: Settings
    clock: Clock | None = None
    """The settings' own, unless another one is given."""
    send_message: Send = send
    opener: Callable[[Settings], Catalog] = open_catalog
    _catalog: Catalog | None = None
    _away_since: datetime | None = None
    _told_at: datetime | None = None

    def round(self) -> Watched | BackupError:
        """Do one round; return what it found, or why it could not be done. The next one tries again."""
        try:
            done = watch_catalog(self.settings, self.catalog(), clock=self.clock, send_message=self.send_message)
        except BackupError as error:
            self.close()  # what is wrong with it may be gone once it is opened again
            self._tell_of_the_catalog(error)
            return error
        self._away_since = self._told_at = None
        return done

    def catalog(self) -> Catalog:
        """Return the catalog, opened when it is not; raises UnreachableError and its kin."""
        if self._catalog is None:
            self._catalog = self.opener(self.settings)
        return self._catalog

    def close(self) -> None:
        """Let go of the catalog."""
        catalog, self._catalog = self._catalog, None
        if catalog is not None:
            catalog.close()

    def _tell_of_the_catalog(self, error: BackupError) -> None:
        now = (self.clock or self.settings.around.clock)()
        self._away_since = self._away_since or now
        due = self._told_at is None or now - self._told_at >= CATALOG_AGAIN
        if now - self._away_since < CATALOG_PATIENCE or not due:
            return
        self._told_at = now
        tell_directly(self.settings, _catalog_away(error, self._away_since), send_message=self.send_message)


def _catalog_away(error: BackupError, since: datetime) -> Alarm:
    return Alarm(
        AlarmKind.SERVICE_DOWN,
        "catalog",
        Severity.CRITICAL,
        f"the catalog does not answer since {since:%Y-%m-%d %H:%M:%S} UTC: {error.message}",
        f"{error.hint or 'start its server and read its log'}; no job can be started or recorded meanwhile. "
        "Backups in the repository are not affected",
    )
