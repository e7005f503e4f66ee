"""Make a report: read the catalog once, write the files, then the row.

The files are written beside their place and moved there whole, and the row in
the catalog is written last: a folder without a row is what a crash left, and
is no report.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

from edurise_backup import __version__, operations
from edurise_backup.catalog.reports import Reports
from edurise_backup.catalog.sessions import Connection
from edurise_backup.config import Settings
from edurise_backup.errors import ConfigError, InputError, NotFoundError
from edurise_backup.model.jobs import BackupType
from edurise_backup.model.people import Actor
from edurise_backup.model.reports import ControlResult, Report, ReportFile
from edurise_backup.operations import Catalog
from edurise_backup.operations.collection import choose_sources
from reports import controls, pdf, reading
from reports.document import Document, Excerpt
from reports.evidence import EXCEPTIONS, TABLES, Evidence, stream
from reports.facts import Facts
from reports.keeping import SUMS, home_of_reports, unfinished
from reports.listings import SHOWN
from reports.periods import HINT, Period, parse_period
from reports.questions import SOURCE_KNOWN
from reports.tables import write_table


def make_report(
    settings: Settings,
    period: str,
    source: str = "",
    *,
    now: datetime,
    actor: Actor,
    zone: str = "UTC",
    report_id: UUID | None = None,
    flow_run_id: UUID | None = None,
) -> Report:
    """Make a report of a period (see `parse_period`) and of one source, or all; return its row.

    The same catalog, period, source, moment, person and settings give the same
    bytes. A report whose id is there already is not made again. Raises
    InputError for a wrong period, NotFoundError for an unknown source, SpaceError.
    """
    asked = parse_period(period, zone=zone)
    if asked.start >= now:
        raise InputError(f"the period {asked.text} has not begun yet", safe="nothing was made", hint=HINT)
    with operations.open_catalog(settings) as catalog, home_of_reports(settings) as home:
        kept = Reports(catalog.sessions)
        if report_id is not None:
            with contextlib.suppress(NotFoundError):
                return kept.get(report_id)
        made = report_id or uuid4()
        with unfinished(home, made) as folder:
            document = _write_files(catalog, settings, asked, source, now, actor, folder)
            report = _row(document, made, _digests(folder, document), flow_run_id)
            _write_sums(folder, report.files)
        try:
            kept.add(report, actor)
        except BaseException:
            shutil.rmtree(home / str(made), ignore_errors=True)
            raise
    return report


def expected_sources(settings: Settings) -> tuple[tuple[BackupType, str], ...]:
    """Return the sources that are configured, by part and name; none when nothing is configured."""
    try:
        return tuple(choose_sources(settings, BackupType.FULL, None))
    except ConfigError:
        return ()


def _write_files(
    catalog: Catalog, settings: Settings, period: Period, source: str, now: datetime, actor: Actor, folder: Path
) -> Document:
    policy = controls.Policy(settings.objectives)
    expected = expected_sources(settings)
    with catalog.sessions.transaction() as connection:
        reading.begin(connection)
        _check_source(connection, source, [name for _, name in expected])
        parameters = reading.parameters_of(connection, period, source, now, settings.objectives)
        facts = reading.read_facts(connection, period, source, expected, parameters)
        results = controls.evaluate(facts, policy)
        excerpts = {"controls": _controls_table(folder, results, policy, facts)}
        counted = Counter[tuple[str, str]]()
        for evidence in TABLES:
            tally = counted if evidence is EXCEPTIONS else None
            excerpts[evidence.name] = _table(connection, evidence, parameters, folder, tally)
    document = Document(
        facts=facts,
        policy=policy,
        results=results,
        verdict=controls.verdict(results),
        excerpts=excerpts,
        exceptions=tuple(counted.items()),
        made_at=now,
        made_by=actor.name,
        product_version=__version__,
    )
    pdf.write_pdf(folder / pdf.NAME, document)
    return document


def _check_source(connection: Connection, source: str, configured: Sequence[str]) -> None:
    if not source or source in configured:
        return
    row = connection.execute(SOURCE_KNOWN.encode(), {"source": source}).fetchone()
    if not (row and row[0]):
        raise NotFoundError(
            f"there is no source named {source!r}",
            safe="nothing was made",
            hint=f"choose {', '.join(configured)}" if configured else "no source is configured: leave it out",
        )


def _controls_table(folder: Path, results: Sequence[ControlResult], policy: controls.Policy, facts: Facts) -> Excerpt:
    columns = (
        *("control", "title", "status", "numerator", "denominator", "percent", "observed"),
        *("rule", "numerator_is", "denominator_is", "supports", "policy_version", "period", "source"),
    )
    rows = [
        (
            *(result.id, result.title, result.status.value, result.numerator, result.denominator),
            *(result.percent.removesuffix(" %") if result.denominator else None, result.observed),
            *(policy.words(control.rule), control.numerator, control.denominator, control.supports),
            *(policy.version, facts.period.text, facts.source),
        )
        for result, control in zip(results, controls.CONTROLS, strict=True)
    ]
    file, count = write_table(folder / "controls.csv", columns, rows)
    return Excerpt("Controls", columns, rows, count, file)


def _table(
    connection: Connection,
    evidence: Evidence,
    parameters: Mapping[str, object],
    folder: Path,
    tally: Counter[tuple[str, str]] | None,
) -> Excerpt:
    """Write a table to its file; keep its first rows, and count its rows by their first two columns if asked."""
    columns, rows = stream(connection, evidence, parameters)
    first: list[tuple[object, ...]] = []

    def watched() -> Iterator[tuple[object, ...]]:
        for row in rows:
            if len(first) < SHOWN:
                first.append(row)
            if tally is not None:
                tally[str(row[0]), str(row[1])] += 1
            yield row

    file, count = write_table(folder / f"{evidence.name}.csv", columns, watched())
    return Excerpt(evidence.title, columns, first, count, file)


def _digests(folder: Path, document: Document) -> tuple[ReportFile, ...]:
    path = folder / pdf.NAME
    content = path.read_bytes()
    made = ReportFile(pdf.NAME, len(content), hashlib.sha256(content).hexdigest())
    return (made, *(excerpt.file for excerpt in document.excerpts.values()))


def _write_sums(folder: Path, files: Sequence[ReportFile]) -> None:
    """Write the digests in the way of sha256sum."""
    (folder / SUMS).write_text("".join(f"{file.sha256}  {file.name}\n" for file in files), "ascii")


def _row(document: Document, report_id: UUID, files: tuple[ReportFile, ...], flow_run_id: UUID | None) -> Report:
    period = document.facts.period
    return Report(
        id=report_id,
        period=period.text,
        starts_at=period.start,
        ends_at=period.end,
        zone=period.zone,
        source=document.facts.source,
        made_at=document.made_at,
        made_by=document.made_by,
        policy_version=document.policy.version,
        verdict=document.verdict,
        controls=document.results,
        files=files,
        flow_run_id=flow_run_id,
    )
