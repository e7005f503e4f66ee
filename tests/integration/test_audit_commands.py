"""`edurise-backup audit …`, what `doctor` says of people, the anchor flow, and the commands of the pages."""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.errors import ConfigError
from edurise_backup.model.audit import chained_hash
from edurise_backup.model.people import Role
from edurise_backup.operations.audit import verify_audit
from edurise_backup.operations.configured import opened_repository
from edurise_backup.operations.doctor import Level
from edurise_backup.operations.doctor_people import examine_people
from edurise_backup.postgres.connection import Address
from flows.anchor import anchor
from tests.support.catalog import Product, command_line, environment, run, run_json
from tests.support.documents import blocks, page
from tests.support.people import add_person
from tests.support.product import configure


def break_row(product: Product, seq: int) -> None:
    with operations.open_catalog(product.settings) as catalog, catalog.sessions.transaction() as connection:
        connection.execute("SET LOCAL session_replication_role = replica")
        connection.execute("UPDATE audit_log SET subject = 'x' WHERE seq = %s", (seq,))


def test_the_trail_is_listed_proved_anchored_and_exported(files_product: Product) -> None:
    assert run(files_product, "backup", "files").returncode == 0
    assert run(files_product, "user", "add", "alice", "--role", "viewer").returncode == 0
    anchored = run_json(files_product, "audit", "anchor")
    assert anchored["seq"] == 2  # type: ignore[index]
    listed = run_json(files_product, "audit", "list")
    assert [row["action"] for row in listed] == ["audit.anchor", "user.add", "backup.complete"]  # type: ignore[attr-defined]
    found = run(files_product, "audit", "verify")
    assert (found.returncode, "3 rows, whole" in found.stdout) == (0, True), found.stderr
    assert "anchored up to row 2" in found.stdout
    done = run(files_product, "audit", "export", "--to", "trail.jsonl")
    assert done.returncode == 0
    rows = [json.loads(line) for line in (files_product.home / "trail.jsonl").read_text().splitlines()]
    assert [row["seq"] for row in rows] == [1, 2, 3]
    assert (files_product.home / "trail.jsonl").stat().st_mode & 0o077 == 0
    assert run(files_product, "audit", "export").stdout.count("\n") == 3


def test_an_export_can_be_proved_by_a_stranger(files_product: Product) -> None:
    run(files_product, "backup", "files")
    run(files_product, "user", "add", "alice", "--role", "viewer")
    previous = "0" * 64
    for line in run(files_product, "audit", "export").stdout.splitlines():
        row = json.loads(line)
        detail = json.dumps(row["detail"], ensure_ascii=False, sort_keys=True, separators=(",", ":"))
        words = (row["actor"], row["via"], row["action"], row["subject"], row["outcome"], detail)
        assert chained_hash(previous, row["seq"], datetime.fromisoformat(row["at"]), words) == row["hash"]
        previous = row["hash"]


def test_a_broken_trail_ends_with_1_and_names_the_row(files_product: Product) -> None:
    run(files_product, "backup", "files")
    run(files_product, "audit", "anchor")
    break_row(files_product, 1)
    found = run(files_product, "audit", "verify")
    assert (found.returncode, "wrong: row 1 was altered" in found.stdout) == (1, True)
    assert json.loads(run(files_product, "audit", "verify", "--json").stdout)["findings"][0]["row"] == 1
    assert run(files_product, "audit", "verify", "--chain-only").returncode == 1
    refused = run(files_product, "audit", "anchor")
    assert (refused.returncode, "row 1 was altered" in refused.stderr) == (1, True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("list", "--outcome", "maybe"), "choose done, refused or failed"),
        (("export", "--to", "passphrase"), "cannot be written"),
        (("list", "--limit", "0"), "limit"),
    ],
)
def test_a_wrong_wish_is_told(files_product: Product, words: tuple[str, ...], told: str) -> None:
    done = run(files_product, "audit", *words)
    assert done.returncode == 2
    assert told in done.stderr


def test_the_anchor_flow_seals_and_fails_for_a_broken_trail(
    prefect_server: None, tmp_path: Path, catalog_database: Address
) -> None:
    path = configure(tmp_path, catalog_database)
    settings = load_settings(path)
    operations.create_backup("files", settings=settings)
    assert str(anchor(config_path=path)).startswith("audit/")
    with operations.open_catalog(settings) as catalog:
        assert verify_audit(catalog, opened_repository(settings)).anchored_to == 1
        assert catalog.audit.newest(limit=1)[0].via == "flow"
        with catalog.sessions.transaction() as connection:
            connection.execute("SET LOCAL session_replication_role = replica")
            connection.execute("DELETE FROM audit_log WHERE seq = 1")
    state = anchor(config_path=path, return_state=True)
    assert state.is_failed()
    assert "row 1 is gone" in str(state.message)


@pytest.mark.parametrize("name", ["docs/operations/sign-in.md", "docs/operations/approvals-and-audit.md"])
def test_the_commands_of_a_page_work_in_their_order(files_product: Product, name: str) -> None:
    run(files_product, "backup", "files")
    for line in "".join(blocks(page(name), "sh")).splitlines():
        program, *words = shlex.split(line)
        assert program == "edurise-backup"
        done = subprocess.run(
            command_line(*words),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=files_product.home,
            env=environment(files_product.settings_path),
        )
        assert done.returncode == 0, (line, done.stderr)


# doctor


def findings(product: Product) -> dict[str, Level]:
    return {finding.message: finding.level for finding in examine_people(product.settings)}


def test_doctor_tells_of_a_dashboard_without_accounts_and_of_one_that_others_reach(
    files_product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    files_product.configure("break_glass = true", "break_glass = false")
    with socket.create_server(("0.0.0.0", 0)) as server:  # noqa: S104
        text = files_product.settings_path
        monkeypatch.setenv("EDURISE_DASHBOARD_PORT", str(server.getsockname()[1]))
        exposed = load_settings(text)
        levels = {finding.level for finding in examine_people(exposed)}
        assert Level.FAULT in levels
        with operations.open_catalog(exposed) as catalog:
            add_person(catalog, "alice", Role.ADMIN)
        told = "\n".join(finding.message for finding in examine_people(exposed))
        assert "the dashboard speaks no TLS" in told
        assert Level.FAULT not in {finding.level for finding in examine_people(exposed)}


def test_doctor_tells_when_nobody_may_approve_and_when_the_trail_is_not_anchored(files_product: Product) -> None:
    assert "approvals.break_glass is set: one person alone can remove backups for good" in findings(files_product)
    files_product.configure("break_glass = true", "break_glass = false")
    told = findings(files_product)
    assert "nobody may approve: what needs a second person cannot be done" in told
    assert "it was never anchored: a rewritten one would not be noticed" in told
    with operations.open_catalog(files_product.settings) as catalog:
        add_person(catalog, "bob", Role.APPROVER)
    operations.anchor_audit(settings=files_product.settings)
    assert set(findings(files_product).values()) == {Level.FINE}
    assert "audit trail: it was anchored" in run(files_product, "doctor").stdout


# the configuration


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[sign_in]\nprovider = "ldap"', "line 2: sign_in.provider"),
        ('[[sign_in.grant]]\nclaim = "email"\nvalue = "a@b"\nroles = ["boss"]', "line 4: sign_in.grant[0].roles"),
        ('[[sign_in.grant]]\nclaim = "email"\nvalue = "a@b"\nroles = []', "line 4: sign_in.grant[0].roles"),
        ("[approvals]\nprune_removes_percent = 101", "line 2: approvals.prune_removes_percent"),
        ("[sign_in]\nidle_minutes = 0", "line 2: sign_in.idle_minutes"),
    ],
)
def test_a_wrong_setting_is_told_with_its_key_and_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "edurise-backup.toml").write_text(text + "\n")
    with pytest.raises(ConfigError) as error:
        load_settings(tmp_path / "edurise-backup.toml", {})
    assert told in error.value.message
