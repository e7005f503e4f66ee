"""`make demo`: the main job from end to end, on a platform of its own, judged by every row and every byte.

Make a platform, back it up, prove it, change it, back it up again, lose it,
bring it back, compare. Each backup, verification and recovery is a run of a
served flow on one Prefect server. Exit status 1 when anything differs.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID

from edurise_backup import operations
from edurise_backup.cli.output import duration, size, table
from edurise_backup.config import Settings, load_settings
from edurise_backup.demonstration.comparison import compare, describe
from edurise_backup.demonstration.platform import Platform, create_platform, remove_tree
from edurise_backup.errors import BackupError, NotFoundError, ProofError
from edurise_backup.model.jobs import BackupJob, JobId, Phase, RecoveryJob, RecoveryTarget, Verification
from flows.local import local_prefect, run_deployment
from flows.prefect_api import FlowRun

ROOT = Path(__file__).resolve().parent.parent
SEED, CHANGE = 1, 2


def main() -> int:
    """Run the demonstration in `.demo/`; return the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that servers are stopped on the way out
    started = time.monotonic()
    demo = Demonstration(ROOT / ".demo")
    try:
        differences = demo.run(scale=float(os.environ.get("EDURISE_DEMO_SCALE", "1")))
    except BackupError as error:
        demo.say("")
        for line in error.lines():
            demo.say(line)
        demo.say(f"The demonstration failed; its state and logs are in {demo.home}")
        return 1
    demo.summary(differences, time.monotonic() - started)
    return 1 if differences else 0


@dataclass(slots=True)
class Demonstration:
    """The demonstration in one folder, and what it has to tell so far."""

    home: Path
    steps: list[list[str]] = field(default_factory=list)
    stored: int = 0
    original: int = 0

    def say(self, text: str) -> None:
        """Print a line at once."""
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def run(self, *, scale: float) -> list[str]:
        """Do everything; return what differs at the end."""
        self._clear()
        path, state = self.home / "edurise-backup.toml", self.home / "state"
        with ExitStack() as stack, ThreadPoolExecutor(1) as pool:
            # the server takes a while to come up, and nobody has to wait for it before the first run
            prefect = pool.submit(stack.enter_context, local_prefect(state / "prefect", path))
            platform = self._make_platform(scale)
            stack.callback(platform.stop)
            settings = self._make_repository(platform, path)
            with self._step("start catalog and Prefect") as told:
                catalog = stack.enter_context(operations.open_catalog(settings))
                api = prefect.result()
                told.append(f"Prefect at {api}")
            return self._story(platform, Runs(self, settings, catalog, api))

    def _story(self, platform: Platform, runs: Runs) -> list[str]:
        first = runs.backup("full backup")
        runs.verify("verify it", first)
        with self._step("a day passes") as told:
            platform.change(CHANGE)
            told.append("rows and files added, edited, removed")
        second = runs.backup("incremental backup")
        runs.verify("verify it", second)
        with self._step("note every row and byte") as told:
            before = describe(platform)
            told.append(f"{before.tables} tables, {before.rows:,} rows, {before.files:,} names, {size(before.bytes)}")
        with self._step("lose the platform") as told:
            platform.destroy()
            if platform.storage.exists() or platform.configuration.exists():
                raise ProofError("the platform is still there: nothing would be proved")
            told.append("databases, roles, files and configuration are gone")
        restored = self.home / "restored"
        runs.recover("recover", second, RecoveryTarget(str(restored), database_suffix=""))
        with self._step("put the files back") as told:
            self._move_back(platform, restored)
            told.append(f"{platform.storage} and {platform.configuration}")
        with self._step("compare every row and byte") as told:
            differences = [*compare(before, describe(platform)), *platform.inconsistencies()]
            told.append(f"{len(differences)} differences" if differences else "everything is equal")
        return differences

    def _clear(self) -> None:
        if self.home.exists():
            self.say(f"removing what an earlier demonstration left in {self.home}")
            with suppress(NotFoundError):
                Platform.open(self.home / "platform").stop()
            with suppress(BackupError):
                self._stop_catalog()
            remove_tree(self.home)
        self.home.mkdir(mode=0o700)

    def _stop_catalog(self) -> None:
        path = self.home / "edurise-backup.toml"
        if path.exists():
            operations.open_catalog(load_settings(path)).close()  # whoever leaves last stops the server

    def _make_platform(self, scale: float) -> Platform:
        with self._step("make an EduRise platform") as told:
            platform = create_platform(self.home / "platform", seed=SEED, scale=scale)
            told.append(f"databases {', '.join(platform.databases)}; files; configuration")
            return platform

    def _make_repository(self, platform: Platform, path: Path) -> Settings:
        passphrase = self.home / "passphrase"
        _write_private(passphrase, secrets.token_urlsafe(24) + "\n")
        _write_private(path, _configuration(platform))
        settings = load_settings(path, {})
        with self._step("make an encrypted repository") as told:
            repository_id, recovery_key = operations.make_repository(settings)
            told.append(f"repository {repository_id[:8]}, recovery key {recovery_key}")
        return settings

    def _move_back(self, platform: Platform, restored: Path) -> None:
        for original, part in ((platform.storage, "files/storage"), (platform.configuration, "configuration/settings")):
            shutil.move(restored / part / str(original).lstrip("/"), original)

    @contextmanager
    def _step(self, name: str) -> Iterator[list[str]]:
        self.say(f"\n{len(self.steps) + 1}. {name} …")
        told: list[str] = []
        began = time.monotonic()
        yield told
        took = time.monotonic() - began
        for line in told:
            self.say(f"   {line}")
        self.say(f"   done in {duration(took)}")
        self.steps.append([str(len(self.steps) + 1), name, duration(took), told[0] if told else ""])

    def summary(self, differences: list[str], seconds: float) -> None:
        """Print the steps, the verdict and where to look next."""
        self.say("\n" + table(["", "Step", "Took", "Result"], self.steps))
        if self.stored:
            self.say(
                f"\nTwo sets of {size(self.original)} take {size(self.stored)}: "
                f"{self.original / self.stored:.2f} original bytes for each stored byte."
            )
        if differences:
            self.say(f"\nVERDICT: NOT EQUAL. {len(differences)} differences:")
            for line in differences[:50]:
                self.say(f"  {line}")
        else:
            self.say(f"\nVERDICT: every row and every byte is back. {duration(seconds)} in all.")
        home = os.path.relpath(self.home, ROOT)
        self.say(
            f"\nLook next:\n"
            f"  make up                                        the dashboard and Prefect on this demonstration\n"
            f"  restic -r {home}/repository -p {home}/passphrase snapshots    the repository with any restic\n"
            f"  {home}/platform                                the platform that came back\n"
            f"  {home}/state/prefect/*.log                     what Prefect and the flows said"
        )


@dataclass(frozen=True, slots=True)
class Runs:
    """Starts flow runs, and holds each against the row of its job."""

    demo: Demonstration
    settings: Settings
    catalog: operations.Catalog
    api: str

    def backup(self, step: str) -> BackupJob:
        """Run the backup flow for a full set."""
        with self.demo._step(step) as told:
            job_id = operations.queue_backup("full", settings=self.settings)
            run = self._run("backup/edurise", {"type": "full"}, job_id)
            job = self.catalog.jobs.get(job_id)
            _agree(run, job.flow_run_id)
            told.append(
                f"{size(job.size or 0)} in {job.files} files, read {size(job.read_bytes or 0)}, "
                f"stored {size(job.stored_bytes or 0)}"
            )
            told += _phases(job.phases)
            told += [f"warning: {warning}" for warning in job.warnings]
            self.demo.stored += job.stored_bytes or 0
            self.demo.original += job.size or 0
            return job

    def verify(self, step: str, backup: BackupJob) -> Verification:
        """Run the verification flow."""
        with self.demo._step(step) as told:
            job_id = operations.queue_verification(backup.id, settings=self.settings)
            run = self._run("verify/edurise", {"backup_id": str(backup.id)}, job_id)
            job = self.catalog.verifications.get(job_id)
            _agree(run, job.flow_run_id)
            told.append(f"{job.verification_status.value}: {size(job.bytes_read)} read and proved, {job.blobs} blobs")
            told += _phases(job.phases)
            return job

    def recover(self, step: str, backup: BackupJob, target: RecoveryTarget) -> RecoveryJob:
        """Run the recovery flow."""
        with self.demo._step(step) as told:
            job_id = operations.queue_recovery(backup.id, target, settings=self.settings)
            parameters = {
                "backup_id": str(backup.id),
                "directory": target.directory,
                "database_suffix": target.database_suffix,
            }
            run = self._run("recover/edurise", parameters, job_id)
            job = self.catalog.recoveries.get(job_id)
            _agree(run, job.flow_run_id)
            told.append(f"proof {job.verification_status.value}: {size(job.restored_bytes or 0)} restored")
            told += _phases(job.phases)
            told += [check for check in job.checks if " rows " in check or " files " in check]
            return job

    def _run(self, deployment: str, parameters: Mapping[str, object], job_id: JobId) -> UUID:
        def tell(run: FlowRun) -> None:
            self.demo.say(f"   Prefect run {run.id} ({run.name}): {run.state}")

        result = run_deployment(
            self.api,
            deployment,
            {**parameters, "job_id": str(job_id), "config_path": str(self.settings.path)},
            idempotency_key=str(job_id),
            on_state=tell,
        )
        if not result.completed:
            raise BackupError(
                f"the flow run {result.id} ended as {result.state}: {result.message}",
                hint=f"read {self.settings.data_directory / 'prefect' / 'flows.log'}",
            )
        return result.id


def _agree(run: UUID, noted: UUID | None) -> None:
    if run != noted:
        raise ProofError(f"the job's row names the flow run {noted}, Prefect ran {run}")


def _phases(phases: tuple[Phase, ...]) -> list[str]:
    return [
        f"  {phase.name:<40} {duration((phase.completed_at - phase.started_at).total_seconds()):>8}"
        + (f"  {size(phase.bytes_done)}" if phase.bytes_done else "")
        for phase in phases
        if phase.completed_at
    ]


def _configuration(platform: Platform) -> str:
    address = platform.address
    host = address.host.replace("/", "%2F")
    return f"""\
# The demonstration's configuration; relative paths are relative to this file.
data_directory = "state"

[repository]
location = "repository"
password_file = "passphrase"

[[database]]
name = "platform"
url = "postgresql://{address.user}@{host}:{address.port}/postgres"
password_file = "platform/password"

[[files]]
name = "storage"
paths = ["platform/storage"]
objects_of = "platform"

[[configuration]]
name = "settings"
paths = ["platform/configuration"]
"""


def _write_private(path: Path, text: str) -> None:
    path.touch(mode=0o600, exist_ok=False)
    path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())
