"""The audit trail in the hands of somebody who may write every row: whatever was done to it is found and named."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.catalog.sessions import Connection
from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import DamageError
from edurise_backup.model.alarms import AlarmKind
from edurise_backup.model.audit import NOTHING, chained_hash
from edurise_backup.model.audit_chain import Fault
from edurise_backup.model.people import SYSTEM
from edurise_backup.operations.audit import AuditReport, anchor_audit, verify_and_tell, verify_audit
from edurise_backup.operations.configured import opened_repository
from edurise_backup.postgres.connection import Address
from edurise_backup.repository.repository import Repository
from tests.support.postgres import drop_database, execute
from tests.support.product import configure

Attack = Callable[[Connection], object]
ROWS = 8
"""Rows before the anchor; the anchor's own row is one more, and two come after it."""


@dataclass(frozen=True, slots=True)
class Place:
    """A catalog with a trail, anchored once in the middle."""

    settings: Settings
    catalog: operations.Catalog
    repository: Repository

    def attack(self, act: Attack) -> None:
        """Do it as a superuser who first puts the triggers aside."""
        with self.catalog.sessions.transaction() as connection:
            connection.execute("SET LOCAL session_replication_role = replica")
            act(connection)

    def verify(self) -> AuditReport:
        return verify_audit(self.catalog, self.repository)


@pytest.fixture
def place(tmp_path: Path, catalog_database: Address) -> Iterator[Place]:
    settings = load_settings(configure(tmp_path, catalog_database))
    with operations.open_catalog(settings) as catalog:
        for number in range(ROWS):
            catalog.audit.add(SYSTEM, "test.add", f"number {number}")
        anchor_audit(settings=settings)
        for number in range(2):
            catalog.audit.add(SYSTEM, "test.add", f"later {number}")
        yield Place(settings, catalog, opened_repository(settings))


def rewrite(connection: Connection, start: int, change: Callable[[list[object]], list[object]]) -> None:
    """Write the rows from `start` on anew, with hashes that are right."""
    rows = connection.execute(
        "SELECT seq, at, actor, via, action, subject, outcome, detail FROM audit_log ORDER BY seq"
    ).fetchall()
    previous = NOTHING
    for row in rows:
        seq, moment, *words = change(list(row)) if row[0] == start else list(row)
        assert isinstance(seq, int)
        assert isinstance(moment, datetime)
        texts = tuple(map(str, words))
        digest = chained_hash(previous, seq, moment, texts)
        connection.execute(
            "UPDATE audit_log SET actor = %s, via = %s, action = %s, subject = %s, outcome = %s, detail = %s, "
            "previous = %s, hash = %s WHERE seq = %s",
            (*texts, previous, digest, seq),
        )
        previous = digest


def swap(connection: Connection) -> None:
    for old, new in ((4, 1000), (6, 4), (1000, 6)):
        connection.execute("UPDATE audit_log SET seq = %s WHERE seq = %s", (new, old))


def append_forged(connection: Connection) -> None:
    last = connection.execute("SELECT seq, hash FROM audit_log ORDER BY seq DESC LIMIT 1").fetchone()
    assert last
    connection.execute(
        """INSERT INTO audit_log (seq, at, actor, via, action, outcome, previous, hash)
           VALUES (%s, now(), 'alice', 'dashboard', 'approval.approve', 'done', %s, repeat('ab', 32))""",
        (int(str(last[0])) + 1, last[1]),
    )


def cut(after: int) -> Attack:
    return lambda connection: connection.execute("DELETE FROM audit_log WHERE seq > %s", (after,))


def other_actor(row: list[object]) -> list[object]:
    return [*row[:2], "somebody else", *row[3:]]


ATTACKS: list[tuple[str, Attack, Fault, int]] = [
    ("altered", lambda c: c.execute("UPDATE audit_log SET actor = 'x' WHERE seq = 5"), Fault.ALTERED, 5),
    ("time", lambda c: c.execute("UPDATE audit_log SET at = at + interval '1 h' WHERE seq = 1"), Fault.ALTERED, 1),
    ("newest", lambda c: c.execute("UPDATE audit_log SET outcome = 'failed' WHERE seq = 11"), Fault.ALTERED, 11),
    ("one row gone", lambda c: c.execute("DELETE FROM audit_log WHERE seq = 3"), Fault.REMOVED, 3),
    ("first gone", lambda c: c.execute("DELETE FROM audit_log WHERE seq = 1"), Fault.REMOVED, 1),
    ("several gone", lambda c: c.execute("DELETE FROM audit_log WHERE seq IN (6, 7)"), Fault.REMOVED, 6),
    ("reordered", swap, Fault.REORDERED, 4),
    ("truncated", cut(5), Fault.TRUNCATED, 6),
    ("all gone", cut(0), Fault.REWRITTEN, 1),
    ("forged row at the end", append_forged, Fault.ALTERED, ROWS + 4),
    ("rewritten with right hashes", lambda c: rewrite(c, 3, other_actor), Fault.REWRITTEN, 1),
    ("rewritten from the first row", lambda c: rewrite(c, 1, other_actor), Fault.REWRITTEN, 1),
]


def test_a_trail_that_nobody_touched_is_whole(place: Place) -> None:
    report = place.verify()
    assert (report.intact, report.findings, report.remarks) == (True, (), ())
    assert (report.rows, report.anchors, report.anchored_to) == (ROWS + 3, 1, ROWS)


@pytest.mark.parametrize(("attack", "fault", "seq"), [one[1:] for one in ATTACKS], ids=[one[0] for one in ATTACKS])
def test_the_first_bad_row_is_named(place: Place, attack: Attack, fault: Fault, seq: int) -> None:
    place.attack(attack)
    finding = place.verify().findings[0]
    assert (finding.fault, finding.seq) == (fault, seq)
    assert f"row {seq}" in finding.message or f"rows {seq}" in finding.message or "1 on were" in finding.message


def test_a_rewritten_trail_is_blamed_from_the_last_anchor_that_still_agrees(place: Place) -> None:
    anchor_audit(settings=place.settings)
    place.attack(lambda connection: rewrite(connection, 10, other_actor))
    finding = place.verify().findings[0]
    assert (finding.fault, finding.seq) == (Fault.REWRITTEN, ROWS + 1)


def test_a_broken_trail_raises_an_alarm_is_not_anchored_and_the_alarm_is_settled_when_it_is_whole(place: Place) -> None:
    place.attack(lambda c: c.execute("UPDATE audit_log SET actor = 'x' WHERE seq = 5"))
    with pytest.raises(DamageError, match="row 5 was altered"):
        anchor_audit(settings=place.settings)
    assert [alarm.kind for alarm in place.catalog.alarms.open()] == [AlarmKind.AUDIT_BROKEN]
    assert place.verify().anchors == 1
    place.attack(lambda c: c.execute("UPDATE audit_log SET actor = %s WHERE seq = 5", (SYSTEM.name,)))
    assert verify_and_tell(place.catalog, place.repository).intact
    assert place.catalog.alarms.open() == ()


def test_an_anchor_that_is_gone_or_altered_in_the_repository_is_found(place: Place, tmp_path: Path) -> None:
    (note,) = (path for path in (tmp_path / "repository" / "edurise" / "audit").rglob("*") if path.is_file())
    kept = note.read_bytes()
    note.unlink()
    (finding,) = place.verify().findings
    assert (finding.fault, finding.seq) == (Fault.ANCHOR, ROWS + 1)
    note.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    assert "cannot be read" in place.verify().findings[0].message


def test_an_anchor_twice_of_the_same_moment_is_one_more_row_and_no_harm(place: Place) -> None:
    first, second = (anchor_audit(settings=place.settings).anchor for _ in range(2))
    assert second.seq == first.seq + 1
    assert place.verify().intact


def test_a_catalog_that_was_lost_and_rebuilt_says_which_trail_it_follows(
    place: Place, tmp_path: Path, catalog_database: Address
) -> None:
    place.catalog.close()
    drop_database(catalog_database.with_database("postgres"), catalog_database.database)
    execute(catalog_database.with_database("postgres"), f'CREATE DATABASE "{catalog_database.database}"')
    with operations.open_catalog(place.settings) as catalog:
        catalog.audit.add(SYSTEM, "test.add")
        (finding,) = verify_audit(catalog, place.repository).findings
        assert "anchors of another trail" in finding.message
        operations.rebuild_catalog(settings=place.settings)
        report = verify_audit(catalog, place.repository)
        assert report.intact, report.findings
        assert "follows another one" in report.remarks[0]
        anchor_audit(settings=place.settings)
        assert verify_audit(catalog, place.repository).intact


# Snapshots


def snapshot_files(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "repository" / "snapshots").iterdir())


def test_a_snapshot_that_went_without_a_word_is_found_and_one_that_was_forgotten_is_not(
    place: Place, tmp_path: Path
) -> None:
    first = operations.create_backup("files", settings=place.settings)
    second = operations.create_backup("files", settings=place.settings)
    operations.forget_backups([first.id], settings=place.settings, grace="1d")
    assert place.verify().intact
    (tmp_path / "repository" / "snapshots" / second.parts[0].snapshot_id).unlink()
    (finding,) = place.verify().findings
    assert finding.fault is Fault.SNAPSHOT
    assert second.parts[0].snapshot_id[:12] in finding.message
    assert str(second.id) in finding.message


def test_a_catalog_that_is_told_a_snapshot_was_forgotten_does_not_deceive_the_trail(
    place: Place, tmp_path: Path
) -> None:
    backup = operations.create_backup("files", settings=place.settings)
    snapshot_files(tmp_path)[0].unlink()
    place.attack(lambda c: c.execute("UPDATE backup_jobs SET forgotten_at = now() WHERE id = %s", (backup.id,)))
    assert [finding.fault for finding in place.verify().findings] == [Fault.SNAPSHOT]


def test_what_is_forgotten_without_the_catalog_gets_its_row_while_a_note_tells_of_it(
    place: Place, tmp_path: Path
) -> None:
    backup = operations.create_backup("files", settings=place.settings)
    snapshot = backup.parts[0].snapshot_id
    place.repository.forget(next(iter(place.repository.snapshots())), grace=timedelta(days=7), now=datetime.now(UTC))
    report = place.verify()
    assert report.intact
    assert "1 snapshots were forgotten outside of the catalog" in report.remarks[0]
    anchor_audit(settings=place.settings)
    shutil.rmtree(tmp_path / "repository" / "edurise" / "forgotten")
    assert place.verify().intact
    rows = [row for row in place.catalog.audit.rows() if row.action == "backup.forgotten_elsewhere"]
    assert [(row.subject, snapshot in row.detail) for row in rows] == [(str(backup.id), True)]


def test_an_older_state_of_the_whole_repository_put_back_is_found(place: Place, tmp_path: Path) -> None:
    shutil.copytree(tmp_path / "repository", tmp_path / "older")
    operations.create_backup("files", settings=place.settings)
    anchor_audit(settings=place.settings)
    shutil.rmtree(tmp_path / "repository")
    (tmp_path / "older").rename(tmp_path / "repository")
    faults = {finding.fault for finding in verify_audit(place.catalog, opened_repository(place.settings)).findings}
    assert faults == {Fault.SNAPSHOT, Fault.ANCHOR}
