"""A backup that is killed or stopped: a sound repository, an honest row, no plaintext, and the next run succeeds."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.catalog.processes import Life, Process, life, process_on_this_host, this_process
from edurise_backup.model.jobs import BackupJob, BackupType, JobStatus, Verdict
from edurise_backup.postgres.connection import Address
from edurise_backup.stores.local import LocalStore
from flows.processes import children, wait_until
from tests.support import engine
from tests.support.catalog import Product, command_line, configure, environment, opened
from tests.support.restic import Restic

CANARY = "canary of a row that no disk may hold in clear"


@pytest.fixture
def doomed(tmp_path: Path, school: Address) -> Iterator[Product]:
    """Yield a product with a catalog of its own that outlives the killed process, as on a newcomer's machine."""
    product = configure(tmp_path / "product", catalog=None, database=school)
    (product.home / "temporary").mkdir()
    yield product
    (product.home / "hold").unlink(missing_ok=True)
    opened(product).close()  # whoever leaves last stops the server


def hold_before_files(product: Product) -> None:
    """Have a backup wait between its databases and its files as long as `hold` exists."""
    hold, held = product.home / "hold", product.home / "held"
    hold.touch()
    script = f"touch {held}; while [ -e {hold} ]; do sleep 0.05; done"
    product.configure('paths = ["storage"]\n', f'paths = ["storage"]\npre_hook = ["sh", "-c", "{script}"]\n')


@contextmanager
def started(product: Product, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a backup in a session of its own, as in a terminal; nothing of it is left at the end."""
    process = subprocess.Popen(
        command_line("backup", *words),
        env=environment(product.settings_path, {"TMPDIR": str(product.home / "temporary")}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        cwd=product.home,
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def wait_for(true: Callable[[], bool], what: str, process: subprocess.Popen[bytes]) -> None:
    wait_until(true, what, seconds=60, process=process)


def held_dump(process: subprocess.Popen[bytes]) -> int:
    """Wait until a pg_dump of the process has written a megabyte, stop it there, and return it."""
    while process.poll() is None:
        for child in children(process.pid):
            with suppress(OSError, KeyError):
                written = dict(line.split(": ") for line in Path(f"/proc/{child}/io").read_text().splitlines())["wchar"]
                if name_of(child) == "pg_dump" and int(written) > 1_000_000:
                    os.kill(child, signal.SIGSTOP)
                    return child
        threading.Event().wait(0.002)
    raise AssertionError(f"the backup ended with status {process.returncode} before its dump was seen")


def name_of(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def ended(process: Process) -> bool:
    return life(process, seen_from=this_process()) is Life.DEAD


def files_holding(text: str, *folders: Path) -> list[Path]:
    """Return the files below the folders that hold the text."""
    found = []
    for folder in folders:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink() and text.encode() in path.read_bytes():
                found.append(path)
    return found


def the_row(product: Product) -> BackupJob:
    (job,) = operations.get_backups(settings=product.settings)
    return job


def assert_goes_on(product: Product, tmp_path: Path, *, snapshots: int) -> None:
    """The repository is sound for both clients, and the next backup succeeds, whole."""
    repository = engine.opened(LocalStore(product.repository))
    assert len(repository.snapshots()) == snapshots
    assert engine.check(repository).findings == []
    restic = Restic(product.repository, tmp_path / "restic")
    restic.run("unlock")
    restic.run("check", "--read-data")
    again = operations.create_backup(settings=product.settings)
    assert (again.status, again.warnings) == (JobStatus.COMPLETED, ())
    assert operations.verify_backup(again.id, settings=product.settings).verification_status is Verdict.PASSED
    assert list((product.repository / "locks").iterdir()) == []


def test_a_backup_killed_between_its_parts_leaves_an_honest_row_and_a_sound_repository(
    doomed: Product, tmp_path: Path
) -> None:
    hold_before_files(doomed)
    with started(doomed) as process:
        wait_for((doomed.home / "held").exists, "the pre_hook", process)
        process.kill()
        process.wait()
        (doomed.home / "hold").unlink()
    job = the_row(doomed)
    assert job.status is JobStatus.FAILED
    assert f"the process {process.pid} on" in (job.error or "")
    assert "ended without finishing the job" in (job.error or "")
    assert "Earlier backups are unharmed" in (job.hint or "")
    assert job.completed_at
    assert all(phase.completed_at for phase in job.phases)
    assert_goes_on(doomed, tmp_path, snapshots=1)
    good = operations.get_backup_stats(settings=doomed.settings)
    assert next(kind.failed for kind in good.types if kind.type is BackupType.FULL) == 1


def test_a_backup_killed_in_the_middle_of_a_dump_leaves_no_plaintext_and_no_program(
    doomed: Product, tmp_path: Path
) -> None:
    doomed.execute(
        f"INSERT INTO visits (pupil, page) SELECT 1, '{CANARY} ' || repeat(md5(n::text) || md5((-n)::text), 8)"
        " FROM generate_series(1, 60000) n"
    )
    with started(doomed, "database") as process:
        dump = held_dump(process)
        programs = [process_on_this_host(child) for child in children(process.pid) if name_of(child).startswith("pg_")]
        process.kill()
        process.wait()
        os.kill(dump, signal.SIGCONT)
        wait_until(lambda: all(map(ended, programs)), "the end of its programs", seconds=30)
    assert files_holding(CANARY, doomed.repository, doomed.home / "data", doomed.home / "temporary") == []
    assert the_row(doomed).status is JobStatus.FAILED
    assert_goes_on(doomed, tmp_path, snapshots=0)
    assert files_holding(CANARY, doomed.repository, doomed.home / "data") == []


@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_a_backup_that_is_asked_to_stop_is_cancelled_with_status_130(
    doomed: Product, tmp_path: Path, number: signal.Signals
) -> None:
    hold_before_files(doomed)
    with started(doomed) as process:
        wait_for((doomed.home / "held").exists, "the pre_hook", process)
        if number is signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does: the hook gets it, too
        else:
            process.send_signal(number)
            (doomed.home / "hold").unlink()
        _, words = process.communicate(timeout=60)
    assert process.returncode == 130, words
    assert b"stopped by request" in words
    assert b"Safe: " in words
    (doomed.home / "hold").unlink(missing_ok=True)
    job = the_row(doomed)
    assert job.status is JobStatus.CANCELLED
    assert "stopped by request" in (job.error or "")
    assert_goes_on(doomed, tmp_path, snapshots=1)


@pytest.mark.slow
def test_ctrl_c_in_the_middle_of_a_dump_is_a_cancelled_job_not_a_failed_one(doomed: Product) -> None:
    doomed.execute(
        "INSERT INTO visits (pupil, page) SELECT 1, repeat(md5(n::text), 16) FROM generate_series(1, 60000) n"
    )
    with started(doomed, "database") as process:
        dump = held_dump(process)
        os.killpg(process.pid, signal.SIGINT)
        os.kill(dump, signal.SIGCONT)
        _, words = process.communicate(timeout=60)
    assert process.returncode == 130, words
    assert the_row(doomed).status is JobStatus.CANCELLED
    assert engine.opened(LocalStore(doomed.repository)).snapshots() == {}
