"""`edurise-backup key …`: passphrases added, proved, rotated, removed; each in the audit trail, none shown."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.catalog.repository_keys import seen_keys
from edurise_backup.errors import (
    BackupError,
    ConflictError,
    ForbiddenError,
    InputError,
    NotFoundError,
    ProofError,
    WrongPassphraseError,
)
from edurise_backup.model.audit import AuditRow, Outcome
from edurise_backup.model.database import Secret
from edurise_backup.model.people import Actor, Role, Via
from edurise_backup.operations import doctor, keys
from edurise_backup.operations.configured import opened_repository
from edurise_backup.operations.key_rotation import rotate_key
from edurise_backup.operations.safekeeping import DRILL_EVERY, drill_findings
from edurise_backup.repository.repository import Repository
from edurise_backup.stores.local import LocalStore
from tests.support.catalog import PASSPHRASE, Product, run, run_json, write_private

ADMIN = Actor("ana@tests", Via.COMMAND_LINE, frozenset({Role.ADMIN}))
VIEWER = Actor("vic@tests", Via.DASHBOARD, frozenset({Role.VIEWER}))
NEW = "a new and better passphrase"


def trail(product: Product) -> list[AuditRow]:
    with operations.open_catalog(product.settings) as catalog:
        return [row for row in catalog.audit.rows() if row.action.startswith("key.")]


def opens(product: Product, passphrase: str) -> bool:
    try:
        Repository.open(LocalStore(product.repository), passphrase)
    except WrongPassphraseError:
        return False
    return True


def recovery_key(product: Product) -> str:
    _, text = keys.add_recovery_key(product.settings, actor=ADMIN)
    return text


def test_a_key_is_added_proved_listed_removed_and_each_step_is_recorded(files_product: Product) -> None:
    write_private(files_product.home / "new", NEW + "\n")
    added = run_json(files_product, "key", "add", "--new-password-file", files_product.home / "new", "--name", "bob")
    assert isinstance(added, dict)
    assert opens(files_product, NEW)
    listed = run_json(files_product, "key", "list")
    assert isinstance(listed, list)
    assert [key["current"] for key in listed if key["name"] not in ("bob", "recovery-key")] == [True]
    assert {key["name"]: key["age_days"] for key in listed}["bob"] == 0
    removed = run(files_product, "key", "remove", str(added["id"])[:10])
    assert removed.returncode == 0, removed.stderr
    assert "bob" in removed.stdout
    assert not opens(files_product, NEW)
    rows = trail(files_product)
    assert [row.action for row in rows] == ["key.add", "key.remove", "key.remove"]
    assert {row.subject for row in rows} == {added["id"]}
    assert {row.outcome for row in rows} == {Outcome.DONE}
    assert all(NEW not in f"{row}" for row in rows)


def test_the_last_key_and_the_current_one_stay(files_product: Product) -> None:
    settings = files_product.settings
    repository = opened_repository(settings)
    with pytest.raises(ConflictError, match="configured passphrase"):
        keys.remove_key(settings, repository.key_id, actor=ADMIN)
    for key_id in repository.key_ids():
        if key_id != repository.key_id:
            repository.remove_key(key_id)
    with pytest.raises(ConflictError, match="last key"):
        keys.remove_key(settings, repository.key_id, actor=ADMIN, current=True)
    with pytest.raises(NotFoundError):
        keys.remove_key(settings, "ffff", actor=ADMIN)
    assert opens(files_product, PASSPHRASE)
    keys.add_key(settings, Secret(NEW), actor=ADMIN)
    assert keys.remove_key(settings, repository.key_id, actor=ADMIN, current=True).left == 1
    assert not opens(files_product, PASSPHRASE)
    assert opens(files_product, NEW)
    assert [row.outcome for row in trail(files_product)] == [
        Outcome.REFUSED,
        Outcome.REFUSED,
        Outcome.DONE,
        Outcome.DONE,
        Outcome.DONE,
    ]


def test_a_damaged_key_file_is_listed_with_its_trouble_and_counts_as_no_key(files_product: Product) -> None:
    settings = files_product.settings
    repository = opened_repository(settings)
    for key_id in repository.key_ids():
        if key_id != repository.key_id:
            path = files_product.repository / "keys" / key_id
            path.chmod(0o600)
            path.write_bytes(b"{}")
    assert [bool(key.trouble) for key in keys.list_keys(settings)].count(True) == 1
    with pytest.raises(ConflictError, match="last key"):
        keys.remove_key(settings, repository.key_id, actor=ADMIN, current=True)


def test_who_may_not_administer_changes_no_key(files_product: Product) -> None:
    settings = files_product.settings
    before = opened_repository(settings).key_ids()
    other = next(key.id for key in keys.list_keys(settings) if not key.current)
    with pytest.raises(ForbiddenError):
        keys.add_key(settings, Secret(NEW), actor=VIEWER)
    with pytest.raises(ForbiddenError):
        keys.remove_key(settings, other, actor=VIEWER)
    with pytest.raises(ForbiddenError):
        rotate_key(settings, Secret(NEW), actor=VIEWER)
    assert opened_repository(settings).key_ids() == before
    (refused,) = trail(files_product)
    assert (refused.actor, refused.action, refused.outcome) == ("vic@tests", "key.remove", Outcome.REFUSED)


@pytest.mark.parametrize("text", ["short", PASSPHRASE])
def test_a_weak_or_known_passphrase_is_not_added(files_product: Product, text: str) -> None:
    before = opened_repository(files_product.settings).key_ids()
    with pytest.raises(InputError):
        keys.add_key(files_product.settings, Secret(text), actor=ADMIN)
    assert opened_repository(files_product.settings).key_ids() == before


class Forgetful(LocalStore):
    """A store that says yes and keeps other bytes: what a proof is for."""

    def put(self, name: str, pieces: object) -> None:
        super().put(name, [b"{}"])


def test_a_key_that_does_not_open_is_taken_away_and_not_reported(files_product: Product) -> None:
    repository = opened_repository(files_product.settings)
    before = repository.key_ids()
    repository.box.store = Forgetful(files_product.repository)
    with pytest.raises(ProofError, match="does not open"):
        keys.add_proved(repository, Secret(NEW), name=None)
    assert opened_repository(files_product.settings).key_ids() == before


def test_rotation_replaces_the_passphrase_in_its_file_and_then_the_key(files_product: Product) -> None:
    old = opened_repository(files_product.settings).key_id
    write_private(files_product.home / "new", NEW + "\n")
    done = run(files_product, "key", "rotate", "--new-password-file", files_product.home / "new", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["removed"] is True
    file = files_product.home / "passphrase"
    assert file.read_text().strip() == NEW
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not opens(files_product, PASSPHRASE)
    assert old not in opened_repository(files_product.settings).key_ids()
    assert [path.name for path in files_product.home.glob(".passphrase*")] == []
    assert [row.action for row in trail(files_product)] == ["key.rotate", "key.rotate"]


def test_a_rotation_that_cannot_write_leaves_the_old_key_and_says_what_to_do(files_product: Product) -> None:
    script = files_product.home / "ask"
    script.write_text(f"#!/bin/sh\necho '{PASSPHRASE}'\n")
    script.chmod(0o700)
    files_product.configure('password_file = "passphrase"', 'password_command = ["./ask"]')
    write_private(files_product.home / "new", NEW)
    done = run(files_product, "key", "rotate", "--new-password-file", files_product.home / "new")
    assert done.returncode == 3, done.stderr
    assert "To do: put the new passphrase into the command" in done.stdout
    assert opens(files_product, PASSPHRASE)
    assert opens(files_product, NEW)
    script.write_text(f"#!/bin/sh\necho '{NEW}'\n")
    old = next(word for word in done.stdout.split("key remove ")[1].split("`")[0].split())
    assert run(files_product, "key", "remove", old).returncode == 0
    assert not opens(files_product, PASSPHRASE)


def test_a_rotation_goes_on_wherever_it_was_cut_off(files_product: Product) -> None:
    """Cut before the file is replaced: the new key is there, the file is old; the same command finishes."""
    settings = files_product.settings
    added = keys.add_proved(opened_repository(settings), Secret(NEW), name=None)
    done = rotate_key(settings, Secret(NEW), actor=ADMIN)
    assert (done.new_id, done.removed) == (added, True)
    with pytest.raises(ConflictError, match="is the configured one"):
        rotate_key(settings, Secret(NEW), actor=ADMIN)


def test_at_no_moment_of_a_rotation_does_the_configured_passphrase_fail(
    files_product: Product, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every change on the disk is one of link, rename, unlink: die before each in turn."""
    settings = files_product.settings

    class Cut(BaseException):
        pass

    for number in range(20):
        passphrase = f"{NEW} {number}"
        seen = 0

        def cut(real, turn=number):  # type: ignore[no-untyped-def]  # three functions of os, each with its own signature
            def call(*args, **kwargs):  # type: ignore[no-untyped-def]
                nonlocal seen
                seen += 1
                if seen > turn:
                    raise Cut
                return real(*args, **kwargs)

            return call

        with monkeypatch.context() as patched:
            for name in ("link", "rename", "replace", "unlink"):
                patched.setattr(os, name, cut(getattr(os, name)))
            try:
                rotate_key(settings, Secret(passphrase), actor=ADMIN)
                finished = True
            except Cut:
                finished = False
        opened_repository(settings)
        if finished:
            break
    assert finished
    assert number >= 3, "the cuts were not where the writes are"


def test_a_drill_proves_the_printed_key_and_records_the_date(files_product: Product) -> None:
    text = recovery_key(files_product)
    write_private(files_product.home / "printed", text.replace("-", " ").lower())
    done = run(files_product, "key", "recovery-drill", "--recovery-key-file", files_product.home / "printed")
    assert done.returncode == 0, done.stderr
    assert "opens the repository" in done.stdout
    assert text not in done.stdout + done.stderr
    last = trail(files_product)[-1]
    assert (last.action, last.outcome) == ("key.drill", Outcome.DONE)
    assert text not in last.detail


def test_a_drill_does_not_need_the_operators_passphrase_but_the_right_key(files_product: Product) -> None:
    text = recovery_key(files_product)
    (files_product.home / "passphrase").unlink()
    assert keys.drill_recovery_key(files_product.settings, Secret(text), actor=ADMIN).snapshots == 0
    with pytest.raises(InputError, match="not a recovery key"):
        keys.drill_recovery_key(files_product.settings, Secret(PASSPHRASE), actor=ADMIN)
    with pytest.raises(WrongPassphraseError):
        keys.drill_recovery_key(files_product.settings, Secret("ABCD-" * 7 + "ABCD"), actor=ADMIN)
    assert [row.outcome for row in trail(files_product)[-2:]] == [Outcome.REFUSED, Outcome.REFUSED]


def test_doctor_warns_of_a_drill_that_is_long_ago_or_never_was(files_product: Product) -> None:
    text = recovery_key(files_product)
    now = datetime.now(UTC)

    def level(moment: datetime) -> doctor.Level:
        with operations.open_catalog(files_product.settings) as catalog:
            (finding,) = drill_findings(catalog, moment)
        return finding.level

    assert level(now) is doctor.Level.WARNING
    keys.drill_recovery_key(files_product.settings, Secret(text), actor=ADMIN)
    assert level(now + timedelta(minutes=1)) is doctor.Level.FINE
    assert level(now + DRILL_EVERY + timedelta(days=2)) is doctor.Level.WARNING


def test_doctor_names_files_with_secrets_that_others_may_read(files_product: Product) -> None:
    (files_product.home / "passphrase").chmod(0o640)
    said = run(files_product, "doctor")
    assert f"others may read {files_product.home / 'passphrase'}" in said.stdout
    assert f"chmod 600 {files_product.home / 'passphrase'}" in said.stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["add"], "nobody is there to be asked"),
        (["add", "--new-password-file", "/no/such"], "cannot be read"),
        (["add", "--new-password-file", "x", "--new-password-command", "y"], "a file and a command"),
        (["add", "--new-password-command", "a 'b"], "quotation mark"),
        (["add", "--recovery", "--name", "x"], "--recovery makes its own"),
        (["rotate", "--new-password-command", "false"], "ended with status 1"),
        (["remove", "zz"], "0 keys begin"),
        (["recovery-drill"], "nobody is there to be asked"),
    ],
)
def test_bad_input_changes_nothing_and_says_what_to_do(files_product: Product, words: list[str], told: str) -> None:
    before = opened_repository(files_product.settings).key_ids()
    done = run(files_product, "key", *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert told in done.stderr
    assert "To do: " in done.stderr
    assert opened_repository(files_product.settings).key_ids() == before


def test_the_engine_takes_its_passphrase_from_a_command(files_product: Product, tmp_path: Path) -> None:
    place = ["-r", str(files_product.repository)]
    ask = ["--password-command", f"cat '{files_product.home / 'passphrase'}'"]
    assert run(files_product, "repo", "snapshots", *place, *ask).returncode == 0
    variable = {"EDURISE_PASSWORD_COMMAND": f"cat {files_product.home / 'passphrase'}"}
    assert run(files_product, "repo", "snapshots", *place, extra=variable).returncode == 0
    both = run(files_product, "repo", "snapshots", *place, *ask, "-p", files_product.home / "passphrase")
    assert both.returncode == 2
    assert "a password file and a password command" in both.stderr
    wrong = run(files_product, "repo", "snapshots", *place, "--password-command", "echo canary-word")
    assert wrong.returncode == 2
    assert "canary-word" not in wrong.stderr


def test_an_error_is_a_backup_error_with_three_parts(files_product: Product) -> None:
    with pytest.raises(BackupError) as caught:
        rotate_key(files_product.settings, Secret("short"), actor=replace(ADMIN, name="bob"))
    assert caught.value.safe
    assert caught.value.hint


def test_a_check_notes_the_keys_for_the_page_by_name_and_age(files_product: Product) -> None:
    added = keys.add_key(files_product.settings, Secret(NEW), actor=ADMIN, name="the second")
    operations.check_repository(settings=files_product.settings)
    with operations.open_catalog(files_product.settings) as catalog:
        seen = seen_keys(catalog.sessions)
    assert {key.id for key in seen} == {key.id for key in keys.list_keys(files_product.settings)}
    assert [key.current for key in seen].count(True) == 1
    assert next(key.name for key in seen if key.id == added.id) == "the second"
    keys.remove_key(files_product.settings, added.id, actor=ADMIN)
    with operations.open_catalog(files_product.settings) as catalog:
        assert added.id not in {key.id for key in seen_keys(catalog.sessions)}
