"""The rules of a report at their borders; the page shows the same rules."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from edurise_backup.model.jobs import BackupType
from edurise_backup.model.reports import ControlResult, ControlStatus
from edurise_backup.model.settings import ObjectivesSettings
from reports.controls import CONTROLS, Policy, evaluate, verdict
from reports.facts import CopyFacts, Durations, ExpectedFacts, Facts, Outcomes, Proofs, RetentionFacts, SourceFacts
from reports.periods import parse_period
from tests.support.documents import page, rows, section

PASS, WARN, FAIL = ControlStatus.PASS, ControlStatus.WARN, ControlStatus.FAIL
NOT_EVALUATED = ControlStatus.NOT_EVALUATED
POLICY = Policy(ObjectivesSettings())
UNTIL = datetime(2026, 11, 1, tzinfo=UTC)
DAYS = POLICY.objectives.verified_days
NOTHING = Facts(
    period=parse_period("2026-10"),
    until=UNTIL,
    source="",
    full=Durations(0, 0),
    incremental=Durations(0, 0),
    verification=Durations(0, 0),
    recovery=Durations(0, 0),
    backups=Outcomes(),
    verified=0,
    verifications=Proofs(),
    recoveries=Proofs(),
    checks=Proofs(),
    sources=tuple(SourceFacts(part, "", 0, None, None, 0, 0) for part in BackupType.FULL.parts),
    expected=ExpectedFacts(),
    retention=RetentionFacts(),
    storage=(),
    bins=(),
    repository_bytes=(),
)


def judged(control: str, facts: Facts, policy: Policy = POLICY) -> ControlResult:
    return next(result for result in evaluate(facts, policy) if result.id == control)


def source(part: BackupType = BackupType.FILES, **changes: object) -> SourceFacts:
    whole = SourceFacts(part, "uploads", 1, UNTIL, UNTIL, 1000, 1000)
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_without_data_no_control_passes_and_neither_does_the_report() -> None:
    results = evaluate(NOTHING, POLICY)
    assert {result.status for result in results} == {NOT_EVALUATED}
    assert {result.denominator for result in results} == {0}
    assert verdict(results) is NOT_EVALUATED
    assert all(result.percent == "–" and result.observed for result in results)


@pytest.mark.parametrize("field", ["full", "incremental", "verification", "recovery"])
@pytest.mark.parametrize(("within", "of", "status"), [(20, 20, PASS), (19, 20, WARN), (94, 100, FAIL), (0, 1, FAIL)])
def test_jobs_keep_their_time(field: str, within: int, of: int, status: ControlStatus) -> None:
    result = judged(f"OBJ-{field.upper()}", replace(NOTHING, **{field: Durations(within, of, 9.0, 5.0, 8.0)}))  # type: ignore[arg-type]
    assert (result.status, result.numerator, result.denominator) == (status, within, of)


@pytest.mark.parametrize(
    ("found", "status", "share"),
    [
        (ExpectedFacts(kept=100), PASS, (100, 100)),
        (ExpectedFacts(kept=98, missed=2), WARN, (98, 100)),
        (ExpectedFacts(kept=98, missed=2, consecutive=1), FAIL, (98, 100)),
        (ExpectedFacts(kept=97, missed=2, failed=1), FAIL, (97, 100)),
        (ExpectedFacts(kept=99, overdue=1), WARN, (99, 100)),
        (ExpectedFacts(kept=10, skipped=5, withdrawn=5, pending=5), PASS, (10, 10)),
        (ExpectedFacts(skipped=5, withdrawn=5, pending=5), NOT_EVALUATED, (0, 0)),
        (ExpectedFacts(overdue=1), FAIL, (0, 1)),
    ],
)
def test_expected_runs_are_kept(found: ExpectedFacts, status: ControlStatus, share: tuple[int, int]) -> None:
    result = judged("EB-03", replace(NOTHING, expected=found))
    assert (result.status, (result.numerator, result.denominator)) == (status, share)


@pytest.mark.parametrize(
    ("found", "status"),
    [
        (Outcomes(good=100), PASS),
        (Outcomes(good=100, warned=1), WARN),
        (Outcomes(good=98, failed=2), WARN),
        (Outcomes(good=97, failed=3), FAIL),
        (Outcomes(cancelled=3, open=2), NOT_EVALUATED),
    ],
)
def test_warnings_are_not_lost_among_good_backups(found: Outcomes, status: ControlStatus) -> None:
    assert judged("EB-04", replace(NOTHING, backups=found)).status is status


@pytest.mark.parametrize(
    ("found", "checked", "recovered"),
    [
        (Proofs(passed=3), PASS, PASS),
        (Proofs(passed=3, undone=1), WARN, FAIL),
        (Proofs(passed=1000, failed=1), FAIL, FAIL),
        (Proofs(), NOT_EVALUATED, NOT_EVALUATED),
    ],
)
def test_proofs_pass_whole_or_not(found: Proofs, checked: ControlStatus, recovered: ControlStatus) -> None:
    facts = replace(NOTHING, checks=found, verifications=found, recoveries=found)
    assert [judged(control, facts).status for control in ("EB-05", "EB-06", "EB-07")] == [checked, checked, recovered]


def test_a_kind_that_nobody_configured_is_not_covered() -> None:
    covered = tuple(source(part) for part in BackupType.FULL.parts)
    facts = replace(NOTHING, backups=Outcomes(good=1), sources=covered)
    assert judged("EB-01", facts).status is PASS
    bare = replace(facts, sources=(*covered[:3], SourceFacts(BackupType.METADATA, "", 0, None, None, 0, 0)))
    result = judged("EB-01", bare)
    assert (result.status, result.numerator, result.denominator) == (FAIL, 3, 4)
    assert "metadata (no source of this kind)" in result.observed


@pytest.mark.parametrize(("covered", "status"), [(1000, PASS), (995, PASS), (994, WARN), (950, WARN), (949, FAIL)])
def test_the_newest_backup_is_young_enough_nearly_all_the_time(covered: int, status: ControlStatus) -> None:
    assert judged("EB-02", replace(NOTHING, sources=(source(seconds_covered=covered),))).status is status


def test_a_source_has_a_verified_backup_that_is_young_enough_to_the_second() -> None:
    border = UNTIL - timedelta(days=DAYS)
    for newest, status in ((border, PASS), (border - timedelta(seconds=1), FAIL), (None, FAIL)):
        facts = replace(NOTHING, sources=(source(), source(newest_verified=newest)))
        assert judged("EB-06A", facts).status is status
    assert judged("EB-06A", replace(NOTHING, sources=(source(newest=None),))).status is NOT_EVALUATED


def test_one_early_or_unexplained_removal_fails() -> None:
    assert judged("EB-14", replace(NOTHING, retention=RetentionFacts(kept=999, of=1000))).status is FAIL
    assert judged("EB-14", replace(NOTHING, retention=RetentionFacts(kept=9, of=9, forgotten=4))).status is PASS
    assert judged("EB-14", replace(NOTHING, retention=RetentionFacts(forgotten=4, unknown=4))).status is NOT_EVALUATED
    assert judged("EB-16", replace(NOTHING, retention=RetentionFacts(present=999, missing=1))).status is FAIL
    assert judged("EB-16", replace(NOTHING, retention=RetentionFacts(present=1))).status is PASS


def test_copies_count_when_they_lie_apart_and_were_proved_and_none_is_a_fail() -> None:
    for copies, status in (
        (CopyFacts(), NOT_EVALUATED),
        (CopyFacts(of=3), FAIL),
        (CopyFacts(of=3, copied=3, apart=2, proved=2), FAIL),
        (CopyFacts(of=3, copied=3, apart=3), WARN),
        (CopyFacts(of=3, copied=3, apart=3, proved=1), PASS),
        (CopyFacts(of=3, copied=3, apart=3, proved=3, damaged=1), FAIL),
    ):
        assert judged("EB-15", replace(NOTHING, copies=copies)).status is status, copies


def test_a_share_of_100_percent_means_every_one() -> None:
    assert ControlResult("x", "x", WARN, 99_999, 100_000, "").percent == "99.99 %"
    assert ControlResult("x", "x", PASS, 3, 3, "").percent == "100.00 %"


def test_the_verdict_is_the_worst_and_what_was_not_evaluated_is_no_pass() -> None:
    def of(*statuses: ControlStatus) -> ControlStatus:
        return verdict(tuple(ControlResult("x", "x", status, 0, 0, "") for status in statuses))

    assert of(PASS, NOT_EVALUATED, WARN, FAIL) is FAIL
    assert of(PASS, NOT_EVALUATED, WARN) is WARN
    assert of(PASS, NOT_EVALUATED) is NOT_EVALUATED
    assert of(PASS, PASS) is PASS


def test_other_thresholds_are_another_policy() -> None:
    other = Policy(msgspec.structs.replace(ObjectivesSettings(), recovery_minutes=60))
    assert other.version != POLICY.version
    assert POLICY.version == Policy(ObjectivesSettings()).version
    assert all("{" not in POLICY.words(control.rule) for control in CONTROLS)


def test_the_page_shows_every_control_with_its_formula() -> None:
    told = rows(section(page("docs/operations/reports.md"), "Controls"))[1:]
    assert told == [
        [control.id, control.title, POLICY.words(control.rule), control.numerator, control.denominator]
        for control in CONTROLS
    ]
