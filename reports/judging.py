"""The judgement of each control: from counts to a status and a sentence, pure.

Shares are compared as integers: 95 of 100 is 95 %, and never 94.999.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import timedelta

from edurise_backup.model.reports import ControlStatus
from reports.facts import CopyFacts, Durations, ExpectedFacts, Facts, Outcomes, Proofs, RetentionFacts
from reports.wording import length

PASS, WARN, FAIL = ControlStatus.PASS, ControlStatus.WARN, ControlStatus.FAIL
_NOTHING = ControlStatus.NOT_EVALUATED


@dataclass(frozen=True, slots=True)
class Judged:
    """What a rule says of the facts."""

    status: ControlStatus
    numerator: int
    denominator: int
    observed: str


def reaches(numerator: int, denominator: int, permille: int) -> bool:
    """Whether a share is at least so many thousandths."""
    return numerator * 1000 >= denominator * permille


def durations(found: Durations, minutes: int) -> Judged:
    """All jobs within the objective: pass; 95 %: warn."""
    if not found.of:
        return Judged(_NOTHING, 0, 0, "There was none in the period.")
    status = PASS if found.within == found.of else WARN if reaches(found.within, found.of, 950) else FAIL
    return Judged(
        status,
        found.within,
        found.of,
        f"{found.within:,} of {found.of:,} within {length(minutes * 60)}; half took up to {length(found.p50)}, "
        f"95 % up to {length(found.p95)}, the longest {length(found.longest)}.",
    )


def coverage(facts: Facts) -> Judged:
    """Every source has a good backup from the period."""
    if not facts.backups.ended:
        return Judged(_NOTHING, 0, 0, "No backup ended in the period.")
    bare = [source for source in facts.sources if not source.backups]
    covered = len(facts.sources) - len(bare)
    if not bare:
        return Judged(PASS, covered, len(facts.sources), f"All {covered:,} sources have a good backup.")
    names = ", ".join(
        f"{source.part}/{source.name}" if source.name else f"{source.part} (no source of this kind)"
        for source in bare[:10]
    )
    more = f" and {len(bare) - 10:,} more" if len(bare) > 10 else ""
    return Judged(FAIL, covered, len(facts.sources), f"Not covered: {names}{more}.")


def exposure(facts: Facts, objective: timedelta) -> Judged:
    """The newest good backup was young enough nearly all the time."""
    seconds = sum(source.seconds for source in facts.sources)
    covered = sum(source.seconds_covered for source in facts.sources)
    if not seconds:
        return Judged(_NOTHING, 0, 0, "There is no good backup whose age could be told.")
    status = PASS if reaches(covered, seconds, 995) else WARN if reaches(covered, seconds, 950) else FAIL
    worst = max(facts.sources, key=lambda source: source.seconds - source.seconds_covered)
    lost = worst.seconds - worst.seconds_covered
    limit = length(objective / timedelta(seconds=1))
    told = f"The worst is {worst.part}/{worst.name}: {length(lost)} without one that young."
    return Judged(status, covered, seconds, told if lost else f"Never older than {limit}.")


def schedules(found: ExpectedFacts) -> Judged:
    """Expected runs were kept."""
    aside = f"{found.skipped:,} skipped, {found.withdrawn:,} withdrawn, {found.pending:,} not due yet do not count"
    if not found.of:
        return Judged(_NOTHING, 0, 0, f"No run was expected in the period ({aside}).")
    lost = found.missed + found.overdue
    if found.kept == found.of:
        status = PASS
    elif reaches(found.kept, found.of, 980) and not found.consecutive:
        status = WARN
    else:
        status = FAIL
    row = f"{found.consecutive:,} right after another" if found.consecutive else "none right after another"
    return Judged(status, found.kept, found.of, f"{found.failed:,} failed and {lost:,} missed, {row}; {aside}.")


def outcomes(found: Outcomes) -> Judged:
    """Backups succeeded; warnings are counted apart, so that they are not lost among the good ones."""
    if not found.ended:
        return Judged(_NOTHING, 0, 0, "No backup ended in the period.")
    if found.good == found.ended:
        status = WARN if found.warned else PASS
    else:
        status = WARN if reaches(found.good, found.ended, 980) else FAIL
    return Judged(
        status,
        found.good,
        found.ended,
        f"{found.failed:,} failed, {found.warned:,} ended with warnings; "
        f"{found.cancelled:,} stopped by a person do not count, {found.open:,} have not ended.",
    )


def proofs(found: Proofs, what: str) -> Judged:
    """Whatever was looked at was found sound."""
    if not found.of:
        return Judged(_NOTHING, 0, 0, f"There were no {what} in the period.")
    status = FAIL if found.failed else WARN if found.undone else PASS
    return Judged(status, found.passed, found.of, f"{found.failed:,} found damage, {found.undone:,} could not be done.")


def verifications(facts: Facts) -> Judged:
    """What was verified is sound; and how much of the period's backups that is."""
    found = proofs(facts.verifications, "verifications")
    aside = f"Of {facts.backups.good:,} good backups of the period {facts.verified:,} passed one."
    return replace(found, observed=f"{found.observed} {aside}")


def verified_sources(facts: Facts, objective: timedelta) -> Judged:
    """Each source has a backup that was verified and is young enough."""
    known = [source for source in facts.sources if source.newest is not None]
    fresh = [
        source
        for source in known
        if source.newest_verified is not None and facts.until - source.newest_verified <= objective
    ]
    if not known:
        return Judged(_NOTHING, 0, 0, "No source has a good backup.")
    stale = [f"{source.part}/{source.name}" for source in known if source not in fresh]
    what = f"Without one: {', '.join(stale[:10])}." if stale else "Every source has one."
    return Judged(FAIL if stale else PASS, len(fresh), len(known), what)


def recoveries(found: Proofs) -> Judged:
    """Every recovery brought back what was backed up."""
    if not found.of:
        return Judged(_NOTHING, 0, 0, "Nothing was recovered in the period: that it can be was not shown.")
    status = PASS if found.passed == found.of else FAIL
    return Judged(
        status,
        found.passed,
        found.of,
        f"{found.failed:,} restored something else, {found.undone:,} did not get so far.",
    )


def retention(found: RetentionFacts) -> Judged:
    """Nothing was forgotten before its time."""
    aside = f"{found.forgotten:,} backups were forgotten; of {found.unknown:,} of them no schedule is known"
    if not found.of:
        return Judged(_NOTHING, 0, 0, f"No backup of a known schedule was taken or forgotten ({aside}).")
    early = found.of - found.kept
    return Judged(FAIL if early else PASS, found.kept, found.of, f"{early:,} were forgotten early; {aside}.")


def copies(found: CopyFacts) -> Judged:
    """Every backup is whole elsewhere under another key: pass once any was proved there; none damaged."""
    if not found.of:
        return Judged(_NOTHING, 0, 0, "No good backup began in the period.")
    status = FAIL if found.apart < found.of or found.damaged else PASS if found.proved else WARN
    return Judged(
        status,
        found.apart,
        found.of,
        f"{found.copied:,} of {found.of:,} are whole in a copy, {found.apart:,} in one with a passphrase and a place "
        f"of its own; {found.proved:,} were read back there, {found.damaged:,} are damaged or gone in a copy.",
    )


def disappearances(found: RetentionFacts) -> Judged:
    """Removal leaves a record."""
    of = found.present + found.missing
    if not of:
        return Judged(_NOTHING, 0, 0, "There is no good backup.")
    status = FAIL if found.missing else PASS
    return Judged(status, found.present, of, f"{found.missing:,} are gone without a record.")
