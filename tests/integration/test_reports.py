"""Reports of a real catalog: exact figures, the same everywhere; the same bytes twice; hostile names; damage found."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from pypdf import PdfReader

from edurise_backup import operations
from edurise_backup.catalog.reports import Reports
from edurise_backup.catalog.sessions import Connection
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import BackupError, DamageError, InputError, NotFoundError
from edurise_backup.model.people import SYSTEM, Actor, Role, Via
from edurise_backup.model.reports import ControlStatus, Report
from edurise_backup.operations import Catalog
from edurise_backup.postgres.connection import Address
from reports import find_report, folder_of, list_reports, make_report, read_file, verify_report
from reports.evidence import TABLES
from reports.keeping import SUMS
from tests.support.catalog import command_line, environment, quote_address
from tests.support.documents import blocks, page
from tests.support.history import PARTS, insert, plant, prove

START = datetime(2026, 10, 1, tzinfo=UTC)
NOW = datetime(2026, 11, 2, 8, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
HOSTILE = "<b>&amp;</b> <para> =1+1 नमस्ते 中文 \u202e " + "long" * 300


@pytest.fixture
def settings(catalog_database: Address, tmp_path: Path) -> Settings:
    """Return settings with a source of each kind and an empty catalog."""
    assert catalog_database.password
    (tmp_path / "password").write_text(catalog_database.password.reveal())
    path = tmp_path / "edurise-backup.toml"
    path.write_text(
        f"""data_directory = "data"
[catalog]
url = "{quote_address(catalog_database)}"
password_file = "password"
[[database]]
name = "school"
url = "host=/nowhere user=nobody dbname=school"
[[files]]
name = "uploads"
paths = ["uploads"]
[[configuration]]
name = "settings"
paths = ["settings"]
"""
    )
    return load_settings(path, {})


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    with operations.open_catalog(settings) as catalog:
        yield catalog


def make(settings: Settings, period: str = "2026-10", source: str = "", **more: object) -> Report:
    given = {"now": NOW, "actor": SYSTEM, **more}
    return make_report(settings, period, source, **given)  # type: ignore[arg-type]


def share(report: Report, control: str) -> tuple[str, int, int]:
    found = next(result for result in report.controls if result.id == control)
    return found.status.value, found.numerator, found.denominator


def table(settings: Settings, report: Report, name: str) -> list[dict[str, str]]:
    text = read_file(settings, report, f"{name}.csv").decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def pdf_text(settings: Settings, report: Report) -> str:
    reader = PdfReader(io.BytesIO(read_file(settings, report, "report.pdf")))
    return " ".join(" ".join(page.extract_text() for page in reader.pages).split())


def expect(connection: Connection, due: datetime, outcome: str | None, job: UUID | None = None, **more: object) -> None:
    row: dict[str, object] = {
        "schedule_id": UUID(int=7),
        "due_at": due,
        "name": "nightly",
        "type": "full",
        "grace_until": due + HOUR,
        "frozen_at": due - DAY,
        "outcome": outcome,
        "job_id": job,
        "judged_at": due + HOUR if outcome else None,
    }
    insert(connection, "expected_runs", row | more)


def plant_october(connection: Connection) -> None:
    """Plant 31 nightly backups: the 10th failed, the 20th was missed, the 5th was slow, the 7th has warnings."""
    insert(
        connection,
        "backup_schedules",
        {"id": UUID(int=7), "name": "nightly", "type": "full", "frequency": "daily", "retention": 30},
    )
    plant(connection, START - 10 * HOUR, 30, incremental=True)  # of September: not of this period
    for day in range(31):
        due = START + day * DAY + 2 * HOUR
        if day == 19:
            expect(connection, due, "missed", reason="the runner was down")
            continue
        failed = day == 9
        job = plant(
            connection,
            due,
            300 if day == 4 else 30,
            status="failed" if failed else "completed_with_warnings" if day == 6 else "completed",
            incremental=day % 7 != 4,
            **({"error": "the server went away", "hint": "start it"} if failed else {}),
            **({"warnings": ["a file changed"]} if day == 6 else {}),
            **({"forgotten_at": due + 3 * DAY} if day == 1 else {}),
            **({"verification_status": "passed", "verified_at": due + HOUR} if day == 29 else {}),
        )
        expect(connection, due, "failed" if failed else "kept", job)
        if day in (3, 29):
            prove(connection, "verification_jobs", job, due + HOUR, 10 if day == 3 else 45, bytes_read=4000)
        if day == 14:
            prove(connection, "recovery_jobs", job, due + 2 * HOUR, 90, restored_bytes=4000, checks=["4 tables equal"])
            prove(
                connection,
                "recovery_jobs",
                job,
                due + 9 * HOUR,
                5,
                status="failed",
                verification_status="pending",
                error="no room",
            )
    expect(connection, START + 12 * HOUR, "skipped", reason="paused")
    check = {"id": uuid4(), "kind": "check", "status": "completed", "verification_status": "passed"}
    times = {"started_at": START + DAY, "created_at": START + DAY, "completed_at": START + DAY + HOUR}
    insert(connection, "maintenance_jobs", {**check, **times, "figures": json.dumps({"snapshots": 4, "bytes": 1000})})


def test_an_empty_catalog_gives_a_report_in_which_nothing_passes(settings: Settings) -> None:
    report = make(settings)
    assert report.verdict is ControlStatus.NOT_EVALUATED
    assert {result.status for result in report.controls} == {ControlStatus.NOT_EVALUATED}
    assert [file.name for file in report.files] == [
        "report.pdf",
        "controls.csv",
        *(f"{one.name}.csv" for one in TABLES),
    ]
    assert "NOT EVALUATED" in pdf_text(settings, report)
    assert table(settings, report, "backups") == []
    assert verify_report(settings, report) == ()


def test_a_known_month_is_told_to_the_last_job(settings: Settings, catalog: Catalog) -> None:
    with catalog.sessions.transaction() as connection:
        plant_october(connection)
    report = make(settings)
    assert {result.id: share(report, result.id) for result in report.controls} == {
        "OBJ-FULL": ("FAIL", 3, 4),  # the 5th, 12th, 19th and 26th read everything; the 5th took five hours
        "OBJ-INCREMENTAL": ("PASS", 25, 25),
        "OBJ-VERIFICATION": ("FAIL", 1, 2),
        "OBJ-RECOVERY": ("PASS", 1, 1),
        "EB-01": ("PASS", 4, 4),
        "EB-02": ("FAIL", *exposure()),
        "EB-03": ("FAIL", 29, 31),
        "EB-04": ("FAIL", 29, 30),
        "EB-05": ("PASS", 1, 1),
        "EB-06": ("PASS", 2, 2),
        "EB-06A": ("PASS", 4, 4),
        "EB-07": ("FAIL", 1, 2),
        "EB-14": ("FAIL", 28, 29),
        "EB-15": ("FAIL", 0, 28),
        "EB-16": ("PASS", 29, 29),
    }
    assert report.verdict is ControlStatus.FAIL


def exposure() -> tuple[int, int]:
    """Return the seconds that the sources were covered in October, worked out by hand.

    The objective is 26 hours. A good backup begins at 2:00 and covers its source from 2:30 on until 4:00 of the next
    day. After the 10th (failed) and the 20th (missed) nothing covers from 4:00 of that day to 2:30 of the next one. The
    5th took five hours: from 4:00 to 7:00 nothing covered. Before the first one the backup of September does.
    """
    uncovered = 2 * timedelta(hours=22.5) + timedelta(hours=3)
    month = timedelta(days=31)
    return 4 * int((month - uncovered).total_seconds()), 4 * int(month.total_seconds())


def test_pdf_csv_files_and_catalog_show_the_same_figures(settings: Settings, catalog: Catalog) -> None:
    with catalog.sessions.transaction() as connection:
        plant_october(connection)
    report = make(settings)
    text = pdf_text(settings, report)
    rows = {row["control"]: row for row in table(settings, report, "controls")}
    for result in report.controls:
        row = rows[result.id]
        assert (row["status"], row["numerator"], row["denominator"]) == (
            result.status.value,
            str(result.numerator),
            str(result.denominator),
        )
        assert f"{result.numerator:,} {result.denominator:,} {result.percent}" in text, result.id
    backups = table(settings, report, "backups")
    assert len(backups) == 30
    assert {row["status"] for row in backups} == {"completed", "completed_with_warnings", "failed"}
    assert len(table(settings, report, "parts")) == 4 * 29
    assert [row["kind"] for row in table(settings, report, "exceptions")] == [
        "recovery failed",
        "backup forgotten early",
        "expected run missed",
        "backup failed",
        "backup with warnings",
    ]
    assert [row["judgement"] for row in table(settings, report, "deletions")] == ["forgotten early"]
    recovered = table(settings, report, "recoveries")
    assert [(row["status"], row["verification_status"]) for row in recovered] == [
        ("failed", "pending"),
        ("completed", "passed"),
    ]
    assert json.loads(recovered[1]["checks"]) == ["4 tables equal"]
    for file in report.files[1:]:
        assert file.sha256 in text, file.name
    assert report.policy_version in text
    assert text.index("Exceptions") < text.index("Controls") < text.index("Method") < text.index("Evidence")


def test_a_report_of_one_source_counts_its_backups_alone(settings: Settings, catalog: Catalog) -> None:
    with catalog.sessions.transaction() as connection:
        plant(connection, START + HOUR, 5)
        plant(connection, START + 2 * HOUR, 5, kind="files", parts=PARTS[1:2], source="uploads", incremental=True)
        plant(connection, START + 3 * HOUR, 5, kind="database", parts=PARTS[:1])
        expect(connection, START + 4 * HOUR, "missed", source="uploads", type="files")
        expect(connection, START + 5 * HOUR, "missed", type="database")
        expect(connection, START + 6 * HOUR, "missed", type="full")
    report = make(settings, source="uploads")
    assert share(report, "EB-04") == ("PASS", 2, 2)
    assert share(report, "EB-01") == ("PASS", 1, 1)
    assert share(report, "EB-03") == ("FAIL", 0, 2)
    assert {row["source"] for row in table(settings, report, "parts")} == {"uploads"}
    assert "source uploads" in pdf_text(settings, report)


def test_a_source_without_a_young_backup_is_exposed_all_the_time(settings: Settings, catalog: Catalog) -> None:
    with catalog.sessions.transaction() as connection:
        plant(connection, START - 300 * DAY, 5, parts=PARTS[1:2])
        for day in range(-1, 31):
            plant(connection, START + day * DAY + 2 * HOUR, 30, parts=PARTS[:1])
    month = int(timedelta(days=31).total_seconds())
    assert share(make(settings), "EB-02") == ("FAIL", month, 2 * month)
    assert share(make(settings), "EB-01") == ("FAIL", 1, 4)
    assert share(make(settings, source="uploads"), "EB-02") == ("FAIL", 0, month)


def test_a_source_that_is_configured_no_more_counts_only_where_it_was_backed_up(
    settings: Settings, catalog: Catalog
) -> None:
    with catalog.sessions.transaction() as connection:
        plant(connection, START - 200 * DAY, 5, kind="files", parts=[("files", "retired")])
        plant(connection, START, 5)
    report = make(settings)
    assert share(report, "EB-01") == ("PASS", 4, 4)
    assert "retired" not in pdf_text(settings, report)
    assert share(make(settings, source="retired"), "EB-01") == ("NOT_EVALUATED", 0, 0)


def test_a_job_that_runs_past_its_objective_counts_and_one_that_may_still_keep_it_does_not(
    settings: Settings, catalog: Catalog
) -> None:
    alive = {"heartbeat_at": datetime.now(UTC) + DAY, "host": "elsewhere"}  # else it is ended as dead
    running = {"status": "running", "completed_at": None, **alive}
    with catalog.sessions.transaction() as connection:
        plant(connection, NOW - timedelta(hours=5), 0, **running)  # type: ignore[arg-type]
        plant(connection, NOW - timedelta(hours=3), 0, **running)  # type: ignore[arg-type]
    report = make(settings, period="2026-11")
    assert share(report, "OBJ-FULL") == ("FAIL", 0, 1)
    assert share(report, "EB-04") == ("NOT_EVALUATED", 0, 0)


def test_a_missed_run_counts_when_nobody_judged_it_and_its_schedule_is_gone(
    settings: Settings, catalog: Catalog
) -> None:
    with catalog.sessions.transaction() as connection:
        expect(connection, START, None)
        expect(connection, NOW - timedelta(minutes=10), None)  # its grace lasts
    assert share(make(settings, period="2026-10-01..2026-11-30"), "EB-03") == ("FAIL", 0, 1)


def test_backups_that_disappeared_fail_the_report(settings: Settings, catalog: Catalog) -> None:
    with catalog.sessions.transaction() as connection:
        plant(connection, START - 40 * DAY, 5, missing_since=START + DAY)
        plant(connection, START + DAY, 5)
    report = make(settings)
    assert share(report, "EB-16") == ("FAIL", 1, 2)
    assert table(settings, report, "exceptions")[0]["kind"] == "backup is missing"


def test_a_day_in_another_zone_is_that_zones_day(settings: Settings, catalog: Catalog) -> None:
    with catalog.sessions.transaction() as connection:
        plant(connection, datetime(2026, 10, 4, 18, 29, tzinfo=UTC), 5)
        plant(connection, datetime(2026, 10, 4, 18, 30, tzinfo=UTC), 5)
        plant(connection, datetime(2026, 10, 5, 18, 30, tzinfo=UTC), 5)
    assert share(make(settings, period="2026-10-05", zone="Asia/Kolkata"), "EB-04") == ("PASS", 1, 1)


def test_the_same_inputs_give_the_same_bytes_in_another_process(settings: Settings, catalog: Catalog) -> None:
    with catalog.sessions.transaction() as connection:
        plant_october(connection)
        plant(connection, START + 20 * HOUR, 5, status="failed", error=HOSTILE)
    first = make(settings)
    program = (
        "import sys; from datetime import datetime; from pathlib import Path;"
        "from edurise_backup.config import load_settings; from edurise_backup.model.people import SYSTEM;"
        "from reports import make_report;"
        "made = make_report(load_settings(Path(sys.argv[1]), {}), '2026-10', now=datetime.fromisoformat(sys.argv[2]),"
        "actor=SYSTEM); print(made.id)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(settings.path), NOW.isoformat()],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONHASHSEED": "12345", "TZ": "Asia/Kolkata", "LC_ALL": "C"},
    )
    second = find_report(settings, done.stdout.strip())
    assert second.id != first.id
    assert second.files == first.files
    assert verify_report(settings, second) == ()


def test_hostile_names_are_data_and_nothing_of_them_is_lost(settings: Settings, catalog: Catalog) -> None:
    with catalog.sessions.transaction() as connection:
        plant(connection, START + HOUR, 5, status="failed", error=HOSTILE, hint="=cmd|' /C calc'!A0")
        plant(connection, START + DAY, 5, kind="files", parts=[("files", HOSTILE[:200])], source=HOSTILE[:200])
        expect(connection, START + HOUR, "missed", name=HOSTILE, reason="@SUM(A1)")
    report = make(settings, actor=Actor(HOSTILE[:60], Via.COMMAND_LINE, frozenset(Role)))
    failed = next(row for row in table(settings, report, "backups") if row["status"] == "failed")
    assert failed["error"] == HOSTILE
    assert failed["hint"] == "'=cmd|' /C calc'!A0"
    assert table(settings, report, "expected_runs")[0]["reason"] == "'@SUM(A1)"
    text = pdf_text(settings, report)
    assert "<b>&amp;</b> <para> =1+1" in text
    assert "\\u0928" in text
    assert "shown as its number" in text


def test_a_long_table_is_cut_in_the_pdf_and_whole_in_its_file(settings: Settings, catalog: Catalog) -> None:
    with catalog.sessions.transaction() as connection:
        for number in range(230):
            plant(connection, START + number * HOUR, 5, status="failed", error=f"failure {number}", parts=())
    report = make(settings)
    assert len(table(settings, report, "backups")) == 230
    text = pdf_text(settings, report)
    assert "the first 200 of 230; all of them are in backups.csv" in text
    assert "error backup failed 230" in text  # the count by kind is of all


@pytest.mark.parametrize("harm", ["changed", "removed"])
def test_a_file_that_changed_on_the_disk_is_found_and_never_handed_out(settings: Settings, harm: str) -> None:
    report = make(settings)
    path = folder_of(settings, report.id) / "backups.csv"
    if harm == "changed":
        content = bytearray(path.read_bytes())
        content[-3] ^= 1
        path.write_bytes(content)
    else:
        path.unlink()
    (finding,) = verify_report(settings, report)
    assert "backups.csv" in finding
    with pytest.raises(DamageError, match=r"backups\.csv"):
        read_file(settings, report, "backups.csv")
    assert read_file(settings, report, "report.pdf").startswith(b"%PDF")
    with pytest.raises(NotFoundError):
        read_file(settings, report, "../../catalog.password")


def test_the_digests_beside_the_files_are_those_of_the_catalog(settings: Settings) -> None:
    report = make(settings)
    folder = folder_of(settings, report.id)
    assert (folder / SUMS).read_text() == "".join(f"{file.sha256}  {file.name}\n" for file in report.files)
    done = subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=folder, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_report_is_made_once_under_an_id_and_leaves_one_row_in_the_audit_trail(
    settings: Settings, catalog: Catalog
) -> None:
    wanted = uuid4()
    first = make(settings, report_id=wanted)
    again = make(settings, report_id=wanted, now=NOW + DAY)
    assert (again.id, again.made_at) == (wanted, first.made_at)
    Reports(catalog.sessions).add(first, SYSTEM)  # the second try of a commit whose answer was lost
    (row,) = [row for row in catalog.audit.rows() if row.action == "report.make"]
    assert (row.subject, row.actor) == (str(wanted), SYSTEM.name)
    assert list_reports(settings) == (first,)


def test_attempts_at_once_for_one_id_make_one_report_whose_files_are_its_own(settings: Settings) -> None:
    wanted = uuid4()
    with ThreadPoolExecutor(3) as pool:
        made = list(pool.map(lambda hours: make(settings, report_id=wanted, now=NOW + hours * HOUR), range(3)))
    assert made == [made[0]] * 3
    assert list_reports(settings) == (made[0],)
    assert verify_report(settings, made[0]) == ()


def test_what_a_cut_short_attempt_left_is_no_report_and_in_nobodys_way(settings: Settings) -> None:
    wanted = uuid4()
    home = settings.data_directory / "reports"
    for name in (f".unfinished-{wanted}", str(wanted)):
        (home / name).mkdir(parents=True)
        (home / name / "report.pdf").write_text("half")
    assert list_reports(settings) == ()
    assert verify_report(settings, make(settings, report_id=wanted)) == ()
    assert [path.name for path in home.iterdir()] == [str(wanted)]


def test_a_place_that_cannot_be_written_is_told_and_leaves_no_row(settings: Settings) -> None:
    settings.data_directory.mkdir(exist_ok=True)
    (settings.data_directory / "reports").write_text("in the way")
    with pytest.raises(BackupError, match="cannot be written") as told:
        make(settings)
    assert told.value.hint
    assert list_reports(settings) == ()


@pytest.mark.parametrize(
    ("period", "source", "message"),
    [("2027", "", "has not begun yet"), ("soon", "", "is no period"), ("2026-10", "nobody", "no source named")],
)
def test_wrong_questions_are_told_and_nothing_is_made(
    settings: Settings, period: str, source: str, message: str
) -> None:
    with pytest.raises(InputError, match=message) as told:
        make(settings, period, source)
    assert told.value.exit_status == 2
    assert told.value.safe == "nothing was made"
    assert list_reports(settings) == ()


def run(settings: Settings, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command_line("report", *words), capture_output=True, text=True, check=False, env=environment(settings.path)
    )


def test_the_command_line_makes_lists_shows_and_verifies(settings: Settings) -> None:
    made = json.loads(run(settings, "make", "2026-09", "--json").stdout)
    assert made["verdict"] == "NOT_EVALUATED"
    assert made["made_by"] != SYSTEM.name
    (listed,) = json.loads(run(settings, "list", "--json").stdout)
    assert listed == made
    shown = run(settings, "show", made["id"][:8]).stdout
    assert made["files"][0]["sha256"] in shown
    assert "EB-03" in shown
    fine = run(settings, "verify", made["id"])
    assert (fine.returncode, "as they were written" in fine.stdout) == (0, True)
    (folder_of(settings, UUID(made["id"])) / "report.pdf").write_bytes(b"%PDF-forged")
    damaged = run(settings, "verify", made["id"])
    assert damaged.returncode == 1
    assert "report.pdf is not what was written" in damaged.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("make", "2026-99"),
        ("make", "2026-09", "--zone", "Mars"),
        ("make", "2026-09", "--source", "nobody"),
        ("show", "zz"),
        ("show", ""),
        ("verify", "0123"),
        ("show", "%"),
    ],
)
def test_bad_input_on_the_command_line_ends_with_2_and_says_what_to_do(
    settings: Settings, words: tuple[str, ...]
) -> None:
    done = run(settings, *words)
    assert done.returncode == 2
    assert "To do:" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_example_of_the_page_runs(settings: Settings) -> None:
    (example,) = blocks(page("docs/operations/reports.md"), "python")
    subprocess.run([sys.executable, "-c", example], check=True, env=environment(settings.path))
    assert [report.period for report in list_reports(settings)] == ["2026-10"]
