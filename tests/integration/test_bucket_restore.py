"""A bucket's snapshot comes back: into a bucket with every key, byte and header, or as files, by stock restic, too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from edurise_backup.errors import ConflictError
from edurise_backup.model.location import parse_s3
from edurise_backup.model.objects import KEY
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.recovery.into_bucket import BucketTarget, Existing, Sent, plan_objects, restore_into_bucket
from edurise_backup.recovery.planning import plan_restore
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Saved
from edurise_backup.s3.parts import PartSizes
from edurise_backup.s3.perseverance import Patience
from edurise_backup.s3.wire import Wire
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.buckets import HOSTILE_KEYS, PLAIN_KEYS, Object, Saving, described, fill, large
from tests.support.restic import find_restic
from tests.support.s3_proxy import Answer, S3Proxy, WireFault
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import QuickClock, access_to, new_bucket
from tests.support.trees import small_tree

pytestmark = pytest.mark.usefixtures("credential")
SMALL = PartSizes(whole=1 << 20, part=5 << 20)


@dataclass(slots=True)
class Restoring:
    """A bucket, its snapshot, and an empty bucket."""

    server: S3Server
    folder: Path
    old: str
    new: str
    repository: Repository
    saved: Saved
    wire: Wire | None = field(default=None)

    def into(self, existing: Existing, *, prefix: str = "back", server: S3Server | None = None) -> Sent:
        """Restore the snapshot into the new bucket."""
        at = server or self.server
        self.wire = Wire(parse_s3(at.location(self.new, prefix)), access_to(self.server, self.folder))
        target = BucketTarget(self.wire, existing, Patience(attempts=5), SMALL, QuickClock().timing)
        self.repository.load_index()
        plan = plan_objects(plan_restore(self.repository, self.saved.snapshot.tree))
        return restore_into_bucket(self.repository, plan, target, progress=SilentProgress())

    def requests(self, *operations: str) -> int:
        """Return how often the last restore asked for these operations."""
        assert self.wire is not None
        return self.wire.traffic().requests(*operations)

    def original(self) -> dict[str, Object]:
        """Describe the objects that were backed up."""
        return described(self.server, self.old)

    def restored(self) -> dict[str, Object]:
        """Describe the objects that came back."""
        return described(self.server, self.new, "back/")


@pytest.fixture
def restoring(server: S3Server, tmp_path: Path) -> Restoring:
    """Give a bucket of everything that the server can hold, backed up."""
    old = new_bucket(server)
    fill(server, old, PLAIN_KEYS if server.kind == "rclone" else (*PLAIN_KEYS, *HOSTILE_KEYS))
    repository = engine.create(LocalStore(tmp_path / "repository"))
    saved = Saving(server, old, tmp_path / "keys").save(repository)
    return Restoring(server, tmp_path / "keys", old, new_bucket(server), repository, saved)


def test_every_object_comes_back_with_its_key_bytes_and_headers(restoring: Restoring) -> None:
    done = restoring.into(Existing.REFUSE)
    assert (done.failed, done.problems, done.equal) == ([], [], 0)
    assert done.sent == len(restoring.original())
    assert restoring.restored() == restoring.original()


def test_a_place_that_holds_something_is_refused_before_anything_is_sent(restoring: Restoring) -> None:
    restoring.server.client().put_object(Bucket=restoring.new, Key="back/stranger", Body=b"mine")
    with pytest.raises(ConflictError, match="is not empty"):
        restoring.into(Existing.REFUSE)
    assert list(restoring.restored()) == ["stranger"]
    assert restoring.requests("PutObject", "CreateMultipartUpload") == 0


def test_what_is_there_and_equal_is_not_sent_again_and_nothing_is_deleted(restoring: Restoring) -> None:
    client = restoring.server.client()
    restoring.into(Existing.REFUSE)
    client.put_object(Bucket=restoring.new, Key="back/stranger", Body=b"mine")
    client.delete_object(Bucket=restoring.new, Key="back/a.txt")
    client.put_object(Bucket=restoring.new, Key="back/a/b", Body=b"other bytes")
    client.put_object(Bucket=restoring.new, Key="back/large/film", Body=large(), ContentType="text/plain")
    done = restoring.into(Existing.REPLACE)
    assert (done.sent, done.equal, done.failed) == (3, len(restoring.original()) - 3, [])
    restored = restoring.restored()
    assert restored.pop("stranger")
    assert restored == restoring.original()


def test_what_is_there_and_differs_stays_and_is_named_unless_it_may_be_replaced(restoring: Restoring) -> None:
    client = restoring.server.client()
    body = b"other bytes"
    client.put_object(Bucket=restoring.new, Key="back/a/b", Body=body)
    done = restoring.into(Existing.KEEP)
    assert done.failed == ["a/b: is there, and is another one: it was left as it is"]
    assert client.get_object(Bucket=restoring.new, Key="back/a/b")["Body"].read() == body
    assert done.sent == len(restoring.original()) - 1


FAULTS: dict[str, Callable[[], WireFault]] = {
    "503 for a while": lambda: WireFault("PUT", "back/", status=503, code="SlowDown", times=3),
    "a lost answer": lambda: WireFault("PUT", "back/a.txt", cut="after"),
    "a lost end of an upload in parts": lambda: WireFault("POST", "uploadId", cut="after"),
    "a lost part": lambda: WireFault("PUT", "partNumber=2", cut="before"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_that_fails_for_a_while_costs_nothing(restoring: Restoring, fault: str) -> None:
    with S3Proxy(restoring.server, [FAULTS[fault]()]) as proxy:
        done = restoring.into(Existing.REFUSE, server=proxy.server)
    assert done.failed == []
    assert restoring.restored() == restoring.original()


def test_an_object_that_the_server_will_not_take_is_named_and_a_second_run_brings_it_alone(
    restoring: Restoring,
) -> None:
    with S3Proxy(restoring.server, [WireFault("PUT", "back/a.txt", status=403, code="AccessDenied", times=9)]) as proxy:
        done = restoring.into(Existing.REFUSE, server=proxy.server)
    (failed,) = done.failed
    assert failed.startswith("a.txt: the credential may not do PutObject")
    again = restoring.into(Existing.REPLACE)
    assert (again.sent, again.equal, again.failed) == (1, len(restoring.original()) - 1, [])
    assert restoring.restored() == restoring.original()


def test_bytes_that_changed_in_the_server_are_noticed_right_after(restoring: Restoring) -> None:
    def other_etag(answer: Answer) -> Answer:
        kept = tuple((name, value) for name, value in answer.headers if name.lower() != "etag")
        return Answer(answer.status, (*kept, ("ETag", '"00000000000000000000000000000000"')), answer.body)

    def other_bytes(answer: Answer) -> Answer:
        return answer.with_body(b"x" * len(answer.body))

    faults = [
        WireFault("HEAD", "back/a.txt", answer=other_etag, times=9),
        WireFault("GET", "back/a.txt", answer=other_bytes, times=9),
    ]
    with S3Proxy(restoring.server, faults) as proxy:
        done = restoring.into(Existing.REFUSE, server=proxy.server)
    assert done.failed == ["a.txt: back/a.txt is not what was sent"]


def test_a_server_whose_etags_are_no_md5_is_asked_for_the_bytes(restoring: Restoring) -> None:
    def other_etag(answer: Answer) -> Answer:
        kept = tuple((name, value) for name, value in answer.headers if name.lower() != "etag")
        return Answer(answer.status, (*kept, ("ETag", '"encrypted-by-the-provider"')), answer.body)

    with S3Proxy(restoring.server, [WireFault("HEAD", "back/", answer=other_etag, times=999)]) as proxy:
        done = restoring.into(Existing.REFUSE, server=proxy.server)
    assert done.failed == []
    assert restoring.requests("GetObject") >= done.sent - 1


def program(restoring: Restoring, *words: str | Path, status: int = 0) -> str:
    """Run `edurise-backup repo …` with the environment's credential, and return what it prints."""
    password = restoring.folder / "passphrase"
    password.write_text(engine.PASSPHRASE)
    place = {"EDURISE_REPOSITORY": restoring.repository.store.address, "EDURISE_PASSWORD_FILE": str(password)}
    done = subprocess.run(
        [sys.executable, "-m", "edurise_backup", "repo", *map(str, words)],
        env={**os.environ, **restoring.server.environment, **place},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert restoring.server.secret_key not in done.stdout + done.stderr
    return done.stdout + done.stderr


def test_the_command_line_restores_into_a_bucket_and_says_what_it_would_do(restoring: Restoring) -> None:
    target = restoring.server.location(restoring.new, "back")
    said = program(restoring, "restore", "latest", "--target", target, "--dry-run")
    assert f"would bring {len(restoring.original())} objects" in said
    assert restoring.restored() == {}
    told = json.loads(program(restoring, "restore", "latest", "--target", target, "--json"))
    assert (told["sent"], told["failed"]) == (len(restoring.original()), [])
    assert restoring.restored() == restoring.original()
    assert "is not empty" in program(restoring, "restore", "latest", "--target", target, status=2)
    told = json.loads(program(restoring, "restore", "latest", "--target", target, "--overwrite", "--json"))
    assert (told["sent"], told["equal"]) == (0, len(restoring.original()))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["latest", "--target", "{at}", "--delete", "--overwrite"], "in a bucket nothing is ever deleted"),
        (["latest:/buckets/uploads/a", "--target", "{at}"], "--include /buckets/uploads/a"),
        (["latest", "--target", "s3:https://user:canary@host/bucket"], "holds a user, a password or a query"),
        (["latest", "--target", "s3:"], "the location names no server"),
        (["latest", "--target", "{at}", "--include", "/nothing"], "nothing in"),
        (["latest", "--target", "{no}"], "there is no bucket"),
    ],
)
def test_what_cannot_be_restored_into_a_bucket_says_why(restoring: Restoring, words: list[str], said: str) -> None:
    at = restoring.server.location(restoring.new, "back")
    no = restoring.server.location("no-such-bucket-at-all")
    told = program(restoring, "restore", *[word.format(at=at, no=no) for word in words], status=2)
    assert said in told
    assert "canary" not in told
    assert restoring.restored() == {}


def test_a_tree_of_files_becomes_objects_with_its_paths_as_keys(restoring: Restoring, tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    saved = engine.back_up(restoring.repository, tree)
    restoring.saved = saved
    done = restoring.into(Existing.REFUSE)
    files = [path for path in tree.rglob("*") if path.is_file() and not path.is_symlink()]
    assert done.failed == []
    assert set(restoring.restored()) == {str(path)[1:] for path in files}


def test_stock_restic_restores_the_objects_as_files_with_their_keys_in_attributes(
    restoring: Restoring, tmp_path: Path
) -> None:
    password = tmp_path / "passphrase"
    password.write_text(engine.PASSPHRASE)
    words = ["-r", restoring.repository.store.address, "-p", str(password), "--no-cache"]
    for more in (["check", "--read-data"], ["restore", "latest", "--target", str(tmp_path / "theirs")]):
        subprocess.run([find_restic(), *words, *more], check=True, capture_output=True, timeout=120)
    top = tmp_path / "theirs" / "buckets" / "uploads"
    found = {}
    for path in top.rglob("*"):
        if path.is_file():
            told = os.getxattr(path, KEY).decode() if KEY in os.listxattr(path) else str(path.relative_to(top))
            found[told] = path.stat().st_size
    assert found == {key: one.told["ContentLength"] for key, one in restoring.original().items()}
