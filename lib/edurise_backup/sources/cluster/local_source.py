"""A base backup of a cluster whose data directory this machine can read: START HERE for physical backups."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from edurise_backup.errors import ConfigError, SourceError
from edurise_backup.model.cluster import DATA, TABLESPACES, ClusterRecord, DamagedFile, Tablespace
from edurise_backup.model.wal import Branch, Lsn, Timeline, format_lsn, segments_between
from edurise_backup.ports import Entry, Progress
from edurise_backup.postgres.backup_session import BackupSession, Stopped
from edurise_backup.postgres.cluster_facts import read_databases
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.control_file import ControlFile
from edurise_backup.sources.cluster.local import DataDirectory
from edurise_backup.sources.cluster.record import ClusterFolder, damage_told, relation_of
from edurise_backup.sources.cluster.settings import CUT, WAL_CUT

_BOOT = "/proc/sys/kernel/random/boot_id"


class LocalCluster:
    """A `Source`: as a context manager it holds the session in which the server knows of the copy."""

    def __init__(
        self,
        address: Address,
        *,
        name: str,
        data_directory: str,
        progress: Progress,
        cut: int = CUT,
        fast: bool = True,
    ) -> None:
        self.name = name
        self._address = address
        self._directory = data_directory
        self._progress = progress
        self._cut = cut
        self._fast = fast
        self._damaged: list[DamagedFile] = []
        self._problems: list[str] = []
        self.record: ClusterRecord | None = None
        """What the copy says of itself; there when all has been read."""

    def __enter__(self) -> LocalCluster:
        self._session = BackupSession(self._address, self.name)
        try:
            _refuse_elsewhere(self._directory, self._session)
            self._progress.phase(f"checkpoint of {self.name}")
            self._begun = self._session.facts.now
            self._start = self._session.start(fast=self._fast)
            self._data = self._opened(self._session)
            self._databases = read_databases(self._address, self._session.connection)
        except BaseException:
            self._session.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def _opened(self, session: BackupSession) -> DataDirectory:
        facts = session.facts
        return DataDirectory(
            self._directory,
            cut=self._cut,
            block=facts.block_size,
            check_before=self._start if facts.data_checksums else None,
            damaged=lambda path, pages: self._damaged.append(self._named(path, pages)),
        )

    def root(self) -> Entry:
        """Return `/`, down to the cluster's folder."""
        self._progress.phase(f"cluster {self.name}")
        return ClusterFolder(self.name, int(self._begun.timestamp()) * 1_000_000_000).root(self._children)

    def problems(self) -> list[str]:
        """Return what is not as it should be, damaged pages first."""
        return [*damage_told(self.name, self._damaged), *self._problems, *self._data.problems()]

    def why_full(self, before: ClusterRecord) -> str:
        """Return why no file may be taken unread from the backup that `before` describes, or nothing."""
        control = self._data.control()
        same = (
            (before.system_identifier, control.system_identifier, "it is another cluster"),
            (before.timeline, control.timeline, "the timeline is another one"),
            (before.method, "local", "the last backup came over the network"),
            (before.boot, _boot(), "the machine was started anew"),
            (before.server_started, self._session.facts.started, "the server was started anew"),
            (before.data_checksums, self._session.facts.data_checksums, "page checksums were switched"),
        )
        return next((reason for was, now, reason in same if was != now), "") or self._data.untrusted()

    def _children(self, folder: ClusterFolder) -> Iterator[Entry]:
        control = self._data.control()
        owner = Path(self._directory).stat()
        folder.own(owner.st_uid, owner.st_gid)
        spaces = self._tablespaces()
        version = f"PG_{self._session.facts.major}_{control.catalog_version}"
        yield folder.folder(TABLESPACES, lambda: (self._data.tablespace(one, version) for one in spaces), ordered=False)
        stopped: list[Stopped] = []

        def data() -> Iterator[Entry]:
            yield from self._data.most()
            yield self._data.shared()
            stopped.append(self._stop())
            yield folder.file("backup_label", stopped[0].label)
            if stopped[0].tablespace_map:
                yield folder.file("tablespace_map", stopped[0].tablespace_map)
            yield self._data.wal(self._segments(control, stopped[0]), WAL_CUT)

        place = self._directory
        yield Entry(self._data.node(place, DATA), place, data, ordered=False)
        self.record = self._recorded(control, stopped[0], spaces)
        yield folder.record(self.record)

    def _stop(self) -> Stopped:
        stopped = self._session.stop()
        # a line each: the oid, a blank, the place, in which a line's end has a backslash before it
        mapped = {int(oid) for oid in re.findall(rb"(?:^|(?<!\\)\n)(\d+) ", stopped.tablespace_map)}
        if mapped != self._data.links.keys():
            raise SourceError(
                f"a tablespace of {self.name} was made or dropped while it was copied",
                safe="nothing was published; earlier backups are whole",
                hint="run the backup again",
            )
        return stopped

    def _tablespaces(self) -> list[Tablespace]:
        names = {space.oid: space.name for space in self._session.facts.tablespaces}
        return [Tablespace(oid, names.get(oid, str(oid)), place) for oid, place in sorted(self._data.links.items())]

    def _segments(self, control: ControlFile, stopped: Stopped) -> list[str]:
        size = self._session.facts.segment_size
        way = [Branch(Timeline(control.timeline), Lsn(0), None)]
        return [segment.name(size) for segment in segments_between(way, self._start, stopped.lsn, size)]

    def _recorded(self, control: ControlFile, stopped: Stopped, spaces: list[Tablespace]) -> ClusterRecord:
        facts = self._session.facts
        return ClusterRecord(
            name=self.name,
            method="local",
            system_identifier=control.system_identifier,
            server_version=facts.settings.get("server_version", str(facts.major)),
            server_major=facts.major,
            catalog_version=control.catalog_version,
            timeline=control.timeline,
            start_lsn=format_lsn(self._start),
            start_time=self._begun.astimezone(UTC),
            stop_lsn=format_lsn(stopped.lsn),
            stop_time=self._session.now().astimezone(UTC),
            segment_size=facts.segment_size,
            block_size=facts.block_size,
            data_checksums=facts.data_checksums,
            data_directory=self._directory,
            settings=facts.settings,
            superuser=self._session.facts.superuser,
            databases=self._databases,
            tablespaces=spaces,
            wal=self._segments(control, stopped),
            damaged=list(self._damaged),
            next_xid=control.next_xid,
            boot=_boot(),
            server_started=facts.started.astimezone(UTC),
        )

    def _named(self, path: str, pages: list[int]) -> DamagedFile:
        return DamagedFile(path, relation_of(self._address, self._databases, path) or path, pages)


def _refuse_elsewhere(directory: str, session: BackupSession) -> None:
    """Raise ConfigError when the directory is not the server's own: another cluster's files are no backup of it."""
    try:
        lines = Path(directory, "postmaster.pid").read_text("utf-8", "replace").splitlines()
    except OSError as error:
        raise ConfigError(
            f"{directory} is no data directory of a running server that can be read here: {error.strerror}",
            safe="nothing was read or changed",
            hint="run this on the server's machine as root or as the server's user; or leave data_directory out",
        ) from error
    started = int(lines[2]) if len(lines) > 2 and lines[2].isdecimal() else -1
    if abs(started - session.facts.started.timestamp()) > 5:
        raise ConfigError(
            f"the server at that address does not run on {directory}",
            safe="nothing was read or changed",
            hint="name its own data directory, or leave data_directory out",
        )


def _boot() -> str:
    try:
        return Path(_BOOT).read_text("ascii").strip()
    except OSError:
        return datetime.now(UTC).isoformat()  # equal to no other: everything is read
