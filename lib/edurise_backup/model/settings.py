"""What the configuration may say: a struct for each of its tables."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edurise_backup.model.compression import WORDS
from edurise_backup.model.secrets import AuthSettings, PasswordSettings
from edurise_backup.model.store_settings import StoreSettings

PREFECT_API = "http://127.0.0.1:4200/api"
NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z"
Name = Annotated[str, msgspec.Meta(pattern=NAME)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[int, msgspec.Meta(ge=10, le=86400)]
Host = Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9][A-Za-z0-9_.-]{0,62})?\Z")]
"""The `host` setting of the one machine that can read a source; empty: every machine that lists it."""


class RepositorySettings(StoreSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Where backups are kept, and where their passphrase is."""

    location: str = ""
    compression: Annotated[str, msgspec.Meta(pattern=WORDS)] = "auto"
    """`auto`, `off`, `max`, or a level from 1 to 19."""
    check_blobs: bool = True
    """Open, decode and hash each blob again before it is written."""
    access_key_file: str = ""
    """Of a bucket, as all keys below: files that hold the two keys; else a profile, else what boto3 finds."""
    secret_key_file: str = ""
    profile: str = ""
    region: str = ""
    ca_file: str = ""
    allow_plaintext: bool = False


class CopySettings(RepositorySettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A further repository that receives copies of the backups: another store, another passphrase."""

    name: Name
    lag_hours: Positive = 26
    """A restore point may wait so long for its copy."""


class Shared:
    """A source that may be too large for one machine; its table has these keys."""

    __slots__ = ()
    shards: int
    shard_gib: int

    @property
    def sharded(self) -> bool:
        """Whether several workers share it."""
        return self.shards > 1 or self.shard_gib > 0


class S3AccessSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How a bucket is reached; the repository's table has the same keys (it has another base; a test compares)."""

    access_key_file: str = ""
    secret_key_file: str = ""
    profile: str = ""
    region: str = ""
    ca_file: str = ""
    allow_plaintext: bool = False


class BucketSettings(S3AccessSettings, Shared, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A bucket, or a folder of one, whose objects are backed up."""

    name: Name
    location: str = ""
    """`s3:https://HOST/BUCKET/PREFIX`; or the three below, where the server's address has a path."""
    endpoint: str = ""
    bucket: str = ""
    prefix: str = ""
    exclude: tuple[str, ...] = ()
    """Patterns of keys, matched as paths from the folder."""
    versions: bool = False
    """Versions that are not current and delete markers are backed up, too."""
    objects_of: str = ""
    """The database source whose `storage.objects` rows name the objects."""
    shards: Positive = 1
    """As for files."""
    shard_gib: Annotated[int, msgspec.Meta(ge=0)] = 0


class CatalogSettings(PasswordSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The catalog's database; without a URL an embedded server in the data directory."""

    url: str = ""
    allow_plaintext: bool = False
    silence_seconds: Seconds = 600
    """A job without a sign of life for so long is dead, and its sources may be taken; the same on every host."""


class PrefectSettings(AuthSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The Prefect server that runs flows; without `auth` the credential that `make up` made."""

    api_url: str = PREFECT_API


class DaskSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The cluster that works on shards: one that runs, or one of this machine for as long as a job lasts."""

    address: str = ""
    workers: Positive = 4
    """Processes of a cluster of this machine; or how many those at `address` count as."""


ONE_MACHINE = DaskSettings()


class RecoveryRoleSettings(PasswordSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who brings databases back, and on which server; without a URL that is the one who backs them up."""

    url: str = ""
    allow_plaintext: bool = False


class DatabaseSettings(PasswordSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A PostgreSQL server whose databases are dumped."""

    name: Name
    url: str
    allow_plaintext: bool = False
    exclude: tuple[str, ...] = ()
    """Databases that are left out."""
    large_table_mib: Positive = 32
    """A table of at least this size gets an archive of its own, so that it is dumped and restored in parallel."""
    parallel: Positive = 2
    lock_timeout_seconds: Positive = 30
    bindir: str = ""
    """The folder of the client tools; found by themselves otherwise."""
    host: Host = ""
    recovery: RecoveryRoleSettings = RecoveryRoleSettings()
    """A recovery needs more rights than a backup: its own role, and its own server where that is wanted."""


class WalSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How the cluster's write-ahead log comes into the repository."""

    method: Literal["stream", "archive", "off"] = "stream"
    """`stream`: received over a replication slot as it is written; `archive`: handed over by archive_command."""
    slot: str = ""
    """The replication slot; else `edurise_backup_` and the source's name."""
    socket: str = ""
    """Where archive_command hands files over; else `archive.sock` in the source's spool below the data directory."""
    ship_seconds: Annotated[int, msgspec.Meta(ge=1, le=3600)] = 30
    """What was received is in the repository at most so much later."""
    heartbeat_seconds: Annotated[int, msgspec.Meta(ge=0, le=86400)] = 60
    """A transaction that changes nothing is written so often, which proves the whole way; 0: none is."""
    spool_mib: Positive = 16384
    """An alarm is raised when so much waits on this machine because the repository cannot be reached."""


class ClusterSettings(PasswordSettings, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A PostgreSQL cluster of which base backups are taken, with its WAL."""

    name: Name
    url: str
    """A role with REPLICATION, and a database that it may connect to."""
    allow_plaintext: bool = False
    method: Literal["auto", "local", "protocol"] = "auto"
    """`local` reads the data directory of a server on this machine, `protocol` asks the server for it."""
    data_directory: str = ""
    """Where this machine reads it; else where the server says that it is."""
    checkpoint: Literal["fast", "spread"] = "fast"
    """A base backup begins with a checkpoint: at once, or spread over time, which is easier on a busy server."""
    cut_kib: Literal[8, 16, 32, 64, 128, 256] = 64
    """KiB of a chunk of its files."""
    bindir: str = ""
    """The folder of the server's programs, for recoveries; found by themselves otherwise."""
    host: Host = ""
    wal: WalSettings = WalSettings()
    recovery: RecoveryRoleSettings = RecoveryRoleSettings()
    """Who brings tables back into the live databases; without a URL the role that backs up."""


class FilesSettings(msgspec.Struct, Shared, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Directory trees."""

    name: Name
    paths: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    exclude: tuple[str, ...] = ()
    one_file_system: bool = False
    objects_of: str = ""
    """The database source whose `storage.objects` rows name the files `PATH/BUCKET/NAME` below the first path."""
    pre_hook: tuple[str, ...] = ()
    """A command that is run before the files are read, for instance to take a file system snapshot."""
    post_hook: tuple[str, ...] = ()
    """A command that is run afterwards, also when the backup failed."""
    host: Host = ""
    shards: Positive = 1
    """In a flow it is backed up, verified and recovered by several workers, in so many shards."""
    shard_gib: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Or in as many as it takes for shards of this size."""


class ConfigurationSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Configuration files: of the platform, its web server, its vault."""

    name: Name
    paths: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    exclude: tuple[str, ...] = ()
    host: Host = ""


class ObjectivesSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What alarms and reports measure against; the defaults are the mission's."""

    full_backup_minutes: Positive = 240
    incremental_backup_minutes: Positive = 60
    verification_minutes: Positive = 30
    recovery_minutes: Positive = 120
    good_backup_hours: Positive = 26
    """The newest good backup of a source may be so old (its RPO); a day and some room for the run itself."""
    verified_days: Positive = 7
    """The newest good backup that passed a verification may be so old."""
    free_days: Positive = 30
    """The store must not fill sooner than this by the forecast."""
    retention_days: Positive = 30
    """A policy should keep restore points at least so old."""
