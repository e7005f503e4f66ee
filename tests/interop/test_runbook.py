"""The runbook, run to the letter: stock restic and PostgreSQL's own programs bring back every row and every byte."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.demonstration.comparison import Facts, compare, describe, describe_places
from edurise_backup.demonstration.platform import SUPERUSER, Platform
from edurise_backup.model.jobs import BackupJob
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.tools import Tools, find_server
from tests.support.catalog import Product, write_private
from tests.support.documents import blocks, page, section
from tests.support.postgres import UNSAFE_AND_QUICK
from tests.support.restic import find_restic

RUNBOOK = section(page("lib/edurise_backup/DESIGN.md"), "Restoring with stock restic")


@pytest.fixture
def another_server(tmp_path: Path, platform: Platform) -> Iterator[Address]:
    """Yield an empty server whose superuser has the old one's name and password."""
    assert platform.address.password
    server = Server(
        tmp_path / "another" / "data",
        binaries=find_server(),
        password=platform.address.password,
        user=SUPERUSER,
        settings=UNSAFE_AND_QUICK,
    )
    with server:
        yield server.address


@dataclass(frozen=True, slots=True)
class Operator:
    """A person with a shell, stock restic, PostgreSQL's client programs and the passphrase; nothing of ours."""

    product: Product
    tools: Tools
    home: Path

    def follow(self, job: BackupJob, server: Address, *, suffix: str) -> str:
        """Run all commands of the runbook in one shell, as they stand there; return what was said."""
        self.home.mkdir()
        assert server.password
        escaped = server.password.reveal().replace("\\", "\\\\").replace(":", "\\:")
        write_private(self.home / "pgpass", f"*:*:*:*:{escaped}\n")
        programs = [str(self.tools.psql.parent), str(Path(find_restic()).parent), "/usr/bin", "/bin"]
        done = subprocess.run(
            ["sh", "-eu", "-c", "\n".join(blocks(RUNBOOK, "sh"))],
            env={
                "PATH": os.pathsep.join(programs),
                "HOME": str(self.home),
                "LC_ALL": "C.UTF-8",
                "RESTIC_REPOSITORY": str(self.product.repository),
                "RESTIC_PASSWORD_FILE": str(self.product.home / "passphrase"),
                "RESTIC_CACHE_DIR": str(self.home / "cache"),
                "PGHOST": server.host,
                "PGPORT": str(server.port),
                "PGUSER": server.user,
                "PGPASSFILE": str(self.home / "pgpass"),
                "SET": str(job.set_id),
                "SOURCE": "platform",
                "TARGET": str(self.target),
                "SUFFIX": suffix,
            },
            cwd=self.home,
            capture_output=True,
            text=True,
            check=False,
            timeout=250,
        )
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stderr

    @property
    def target(self) -> Path:
        """Where everything goes."""
        return self.home / "target"

    def found(self, platform: Platform, server: Address, *, suffix: str) -> Facts:
        """Describe what is there now."""
        return describe_places(
            server,
            {name: name + suffix for name in platform.databases},
            {
                "storage": self.target / "files" / str(platform.storage).lstrip("/"),
                "configuration": self.target / "configuration" / str(platform.configuration).lstrip("/"),
            },
        )


def unexpected(before: Facts, after: Facts) -> list[str]:
    """Return the differences but those that the page tells of: what stock restic cannot do for an ordinary user."""
    read_only = {
        f"{name}: {path!r}"
        for name, tree in before.trees.items()
        for path, facts in tree.items()
        if os.geteuid() != 0 and facts.kind == "file" and not int(facts.mode, 8) & stat.S_IWUSR
    }
    attributes = " has another extended attributes"
    return [line for line in compare(before, after) if line.partition(attributes)[0] not in read_only]


@pytest.fixture
def operator(demonstration: Product, tools: Tools, tmp_path: Path) -> Operator:
    """Give somebody who follows the runbook."""
    return Operator(demonstration, tools, tmp_path / "operator")


def test_the_runbook_brings_a_set_back_on_an_empty_server(
    operator: Operator, platform: Platform, another_server: Address
) -> None:
    first = operations.create_backup(settings=operator.product.settings)
    before = describe(platform)
    platform.change(51)
    operations.create_backup(settings=operator.product.settings)
    said = operator.follow(first, another_server, suffix="")
    errors = [line for line in said.splitlines() if "ERROR" in line]
    assert all(line.endswith(f'role "{SUPERUSER}" already exists') for line in errors), errors
    assert unexpected(before, operator.found(platform, another_server, suffix="")) == []
    assert not (operator.target / "database").exists()


@pytest.mark.slow
def test_the_runbook_brings_a_set_back_beside_the_live_databases(operator: Operator, platform: Platform) -> None:
    job = operations.create_backup(settings=operator.product.settings)
    before = describe(platform)
    said = operator.follow(job, platform.address, suffix="_by_hand")
    assert 'role "edurise_owner" already exists' in said
    assert unexpected(before, operator.found(platform, platform.address, suffix="_by_hand")) == []
    assert compare(before, describe(platform)) == []
