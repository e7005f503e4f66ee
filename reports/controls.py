"""The rules of a report: data plus one pure function each.

A control counts something good (numerator) among everything that should have
been good (denominator). Without a denominator nothing was seen, and nothing is
a pass: the control is not evaluated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import msgspec

from edurise_backup.model.reports import ControlResult, ControlStatus
from edurise_backup.model.settings import ObjectivesSettings
from reports import judging
from reports.facts import Facts
from reports.judging import Judged

RULES = 2
"""Counts the changes of the rules below: results of different rules are not compared."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The thresholds that a report is judged under."""

    objectives: ObjectivesSettings

    @property
    def version(self) -> str:
        """The rules' number, and a digest of the thresholds."""
        text = msgspec.json.encode({"rules": RULES, "objectives": self.objectives}, order="deterministic")
        return f"{RULES}-{hashlib.sha256(text).hexdigest()[:12]}"

    def words(self, text: str) -> str:
        """Put the thresholds into a rule's text."""
        return text.format(**msgspec.structs.asdict(self.objectives))


@dataclass(frozen=True, slots=True)
class Control:
    """One rule."""

    id: str
    title: str
    rule: str
    """When it passes; `{name}` stands for an objective of the settings."""
    numerator: str
    denominator: str
    supports: str
    """Clauses that its result is evidence for; it certifies none."""
    judge: Callable[[Facts, Policy], Judged]


def evaluate(facts: Facts, policy: Policy) -> tuple[ControlResult, ...]:
    """Judge every control."""
    results = []
    for control in CONTROLS:
        found = control.judge(facts, policy)
        status = found.status if found.denominator else ControlStatus.NOT_EVALUATED
        results.append(
            ControlResult(control.id, control.title, status, found.numerator, found.denominator, found.observed)
        )
    return tuple(results)


def verdict(results: tuple[ControlResult, ...]) -> ControlStatus:
    """Return the worst status: a fail, else a warning, else that something was not evaluated, else a pass."""
    worst_first = (ControlStatus.FAIL, ControlStatus.WARN, ControlStatus.NOT_EVALUATED)
    found = {result.status for result in results}
    return next((status for status in worst_first if status in found), ControlStatus.PASS)


CONTROLS: tuple[Control, ...] = (
    Control(
        "OBJ-FULL",
        "Full backups within their time",
        "All within {full_backup_minutes} minutes; warns down to 95 %.",
        "good full backups (that read everything) that took no longer than the objective",
        "good full backups, and those that still run past the objective",
        "ISO 27001 A.8.13; SOC 2 A1.2",
        lambda facts, policy: judging.durations(facts.full, policy.objectives.full_backup_minutes),
    ),
    Control(
        "OBJ-INCREMENTAL",
        "Incremental backups within their time",
        "All within {incremental_backup_minutes} minutes; warns down to 95 %.",
        "good incremental backups that took no longer than the objective",
        "good incremental backups, and those that still run past the objective",
        "ISO 27001 A.8.13; SOC 2 A1.2",
        lambda facts, policy: judging.durations(facts.incremental, policy.objectives.incremental_backup_minutes),
    ),
    Control(
        "OBJ-VERIFICATION",
        "Verifications within their time",
        "All within {verification_minutes} minutes; warns down to 95 %.",
        "verifications with a verdict that took no longer than the objective",
        "verifications with a verdict, and those that still run past the objective",
        "NIST SP 800-53 CP-9(1)",
        lambda facts, policy: judging.durations(facts.verification, policy.objectives.verification_minutes),
    ),
    Control(
        "OBJ-RECOVERY",
        "Recoveries within their time (RTO)",
        "All within {recovery_minutes} minutes; warns down to 95 %.",
        "recoveries that ended well and took no longer than the objective",
        "recoveries that ended well, and those that still run past the objective",
        "NIST SP 800-53 CP-10(4); ISO 27001 A.5.30; SOC 2 A1.3",
        lambda facts, policy: judging.durations(facts.recovery, policy.objectives.recovery_minutes),
    ),
    Control(
        "EB-01",
        "Coverage of database, files, configuration and metadata",
        "Every one has a good backup from the period.",
        "sources with a good backup that began in the period",
        "configured sources (as the report is made), and those backed up in the period; a kind without any counts as "
        "one not covered",
        "NIST SP 800-53 CP-9(a)-(c); ISO 27001 A.8.13; SOC 2 A1.2",
        lambda facts, _: judging.coverage(facts),
    ),
    Control(
        "EB-02",
        "Age of the newest good backup (RPO)",
        "At least 99.5 % of the time no older than {good_backup_hours} hours; warns down to 95 %.",
        "seconds in which the newest good backup of a source was no older than the objective",
        "seconds of the period since the source's first good backup, added up over all sources",
        "NIST SP 800-53 CP-9; ISO 27001 A.5.30; GDPR 32(1)(b)",
        lambda facts, policy: judging.exposure(facts, timedelta(hours=policy.objectives.good_backup_hours)),
    ),
    Control(
        "EB-03",
        "Schedules kept",
        "All expected runs kept; warns down to 98 % without two misses of a schedule in a row.",
        "expected runs that ran well in their grace",
        "expected runs that were due: kept, failed, missed, or not judged though their grace is over",
        "ISO 27001 A.8.13; SOC 2 A1.2, CC7.2",
        lambda facts, _: judging.schedules(facts.expected),
    ),
    Control(
        "EB-04",
        "Backups that succeeded",
        "All good and without warnings; warns when none failed, or down to 98 %.",
        "backups that ended well, with or without warnings",
        "backups that began in the period and ended, without those that a person stopped",
        "NIST SP 800-53 CP-9; SOC 2 A1.2",
        lambda facts, _: judging.outcomes(facts.backups),
    ),
    Control(
        "EB-05",
        "Checks of the repository",
        "All passed; warns when one could not be done.",
        "checks that found nothing wrong",
        "checks that began in the period and ended, without those that a person stopped",
        "NIST SP 800-53 CP-9(1), SI-7; SOC 2 A1.3",
        lambda facts, _: judging.proofs(facts.checks, "checks"),
    ),
    Control(
        "EB-06",
        "Verifications",
        "All passed; warns when one could not be done.",
        "verifications that passed",
        "verifications that began in the period and ended, without those that a person stopped",
        "NIST SP 800-53 CP-9(1); SOC 2 A1.3",
        lambda facts, _: judging.verifications(facts),
    ),
    Control(
        "EB-06A",
        "Sources with a fresh verified backup",
        "Every source's newest verified backup is no older than {verified_days} days at the end.",
        "sources whose newest verified backup is no older than the objective at the period's end",
        "sources that have a good backup",
        "NIST SP 800-53 CP-9(1); SOC 2 A1.3",
        lambda facts, policy: judging.verified_sources(facts, timedelta(days=policy.objectives.verified_days)),
    ),
    Control(
        "EB-07",
        "Recoveries that succeeded",
        "All ended with a proof that passed.",
        "recoveries whose restored data was proved to be what was backed up",
        "recoveries that began in the period and ended, without those that a person stopped",
        "NIST SP 800-53 CP-4, CP-9(2), CP-10; ISO 27001 A.5.30; SOC 2 A1.3; GDPR 32(1)(d)",
        lambda facts, _: judging.recoveries(facts.recoveries),
    ),
    Control(
        "EB-14",
        "No backup removed early",
        "None was forgotten before the days of its schedule were over.",
        "those that were not forgotten before the days of their schedule were over",
        "good backups of a schedule that were taken or forgotten in the period",
        "ISO 27001 A.8.13, A.5.33; SOC 2 C1.1",
        lambda facts, _: judging.retention(facts.retention),
    ),
    Control(
        "EB-15",
        "Copies elsewhere (3-2-1-1-0)",
        "Every backup is whole in a copy with another passphrase in another place, none is damaged there, and any was "
        "read back there; warns while none was.",
        "those that are whole, as the report is made, in a copy with a passphrase and a place of its own",
        "good backups that began in the period and are there",
        "NIST SP 800-53 CP-6, CP-9(3); ISO 27001 A.8.13, A.8.14; SOC 2 A1.2",
        lambda facts, _: judging.copies(facts.copies),
    ),
    Control(
        "EB-16",
        "No backup disappeared",
        "None is gone from the repository without a record of who forgot it.",
        "those whose snapshots are in the repository, as far as the catalog knows",
        "good backups taken before the period's end that nobody forgot",
        "NIST SP 800-53 CP-9(7), AU-10; SOC 2 CC6.3",
        lambda facts, _: judging.disappearances(facts.retention),
    ),
)
"""Every control, in the order in which a report shows them."""
