"""Register, probe, list and remove stores: names and places of secrets go into the register, never a secret."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from uuid import UUID, uuid4

from edurise_backup.catalog.stores import StoreRow
from edurise_backup.config import Settings, load_settings, s3_access
from edurise_backup.errors import BackupError, ConflictError, InputError, NotARepositoryError
from edurise_backup.model.jobs import JobId, JobStatus
from edurise_backup.model.location import is_s3
from edurise_backup.model.maintenance import MaintenanceFigures, MaintenanceJob, MaintenanceKind
from edurise_backup.model.people import Actor, Permission
from edurise_backup.model.probe import Probe
from edurise_backup.model.settings import CopySettings
from edurise_backup.model.stores import PRIMARY, KnownStore, Origin
from edurise_backup.operations.alarms import allowed
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.copy_contents import follow_contents, read_contents
from edurise_backup.operations.copy_jobs import begin_row
from edurise_backup.operations.jobs import run_job, storable, told_in_row
from edurise_backup.operations.opening import create_repository
from edurise_backup.operations.people import acting
from edurise_backup.operations.primary import accept_primary
from edurise_backup.operations.probing import keep_probe, probe_location
from edurise_backup.operations.store_refusals import refuse_name, refuse_place, refuse_primary, refuse_store
from edurise_backup.operations.stores import (
    configured_stores,
    find_copy,
    known_stores,
    note_opened,
    opened_copy,
    opened_store,
    passphrase_of,
)
from edurise_backup.ports import Progress
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.repository import Repository


@dataclass(frozen=True, slots=True)
class Registered:
    """What registering a store did."""

    job: MaintenanceJob
    made: bool
    """Whether the repository was made now; else one was there, and opened."""
    recovery_key: str = ""
    """Of a repository that was made now: shown this once, stored nowhere; of one that a flow made, in a file."""
    replaces: bool = False
    """Another one was known there: until `adopt_store` nothing is copied into this one."""


def register_store(
    name: str,
    found: CopySettings,
    *,
    settings: Settings | None = None,
    actor: Actor | None = None,
    job_id: JobId | None = None,
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Registered:
    """Register a further copy: probe its place, make or open its repository, and write it down.

    Raises ForbiddenError, ConflictError for a name that is taken, ConfigError
    without a passphrase, InputError for a place that is another store's, lies in
    what is backed up, or would lose its objects: then nothing is registered.
    """
    settings = settings or load_settings()
    who = actor or acting(flow_run_id)
    job = _new_job(job_id, name, f"register {found.location}")
    with open_catalog(settings) as catalog:
        queued = begin_row(catalog, job, job_id, flow_run_id)
        with told_in_row(catalog.maintenance, queued):
            allowed(catalog, who, Permission.ADMINISTER, "store.register", name)
            store = KnownStore(name, found, Origin.REGISTER)
            refuse_store(settings, catalog, store)
            made: list[str] = []

            def work(progress: Progress, started: MaintenanceJob) -> MaintenanceJob:
                progress.phase("probe")
                probe = _probe(store, progress.raise_if_cancelled)
                progress.phase("open")
                repository, key = _made_or_opened(settings, store)
                made.extend([key] if key else [])
                refuse_primary(settings, repository)
                if probe is not None:
                    keep_probe(repository, probe)
                catalog.stores.register(store, who, probe=probe)
                if probe is not None:
                    catalog.store_use.add_probe(probe, store=store.name)
                note_opened(settings, catalog, store, repository)
                ended = _ended(started, repository, probe)
                return _with_key_in_file(settings, ended, name, made[0]) if made and flow_run_id else ended

            done = run_job(
                catalog.maintenance,
                job,
                work,
                keep=lambda _job: None,
                flow_run_id=flow_run_id,
                progress=progress,
                stop=stop,
            )
    return Registered(done, bool(made), made[0] if made and not flow_run_id else "")


def _with_key_in_file(settings: Settings, job: MaintenanceJob, name: str, key: str) -> MaintenanceJob:
    """Put the recovery key of a new repository into a file of this host: nobody looks at what a flow would print."""
    folder = settings.data_directory / "recovery-keys"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = folder / f"{name}-{job.id}.txt"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{key}\n")
        file.flush()
        os.fsync(file.fileno())
    said = f"the recovery key of the new repository is in {path} on {job.host}: print it, and remove the file"
    return replace(job, warnings=(*job.warnings, said), status=JobStatus.COMPLETED_WITH_WARNINGS)


def make_copy(name: str, *, settings: Settings | None = None, actor: Actor | None = None) -> Registered:
    """Make the repository of a copy that the configuration names, after its place was probed.

    Raises ForbiddenError, NotFoundError, ConflictError over an existing one, InputError for a place that would harm.
    """
    settings = settings or load_settings()
    who = actor or acting(None)
    with open_catalog(settings) as catalog:
        allowed(catalog, who, Permission.ADMINISTER, "store.make", name)
        store = find_copy(settings, catalog, name)
        refuse_place(settings, store, [other for other in known_stores(settings, catalog) if other.name != name])
        catalog.audit.add(who, "store.make", name, detail={"location": store.settings.location})
        before = catalog.stores.get(name).repository_id

        def work(progress: Progress, started: MaintenanceJob) -> MaintenanceJob:
            progress.phase("make")
            repository, key = create_repository(
                store.settings.location,
                passphrase_of(store),
                around=settings.around.store,
                access=s3_access(store.settings),
            )
            keys.append(key)
            if not before:
                note_opened(settings, catalog, store, repository)
            return _ended(started, repository, None)

        keys: list[str] = []
        job = _new_job(None, name, f"make {store.settings.location}")
        done = run_job(catalog.maintenance, job, work, keep=lambda _job: None)
        return Registered(done, made=True, recovery_key=keys[0], replaces=bool(before))


def probe_store(
    name: str,
    *,
    settings: Settings | None = None,
    job_id: JobId | None = None,
    flow_run_id: UUID | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> MaintenanceJob:
    """Open a store, find out what its server does, note it in the register, and return the finished job.

    A bucket that is not fit is no error: the job's `findings` say why. Raises NotFoundError, and what opening raises.
    """
    settings = settings or load_settings()
    job = _new_job(job_id, name, "probe")
    with open_catalog(settings) as catalog:
        queued = begin_row(catalog, job, job_id, flow_run_id)
        with told_in_row(catalog.maintenance, queued):
            store = _find(settings, catalog, name)

            def work(progress: Progress, started: MaintenanceJob) -> MaintenanceJob:
                progress.phase("probe")
                try:
                    probe = _probe(store, progress.raise_if_cancelled, refuse=False)
                    if store.primary:
                        repository = opened_store(settings, store)
                        accept_primary(settings, catalog, repository)
                    else:
                        repository = opened_copy(settings, catalog, store)
                except BackupError as error:
                    catalog.stores.note_trouble(name, storable(error.message), unreachable=True)
                    raise
                note_opened(settings, catalog, store, repository)
                if probe is not None:
                    keep_probe(repository, probe)
                    catalog.stores.note_probe(name, probe)
                    catalog.store_use.add_probe(probe, store=name)
                return _ended(started, repository, probe)

            return run_job(
                catalog.maintenance,
                job,
                work,
                keep=lambda _job: None,
                flow_run_id=flow_run_id,
                progress=progress,
                stop=stop,
            )


def adopt_store(name: str = PRIMARY, *, settings: Settings | None = None, actor: Actor | None = None) -> StoreRow:
    """Take the repository that lies in a store's place now for that store's from here on; return its row.

    What was in the primary before is noted as missing when somebody looks; of a
    copy what was in the other one is forgotten. Raises NotFoundError,
    ForbiddenError, ConflictError for the repository of another store, and what
    opening raises. Nothing happens where it is the one that is known.
    """
    settings = settings or load_settings()
    who = actor or acting(None)
    with open_catalog(settings) as catalog:
        allowed(catalog, who, Permission.ADMINISTER, "store.adopt", name)
        store = _find(settings, catalog, name)
        repository = opened_store(settings, store)
        _refuse_shared(settings, catalog, name, repository.config.id)
        catalog.stores.adopt(name, repository.config.id, who)
        note_opened(settings, catalog, store, repository)
        if not store.primary:
            follow_contents(catalog, name, read_contents(repository), catalog.clock())
        return catalog.stores.get(name)


def _refuse_shared(settings: Settings, catalog: Catalog, name: str, repository_id: str) -> None:
    """Raise ConflictError where the repository is another store's; no other store is opened for that."""
    in_use = {store.name for store in known_stores(settings, catalog)} - {name}
    for row in catalog.stores.all():
        if row.name in in_use and row.repository_id == repository_id:
            raise ConflictError(
                f"the repository in the place of {name} is the one of {row.name}",
                safe="nothing was changed",
                hint=f"take [[copy]] {row.name} out of the configuration when it is to be the primary"
                if name == PRIMARY
                else "a copy needs a repository of its own",
            )


def remove_store(name: str, *, settings: Settings | None = None, actor: Actor | None = None) -> StoreRow:
    """Take a copy out of the register with all that is known of it; its repository stays as it is.

    Raises NotFoundError, ForbiddenError, and InputError for what the configuration names.
    """
    settings = settings or load_settings()
    who = actor or acting(None)
    with open_catalog(settings) as catalog:
        known_stores(settings, catalog)
        row = catalog.stores.get(name)
        if name == PRIMARY:
            raise InputError("the primary cannot be removed", safe="nothing was changed", hint="change [repository]")
        if name in {store.name for store in configured_stores(settings)}:
            raise InputError(
                f"the configuration names {name}",
                safe="nothing was changed; what is known of its restore points stays",
                hint="take its [[copy]] out of the configuration first; where another repository lies in its place: "
                f"`edurise-backup store adopt {name}`",
            )
        allowed(catalog, who, Permission.ADMINISTER, "store.remove", name)
        catalog.stores.remove(name, who)
        return row


def list_stores(*, settings: Settings | None = None) -> tuple[StoreRow, ...]:
    """Return the rows of all stores that are in use, the primary first; no store is asked."""
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        names = {store.name for store in known_stores(settings, catalog)}
        return tuple(row for row in catalog.stores.all() if row.name in names)


def queue_registration(name: str, found: CopySettings, *, settings: Settings | None = None) -> JobId:
    """Write the row of a registration that a flow run will do; return its id. Raises InputError and its kinds."""
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        refuse_name(settings, catalog, name)
        job = _new_job(None, name, f"register {found.location}")
        catalog.maintenance.create(job)
        return job.id


def queue_probe(name: str, *, settings: Settings | None = None) -> JobId:
    """Write the row of a probe that a flow run will do; return its id. Raises NotFoundError."""
    settings = settings or load_settings()
    with open_catalog(settings) as catalog:
        _find(settings, catalog, name)
        job = _new_job(None, name, "probe")
        catalog.maintenance.create(job)
        return job.id


def _new_job(job_id: JobId | None, name: str, asked: str) -> MaintenanceJob:
    store = "" if name == PRIMARY else name
    return MaintenanceJob(job_id or JobId(uuid4()), MaintenanceKind.STORE, JobStatus.QUEUED, store=store, asked=asked)


def _find(settings: Settings, catalog: Catalog, name: str) -> KnownStore:
    stores = {store.name: store for store in known_stores(settings, catalog)}
    if name not in stores:
        catalog.stores.get(name)  # raises, unless it is one that the configuration does not name any more
        raise InputError(
            f"the configuration does not name {name} any more",
            safe="nothing was done",
            hint=f"`edurise-backup store remove {name}` forgets it",
        )
    return stores[name]


def _probe(store: KnownStore, stop: Callable[[], None], *, refuse: bool = True) -> Probe | None:
    """Return what a bucket's server does; None for a directory."""
    location = store.settings.location
    if not is_s3(location):
        return None
    return probe_location(location, access=s3_access(store.settings), refuse=refuse, stop=stop)


def _made_or_opened(settings: Settings, store: KnownStore) -> tuple[Repository, str]:
    try:
        return opened_store(settings, store), ""
    except NotARepositoryError:
        return create_repository(
            store.settings.location,
            passphrase_of(store),
            around=settings.around.store,
            access=s3_access(store.settings),
        )


def _ended(job: MaintenanceJob, repository: Repository, probe: Probe | None) -> MaintenanceJob:
    snapshots = len(repository.box.ids(Kind.SNAPSHOT))
    return replace(
        job,
        status=JobStatus.COMPLETED,
        figures=MaintenanceFigures(snapshots=snapshots),
        findings=probe.dangers if probe else (),
        remarks=probe.remarks if probe else (),
    )
