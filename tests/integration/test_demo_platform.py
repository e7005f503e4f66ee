"""The demonstration's platform on real servers: made, changed, destroyed; and its judge."""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

from edurise_backup.demonstration.comparison import Facts, compare, describe, describe_databases, describe_places
from edurise_backup.demonstration.platform import Platform, create_platform, remove_tree
from edurise_backup.errors import CancelledError, ConfigError, ConflictError, InputError, NotFoundError
from edurise_backup.postgres.connection import client_environment, connect
from edurise_backup.postgres.tools import find_tools

SCALE = 0.02


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, Platform]]:
    """Yield two platforms of the same seed and scale."""
    first, second = (tmp_path_factory.mktemp(name) / "platform" for name in ("first", "second"))
    platforms = create_platform(first, seed=7, scale=SCALE), create_platform(second, seed=7, scale=SCALE)
    yield platforms
    for platform in platforms:
        platform.stop()
        remove_tree(platform.directory)


@pytest.fixture
def spare(tmp_path: Path) -> Iterator[Platform]:
    """Yield a platform of its own, to be spoilt."""
    platform = create_platform(tmp_path / "platform", seed=2, scale=SCALE)
    yield platform
    platform.stop()
    remove_tree(platform.directory)


def test_equal_seeds_give_equal_platforms_before_and_after_a_change(twins: tuple[Platform, Platform]) -> None:
    one, other = twins
    before = describe(one)
    assert compare(before, describe(other)) == []
    assert one.inconsistencies() == []
    one.change(11)
    other.change(11)
    after = describe(one)
    assert compare(after, describe(other)) == []
    assert one.inconsistencies() == []
    assert one.changes == [11]
    _assert_changed_everywhere(compare(before, after))


def _assert_changed_everywhere(differences: list[str]) -> None:
    text = "\n".join(differences)
    for part in (
        "public.submissions",
        "public.grade_changes",
        "the rows of public.lessons",
        "the rows of public.attachments",
        "bytes of large object",
        "value of sequence public.certificate_number",
        "public.activity_2026_07 of edurise was not there before",
        "the rows of public.course_results",
        "the rows of reports.daily_figures",
        "another content",
        "another mode",
        "is missing",
        "'exports/link of change 11' was not there before",
    ):
        assert part in text, part


def test_a_change_is_made_once(twins: tuple[Platform, Platform]) -> None:
    platform, _ = twins
    if 12 not in platform.changes:
        platform.change(12)
    with pytest.raises(InputError, match="made already"):
        platform.change(12)
    assert Platform.open(platform.directory).changes == platform.changes


def test_the_platform_has_what_a_backup_can_lose(twins: tuple[Platform, Platform]) -> None:
    platform, _ = twins
    kinds = "SELECT DISTINCT relkind::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    with connect(platform.address, database="edurise") as connection:
        found = {str(row[0]) for row in connection.execute(kinds)}
        owner = connection.execute(
            "SELECT rolname, rolsuper FROM pg_roles JOIN pg_database ON datdba = pg_roles.oid WHERE datname = 'edurise'"
        ).fetchone()
        results = connection.execute("SELECT count(*) > 0 FROM public.course_results").fetchone()
    assert found >= {"r", "p", "v", "m", "S", "i", "I", "c"}
    assert owner == ("edurise_owner", False)
    assert results == (True,)
    assert (platform.storage / "exports" / "empty directory").is_dir()
    sparse = (platform.storage / "exports" / "scratch disk.img").stat()
    assert sparse.st_blocks * 512 < sparse.st_size


def test_secrets_are_readable_by_their_owner_only(twins: tuple[Platform, Platform]) -> None:
    platform, _ = twins
    for path in (
        platform.password_file,
        platform.configuration / "app.env",
        platform.configuration / "vault" / "pgsodium_root.key",
    ):
        assert path.stat().st_mode & 0o777 == 0o600, path
    description = (platform.directory / "platform.json").read_text()
    assert platform.password_file.read_text().strip() not in description


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE public.lessons SET body = body || ' ' WHERE id = 3", "the rows of public.lessons in edurise"),
        ("DELETE FROM public.activity_other", "public.activity_other in edurise had"),
        ("SELECT nextval('public.certificate_number')", "value of sequence public.certificate_number"),
        ("SELECT lo_put(734001, 5, 'x')", "bytes of large object 734001"),
        ("COMMENT ON COLUMN public.submissions.answers IS 'other'", "comment on table column public.submissions"),
        ("DROP INDEX public.submissions_open_idx", "index public.submissions_open_idx of edurise is missing"),
        ("ALTER TABLE public.certificates VALIDATE CONSTRAINT certificates_user_id_course_id_fkey", "FOREIGN KEY"),
        ("ALTER TABLE public.submissions DISABLE TRIGGER submissions_grade", "trigger submissions_grade"),
        ("DROP POLICY own_submissions ON public.submissions", "policy own_submissions on public.submissions"),
        ("REVOKE SELECT ON public.courses FROM authenticated", "relation public.courses"),
        ("ALTER TYPE public.submission_state ADD VALUE 'lost'", "type public.submission_state"),
        ("ALTER DATABASE edurise RESET search_path", "settings for everybody of edurise"),
        ("GRANT CONNECT ON DATABASE edurise TO \"edurise analyst\"", "database itself of edurise"),
        ("ALTER ROLE edurise_app PASSWORD 'other'", "role edurise_app was"),
        ("REVOKE authenticated FROM edurise_app", "membership of edurise_app in authenticated is missing"),
        ("ALTER FUNCTION public.letter_grade(public.grade) COST 7", "routine public.letter_grade(public.grade)"),
        ("ALTER TABLE public.profiles ALTER COLUMN locale SET DEFAULT 'fr'", "column public.profiles.locale"),
    ],
)  # fmt: skip
def test_a_planted_difference_in_a_database_is_found(
    planted: tuple[Platform, list[Facts]], statement: str, said: str
) -> None:
    platform, latest = planted
    with connect(platform.address, database="edurise", autocommit=True) as connection:
        connection.execute(statement.encode())
    after = describe_places(platform.address, {name: name for name in platform.databases}, {})
    differences = compare(latest[-1], after)
    latest.append(after)
    assert any(said in sentence for sentence in differences), differences
    assert len(differences) <= 6


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Platform, list[Facts]]]:
    """Yield a platform and a list whose last element describes its databases."""
    platform = create_platform(tmp_path_factory.mktemp("planted") / "platform", scale=SCALE)
    yield platform, [describe_places(platform.address, {name: name for name in platform.databases}, {})]
    platform.stop()
    remove_tree(platform.directory)


def test_rows_and_files_that_disagree_are_named(spare: Platform) -> None:
    root = spare.storage / "course-materials" / "odd"
    (root / ".hidden").unlink()
    (root / "--help").write_bytes(b"longer than before")
    (root / "stranger.md").write_bytes(b"nobody knows me")
    found = spare.inconsistencies()
    assert any("'course-materials/odd/.hidden' names a file that is not there" in sentence for sentence in found)
    assert any("'course-materials/odd/--help' has 18 bytes" in sentence for sentence in found)
    assert any("'course-materials/odd/stranger.md' has no row" in sentence for sentence in found)
    assert len(found) == 3


def test_what_pg_dump_brings_back_under_another_name_is_equal_but_for_the_database_itself(spare: Platform) -> None:
    with connect(spare.address, autocommit=True) as connection:
        connection.execute("CREATE DATABASE copy TEMPLATE template0")
    tools = find_tools(18)
    with client_environment(spare.address) as environment:
        dump: list[str | Path] = [tools.pg_dump, "--format=custom", "--compress=0", "edurise"]
        archive = subprocess.run(dump, env=environment, capture_output=True, check=True).stdout
        restore: list[str | Path] = [tools.pg_restore, "--dbname=copy", "--exit-on-error"]
        subprocess.run(restore, env=environment, input=archive, capture_output=True, check=True)
    before = describe_databases(spare.address, {"edurise": "edurise"})
    after = describe_databases(spare.address, {"edurise": "copy"})
    differences = compare(Facts(before, {}, {}), Facts(after, {}, {}))
    assert differences, "pg_dump leaves out what belongs to the database itself"
    assert all(sentence.startswith(("database itself", "settings for")) for sentence in differences), differences


def test_a_destroyed_platform_is_really_gone_and_its_server_stays(spare: Platform) -> None:
    spare.stop()
    platform = Platform.open(spare.directory)
    platform.start()
    platform.destroy()
    with connect(platform.address) as connection:
        databases = {str(row[0]) for row in connection.execute("SELECT datname FROM pg_database")}
        roles = {str(row[0]) for row in connection.execute("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'")}
    assert databases == {"postgres", "template0", "template1"}
    assert roles == {"edurise_admin"}
    assert not platform.storage.exists()
    assert not platform.configuration.exists()


def test_bad_input_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("precious")
    with pytest.raises(ConflictError, match="not an empty directory"):
        create_platform(tmp_path / "full")
    for scale in (0, -1, float("nan"), float("inf")):
        with pytest.raises(InputError, match="the scale must be"):
            create_platform(tmp_path / "new", scale=scale)
    with pytest.raises(NotFoundError, match="no platform"):
        Platform.open(tmp_path)
    (tmp_path / "platform.json").write_text('{"format": 99}')
    with pytest.raises(ConfigError, match=r"platform\.json"):
        Platform.open(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "platform.json"]


class _GivesUp:
    """A person who watches, and stops the work when the databases are about to be filled."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.files = 0

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        self.phases.append(name)

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        self.files += files_done

    def raise_if_cancelled(self) -> None:
        if len(self.phases) == 2:
            raise CancelledError("stopped")


def test_a_platform_that_is_given_up_leaves_an_empty_directory_and_no_server(tmp_path: Path) -> None:
    person = _GivesUp()
    with pytest.raises(CancelledError):
        create_platform(tmp_path / "platform", scale=SCALE, progress=person)
    assert person.files > 50
    assert list((tmp_path / "platform").iterdir()) == []
    assert not any(place.startswith(str(tmp_path)) for place in _working_directories())


def _working_directories() -> Iterator[str]:
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # ended meanwhile, or somebody else's
            yield os.readlink(process / "cwd")


def in_everybodys_reach(path: Path) -> bool:
    """Whether every user may enter all directories above."""
    return all(above.stat().st_mode & stat.S_IXOTH for above in path.resolve().parents)


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests run as an ordinary user already")
@pytest.mark.skipif(
    not in_everybodys_reach(Path(sys.prefix)), reason="the embedded server lies where an ordinary user may not enter"
)
@pytest.mark.usefixtures("twins")  # what is imported late has been by then: root's Python may be out of reach
def test_an_ordinary_user_makes_equal_platforms_too() -> None:
    nobody = pwd.getpwnam("nobody")
    with tempfile.TemporaryDirectory() as home:  # not tmp_path, whose parents are root's alone
        os.chown(home, nobody.pw_uid, nobody.pw_gid)
        verdict = Path(home) / "verdict"
        child = os.fork()  # not a new interpreter, for the same reason
        if child == 0:
            try:
                os.setgroups([])
                os.setgid(nobody.pw_gid)
                os.setuid(nobody.pw_uid)
                verdict.write_text(_compare_twins(Path(home)))
            except BaseException as error:  # noqa: BLE001 - a forked child has no other way to say it
                verdict.write_text("".join(traceback.format_exception(error)))
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        assert verdict.read_text() == "0 differences after a change of both twins, 0 inconsistencies"


def _compare_twins(home: Path) -> str:
    platforms = [create_platform(home / name, scale=SCALE) for name in ("one", "other")]
    try:
        for platform in platforms:
            platform.change(1)
        differences = compare(*map(describe, platforms))
        wrong = platforms[0].inconsistencies()
        return f"{len(differences)} differences after a change of both twins, {len(wrong)} inconsistencies"
    finally:
        for platform in platforms:
            platform.stop()
            remove_tree(platform.directory)
