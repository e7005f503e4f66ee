"""The configuration: what a file says, where it is looked for, and mistakes told with key and line."""

from __future__ import annotations

import inspect
import re
import socket
from pathlib import Path

import msgspec
import pytest

from edurise_backup import config
from edurise_backup.config import Settings, load_settings
from edurise_backup.config.places import bucket_place
from edurise_backup.errors import ConfigError, InputError
from edurise_backup.model.settings import (
    PREFECT_API,
    BucketSettings,
    DatabaseSettings,
    FilesSettings,
    RepositorySettings,
    S3AccessSettings,
)
from edurise_backup.operations.configured import writing_as_set
from tests.support.documents import blocks, page, rows, section

PAGE = "docs/operations/configuration.md"


def settings_of(folder: Path, text: str, environment: dict[str, str] | None = None) -> Settings:
    path = folder / "edurise-backup.toml"
    path.write_text(text)
    return load_settings(path, environment or {})


def keys_of(settings: type[msgspec.Struct], prefix: str = "") -> set[str]:
    """Return every key that the file may have, as the page writes it."""
    found = set()
    for field in msgspec.structs.fields(settings):
        inner = getattr(field.type, "__args__", (field.type,))[0]
        if isinstance(inner, type) and issubclass(inner, msgspec.Struct):
            many = "[]" if inner is not field.type else ""
            found |= keys_of(inner, f"{prefix}{field.encode_name}{many}.")
        else:
            found.add(prefix + field.encode_name)
    return found


def test_the_page_lists_every_key_and_no_other() -> None:
    listed = [row[0] for row in rows(section(page(PAGE), "Keys"))[1:]]
    assert len(listed) == len(set(listed))
    inherited = keys_of(RepositorySettings, "copy[].")  # one row says so
    assert set(listed) == keys_of(config.Contents) - inherited | {"copy[].location"}


def test_the_pages_defaults_are_those_of_the_code() -> None:
    told = {row[0]: row[1] for row in rows(section(page(PAGE), "Keys"))[1:]}
    tables = (("database[].", DatabaseSettings), ("files[].", FilesSettings), ("bucket[].", BucketSettings))
    for prefix, settings in tables:
        for field in msgspec.structs.fields(settings):
            if field.required:
                assert told[prefix + field.name] == "", field.name
            elif isinstance(field.default, bool | int):
                assert told[prefix + field.name] == str(field.default).lower()
            elif field.default == ():
                assert told[prefix + field.name] == "[]"
    assert told["prefect.api_url"] == PREFECT_API


def test_what_the_file_says_of_the_repository_and_the_objectives_is_kept(tmp_path: Path) -> None:
    text = (
        '[repository]\nlocation = "r"\ncompression = "max"\ncheck_blobs = false\n[objectives]\nrecovery_minutes = 45\n'
    )
    found = settings_of(tmp_path, text, {"EDURISE_REPOSITORY": str(tmp_path / "other")})
    assert (found.repository.location, found.repository.compression) == (str(tmp_path / "other"), "max")
    assert (writing_as_set(found.repository).compression.level, writing_as_set(found.repository).check) == (19, False)
    assert (found.objectives.recovery_minutes, found.objectives.full_backup_minutes) == (45, 240)


def test_the_pages_example_is_a_configuration(tmp_path: Path) -> None:
    example, *_ = blocks(page(PAGE), "toml")
    found = settings_of(tmp_path, example)
    assert [database.name for database in found.databases] == ["platform"]
    assert [files.name for files in found.files] == ["storage"]
    assert [source.name for source in found.configuration] == ["settings"]
    assert found.databases[0].exclude == ("scratch",)
    assert found.host == "lms-1"


def test_the_page_names_the_variables_that_are_read() -> None:
    for name, _ in rows(section(page(PAGE), "Environment"))[1:]:
        assert f'"{name}"' in Path(config.__file__).read_text(), name


def test_relative_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    found = settings_of(
        tmp_path,
        """
data_directory = "state"
[repository]
location = "../repository"
password_file = "/secrets/p"
[[files]]
name = "f"
paths = ["a", "../b/../c", "~/b"]
[[database]]
name = "d"
url = "postgresql://x@h/y"
password_file = "pw"
bindir = "bin"
""",
    )
    assert found.data_directory == tmp_path / "state"
    assert found.repository.location == str(tmp_path.parent / "repository")
    assert found.repository.password_file == "/secrets/p"
    assert found.files[0].paths == (str(tmp_path / "a"), str(tmp_path.parent / "c"), str(Path.home() / "b"))
    assert (found.databases[0].password_file, found.databases[0].bindir) == (
        str(tmp_path / "pw"),
        str(tmp_path / "bin"),
    )


@pytest.mark.parametrize(
    ("location", "place"),
    [
        ("local:/srv/backups", "/srv/backups"),
        ("local:backups", "{file}/backups"),
        ("local:s3:", "{file}/s3:"),
        ("./odd:name", "{file}/odd:name"),
        ("/srv/../backups", "/backups"),
        ("s3:https://s3.internal/bucket", "s3:https://s3.internal/bucket"),
    ],
)
def test_a_location_is_a_directory_from_the_root_unless_its_scheme_says_otherwise(
    tmp_path: Path, location: str, place: str
) -> None:
    found = settings_of(tmp_path, f'[repository]\nlocation = "{location}"\n')
    assert found.repository.location == place.format(file=tmp_path)


def test_the_environment_comes_before_the_file(tmp_path: Path) -> None:
    found = settings_of(
        tmp_path,
        '[repository]\nlocation = "a"\npassword_file = "b"\n[prefect]\napi_url = "c"\n',
        {"EDURISE_REPOSITORY": "/r", "EDURISE_PASSWORD_FILE": "/p", "PREFECT_API_URL": "http://x/api"},
    )
    assert found.repository == RepositorySettings(location="/r", password_file="/p")
    assert found.prefect_api_url == "http://x/api"


def test_a_file_is_found_by_option_then_variable_then_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("option.toml", "variable.toml", config.FILE_NAME):
        (tmp_path / name).write_text(f'host = "{name}"\n')
    monkeypatch.chdir(tmp_path)
    variable = {"EDURISE_CONFIG": str(tmp_path / "variable.toml")}
    assert load_settings(Path("option.toml"), variable).host == "option.toml"
    assert load_settings(None, variable).host == "variable.toml"
    assert load_settings(None, {}).host == config.FILE_NAME
    (tmp_path / config.FILE_NAME).unlink()
    nothing = load_settings(None, {"XDG_DATA_HOME": "/data"})
    assert (nothing.path, nothing.host) == (None, socket.gethostname())
    assert nothing.data_directory == Path("/data/edurise-backup")
    assert (nothing.databases, nothing.files, nothing.configuration) == ((), (), ())


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        ("colour = 1\n", "colour", 1),
        ('host = "h"\n[repository]\n\nlocation = 3\n', "repository.location", 4),
        ('[catalog]\nurl = "x"\nallow_plaintext = "yes"\n', "catalog.allow_plaintext", 3),
        ('[[database]]\nname = "d"\nurl = "u"\nparallel = 0\n', "database[0].parallel", 4),
        ('[[files]]\nname = "f"\npaths = []\n', "files[0].paths", 3),
        ('[[files]]\nname = "f"\npaths = ["x"]\n\n[[files]]\nname = "g"\npath = ["x"]\n', "files[1].path", 7),
        ('[[files]]\nname = "f"\npaths = ["x", 5]\n', "files[0].paths[1]", 3),
        ('[[configuration]]\npaths = ["x"]\n', "configuration[0]", 1),
        ('host = "h"\nrepository = { location = "x", compresion = "max" }\n', "repository.compresion", 2),
        ('\ndatabase = [{ name = "x", url = "y", foo = 1 }]\n', "database[0].foo", 2),
        (
            '[[files]]\nname = "same"\npaths = ["x"]\n[[configuration]]\nname = "same"\npaths = ["x"]\n',
            "configuration[0].name",
            5,
        ),
        ('[[files]]\nname = "f"\npaths = ["x"]\nobjects_of = "nobody"\n', "files[0].objects_of", 4),
        ('[[files]]\nname = "../up"\npaths = ["x"]\n', "files[0].name", 2),
        ('[[files]]\nname = "f"\npaths = ["x"]\nname = "g"\n', "", 4),
        ('host = "unfinished\n', "", 1),
    ],
)
def test_a_mistake_is_told_with_its_key_and_line(tmp_path: Path, text: str, key: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, text)
    assert str(tmp_path / "edurise-backup.toml") in caught.value.message
    assert f"line {line}" in caught.value.message
    assert key in caught.value.message
    assert caught.value.hint
    assert caught.value.exit_status == 2


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_settings(tmp_path / "missing.toml", {})
    with pytest.raises(ConfigError, match="Is a directory"):
        load_settings(tmp_path, {})
    (tmp_path / "latin.toml").write_bytes(b'host = "x"\n# caf\xe9\n')
    with pytest.raises(ConfigError, match="line 2: this is not UTF-8"):
        load_settings(tmp_path / "latin.toml", {})


BUCKET = '[[bucket]]\nname = "b"\n'


def test_a_bucket_is_named_by_its_location_or_by_endpoint_and_bucket_apart(tmp_path: Path) -> None:
    text = (
        BUCKET + 'location = "s3:https://s3.internal/media/some/folder"\naccess_key_file = "a"\nsecret_key_file = "s"\n'
    )
    text += (
        '[[bucket]]\nname = "hosted"\nendpoint = "https://p.example/storage/v1/s3/"\nbucket = "media"\nprefix = "x"\n'
    )
    found = settings_of(tmp_path, text)
    assert [bucket_place(one).address for one in found.buckets] == [
        "s3:https://s3.internal/media/some/folder",
        "s3:https://p.example/storage/v1/s3/media/x",
    ]
    assert config.s3_access(found.buckets[0]).access_key_file == str(tmp_path / "a")
    assert {place.file for place in found.secrets} == {str(tmp_path / "a"), str(tmp_path / "s")}


def test_a_bucket_has_the_same_keys_of_access_as_the_repository() -> None:
    for field in msgspec.structs.fields(S3AccessSettings):
        (same,) = [one for one in msgspec.structs.fields(RepositorySettings) if one.name == field.name]
        assert (same.type, same.default) == (field.type, field.default)


@pytest.mark.parametrize(
    ("text", "key", "line"),
    [
        (BUCKET, "bucket[0].endpoint", 1),
        (BUCKET + 'location = "s3:https://h/b"\nendpoint = "https://h"\n', "bucket[0].location", 3),
        (BUCKET + 'location = "/srv/bucket"\n', "bucket[0].location", 3),
        (BUCKET + 'location = "s3:https://user:secret@h/b"\n', "bucket[0].location", 3),
        (BUCKET + 'location = "s3:https://h/b"\nprefix = "x"\n', "bucket[0].location", 3),
        (BUCKET + 'endpoint = "h/path"\nbucket = "b1"\n', "bucket[0].endpoint", 3),
        (BUCKET + 'endpoint = "https://h/path"\nbucket = "b1/x"\n', "bucket[0].endpoint", 3),
        (BUCKET + 'endpoint = "https://user:secret@h/path"\nbucket = "b1"\n', "bucket[0].endpoint", 3),
        (BUCKET + 'location = "s3:https://h/bb"\nobjects_of = "nobody"\n', "bucket[0].objects_of", 4),
        (BUCKET + 'location = "s3:https://h/bb"\n[[files]]\nname = "b"\npaths = ["x"]\n', "bucket[0].name", 2),
    ],
)
def test_mistakes_about_a_bucket_are_told_with_key_and_line(tmp_path: Path, text: str, key: str, line: int) -> None:
    with pytest.raises(ConfigError) as caught:
        settings_of(tmp_path, text)
    assert f"line {line}: {key}:" in caught.value.message
    assert "secret" not in "\n".join(caught.value.lines())


STORE = """[repository]
location = "r"
lock_mode = "compliance"
lock_days = 30
bandwidth = [{ from = "08:00", to = "18:00", upload = "2MiB", download = "500k" }]
bandwidth_zone = "Europe/Berlin"
[repository.prices]
currency = "EUR"
egress_gib = 0.09
"""


def test_what_the_file_says_of_a_store_is_kept(tmp_path: Path) -> None:
    found = settings_of(tmp_path, STORE).repository
    assert (found.lock_mode, found.lock_days, found.bandwidth[0].begin) == ("compliance", 30, "08:00")
    assert (found.prices.currency, found.prices.egress_gib) == ("EUR", 0.09)
    assert config.s3_access(found).lock.period.days == 30


def test_a_name_that_is_none_is_told_in_words_and_not_as_a_pattern(tmp_path: Path) -> None:
    for text, told in (
        ('[[files]]\nname = "a b"\npaths = ["x"]\n', "a letter or digit first"),
        ('[repository]\nlocation = "x"\ncompression = "best"\n', "or a level from 1 to 19"),
    ):
        with pytest.raises(ConfigError, match=told) as refused:
            settings_of(tmp_path, text)
        assert "regex" not in refused.value.message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("lock_days = 30", "lock_days = 0", "line 4: repository.lock_days"),
        ('"compliance"', '"forever"', "repository.lock_mode"),
        ('"2MiB"', '"fast"', "'fast' is no speed"),
        ('"18:00"', '"24:00"', "bandwidth"),
        ("Europe/Berlin", "Europe/Nowhere", "no time zone 'Europe/Nowhere'"),
        ("0.09", "-1.0", "egress_gib"),
    ],
)
def test_a_mistake_in_what_is_said_of_a_store_is_told(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        settings_of(tmp_path, STORE.replace(old, new))


def test_the_engines_commands_take_the_lock_from_the_environment() -> None:
    lock = config.s3_access(environment={"EDURISE_OBJECT_LOCK": "governance:7"}).lock
    assert (lock.mode.value, lock.period.days) == ("governance", 7)
    with pytest.raises(InputError, match="is no object lock"):
        config.s3_access(environment={"EDURISE_OBJECT_LOCK": "forever"})


def test_every_table_of_the_file_arrives(tmp_path: Path) -> None:
    """A table that is read and not handed on would have no effect, and nobody would be told."""
    path = tmp_path / "edurise-backup.toml"
    path.write_text('[dask]\naddress = "tcp://10.0.0.5:8786"\nworkers = 7\n')
    found = load_settings(path, {}).dask
    assert (found.address, found.workers) == ("tcp://10.0.0.5:8786", 7)
    source = inspect.getsource(config)
    assert [name for name in config.Contents.__struct_fields__ if f"found.{name}" not in source] == []
