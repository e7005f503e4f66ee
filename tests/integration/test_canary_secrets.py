"""Every secret has a canary's value, everything that the product does is done, and afterwards the canary is nowhere."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.model.people import Actor, Role, Via
from edurise_backup.operations.keys import add_recovery_key
from edurise_backup.operations.secrets import credential_path
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.server import Server
from flows.local import local_prefect, run_deployment
from tests.support.catalog import PASSPHRASE, Product, configure, quote_address, run, write_private
from tests.support.postgres import execute
from tests.support.sweeping import (
    DOCUMENTED,
    Watch,
    reachable_by_others,
    sweep_database,
    sweep_folder,
    sweep_texts,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]
VARIABLE = "SCHOOL_DATABASE_PW"
WRONG = "canary-wrong-6d1f0b52"
NEW = "canary-new-passphrase-0be1"
RESTORER = "canary-recovering-role-3ac9"
ADDED = "canary-added-passphrase-77c2"
LOOKED_AT = {"pg_dump", "pg_restore", "sh", "flows.serve"}
"""What must be among the processes whose arguments and environments were read."""
ADMIN = Actor("ana@tests", Via.COMMAND_LINE, frozenset(Role))


@dataclass(slots=True)
class Canary:
    """A product all of whose secrets are known to the test, and what it has said so far."""

    product: Product
    catalog: Address
    secrets: dict[str, str]
    said: dict[str, str] = field(default_factory=dict)

    def run(self, *words: str | Path, status: int | None = 0, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run a command, and keep what it says."""
        done = run(self.product, *words, extra={VARIABLE: self.secrets["database password"], **extra})
        self.said[f"{len(self.said)}: {' '.join(map(str, words))}"] = done.stdout + done.stderr
        if status is not None:
            assert done.returncode == status, done.stdout + done.stderr
        return done

    @property
    def kept(self) -> list[Path]:
        """The files that hold the secrets, and are meant to."""
        home = self.product.home
        named = ["passphrase", "catalog.password", "recovery.password", "new", "added", "printed"]
        return [*(home / name for name in named), credential_path(home / "data")]


@pytest.fixture
def canary(tmp_path: Path, school: Address, catalog_database: Address) -> Iterator[Canary]:
    product = configure(tmp_path / "product", catalog=catalog_database, database=school)
    assert school.password
    assert catalog_database.password
    home = product.home
    (home / "database.password").unlink()
    product.configure('password_file = "database.password"', f'password_env = "{VARIABLE}"')
    product.configure(
        'password_file = "catalog.password"', f'password_command = ["cat", "{home / "catalog.password"}"]'
    )
    server = school.with_database("postgres")
    execute(server, f"CREATE ROLE restorer LOGIN SUPERUSER PASSWORD '{RESTORER}'")
    write_private(home / "recovery.password", RESTORER)
    url = quote_address(replace(server, user="restorer"))
    product.configure(
        "large_table_mib = 1",
        f'large_table_mib = 1\nrecovery = {{ url = "{url}", password_file = "recovery.password" }}',
    )
    _, recovery = add_recovery_key(product.settings, actor=ADMIN)
    secrets = {
        "passphrase": PASSPHRASE,
        "new passphrase": NEW,
        "added passphrase": ADDED,
        "database password": school.password.reveal(),
        "recovering role's password": RESTORER,
        "catalog password": catalog_database.password.reveal(),
        "wrong password": WRONG,
        "recovery key": recovery,
    }
    for name, text in (("new", NEW), ("added", ADDED), ("printed", recovery)):
        write_private(home / name, text + "\n")
    yield Canary(product, catalog_database, secrets)
    execute(server, "DROP ROLE restorer")


def do_everything(canary: Canary, target: Path) -> None:
    """Do on the command line what an operator does, with what fails in between."""
    canary.run("backup", "--json")
    canary.run("verify")
    canary.run("recover", "latest", "--target", target, "--json")
    canary.run("check", "--budget", "5%")
    canary.run("prune", "--dry-run")
    canary.run("key", "list", "--json")
    canary.run("key", "add", "--new-password-file", canary.product.home / "added", "--name", "second")
    canary.run("key", "recovery-drill", "--recovery-key-file", canary.product.home / "printed", "--json")
    canary.run("key", "recovery-drill", "--recovery-key-file", canary.product.home / "added", status=2)
    canary.run("key", "rotate", "--new-password-file", canary.product.home / "new")
    canary.run("backup", "database", status=2, **{VARIABLE: WRONG})
    canary.run("doctor", status=None)
    canary.run("doctor", "--json", status=None, **{VARIABLE: WRONG})
    canary.run("show", "latest", "--json")
    canary.run("list", "--json")
    # a hook that fails, and says everything it can get hold of
    shout = f'pre_hook = ["sh", "-c", "sleep 0.3; env >&2; cat {canary.product.home}/new >&2; exit 3"]\n'
    canary.product.configure('name = "uploads"\n', f'name = "uploads"\n{shout}')
    canary.run("backup", "files", status=1)
    canary.product.configure(shout, "")
    canary.run("rebuild-catalog")


def be_served(canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do the same as runs of a served Prefect server: one that ends well, one that fails."""
    monkeypatch.setenv(VARIABLE, canary.secrets["database password"])
    with local_prefect(canary.product.home / "prefect", canary.product.settings_path) as api:
        canary.secrets["Prefect's credential"] = api.auth.reveal()
        done = run_deployment(api, "backup/edurise", {"type": "full"}, idempotency_key="good")
        assert done.completed, done.message
        canary.product.configure(
            'name = "uploads"\n',
            f'name = "uploads"\npre_hook = ["sh", "-c", "cat {canary.product.home}/new >&2; exit 3"]\n',
        )
        failed = run_deployment(api, "backup/edurise", {"type": "files"}, idempotency_key="bad")
        assert failed.state == "FAILED"
        assert "pre_hook" in failed.message
        canary.said["the failed run"] = failed.message


def look_again(canary: Canary, watch: Watch, tmp_path: Path) -> None:
    """Back up and recover until the watch has caught the tools at it, whose lives are short on a busy machine."""
    for number in range(10):
        if watch.seen >= LOOKED_AT:
            return
        canary.run("backup", "database")
        where = ("--target", tmp_path / f"again {number}", "--database-suffix", f"_again_{number}")
        canary.run("recover", "latest", *where, "--json")


def test_no_secret_is_anywhere_but_where_it_is_kept(
    canary: Canary,
    school_server: Server,
    cluster: Server,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    watch = Watch(canary.secrets, documented={*DOCUMENTED, VARIABLE})
    with watch.watching():
        do_everything(canary, tmp_path / "back")
        be_served(canary, monkeypatch)
        look_again(canary, watch, tmp_path)
    # Prefect's client asks git about the checkout, and what it imports asks file about the machine, in the
    # environment that the operator gave the runner: docs/operations/keys-and-secrets.md says so
    assert watch.found <= {f"{tool}: variable {VARIABLE} holds database password" for tool in ("git", "file")}
    assert watch.seen >= LOOKED_AT, watch.seen
    assert sweep_texts(canary.secrets, canary.said) == []
    assert "***" in canary.said["the failed run"], "the hook said a secret, and the second net caught it"
    assert sweep_database(canary.secrets, canary.catalog) == []
    assert sweep_folder(canary.secrets, canary.product.home, but=canary.kept) == []
    assert sweep_folder(canary.secrets, tmp_path / "back") == []
    logs = {
        f"log of {server.data_directory}": (server.data_directory / "server.log").read_bytes()
        for server in (school_server, cluster)
    }
    assert sweep_texts(canary.secrets, logs) == []
    database = canary.product.home / "prefect" / "prefect.db"
    assert database.stat().st_size > 100_000, "Prefect's database was swept, too"


@contextmanager
def child(*words: str, **environment: str) -> Iterator[int]:
    """Have a process with these arguments and variables, from the moment on when it really has them."""
    process = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **environment},
    )
    try:
        assert process.stdout
        process.stdout.readline()
        yield process.pid
    finally:
        process.communicate(b"\n")


def test_the_sweep_finds_a_canary_wherever_it_is_planted(canary: Canary) -> None:
    """A sweep that finds nothing is worth nothing until it has found what was put there."""
    secrets = {"planted": WRONG}
    home = canary.product.home
    operations.open_catalog(canary.product.settings).close()
    (home / "data").mkdir(exist_ok=True)
    (home / "data" / "some.log").write_bytes(b"\0\1" + WRONG.encode() + b"\n")
    assert sweep_folder(secrets, home, but=canary.kept) == [f"{home / 'data' / 'some.log'} holds planted"]
    (home / "data" / "some.log").rename(home / "data" / f"{WRONG}.log")
    assert len(sweep_folder(secrets, home)) == 2
    assert sweep_database(secrets, canary.catalog) == []
    execute(canary.catalog, f"CREATE TABLE somewhere AS SELECT 'x{WRONG}y' AS text")
    assert sweep_database(secrets, canary.catalog) == ["table somewhere holds planted"]
    assert sweep_texts(secrets, {"out": f"... {WRONG.encode().hex()}"}) == ["out holds planted"]
    for words, variables, told in (
        ((WRONG,), {}, "argument holds planted"),
        ((), {"ANY": WRONG}, "variable ANY holds planted"),
        ((), {"PREFECT_API_AUTH_STRING": f"a:{WRONG}"}, ""),
        (("-P",), {"PREFECT_API_AUTH_STRING": f"a:{WRONG}"}, "variable PREFECT_API_AUTH_STRING holds planted"),
    ):
        watch = Watch(secrets)
        with child(*words, **variables) as pid:
            watch.look_at(pid)
        assert [one.partition(": ")[2] for one in watch.found] == ([told] if told else [])


def test_what_a_run_leaves_is_closed_to_others(tmp_path: Path) -> None:
    """With a umask that closes nothing: modes are ours to set."""
    before = os.umask(0o022)
    try:
        product = configure(tmp_path / "product", catalog=None, database=None)
        for words in (["backup"], ["verify"], ["recover", "latest", "--target", tmp_path / "back"], ["check"]):
            done = run(product, *words)
            assert done.returncode == 0, done.stderr
        assert reachable_by_others(product.home / "data") == []
        assert reachable_by_others(product.repository) == []
        assert reachable_by_others(tmp_path / "back") == []
        (product.home / "data" / "open").mkdir()
        (product.home / "data").chmod(0o755)
        assert len(reachable_by_others(product.home / "data")) >= 2, "the sweep finds what is open"
    finally:
        os.umask(before)
