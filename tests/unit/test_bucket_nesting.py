"""A bucket that holds the repository, or lies in it, is no source: a backup would back itself up."""

from __future__ import annotations

from pathlib import Path

import pytest

from edurise_backup.config import load_settings
from edurise_backup.errors import InputError
from edurise_backup.model.stores import KnownStore
from edurise_backup.operations.buckets import refuse_repository
from edurise_backup.operations.store_refusals import refuse_place


def refuse(folder: Path, repository: str, source: str, exclude: str = "") -> None:
    path = folder / "edurise-backup.toml"
    text = f'[repository]\nlocation = "{repository}"\n[[bucket]]\nname = "b"\nlocation = "{source}"\n'
    path.write_text(text + (f'exclude = ["{exclude}"]\n' if exclude else ""))
    settings = load_settings(path, {})
    refuse_repository(settings, settings.buckets[0])


@pytest.mark.parametrize(
    ("repository", "source", "exclude"),
    [
        ("s3:https://h/media/backups/edurise", "s3:https://h/media", ""),
        ("s3:https://h/media/backups/edurise", "s3:https://h/media/backups", ""),
        ("s3:https://h/media/backups/edurise", "s3:https://h/media/backups/edurise", ""),
        ("s3:https://h/media/backups/edurise", "s3:https://h/media/backups/edurise/data", ""),
        ("s3:https://h/media", "s3:https://h/media/some/folder", ""),
        ("s3:https://h/media/backups/edurise", "s3:https://h/media", "/other"),
        ("s3:https://h/media/backups", "s3:https://h/media/backups", "*"),
    ],
)
def test_a_bucket_around_or_in_the_repository_is_refused(
    tmp_path: Path, repository: str, source: str, exclude: str
) -> None:
    with pytest.raises(InputError) as caught:
        refuse(tmp_path, repository, source, exclude)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("repository", "source", "exclude"),
    [
        ("s3:https://h/backups/edurise", "s3:https://h/media", ""),
        ("s3:https://other/media/edurise", "s3:https://h/media", ""),
        ("s3:https://h/media/edurise", "s3:https://h/media/edurise-files", ""),
        ("s3:https://h/media/backups/edurise", "s3:https://h/media", "/backups"),
        ("s3:https://h/media/backups/edurise", "s3:https://h/media", "/backups/edurise"),
        ("/srv/backups", "s3:https://h/media", ""),
    ],
)
def test_one_beside_it_or_that_excludes_it_is_backed_up(
    tmp_path: Path, repository: str, source: str, exclude: str
) -> None:
    refuse(tmp_path, repository, source, exclude)


def test_a_copy_in_a_bucket_that_is_backed_up_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "edurise-backup.toml"
    path.write_text(
        '[repository]\nlocation = "/srv/repository"\n[[bucket]]\nname = "b"\nlocation = "s3:https://h/media"\n'
        '[[copy]]\nname = "off"\nlocation = "s3:https://h/media/copies"\npassword_file = "p"\n'
    )
    settings = load_settings(path, {})
    with pytest.raises(InputError, match="a backup would back itself up"):
        refuse_repository(settings, settings.buckets[0])
    (tmp_path / "p").write_text("words of its own")
    with pytest.raises(InputError, match="a backup would back itself up"):
        refuse_place(settings, KnownStore("off", settings.copies[0]), ())
