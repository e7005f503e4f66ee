"""A backup that would hold its own repository is refused, whatever patterns match above its source."""

from __future__ import annotations

from pathlib import Path

import pytest

from edurise_backup.config import is_name
from edurise_backup.errors import InputError
from edurise_backup.operations.engine import refuse_nested
from edurise_backup.operations.opening import open_store


@pytest.mark.parametrize("pattern", ["above", "source", "/{above}", "{source}", "*.log", "repository/data"])
def test_a_pattern_that_the_walk_never_meets_leaves_nothing_out(tmp_path: Path, pattern: str) -> None:
    source = tmp_path / "above" / "source"
    place = source / "backups" / "repository"
    place.mkdir(parents=True)
    text = pattern.replace("/{above}", str(source.parent)).replace("{source}", str(source))
    with pytest.raises(InputError, match="would back itself up"):
        refuse_nested([str(source)], str(place), [text])


@pytest.mark.parametrize("pattern", ["backups", "repository", "backups/*", "{place}", "{place}/.."])
def test_a_pattern_that_the_walk_meets_on_its_way_leaves_the_repository_out(tmp_path: Path, pattern: str) -> None:
    source = tmp_path / "source"
    place = source / "backups" / "repository"
    place.mkdir(parents=True)
    refuse_nested([str(source)], str(place), [pattern.replace("{place}/..", str(place.parent)).format(place=place)])


def test_a_repository_beside_the_source_is_fine_and_one_around_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    refuse_nested([str(tmp_path / "source")], str(tmp_path / "source2"))
    with pytest.raises(InputError, match="lies in"):
        refuse_nested([str(tmp_path / "source")], str(tmp_path), ["source"])


@pytest.mark.parametrize("location", ["gs:bucket:/", "ftp://host/x", "rest:http://h/", "nonsense:/srv"])
def test_a_location_of_another_kind_of_store_is_refused_by_its_name(location: str) -> None:
    with pytest.raises(InputError, match=f"stores of the kind '{location.partition(':')[0]}' are not supported"):
        open_store(location)


def test_a_directory_whose_name_looks_like_a_scheme_is_named_with_local(tmp_path: Path) -> None:
    assert open_store(f"local:{tmp_path}").address == str(tmp_path)
    assert open_store("local:s3:x").address.endswith("s3:x")
    assert open_store("./s3:x").address.endswith("s3:x")


@pytest.mark.parametrize("text", ["../x", "/etc", "", "a/b", ".", "..", ".hidden", "a\n", "a b", "-x", "a" * 64])
def test_what_could_lead_out_of_a_folder_is_no_name(text: str) -> None:
    assert not is_name(text)


@pytest.mark.parametrize("text", ["a", "uploads", "site-1.example_org", "a" * 63, "0"])
def test_a_sources_name_is_a_name(text: str) -> None:
    assert is_name(text)
