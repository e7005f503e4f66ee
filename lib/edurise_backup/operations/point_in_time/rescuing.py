"""Bring single tables back as they were at a moment: a sandbox of the cluster, compared with the live database.

The sandbox is recovered into a folder of its own, never started for anybody
else, and removed at the end. Nothing live changes before the plan was seen.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import InputError
from edurise_backup.model.recovery_target import TargetMoment
from edurise_backup.model.settings import ClusterSettings
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.catalogs import open_catalog
from edurise_backup.operations.errands import Errand
from edurise_backup.operations.point_in_time.opening import Opened, open_moment
from edurise_backup.operations.point_in_time.recovering import as_target, options_of
from edurise_backup.operations.point_in_time.windows import only_cluster
from edurise_backup.operations.servers import recovery_address
from edurise_backup.ports import Progress
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.tools import Tools, find_tools
from edurise_backup.recovery.cluster.recovering import recovered_server
from edurise_backup.recovery.rescue.importing import Imported, import_as_schema
from edurise_backup.recovery.rescue.merging import Rescued, merge
from edurise_backup.recovery.rescue.plan import Options, RescuePlan
from edurise_backup.recovery.rescue.planning import plan_rescue
from edurise_backup.recovery.rescue.shapes import Wanted

__all__ = ["Imported", "Options", "RescuePlan", "Rescued", "Wanted", "plan_rescue_from", "rescue_from"]


@dataclass(frozen=True, slots=True)
class Rescue:
    """What came of a rescue: the plan that was shown, and what was done, if it was."""

    moment: str
    plan: RescuePlan | None = None
    merged: Rescued | None = None
    imported: tuple[Imported, ...] = ()
    store_notes: tuple[str, ...] = ()
    """Where the sandbox's bytes came from, if not from the only store, a sentence each."""


def plan_rescue_from(
    moment: TargetMoment | str,
    tables: Sequence[Wanted],
    *,
    database: str,
    source: str = "",
    store: str = "",
    options: Options | None = None,
    folder: Path | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Rescue:
    """Say what bringing these tables back would change in the live database; nothing is changed.

    `store`: where the sandbox's bytes come from, as in `recover_to`.
    """
    settings = settings or load_settings()
    target, progress = as_target(moment), progress or SilentProgress()
    with _sandbox(settings, source, target, store, folder, progress) as (cluster, there, opened):
        here = recovery_address(cluster).with_database(database)
        plan = plan_rescue(there.with_database(database), here, tables, options=options or Options(), progress=progress)
        return Rescue(str(target), plan, store_notes=opened.store_notes)


def rescue_from(
    moment: TargetMoment | str,
    tables: Sequence[Wanted],
    *,
    database: str,
    source: str = "",
    store: str = "",
    schema: str = "",
    expected: str = "",
    options: Options | None = None,
    folder: Path | None = None,
    settings: Settings | None = None,
    progress: Progress | None = None,
) -> Rescue:
    """Bring tables back as they were at a moment: into a new `schema`, or merged into the live ones.

    A merge is of the plan with the hash `expected`, which `plan_rescue_from` has shown; it is one transaction. Raises
    ConflictError when the live tables are other ones by now, InputError and its kinds before anything is restored.
    """
    if bool(schema) == bool(expected):
        raise InputError(
            "tables come back into a new schema, or are merged by a plan that was shown",
            safe="nothing was changed",
            hint="name one of the two: a schema, or the plan's hash",
        )
    settings = settings or load_settings()
    target, progress = as_target(moment), progress or SilentProgress()
    with _sandbox(settings, source, target, store, folder, progress) as (cluster, there, opened):
        sandbox, live = there.with_database(database), recovery_address(cluster).with_database(database)
        if schema:
            imported = import_as_schema(sandbox, live, tables, schema=schema, progress=progress)
            return Rescue(str(target), imported=tuple(imported), store_notes=opened.store_notes)
        merged = merge(
            sandbox,
            live,
            tables,
            expected=expected,
            tools=_tools(cluster, live),
            options=options or Options(),
            progress=progress,
        )
        return Rescue(str(target), merged=merged, store_notes=opened.store_notes)


def _tools(cluster: ClusterSettings, live: Address) -> Tools:
    with connect(live, autocommit=True) as connection:
        major = connection.info.server_version // 10000
    return find_tools(major, bindir=Path(cluster.bindir) if cluster.bindir else None)


def _default_folder(settings: Settings) -> Path:
    """Return where a sandbox goes: as root the server runs as another user, who must be able to reach it."""
    return Path("/var/tmp") if os.geteuid() == 0 else settings.data_directory  # noqa: S108  a folder of its own in it


@contextmanager
def _sandbox(
    settings: Settings, source: str, target: TargetMoment, store: str, folder: Path | None, progress: Progress
) -> Iterator[tuple[ClusterSettings, Address, Opened]]:
    """Have the cluster as it was at a moment run beside, for nobody else; everything of it is removed at the end."""
    cluster = only_cluster(settings, source)
    above = folder or _default_folder(settings)
    above.mkdir(mode=0o700, parents=True, exist_ok=True)
    place = Path(tempfile.mkdtemp(prefix="edurise-sandbox-", dir=above))
    place.chmod(0o711)  # the server's user must get through; what is in it is for him alone
    try:
        with open_catalog(settings) as catalog:
            errand = Errand(settings, progress=progress)
            with (
                open_moment(settings, catalog, cluster.name, target, errand, store=store) as opened,
                recovered_server(
                    opened.repository,
                    opened.tree,
                    opened.record,
                    opened.archive,
                    replace(opened.choice.target, action="promote"),
                    place / "data",
                    options=options_of(cluster, opened.choice, amcheck=False),
                    progress=progress,
                ) as running,
            ):
                yield cluster, running.address, opened
    finally:
        shutil.rmtree(place, ignore_errors=True)
