"""One screen of what could stop a recovery tomorrow, each with the remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext

from edurise_backup.config import Settings
from edurise_backup.config.places import bucket_place
from edurise_backup.errors import BackupError, UnreachableError
from edurise_backup.model.location import directory_of
from edurise_backup.model.settings import ConfigurationSettings, DatabaseSettings, FilesSettings
from edurise_backup.operations.buckets import look_at_bucket
from edurise_backup.operations.catalogs import catalog_is_there, open_catalog
from edurise_backup.operations.configured import opened_repository
from edurise_backup.operations.doctor_clusters import examine_clusters
from edurise_backup.operations.doctor_copies import examine_copies
from edurise_backup.operations.doctor_people import examine_people
from edurise_backup.operations.doctor_store import store_findings
from edurise_backup.operations.doctor_workers import examine_workers
from edurise_backup.operations.findings import Finding, Level
from edurise_backup.operations.primary import opened_primary
from edurise_backup.operations.probing import last_probe
from edurise_backup.operations.readiness import data_directory, embedded_server, from_catalog, secret_files
from edurise_backup.operations.safekeeping import drills, prefect_findings, secrets_in_sight
from edurise_backup.operations.servers import database_address, database_tools, list_databases, recovery_address
from edurise_backup.postgres.connection import connect
from edurise_backup.postgres.roles import read_globals
from edurise_backup.recovery.database_rights import extensions_in, lacking_rights, owners_on
from edurise_backup.repository.keys import RECOVERY_USER
from edurise_backup.repository.locks import read_locks
from edurise_backup.repository.repository import Repository
from edurise_backup.sources.files import FilesSource

_FLOORS = {18: 7, 17: 12, 16: 16, 15: 20, 14: 25}
"""Client tools below these minor versions can be made to run code by a hostile dump (CVE-2026-116314, -18408)."""


def examine(settings: Settings) -> list[Finding]:
    """Look at everything a recovery needs; a fault means that it would or may not work. Raises nothing of its own."""
    looks: list[tuple[str, Callable[[Settings], Iterator[Finding]]]] = [
        ("configuration", _configuration),
        ("secrets", secrets_in_sight),
        ("repository", _repository),
        ("copies", examine_copies),
        ("store", store_findings),
        ("secrets", secret_files),
        ("data directory", data_directory),
        ("embedded server", embedded_server),
        ("catalog", from_catalog),
        ("keys", drills),
        ("databases", _databases),
        ("clusters", examine_clusters),
        ("files", _files),
        ("buckets", _buckets),
        ("prefect", prefect_findings),
        ("people", examine_people),
        ("workers", examine_workers),
    ]
    found: list[Finding] = []
    for subject, look in looks:
        try:
            found += look(settings)
        except BackupError as error:
            found.append(Finding(Level.FAULT, subject, error.message, error.hint))
    return found


def _configuration(settings: Settings) -> Iterator[Finding]:
    if settings.path is None:
        yield Finding(Level.WARNING, "configuration", "no configuration file is used", "write edurise-backup.toml")
    for kind, sources in (
        ("database", (*settings.databases, *settings.clusters)),
        ("files", (*settings.files, *settings.buckets)),
        ("configuration", settings.configuration),
    ):
        if not sources:
            yield Finding(
                Level.WARNING,
                "configuration",
                f"no source of the kind {kind} is configured: a full backup holds none",
                f"name one in [[{kind}]]" + {"files": " or [[bucket]]", "database": " or [[cluster]]"}.get(kind, ""),
            )
        else:
            yield Finding(Level.FINE, "configuration", f"{len(sources)} {kind} source(s)")


def _repository(settings: Settings) -> Iterator[Finding]:
    with open_catalog(settings) if catalog_is_there(settings) else nullcontext() as catalog:
        repository = opened_primary(settings, catalog) if catalog else opened_repository(settings)
    count = len(repository.snapshots())
    yield Finding(Level.FINE, "repository", f"{repository.store.address} opens, {count} snapshots")
    if not any(key.username == RECOVERY_USER for key in repository.key_files().values()):
        yield Finding(Level.WARNING, "repository", "it has no recovery key", "add a second passphrase: `repo key add`")
    locks = read_locks(repository.box)
    dead = sum(lock.dead(settings.around.clock()) for lock in locks.values())
    if dead:
        yield Finding(Level.WARNING, "repository", f"{dead} locks of dead processes", "`repo unlock` removes them")
    if directory_of(settings.repository.location) is None:
        yield from _bucket(repository)


def _bucket(repository: Repository) -> Iterator[Finding]:
    """Say what the last probe has found; nothing is tried here."""
    found = last_probe(repository)
    if found is None:
        yield Finding(Level.WARNING, "repository", "its bucket was never probed", "`edurise-backup repo probe`")
        return
    for danger in found.dangers:
        yield Finding(Level.FAULT, "repository", f"its bucket is not fit: {danger}", "change the bucket's rules")
    for remark in found.remarks:
        yield Finding(Level.WARNING, "repository", remark, "docs/operations/object-storage.md")
    if not found.dangers:
        yield Finding(Level.FINE, "repository", f"its bucket was probed at {found.at:%Y-%m-%d %H:%M} UTC")


def _databases(settings: Settings) -> Iterator[Finding]:
    for source in settings.databases:
        if source.host not in ("", settings.host):
            continue  # that host's doctor looks at it
        try:
            yield _database(source)
            yield _recovering(source)
        except BackupError as error:  # of one server: the others are looked at, too
            yield Finding(Level.FAULT, source.name, error.message, error.hint)


def _database(source: DatabaseSettings) -> Finding:
    address = database_address(source)
    version = database_tools(source, address).version
    floor = _FLOORS.get(version.major, 0)
    if version.minor < floor:
        return Finding(
            Level.WARNING,
            source.name,
            f"pg_dump {version} has known holes; {version.major}.{floor} mends them",
            "upgrade the client tools; restore no dump of unknown origin with these",
        )
    return Finding(Level.FINE, source.name, f"{address} answers, pg_dump is {version}")


def _recovering(source: DatabaseSettings) -> Finding:
    """Say whether the role that recovers could bring back what the server has now."""
    here = database_address(source)
    with connect(here, autocommit=True) as connection:
        owners, roles = owners_on(connection), read_globals(connection)
    extensions = set[str]()
    for name in list_databases(here, source.exclude):
        with connect(here, database=name, autocommit=True) as connection:
            extensions |= extensions_in(connection)
    address = recovery_address(source)
    try:
        with connect(address, autocommit=True) as connection:
            lacking = lacking_rights(connection, owners, wanted=roles, extensions=extensions)
    except UnreachableError as error:
        if not source.recovery.url:
            raise
        said = f"where its databases would be brought back does not answer now: {error.message}"
        return Finding(Level.WARNING, source.name, said, error.hint)
    if not lacking:
        return Finding(Level.FINE, source.name, f"{address} may bring its databases back")
    return Finding(
        Level.WARNING,
        source.name,
        f"a recovery of its databases would be refused: {address.user} lacks {', '.join(lacking)}",
        "name a role that may in [database.recovery] (docs/operations/configuration.md, Who recovers)",
    )


def _files(settings: Settings) -> Iterator[Finding]:
    sources: tuple[FilesSettings | ConfigurationSettings, ...] = (*settings.files, *settings.configuration)
    for source in sources:
        if source.host not in ("", settings.host):
            continue  # that host's doctor looks at it
        try:
            FilesSource(source.paths, exclude=source.exclude)
        except BackupError as error:  # of one source: the others are looked at, too
            yield Finding(Level.FAULT, source.name, error.message, error.hint)
        else:
            yield Finding(Level.FINE, source.name, f"{', '.join(source.paths)} can be read")


def _buckets(settings: Settings) -> Iterator[Finding]:
    for source in settings.buckets:
        try:
            look_at_bucket(source)
        except BackupError as error:  # of one bucket: the others are looked at, too
            yield Finding(Level.FAULT, source.name, error.message, error.hint)
        else:
            yield Finding(Level.FINE, source.name, f"{bucket_place(source).address} can be listed")
