"""Each mistake with a bucket, made on the command line as a person makes it: status 2, what is safe, what to do."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.catalog import command_line
from tests.support.engine import PASSPHRASE, back_up, create, opened
from tests.support.s3_proxy import S3Proxy, WireFault
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import new_bucket, store_at
from tests.support.trees import describe, differences, small_tree

pytestmark = pytest.mark.usefixtures("credential")
ALWAYS = 10**6


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, and the words that tell it."""

    words: str
    hint: str
    environment: Mapping[str, str] = field(default_factory=dict)
    fault: WireFault | None = None
    bucket: str = ""


def refused(method: str, status: int, code: str, path: str = "", **more: object) -> WireFault:
    return WireFault(method, path, status=status, code=code, times=ALWAYS, **more)  # type: ignore[arg-type]


MISTAKES = {
    "an access key that nobody has": Mistake(
        "knows no such access key", "check the access key id", {"AWS_ACCESS_KEY_ID": "nobody"}
    ),
    "a wrong secret key": Mistake(
        "refuses the signature", "copy both keys anew", {"AWS_SECRET_ACCESS_KEY": "a-canary-that-is-wrong"}
    ),
    "no credential": Mistake(
        "there is no credential", "AWS_ACCESS_KEY_ID", {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""}
    ),
    "half a credential": Mistake("there is no credential", "(both)", {"AWS_SECRET_ACCESS_KEY": ""}),
    "a profile that is not there": Mistake("no profile 'nobody'", "AWS_PROFILE", {"AWS_PROFILE": "nobody"}),
    "a bucket that is not there": Mistake("there is no bucket", "it is never made here", bucket="no-such-bucket"),
    "a wrong region": Mistake(
        "is in the region eu-central-9",
        "AWS_DEFAULT_REGION",
        fault=refused("GET|HEAD|PUT", 301, "PermanentRedirect", headers=(("x-amz-bucket-region", "eu-central-9"),)),
    ),
    "an expired token": Mistake(
        "the session token has expired", "get a new session token", fault=refused("GET|PUT", 400, "ExpiredToken")
    ),
    "a token of other keys": Mistake(
        "refuses the session token", "AWS_SESSION_TOKEN", fault=refused("GET|PUT", 400, "InvalidToken")
    ),
    "a clock that is wrong": Mistake(
        "refuses this machine's clock", "NTP", fault=refused("GET|PUT", 403, "RequestTimeTooSkewed")
    ),
    "a credential that may not list": Mistake(
        "may not do ListObjectsV2", "s3:ListBucket", fault=refused("GET", 403, "AccessDenied", "list-type=2")
    ),
    "a credential that may only read": Mistake(
        "may not do PutObject", "s3:PutObject: it may only read", fault=refused("PUT", 403, "AccessDenied")
    ),
    "a full disk of the server": Mistake(
        "no room left", "raise the quota or prune", fault=refused("PUT", 507, "InsufficientStorage", "/data/")
    ),
    "a full quota": Mistake(
        "no room left", "raise the quota or prune", fault=refused("PUT", 403, "QuotaExceeded", "/data/")
    ),
    "plain http": Mistake("over plain http", "use https, or allow it", {"EDURISE_ALLOW_PLAINTEXT": ""}),
}


class Site:
    """A repository in a bucket, and the command line beside it."""

    def __init__(self, server: S3Server, folder: Path) -> None:
        self.server, self.folder, self.bucket = server, folder, new_bucket(server)
        (folder / "password").write_text(f"{PASSPHRASE}\n")
        store = store_at(server, self.bucket, folder / "keys", prefix="edurise")
        create(store)
        self.tree = small_tree(folder / "tree")
        back_up(opened(store), self.tree)

    def run(self, server: S3Server, *words: str | Path, bucket: str = "", **more: str) -> tuple[int, str]:
        """Run a command; an empty variable is not set."""
        environment = {
            **os.environ,
            **server.environment,
            "EDURISE_REPOSITORY": server.location(bucket or self.bucket, "edurise"),
            "EDURISE_PASSWORD_FILE": str(self.folder / "password"),
            **more,
        }
        done = subprocess.run(
            command_line("repo", *words),
            env={name: value for name, value in environment.items() if value},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        said = done.stdout + done.stderr
        assert "Traceback" not in said
        assert "canary" not in said
        assert PASSPHRASE not in said
        return done.returncode, said


@pytest.fixture(scope="module")
def site(rclone: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Give one repository for all mistakes: none of them changes it."""
    return Site(rclone, tmp_path_factory.mktemp("site"))


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_says_what_is_safe_and_what_to_do(site: Site, name: str) -> None:
    mistake = MISTAKES[name]
    site.tree.joinpath("new").write_bytes(name.encode() * 1000)
    faults = []
    if mistake.fault is not None:
        mistake.fault.seen = mistake.fault.fired = 0
        faults.append(mistake.fault)
    with S3Proxy(site.server, faults) as proxy:
        status, said = site.run(proxy.server, "backup", site.tree, bucket=mistake.bucket, **dict(mistake.environment))
    said = " ".join(said.split())
    assert status == 2, said
    assert mistake.words in said
    assert "Safe: " in said
    assert mistake.hint in said.partition("To do: ")[2]


def test_a_credential_that_may_only_read_reads_checks_and_restores(site: Site, tmp_path: Path) -> None:
    """A restore must be possible with less than a backup needs."""
    fault = refused("PUT|DELETE", 403, "AccessDenied")
    with S3Proxy(site.server, [fault]) as proxy:
        for words in (
            ["snapshots"],
            ["ls", "latest"],
            ["check", "--no-lock"],
            ["restore", "latest", "--no-lock", "--target", tmp_path / "target"],
        ):
            status, said = site.run(proxy.server, *words)
            assert status == 0, said
        status, said = site.run(proxy.server, "check")
        assert status == 2
        assert "may only read" in said
    restored = tmp_path / "target" / str(site.tree).lstrip("/")
    site.tree.joinpath("new").unlink(missing_ok=True)
    assert differences(describe(site.tree), describe(restored)) == []
