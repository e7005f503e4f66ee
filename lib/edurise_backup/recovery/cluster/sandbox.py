"""The server on a restored data directory: closed to everybody else, and quiet.

It opens no port, sends no log anywhere, runs no jobs, and follows no other
server, whatever the cluster had set: its `postgresql.auto.conf` is held back,
and all is on the command line. Configuration, rules and log lie beside the
data, which works also where the data directory has none.
"""

from __future__ import annotations

import os
import re
import secrets
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from edurise_backup.errors import DamageError, NotFoundError, UnsupportedVersionError
from edurise_backup.model.cluster import RAISED_SETTINGS, ClusterRecord
from edurise_backup.model.database import Secret
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.places import LOG, opened_directory, write_new
from edurise_backup.postgres.postmaster import Postmaster, find_postmaster
from edurise_backup.postgres.privileges import Account, reachable, server_account
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.tools import ServerBinaries, find_server

HELD = frozenset({"pg_cron", "pg_net", "pg_partman_bgw", "pg_squeeze", "pglogical", "wal2json", "auto_explain"})
"""Libraries that run jobs, call other machines or only watch: a copy of a cluster must not do what it does."""
_QUIET = {
    "archive_mode": "off",
    "archive_command": "",
    "archive_cleanup_command": "",
    "recovery_end_command": "",
    "recovery_min_apply_delay": "0",
    "primary_conninfo": "",
    "primary_slot_name": "",
    "synchronous_standby_names": "",
    "hot_standby": "on",
    "wal_level": "replica",
    "ssl": "off",
    "logging_collector": "off",
    "log_destination": "stderr",
    "log_line_prefix": "%m [%p] ",
    "log_min_messages": "warning",
    "log_error_verbosity": "default",
    "lc_messages": "C",  # the log is read by us
    "session_preload_libraries": "",
    "local_preload_libraries": "",
    "external_pid_file": "",
    "max_logical_replication_workers": "0",  # subscriptions would go on where the cluster's own stand
    "autovacuum": "off",
    "restart_after_crash": "off",
    "huge_pages": "try",
    "shared_buffers": "128MB",
}
_SINCE = {
    15: {"archive_library": ""},
    17: {"summarize_wal": "off", "sync_replication_slots": "off"},
    18: {"io_method": "worker"},
}
_BEFORE_16 = {"promote_trigger_file": ""}
_HBA = "# this socket lies in a folder that only the server's user can enter\nlocal all all trust\n"
_AUTO, _AUTO_HELD = "postgresql.auto.conf", "postgresql.auto.conf.held"
"""What ALTER SYSTEM wrote: a setting that these programs do not know stops them even where it does not count."""


class Sandbox:
    """A recovering server on `data`; what it needs lies in `folder`, which is made and must be reachable by its user.

    `durable=False`: a crash of the machine may cost the directory; for one that is only looked at.
    """

    def __init__(
        self,
        data: Path,
        folder: Path,
        record: ClusterRecord,
        *,
        binaries: ServerBinaries,
        recovery: Mapping[str, str],
        durable: bool = True,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data
        self.record = record
        self.binaries = binaries
        self.raised: dict[str, int] = {}
        """Settings that the log has raised since the base backup."""
        self._folder = folder
        self._recovery = dict(recovery)
        self._durable = durable
        self._extra = dict(extra or {})
        self._log_from = 0
        self._preload = ""
        self.left_out: tuple[str, ...] = ()
        """Libraries that the cluster preloads and this server does not; known when it is prepared."""
        self._server: Server | None = None

    @property
    def account(self) -> Account:
        """Who the server runs as: the owner of the data directory."""
        return server_account(self.data)

    @property
    def address(self) -> Address:
        """Where it is reached, as the role that initdb made."""
        assert self._server is not None
        names = [database.name for database in self.record.databases]
        name = next((one for one in ("postgres", "template1") if one in names), "template1")
        return self._server.address.with_database(name)

    @property
    def log_file(self) -> Path:
        """Its log."""
        return self._folder / LOG

    def prepare(self) -> None:
        """Write what the server needs; raises DamageError for a directory that must not be started."""
        label = self.data / "backup_label"
        if label.is_symlink() or not label.is_file():
            raise DamageError(
                f"{self.data} has no backup_label: the server would start from the wrong place and be corrupt",
                safe="the backup; the server was not started",
                hint="remove the directory and restore again",
            )
        preload = self.record.settings.get("shared_preload_libraries", "")
        self._preload, self.left_out = usable_libraries(preload, library_folder(self.binaries, self.account))
        with opened_directory(self.data) as data:
            self._write(data, "recovery.signal", "")
            with suppress(FileNotFoundError):
                os.rename(_AUTO, _AUTO_HELD, src_dir_fd=data, dst_dir_fd=data)
        with opened_directory(self._folder) as folder:
            self._write(folder, "postgresql.conf", "# all settings are on the command line\n")
            self._write(folder, "pg_hba.conf", _HBA)
            self._write(folder, "pg_ident.conf", "")
            if self.account.switch:
                os.fchown(folder, self.account.uid, self.account.gid)

    def give_back(self) -> None:
        """Let the cluster have its own settings again; the server must not run."""
        with opened_directory(self.data) as data, suppress(FileNotFoundError):
            os.rename(_AUTO_HELD, _AUTO, src_dir_fd=data, dst_dir_fd=data)

    def launch(self) -> None:
        """Start the server with all that was raised so far; its log begins anew for `log`. Raises ToolError."""
        with suppress(OSError):
            self._log_from = self.log_file.stat().st_size
        self._server = Server(
            self.data,
            binaries=self.binaries,
            password=Secret(secrets.token_hex(16)),  # nobody asks for it
            user=self.record.superuser or "postgres",
            settings=self.settings(),
            log=self.log_file,
        )
        self._server.launch()

    def stop(self) -> None:
        """Stop the server if it runs."""
        if self._server is not None:
            self._server.stop()

    def postmaster(self) -> Postmaster | None:
        """Return the server's process while it lives; ended ones are reaped."""
        found = find_postmaster(self.data)
        if found is None:
            self.stop()
        return found

    def log(self) -> str:
        """Return what the server wrote since its last launch."""
        try:
            descriptor = os.open(self.log_file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return ""
        with os.fdopen(descriptor, "rb") as file:
            file.seek(self._log_from)
            return file.read().decode("utf-8", "replace")

    def settings(self) -> dict[str, str]:
        """Return the server's settings; the recovery's targets keep their order."""
        major = self.record.server_major
        since = [setting for first, settings in _SINCE.items() if major >= first for setting in settings.items()]
        return {
            **_QUIET,
            **dict(since),
            **(_BEFORE_16 if major < 16 else {}),
            **{name: str(self._at_least(name)) for name in RAISED_SETTINGS},
            "track_commit_timestamp": self.record.settings.get("track_commit_timestamp", "off"),
            "shared_preload_libraries": self._preload,
            "fsync": "on" if self._durable else "off",
            "config_file": str(self._folder / "postgresql.conf"),
            "hba_file": str(self._folder / "pg_hba.conf"),
            "ident_file": str(self._folder / "pg_ident.conf"),
            **self._extra,
            **self._recovery,
        }

    def _at_least(self, name: str) -> int:
        recorded = self.record.settings.get(name, "")
        return max(int(recorded) if recorded.isdecimal() else 0, self.raised.get(name, 0), _floor(name))

    def _write(self, folder: int, name: str, content: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=folder)
        write_new(folder, name, content.encode(), self.account.owner)


def find_binaries(record: ClusterRecord, bindir: Path | None) -> ServerBinaries:
    """Return the server programs of exactly the backup's major version; raises UnsupportedVersionError."""
    try:
        return find_server(bindir=bindir, major=record.server_major)
    except NotFoundError as error:
        raise UnsupportedVersionError(
            f"the base backup is of PostgreSQL {record.server_major}, and {error.message}",
            safe="nothing was restored or changed",
            hint=f"install postgresql-{record.server_major}, or name the folder of its programs (bindir): "
            "a data directory can be used by its own major version only",
        ) from error


def library_folder(binaries: ServerBinaries, account: Account) -> Path | None:
    """Return where the server looks for its libraries; None where the installation does not tell."""
    bindir = reachable(binaries, account).bindir
    try:
        told = subprocess.run(
            [bindir / "pg_config", "--pkglibdir"], capture_output=True, text=True, timeout=30, check=False
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        told = ""
    places = [Path(told)] if told else [bindir.parent / "lib" / "postgresql", bindir.parent / "lib"]
    return next((place for place in places if (place / "plpgsql.so").is_file()), None)


def usable_libraries(setting: str, folder: Path | None) -> tuple[str, tuple[str, ...]]:
    """Return the libraries of `shared_preload_libraries` that a sandbox loads, as the setting; and those left out."""
    kept: list[str] = []
    left_out: list[str] = []
    for name in _names(setting):
        base = Path(name).name.removesuffix(".so")
        there = folder is not None and (folder / f"{base}.so").is_file()
        (kept if there and base not in HELD else left_out).append(base)
    return ",".join(f'"{name}"' for name in kept), tuple(left_out)


def _names(setting: str) -> Iterator[str]:
    for part in re.findall(r'"[^"]*"|[^,]+', setting):
        if name := part.strip().strip('"').strip():
            yield name


def _floor(name: str) -> int:
    """Return what a sandbox needs itself."""
    return {"max_connections": 20, "max_worker_processes": 8}.get(name, 0)
