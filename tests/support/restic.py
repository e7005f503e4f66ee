"""Stock restic, as an independent reader and writer of the repositories that we test."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edurise_backup.repository.repository import Repository
from edurise_backup.stores.local import LocalStore
from tests.support.engine import PASSPHRASE, QUICK

UNPACKED = Path(__file__).resolve().parents[2] / ".tools" / "usr" / "bin" / "restic"


def find_restic() -> str:
    """Return the program; a test that needs it fails without it, because skipping would prove nothing."""
    found = shutil.which("restic") or (str(UNPACKED) if UNPACKED.exists() else None)
    if found is None:
        pytest.fail("stock restic is not installed: `make tools` unpacks Debian's package into .tools/")
    return found


@dataclass(slots=True)
class Restic:
    """Runs stock restic on one repository; its cache is in a folder of the test's."""

    repository: Path
    folder: Path
    program: str = field(default_factory=find_restic)
    passphrase: str = PASSPHRASE

    @property
    def environment(self) -> dict[str, str]:
        """What restic is told through the environment; UTC, so that its times are written as ours."""
        self.folder.mkdir(parents=True, exist_ok=True)
        password = self.folder / "password"
        password.write_text(self.passphrase + "\n")
        return {
            **os.environ,
            "RESTIC_REPOSITORY": str(self.repository),
            "RESTIC_PASSWORD_FILE": str(password),
            "RESTIC_CACHE_DIR": str(self.folder / "cache"),
            "TZ": "UTC",
        }

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start restic and leave it running."""
        return subprocess.Popen(
            [self.program, *arguments],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, *arguments: str, status: int | None = 0) -> subprocess.CompletedProcess[bytes]:
        """Run restic; fail when its exit status is not the expected one (None: any)."""
        done = subprocess.run(
            [self.program, *arguments], env=self.environment, capture_output=True, check=False, timeout=250
        )
        if status is not None:
            assert done.returncode == status, f"{arguments}: {done.stdout.decode()}{done.stderr.decode()}"
        return done

    def init(self, version: int = 2) -> None:
        """Make a repository."""
        self.run("init", "--repository-version", str(version))

    @classmethod
    def with_quick_key(cls, repository: Path, folder: Path, *, version: int = 2) -> Restic:
        """Make a repository and replace its key, which takes half a second to open, by a quick one."""
        restic = cls(repository, folder)
        restic.init(version)
        made = Repository.open(LocalStore(repository), PASSPHRASE)
        made.add_key("quick", cost=QUICK)
        Repository.open(LocalStore(repository), "quick").remove_key(made.key_id)
        restic.passphrase = "quick"
        return restic

    def back_up(self, *paths: Path, options: Sequence[str] = ()) -> dict[str, object]:
        """Back up and return the summary."""
        done = self.run("backup", "--json", "--host", "tests", *options, *map(str, paths))
        summary = json.loads(done.stdout.splitlines()[-1])
        assert isinstance(summary, dict)
        assert summary["message_type"] == "summary"
        return summary

    def check(self) -> None:
        """Check everything, every byte too."""
        done = self.run("check", "--read-data")
        assert b"no errors were found" in done.stdout

    def snapshots(self) -> list[dict[str, object]]:
        """Return the snapshots."""
        found = json.loads(self.run("snapshots", "--json").stdout)
        assert isinstance(found, list)
        return found

    def ls(self, snapshot: str = "latest") -> list[dict[str, object]]:
        """Return the nodes of a snapshot."""
        return [json.loads(line) for line in self.run("ls", "--json", snapshot).stdout.splitlines()[1:]]

    def restore(self, target: Path, snapshot: str = "latest") -> None:
        """Restore a snapshot."""
        self.run("restore", snapshot, "--target", str(target))
