"""The primary is the repository that it was: another one in its place is refused, and its loss has an alarm."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from edurise_backup import operations
from edurise_backup.errors import BackupError, ConflictError, InputError, NotARepositoryError
from edurise_backup.model.alarms import AlarmKind, AlarmRow, Severity
from edurise_backup.operations.doctor import examine
from edurise_backup.operations.findings import Level
from edurise_backup.operations.watching import watch_catalog
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.catalog import Product, opened, run
from tests.support.copies import add_copy


def alarms(product: Product, *, later: timedelta = timedelta(0)) -> dict[AlarmKind, AlarmRow]:
    """Return the open alarms after a round of the watch."""
    with opened(product) as catalog:
        watch_catalog(product.settings, catalog, clock=lambda: datetime.now(UTC) + later)
        return {alarm.kind: alarm for alarm in catalog.alarms.open()}


def lose(product: Product) -> None:
    product.repository.rename(product.home / "lost")


def bring_back(product: Product) -> None:
    (product.home / "lost").rename(product.repository)


def test_its_loss_has_an_alarm_of_its_own_until_it_is_back(files_product: Product) -> None:
    operations.create_backup(settings=files_product.settings)
    assert AlarmKind.PRIMARY_LOST not in alarms(files_product)
    lose(files_product)
    assert AlarmKind.PRIMARY_LOST not in alarms(files_product), "it was seen just now"
    found = alarms(files_product, later=timedelta(minutes=20))
    assert found[AlarmKind.PRIMARY_LOST].severity is Severity.CRITICAL
    assert "make no new one in its place" in found[AlarmKind.PRIMARY_LOST].remedy
    assert AlarmKind.STORE_FILLING not in found
    bring_back(files_product)
    assert AlarmKind.PRIMARY_LOST not in alarms(files_product)


def test_nobody_is_led_to_make_another_one_in_its_place(files_product: Product) -> None:
    assert "repo init" in run(files_product, "backup", extra={"EDURISE_REPOSITORY": "nowhere"}).stderr
    add_copy(files_product)
    operations.create_backup(settings=files_product.settings)
    operations.copy_backups("offsite", settings=files_product.settings)
    lose(files_product)
    with pytest.raises(NotARepositoryError) as refused:
        operations.create_backup(settings=files_product.settings)
    assert "repo init" not in refused.value.hint
    assert "`edurise-backup recover` works meanwhile, from offsite" in refused.value.hint
    (told,) = [one for one in examine(files_product.settings) if one.subject == "repository"]
    assert (told.level, "do not make a new one there" in told.remedy) == (Level.FAULT, True)
    with pytest.raises(NotARepositoryError):
        operations.copy_backups("offsite", settings=files_product.settings)
    told_what_it_asks = run(files_product, "recover", "latest", "--dry-run")
    assert "primary was passed over: there is no repository" in told_what_it_asks.stdout
    assert f"from the directory {files_product.home / 'copies' / 'offsite'}" in told_what_it_asks.stdout
    alone = run(files_product, "recover", "latest", "--dry-run", "--from", "primary")
    assert (alone.returncode, "do not make a new one there" in alone.stderr) == (2, True)
    primary, copy = operations.list_stores(settings=files_product.settings)
    assert (primary.trouble, copy.trouble) == ("", ""), "what fails here is told by the job"
    alarms(files_product, later=timedelta(minutes=20))
    primary, copy = operations.list_stores(settings=files_product.settings)
    assert "no repository" in primary.trouble
    assert copy.trouble == ""


def test_another_repository_in_its_place_is_refused_until_an_admin_says_that_it_is_meant(
    files_product: Product,
) -> None:
    settings = files_product.settings
    operations.create_backup(settings=settings)
    lose(files_product)
    engine.create(LocalStore(files_product.repository))
    for attempt in (
        operations.create_backup,
        lambda settings: operations.create_backup(settings=settings, flow_run_id=None, type="files"),
        operations.prune_repository,
        operations.check_repository,
        operations.anchor_audit,
        operations.list_protections,
        operations.plan_retention,
        lambda settings: operations.probe_store("primary", settings=settings),
    ):
        with pytest.raises(ConflictError, match="lies another repository than the one that backups went to"):
            attempt(settings=settings)
    assert AlarmKind.PRIMARY_LOST in alarms(files_product, later=timedelta(minutes=20))
    assert "store adopt" in run(files_product, "backup").stderr
    done = run(files_product, "store", "adopt")
    assert (done.returncode, "primary is the repository" in done.stdout) == (0, True)
    operations.create_backup(settings=settings)
    assert AlarmKind.PRIMARY_LOST not in alarms(files_product)
    with opened(files_product) as catalog:
        assert "store.adopt" in {row.action for row in catalog.audit.newest(limit=20)}


def test_a_copy_may_take_its_place(files_product: Product) -> None:
    folder = add_copy(files_product)
    operations.create_backup(settings=files_product.settings)
    operations.copy_backups("offsite", settings=files_product.settings)
    lose(files_product)
    files_product.settings_path.write_text(files_product.settings_path.read_text().partition("\n[[copy]]")[0])
    files_product.configure('location = "repository"', f'location = "{folder}"')
    files_product.configure('password_file = "passphrase"', 'password_file = "offsite.passphrase"')
    with pytest.raises(ConflictError, match="lies another repository"):
        operations.create_backup(settings=files_product.settings)
    operations.adopt_store(settings=files_product.settings)
    operations.rebuild_catalog(settings=files_product.settings)
    assert operations.create_backup(settings=files_product.settings).status.good
    assert operations.create_backup(settings=files_product.settings).status.good


def test_a_look_at_a_copy_changes_nobodys_identity(files_product: Product) -> None:
    folder = add_copy(files_product)
    settings = files_product.settings
    operations.create_backup(settings=settings)
    operations.copy_backups("offsite", settings=settings)
    elsewhere = {
        "EDURISE_REPOSITORY": str(folder),
        "EDURISE_PASSWORD_FILE": str(files_product.home / "offsite.passphrase"),
    }
    for words in (("doctor",), ("check",), ("store", "probe", "primary"), ("store", "adopt")):
        run(files_product, *words, extra=elsewhere)
    assert operations.create_backup(settings=settings).status.good
    operations.adopt_store("offsite", settings=settings)  # it is the one that is known: nothing is forgotten
    (status,) = operations.get_copies(settings=settings)
    assert len(status.points) == 1
    operations.copy_backups("offsite", settings=settings)
    lose(files_product)
    assert "from the directory" in run(files_product, "recover", "latest", "--dry-run").stdout


def test_a_place_that_is_no_folder_any_more_is_told_too(files_product: Product) -> None:
    operations.create_backup(settings=files_product.settings)
    lose(files_product)
    files_product.repository.write_text("a file where the folder was")
    assert AlarmKind.PRIMARY_LOST in alarms(files_product, later=timedelta(minutes=20))


def test_a_copy_that_the_configuration_names_is_not_removed_with_what_is_known_of_it(files_product: Product) -> None:
    folder = add_copy(files_product)
    settings = files_product.settings
    operations.create_backup(settings=settings)
    operations.copy_backups("offsite", settings=settings)
    with pytest.raises(InputError, match="the configuration names offsite"):
        operations.remove_store("offsite", settings=settings)
    (status,) = operations.get_copies(settings=settings)
    assert len(status.points) == 1

    folder.rename(files_product.home / "old copy")
    with pytest.raises(BackupError):
        operations.adopt_store("offsite", settings=settings)
    assert operations.make_copy("offsite", settings=settings).replaces
    with pytest.raises(ConflictError, match="lies another repository than before"):
        operations.copy_backups("offsite", settings=settings)
    lose(files_product)
    operations.adopt_store("offsite", settings=settings)  # the primary is not asked for that
    bring_back(files_product)
    (status,) = operations.get_copies(settings=settings)
    assert status.points == ()
    operations.copy_backups("offsite", settings=settings)
    (status,) = operations.get_copies(settings=settings)
    assert len(status.points) == 1
