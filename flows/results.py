"""A run's result as it stands on its page in Prefect: Markdown with sizes, times, ids and warnings.

Names of sources, files and tables are data that anybody may have chosen: they
are escaped, so that none of them becomes markup.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timedelta

from edurise_backup.model.jobs import BackupJob, Phase, RecoveryJob, Verification
from edurise_backup.model.maintenance import CheckFigures, CopyFigures, ForgetFigures, MaintenanceJob, PruneFigures
from edurise_backup.model.reports import Report

SHOWN = 50
"""Lines of a list that are shown; the rest is counted."""
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|<>~$&-])")


def backup_markdown(job: BackupJob) -> str:
    """Describe a backup: what it holds, what it cost, what it says beside."""
    facts = [
        ("Job", str(job.id)),
        ("Type", job.type.value),
        ("Status", job.status.value.replace("_", " ")),
        ("Duration", duration(job.started_at, job.completed_at)),
        ("Source", size(job.size)),
        ("Read", size(job.read_bytes)),
        ("Stored", size(job.stored_bytes)),
        ("Source bytes for each stored byte", ratio(job.size, job.stored_bytes)),
        ("Files", "unknown" if job.files is None else f"{job.files:,}"),
        ("CPU time", f"{job.usage.cpu_seconds:.1f} s"),
        ("Peak memory", size(job.usage.peak_memory)),
        ("Recovery set", str(job.set_id or "none")),
        ("Location", job.location or "none"),
    ]
    parts = [
        (part.part.value, part.source, part.snapshot_id[:8], size(part.source_bytes), size(part.stored_bytes))
        for part in job.parts
    ]
    return _page(
        f"Backup: {job.type.value}",
        _table(("", ""), facts),
        _section("Snapshots", _table(("Part", "Source", "Snapshot", "Source bytes", "Stored"), parts), parts),
        _phases(job.phases),
        _section("Warnings", _list(job.warnings), job.warnings),
    )


def verification_markdown(verification: Verification) -> str:
    """Describe a verification: what was read, and every finding."""
    facts = [
        ("Verification", str(verification.id)),
        ("Backup", str(verification.backup_id)),
        ("Verdict", verification.verification_status.value),
        ("Duration", duration(verification.started_at, verification.completed_at)),
        ("Read", size(verification.bytes_read)),
        ("Blobs", f"{verification.blobs:,}"),
    ]
    return _page(
        f"Verification: {verification.verification_status.value}",
        _table(("", ""), facts),
        _section("Findings", _list(verification.findings), verification.findings),
        _phases(verification.phases),
    )


def recovery_markdown(job: RecoveryJob) -> str:
    """Describe a recovery: where it went, what was compared, what differs."""
    facts = [
        ("Recovery", str(job.id)),
        ("Backup", str(job.backup_id)),
        ("Proof", job.verification_status.value),
        ("Target", job.target.directory if job.target else "unknown"),
        ("Duration", duration(job.started_at, job.completed_at)),
        ("Restored", size(job.restored_bytes)),
        *([("From", ", ".join(job.stores))] if job.stores else []),
    ]
    return _page(
        f"Recovery: {job.verification_status.value}",
        _table(("", ""), facts),
        _section("Differences", _list(job.findings), job.findings),
        _section("Stores", _list(job.store_notes), job.store_notes),
        _section("Compared", _list(job.checks), job.checks),
        _section("Warnings", _list(job.warnings), job.warnings),
        _phases(job.phases),
    )


def maintenance_markdown(job: MaintenanceJob) -> str:
    """Describe a prune or a check: what it did or found, and what the repository holds now."""
    figures = job.figures
    facts = [
        ("Job", str(job.id)),
        *([("Store", job.store)] if job.store else []),
        ("Asked for", job.asked),
        ("Duration", duration(job.started_at, job.completed_at)),
        ("Repository", size(figures.bytes) if figures else "unknown"),
        ("Snapshots", f"{figures.snapshots:,}" if figures else "unknown"),
    ]
    if figures and figures.pruned:
        facts += _prune_facts(figures.pruned)
    if figures and figures.checked:
        facts += _check_facts(figures.checked)
    if figures and figures.copied:
        facts += _copy_facts(figures.copied)
    if figures and figures.forgotten:
        facts += _forget_facts(figures.forgotten, dry_run=job.dry_run)
    verdict = job.verification_status.value if job.verification_status else job.status.value.replace("_", " ")
    return _page(
        f"{job.kind.value.capitalize()}: {verdict}" + (", dry run, nothing was changed" if job.dry_run else ""),
        _table(("", ""), facts),
        _section("Findings", _list(job.findings), job.findings),
        _section("Warnings", _list(job.warnings), job.warnings),
        _section("Remarks", _list(job.remarks), job.remarks),
        _phases(job.phases),
    )


def report_markdown(made: Report) -> str:
    """Describe a report: its verdict, its controls, the digests of its files."""
    facts = [
        ("Report", str(made.id)),
        ("Period", f"{made.period} ({made.zone})"),
        ("Source", made.source or "all sources"),
        ("Made", f"{made.made_at:%Y-%m-%d %H:%M} UTC by {made.made_by}"),
    ]
    controls = [
        (
            result.id,
            result.status.value,
            f"{result.numerator:,} of {result.denominator:,}",
            result.percent,
            result.title,
        )
        for result in made.controls
    ]
    files = [(file.name, size(file.size), file.sha256) for file in made.files]
    return _page(
        f"Report: {made.verdict.value}",
        _table(("", ""), facts),
        _section("Controls", _table(("Control", "Status", "Counted", "Share", "Title"), controls), controls),
        _section("Files", _table(("File", "Size", "SHA-256"), files), files),
    )


def _prune_facts(done: PruneFigures) -> list[tuple[str, str]]:
    until = f", until {done.waiting_until:%Y-%m-%d %H:%M} UTC" if done.waiting_until else ""
    return [
        ("Deleted", f"{size(done.deleted_bytes)} in {done.deleted_packs:,} packs"),
        ("Written again", size(done.repacked_bytes)),
        ("Waits for its grace", f"{size(done.waiting_bytes)} in {done.waiting_packs:,} packs{until}"),
        *_lock_facts(done),
        ("Forgotten snapshots that still count", f"{done.forgotten_snapshots:,}"),
    ]


def _lock_facts(done: PruneFigures) -> list[tuple[str, str]]:
    facts = []
    if done.locked_until:
        held = f"{size(done.locked_bytes)} in {done.locked_packs:,} packs, until {done.locked_until:%Y-%m-%d %H:%M} UTC"
        facts.append(("Locked, for a later prune", held))
    if done.locks and done.locks.earliest:
        first = f"the first one ends {done.locks.earliest:%Y-%m-%d %H:%M} UTC"
        facts.append(("Locks extended", f"{done.locks.extended:,} objects, {done.locks.behind:,} left; {first}"))
    return facts


def _check_facts(done: CheckFigures) -> list[tuple[str, str]]:
    oldest = f"{done.oldest_proof:%Y-%m-%d %H:%M} UTC" if done.oldest_proof else "none yet"
    return [
        ("Read and proved", f"{size(done.bytes_read)} in {done.packs_read:,} packs"),
        ("Proved within 30 days", f"{done.within_percent:g} % of all bytes"),
        ("Oldest proof", oldest),
        ("Damaged packs", f"{done.damaged_packs:,}"),
        ("Affected paths", f"{done.affected_paths:,}"),
    ]


def _copy_facts(done: CopyFigures) -> list[tuple[str, str]]:
    return [
        ("Copied", f"{len(done.backups):,} restore points, {size(done.stored_bytes)} stored"),
        ("Could not be copied", f"{done.waiting:,}"),
    ]


def _forget_facts(done: ForgetFigures, *, dry_run: bool) -> list[tuple[str, str]]:
    named = ", ".join(str(one)[:8] for one in done.backups[:SHOWN])
    more = f" and {len(done.backups) - SHOWN:,} more" if len(done.backups) > SHOWN else ""
    until = [("Can be brought back until", f"{done.until:%Y-%m-%d %H:%M} UTC")] if done.until else []
    return [
        ("Would be forgotten" if dry_run else "Forgotten", f"{len(done.backups):,} backups"),
        *([("Backups", named + more)] if named else []),
        *until,
    ]


def size(count: int | None) -> str:
    """Return a number of bytes in binary units, or "unknown"."""
    if count is None:
        return "unknown"
    value, units = float(count), iter(("KiB", "MiB", "GiB", "TiB", "PiB"))
    unit = "bytes"
    while value >= 1024 and unit != "PiB":
        value, unit = value / 1024, next(units)
    return f"{count:,} bytes" if unit == "bytes" else f"{value:,.1f} {unit}"


def duration(started: datetime | None, ended: datetime | None) -> str:
    """Return the time between two moments, or "unknown"."""
    if started is None or ended is None:
        return "unknown"
    seconds = (ended - started) / timedelta(seconds=1)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {seconds:02} s"


def ratio(original: int | None, stored: int | None) -> str:
    """Return how many original bytes one stored byte stands for."""
    return f"{original / stored:.1f}" if original is not None and stored else "nothing new stored"


def escaped(text: str) -> str:
    """Return `text` so that Markdown shows it as it is, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(text.split()))


def _page(title: str, *sections: str) -> str:
    return "\n\n".join([f"# {escaped(title)}", *filter(None, sections)]) + "\n"


def _section(title: str, body: str, content: Iterable[object]) -> str:
    return f"## {title}\n\n{body}" if tuple(content) else ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *(tuple(map(escaped, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _list(sentences: tuple[str, ...]) -> str:
    lines = [f"- {escaped(sentence)}" for sentence in sentences[:SHOWN]]
    more = len(sentences) - SHOWN
    return "\n".join(lines + ([f"- … and {more:,} more, in the job's row"] if more > 0 else []))


def _phases(phases: tuple[Phase, ...]) -> str:
    rows = [
        (phase.name, duration(phase.started_at, phase.completed_at), size(phase.bytes_done), f"{phase.files_done:,}")
        for phase in phases
    ]
    return _section("Phases", _table(("Phase", "Duration", "Bytes", "Files"), rows), rows)
