"""Hold what the server says of its archive_command against what came here, and advise on its settings.

A command that answers 0 without keeping the file loses the log in silence, and
the server's own figures look healthy: the last file that it counts as archived
must be in the spool or in the repository.
"""

from __future__ import annotations

from pathlib import Path

from edurise_backup.config import Settings
from edurise_backup.errors import ConfigError, SourceError
from edurise_backup.model.settings import ClusterSettings
from edurise_backup.model.wal import Lsn, parse_wal_name
from edurise_backup.operations.servers import cluster_address, look_at
from edurise_backup.operations.wal.accepting import Acceptor
from edurise_backup.operations.wal.keeping import Keeper
from edurise_backup.operations.wal.reaching import Owner, owner_of
from edurise_backup.operations.wal.shipping import Shipper
from edurise_backup.operations.wal.spool import Spool
from edurise_backup.postgres.cluster_facts import ClusterFacts
from edurise_backup.postgres.receiving import Archiver

_COMMAND = "`edurise-backup wal archive-command` prints the line for postgresql.conf"
IDLE = (
    "archive_timeout of the server is 0: a segment that does not fill is not handed over, so what an idle server would "
    "lose has no limit; set archive_timeout = 60 and reload it"
)


def socket_place(settings: Settings, source: ClusterSettings) -> Path:
    """Return where files of a source are accepted."""
    return Path(source.wal.socket or settings.data_directory / "wal" / source.name / "archive.sock")


def make_acceptor(
    settings: Settings, source: ClusterSettings, facts: ClusterFacts, spool: Spool, shipper: Shipper, *, system: str
) -> Acceptor:
    """Return what accepts the files of a source; it does not listen yet."""
    keeper = Keeper(spool, shipper.look, system=system, size=facts.segment_size)
    return Acceptor(socket_place(settings, source), keeper, owner=server_owner(source, facts))


def server_owner(source: ClusterSettings, facts: ClusterFacts) -> Owner | None:
    """Return who runs the server, by its data directory; None where that cannot be seen. Raises UnreachableError."""
    place = source.data_directory or look_at(cluster_address(source)).directory
    return owner_of(place or facts.data_directory)  # a server that is reached by a host's name may be here all the same


def refuse_idle(found: Archiver) -> None:
    """Raise ConfigError for a server that hands nothing over."""
    if found.mode == "off":
        raise ConfigError(
            "archive_mode is off: the server hands nothing over",
            safe="nothing of the server was changed",
            hint=f"set archive_mode = on and restart it; {_COMMAND}",
        )
    if found.library:
        raise ConfigError(
            f"archive_library is {found.library}: the server does not run its archive_command",
            safe="nothing of the server was changed",
            hint=f"set archive_library = '' and reload it; {_COMMAND}",
        )
    if not found.command:
        raise ConfigError(
            "archive_command is empty: the server keeps its whole log, and its disk fills",
            safe="nothing of the server was changed",
            hint=_COMMAND,
        )


class ArchiverWatch:
    """Remembers what the server's archiver said, and what of it was found here."""

    def __init__(self, spool: Spool, shipper: Shipper, *, began: bool) -> None:
        """`began`: something of this log was received before, so that nothing may be missing."""
        self._spool = spool
        self._shipper = shipper
        self._proved: str | None = None
        self._began = began

    def look(self, found: Archiver) -> None:
        """Raise ConfigError, SourceError when the archiver hands nothing over, fails, or has lost a file."""
        refuse_idle(found)
        last = found.archived
        if last and last != self._proved and self._is_missing(last):
            raise SourceError(
                f"the server's archive_command reports success for {last}, which never came here",
                safe="what came before is kept",
                hint=f"the log has a hole there: put archive_command right ({_COMMAND}), then take a base backup",
            )
        if found.failing:
            raise SourceError(
                f"the server's archive_command fails for {found.failed} ({found.failures} times in all)",
                safe="the server keeps what it could not hand over, for as long as its disk has room",
                hint="its log says why: search for `edurise-backup archive`",
            )

    def _is_missing(self, name: str) -> bool:
        if not self._spool.holds(name):
            there = self._shipper.has(name)
            if there is None:
                return False  # asked again: the repository is not open yet
            if not there and self._began:
                return True
        self._proved = name  # what another command archived before we began is none of ours
        self._began = True
        return False


def received_up_to(spool: Spool, size: int, shipped: Lsn | None) -> Lsn | None:
    """Return up to where the log has come: the end of the newest segment here, or what was shipped."""
    newest = parse_wal_name(spool.newest, size)
    here = newest.segment.end(size) if newest and newest.segment else None
    return max((one for one in (here, shipped) if one is not None), default=None)
